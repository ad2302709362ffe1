//! What strangers leave on the disk of a peer, and how it is deleted.

use super::*;

/// A peer under any name, with the keys of B.
struct Other {
    name: String,
    card: Card,
}

impl Other {
    fn new(name: &str) -> Self {
        let term = Term { sequence: 1, issued_at: START, valid_until: START + CARD_VALID_SECONDS_MAX };
        let (identity, encryption) = &KEYS[1];
        let rng = &mut StdRng::seed_from_u64(1);
        let card = Card::issue(self::name(name), identity, encryption.public(), term, rng);
        Self { name: name.to_owned(), card }
    }

    /// Opens a conversation with A.
    fn opens(&self, bench: &mut Bench, first_number: u64) -> Outgoing {
        let (to, now) = (bench.engine.card().clone(), bench.now.unix);
        let outgoing = Outgoing::open(&KEYS[1].0, &self.card, &to, first_number, now, &mut rand::rng());
        bench.hear_from(&self.name, Kind::Opening, first_number, outgoing.opening().as_bytes());
        outgoing
    }

    /// Sends a message to A, and returns its ciphertext.
    fn writes(&self, bench: &mut Bench, outgoing: &mut Outgoing, number: u64) -> Vec<u8> {
        let id = [u8::try_from(number).expect("there are few"); 16];
        let sealed = outgoing.seal_message(number, &id, START, &format!("message {number}")).bytes;
        bench.hear_from(&self.name, Kind::Message, number, &sealed);
        sealed
    }
}

impl Bench {
    /// How many contacts, conversations and pinned keys of others are on the disk.
    fn on_disk(&self) -> [usize; 3] {
        let Disk { contacts, incoming, pins, .. } = &self.disk;
        // The first contact is A itself.
        [contacts.borrow().len() - 1, incoming.borrow().len(), pins.borrow().len()]
    }

    fn command(&mut self, command: Command) {
        self.take([Input::Command(CLIENT, command)]);
    }

    fn restart(self) -> Self {
        let limits = self.engine.local.options.limits;
        Self::start(self.disk, self.now, START, limits)
    }

    /// The numbers of the messages that were shown since the last call.
    fn shown(&mut self) -> Vec<u64> {
        let events = self.events.drain(..);
        events.filter_map(|e| if let Event::Message(m) = e { Some(m.number) } else { None }).collect()
    }

    /// The number of refusals by each limit.
    fn refused(&mut self) -> Vec<(String, u64)> {
        self.command(Command::Limits);
        let events = self.events.drain(..);
        let refused = |event| match event {
            Event::Result(Answer::Limit { option, refused, .. }) => Some((option, refused)),
            _ => None,
        };
        events.filter_map(refused).collect()
    }

    fn errors(&mut self) -> Vec<String> {
        let events = self.events.drain(..);
        events.filter_map(|e| if let Event::Error { message } = e { Some(message) } else { None }).collect()
    }
}

#[test]
fn strangers_that_only_open_conversations_are_not_on_the_disk_and_few_in_memory() {
    let mut bench = Bench::with_limits(Limits { strangers_max: 8, ..Limits::default() });
    for number in 0..40 {
        Other::new(&format!("stranger{number}")).opens(&mut bench, 1);
    }
    assert_eq!(bench.on_disk(), [0, 0, 0]);
    assert_eq!(bench.engine.contacts.iter().count(), 1 + 8);
    assert_eq!(bench.engine.local.pins.len(), 8);
    let bench = bench.restart();
    assert_eq!(bench.engine.contacts.iter().count(), 1, "a start reads nothing of them");
}

/// The server chooses the order, and the bytes of an opening are the same in every name.
#[test]
fn an_opening_that_was_delivered_in_another_name_before_is_accepted_in_its_own() {
    let mut bench = Bench::new();
    let b = Other::new("B");
    let mut outgoing =
        Outgoing::open(&KEYS[1].0, &b.card, bench.engine.card(), 1, bench.now.unix, &mut rand::rng());
    let opening = outgoing.opening().as_bytes().to_vec();
    for _ in 0..2 {
        bench.hear_from("C", Kind::Opening, 1, &opening);
    }
    assert_eq!(bench.refusals(), ["a conversation was opened in another name, or for another key"], "once");
    bench.hear_from("B", Kind::Opening, 1, &opening);
    b.writes(&mut bench, &mut outgoing, 1);
    assert_eq!(bench.shown(), [1]);
}

#[test]
fn a_stranger_stays_from_its_first_message_on() {
    let mut bench = Bench::new();
    let other = Other::new("C");
    let mut outgoing = other.opens(&mut bench, 1);
    assert_eq!(bench.on_disk(), [0, 0, 0]);
    other.writes(&mut bench, &mut outgoing, 1);
    assert_eq!(bench.on_disk(), [1, 1, 1]);
    let mut bench = bench.restart();
    other.writes(&mut bench, &mut outgoing, 2);
    assert_eq!(bench.shown(), [2], "its conversation goes on");
}

#[test]
fn a_stranger_that_was_forgotten_in_between_is_asked_to_open_a_new_conversation() {
    let mut bench = Bench::with_limits(Limits { strangers_max: 1, ..Limits::default() });
    let other = Other::new("B");
    let mut outgoing = other.opens(&mut bench, 1);
    Other::new("C").opens(&mut bench, 1);
    bench.sent.clear();
    other.writes(&mut bench, &mut outgoing, 1);
    bench.hear_card(&other.card);
    let conversation = outgoing.opening().id;
    let reason = Complaint::UnknownConversation;
    assert_eq!(bench.receipts(), [Receipt::Refused { conversation, count: 0, reason }]);
    let mut outgoing = other.opens(&mut bench, 1);
    other.writes(&mut bench, &mut outgoing, 1);
    assert_eq!(bench.shown(), [1]);
}

#[test]
fn only_conversations_that_may_go_on_are_on_the_disk() {
    let (mut bench, other) = (Bench::new(), Other::new("B"));
    for number in 1..=10 {
        // The sender has all receipts.
        let mut outgoing = other.opens(&mut bench, number);
        other.writes(&mut bench, &mut outgoing, number);
        assert_eq!(bench.on_disk(), [1, 1, 1], "message {number}");
    }
    for number in 11..=15 {
        let mut outgoing = other.opens(&mut bench, 11);
        other.writes(&mut bench, &mut outgoing, number);
    }
    assert_eq!(bench.on_disk(), [1, 5, 1], "these may be sent again");
    for number in 16..=90 {
        bench.sleep(1);
        let mut outgoing = other.opens(&mut bench, 11);
        other.writes(&mut bench, &mut outgoing, number);
    }
    assert_eq!(bench.on_disk(), [1, 64, 1], "but not any number of them");
    let mut bench = bench.restart();
    other.opens(&mut bench, 91);
    assert_eq!(bench.on_disk(), [1, 1, 1], "a restart changes nothing");
}

#[test]
fn conversations_whose_key_is_destroyed_are_deleted() {
    let (mut bench, other) = (Bench::new(), Other::new("B"));
    let mut outgoing = other.opens(&mut bench, 1);
    other.writes(&mut bench, &mut outgoing, 1);
    bench.live(13);
    assert_eq!(bench.on_disk(), [1, 1, 1]);
    bench.live(2);
    assert_eq!(bench.on_disk(), [1, 0, 1]);
}

#[test]
fn strangers_without_an_answer_have_so_many_places() {
    let mut bench = Bench::with_limits(Limits { strangers_max: 2, ..Limits::default() });
    let others: Vec<Other> = ["B", "C", "D", "E", "F"].map(Other::new).into();
    let write = |bench: &mut Bench, at: usize| {
        let mut outgoing = others[at].opens(bench, 1);
        others[at].writes(bench, &mut outgoing, 1);
        bench.on_disk()[0]
    };
    assert_eq!([write(&mut bench, 0), write(&mut bench, 1)], [1, 2]);
    bench.events.clear();
    assert_eq!(write(&mut bench, 2), 2);
    let errors = bench.errors();
    assert!(
        errors.iter().any(|error| error.contains("put off") && error.contains("--strangers")),
        "{errors:?}"
    );
    bench.send("hello");
    assert_eq!(write(&mut bench, 2), 3, "an answer to B makes room");
    assert_eq!(write(&mut bench, 3), 3);
    bench.command(Command::Forget { name: name("C") });
    assert_eq!(write(&mut bench, 3), 4, "so does C, which is forgotten");
    bench.command(Command::Block { name: name("D"), is_blocked: true });
    assert_eq!(write(&mut bench, 4), 5, "and D, which is blocked");
}

#[test]
fn the_oldest_stranger_makes_room_for_another_one_after_its_messages_were_shown_but_seldom() {
    let mut bench = Bench::with_limits(Limits { strangers_max: 2, ..Limits::default() });
    let others: Vec<Other> = ["B", "C", "D", "E"].map(Other::new).into();
    let write = |bench: &mut Bench, at: usize, number: u64| {
        let mut outgoing = others[at].opens(bench, number);
        others[at].writes(bench, &mut outgoing, number);
        let forgotten: Vec<String> = bench.disk.forgotten.borrow().iter().map(ToString::to_string).collect();
        (bench.shown(), forgotten.concat())
    };
    let is = |shown: &[u64], forgotten: &str| (shown.to_vec(), forgotten.to_owned());
    assert_eq!(write(&mut bench, 0, 1), is(&[1], ""));
    assert_eq!(write(&mut bench, 1, 1), is(&[1], ""));
    assert_eq!(write(&mut bench, 2, 1), is(&[], ""), "nobody makes room before its messages were shown");
    bench.take([Input::Shown(CLIENT, 2)]);
    assert_eq!(write(&mut bench, 2, 1), is(&[1], "B"));
    bench.take([Input::Shown(CLIENT, 1)]);
    assert_eq!(write(&mut bench, 3, 1), is(&[], "B"), "a flood does not get more");
    assert_eq!(write(&mut bench, 0, 2), is(&[], "B"), "B has no place any more");
    bench.sleep(5 * 60);
    assert_eq!(write(&mut bench, 3, 1), is(&[1], "BC"));
    assert_eq!(bench.on_disk(), [4, 2, 4], "names and keys stay, conversations do not");
}

#[test]
fn a_stranger_may_open_1200_conversations_a_minute_until_it_is_answered() {
    let (mut bench, other) = (Bench::new(), Other::new("B"));
    let mut number = 0;
    let mut write = |bench: &mut Bench, count: u64| {
        let mut shown = 0;
        for _ in 0..count {
            // As with --rekey 1. A message that was put off is sent again, so the number is used again.
            let mut outgoing = other.opens(bench, number + 1);
            other.writes(bench, &mut outgoing, number + 1);
            let is_shown = !bench.shown().is_empty();
            number += u64::from(is_shown);
            shown += u64::from(is_shown);
        }
        shown
    };
    assert_eq!(write(&mut bench, 70), 60, "at once");
    bench.sleep(1);
    assert_eq!(write(&mut bench, 30), 21, "and 20 a second, and one that 80 messages have paid back");
    bench.send("hello");
    assert_eq!(write(&mut bench, 70), 70, "an answer lifts the limit");
}

#[test]
fn what_each_limit_refuses_is_counted_and_reported_once_a_minute() {
    let limits = Limits {
        openings_per_minute: 3,
        stranger_openings_per_minute: 100,
        strangers_max: 1,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(limits);
    let counts = |bench: &mut Bench| bench.refused().into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    let options: Vec<String> = bench.refused().into_iter().map(|(option, _)| option).collect();
    assert_eq!(options, ["--openings-per-minute", "--stranger-openings-per-minute", "--strangers"]);
    assert_eq!(counts(&mut bench), [0, 0, 0]);
    let other = Other::new("B");
    let mut outgoing = other.opens(&mut bench, 1);
    other.writes(&mut bench, &mut outgoing, 1);
    bench.events.clear();
    // It may open two at once. The first one does not count, because the peer was not known before.
    for number in 2..=5 {
        other.opens(&mut bench, number);
    }
    let errors = bench.errors();
    assert_eq!(errors.iter().filter(|error| error.contains("put off")).count(), 1, "{errors:?}");
    assert_eq!(counts(&mut bench), [2, 0, 0]);
    Other::new("C").opens(&mut bench, 1);
    assert_eq!(counts(&mut bench), [2, 0, 1]);
    bench.send("hello");
    for number in 0..10 {
        Other::new(&format!("D{number}")).opens(&mut bench, 1);
    }
    // All strangers may open five at once, and B has opened three of them.
    assert_eq!(counts(&mut bench), [2, 8, 1]);
    bench.sleep(60);
    bench.events.clear();
    for number in 6..=9 {
        other.opens(&mut bench, number);
    }
    let errors = bench.errors();
    let report = errors.iter().find(|error| error.contains("put off")).expect("a report");
    assert!(report.starts_with("11 new conversation(s)"), "those of the last minute and this one: {report}");
}

#[test]
fn nothing_of_a_forgotten_peer_is_shown_again_and_its_key_stays_pinned() {
    let (mut bench, other) = (Bench::new(), Other::new("B"));
    let mut outgoing = other.opens(&mut bench, 1);
    let opening = outgoing.opening().as_bytes().to_vec();
    let message = other.writes(&mut bench, &mut outgoing, 1);
    bench.send("hello");
    bench.hear_card(&other.card);
    bench.events.clear();
    bench.command(Command::Forget { name: name("b") });
    let undelivered = bench.events.iter().find_map(|event| match event {
        Event::Result(Answer::Forgotten { undelivered, .. }) => Some(*undelivered),
        _ => None,
    });
    assert_eq!(undelivered, Some(1));
    assert_eq!(*bench.disk.forgotten.borrow(), [name("B")]);
    assert_eq!((bench.on_disk(), bench.card_of_b().is_none()), ([1, 0, 1], true));

    let mut bench = bench.restart();
    bench.sent.clear();
    bench.hear_envelope(Kind::Opening, 1, &opening);
    bench.hear_envelope(Kind::Message, 1, &message);
    assert_eq!(bench.shown(), [] as [u64; 0]);
    assert!(matches!(bench.receipts()[..], [Receipt::Received { count: 1, last_number: 1, .. }]));
    bench.send("hello again");
    bench.hear_card(&other.card);
    let sent = bench.sent.iter().filter_map(|message| match message {
        ToServer::Envelope(Envelope { kind: Kind::Message, number, .. }) => Some(*number),
        _ => None,
    });
    assert_eq!(sent.collect::<Vec<_>>(), [2], "no number is given twice");
    let term = Term { sequence: 2, issued_at: START, valid_until: START + DAY };
    let (identity, encryption) = &KEYS[0];
    bench.hear_card(&Card::issue(name("B"), identity, encryption.public(), term, &mut rand::rng()));
    assert!(bench.refusals().iter().any(|reason| reason.contains("has changed")));
}

#[test]
fn a_blocked_peer_stays_blocked_when_it_is_forgotten() {
    let (mut bench, other) = (Bench::new(), Other::new("B"));
    bench.command(Command::Block { name: name("B"), is_blocked: true });
    bench.command(Command::Forget { name: name("B") });
    let mut bench = bench.restart();
    let mut outgoing = other.opens(&mut bench, 1);
    other.writes(&mut bench, &mut outgoing, 1);
    assert_eq!((bench.shown(), bench.on_disk()), (Vec::new(), [1, 0, 0]));
}

#[test]
fn somebody_who_is_not_known_or_this_peer_itself_cannot_be_forgotten() {
    let mut bench = Bench::new();
    for who in ["A", "nobody"] {
        bench.command(Command::Forget { name: name(who) });
        assert!(bench.errors().iter().any(|error| error.contains("no other peer")), "{who}");
    }
}
