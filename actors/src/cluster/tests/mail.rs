//! Copies of mail, and mail that other stores keep.

use super::*;
use crate::cluster::interface::{Find, MailEffect, MailInput, Parcel, ReadMail};
use crate::commands::network::Network;
use crate::commands::store::{Completion, MailboxSize, Sender, Written};

const GONE: [u8; 16] = [3; 16];

fn mail(first: u64, count: u64) -> Box<Written> {
    let origin = Origin { peer: PeerKey(1), session: 5, first };
    let sender = Sender { name: name("a"), network: Network::UNKNOWN };
    Box::new(Written { name: name("b"), first, frames: Frames::of(envelopes("A", count)), sender, origin })
}

impl Bench {
    /// The stream has answered that there are no copies of an earlier run.
    fn with_stream() -> Self {
        let mut bench = Self::new();
        bench.listed(vec![]);
        bench
    }

    fn mail(&mut self, input: MailInput) {
        self.take(Input::Mail(input));
    }

    fn listed(&mut self, found: Vec<(PeerName, Parcel)>) {
        self.mail(MailInput::Listed { store: [0; 16], of: None, found: Some(found) });
    }

    fn stored(&mut self, mail: Box<Written>) {
        self.take(Input::Command(Command::Stored(mail)));
    }

    fn copied(&mut self, number: u64, sequence: Option<u64>) {
        let sequences = sequence.map(|sequence| vec![sequence]);
        self.mail(MailInput::Copied { number, sequences });
    }

    fn forgotten(&mut self, before: u64) {
        self.take(Input::Command(Command::Forgotten { name: name("b"), places: 0..before, amounts: vec![] }));
    }

    /// What the shell has to do with the stream, as text.
    fn asked(&mut self) -> Vec<String> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let text = |effect| match effect {
            MailEffect::Copy { number, first, count, .. } => format!("copy {number}: {first}+{count}"),
            MailEffect::Drop { name, before } => format!("drop {name} before {before}"),
            MailEffect::List { store, of } => {
                format!("list {} {}", store[0], of.map_or("all".to_owned(), |(name, _)| name.to_string()))
            }
            MailEffect::Find(Find::For(name)) => format!("find for {name}"),
            MailEffect::Find(Find::Of(store)) => format!("find of {}", store[0]),
            MailEffect::Find(Find::All) => "find all".to_owned(),
            MailEffect::Read { sequences, .. } => format!("read {sequences:?}"),
            MailEffect::Remove(sequences) => format!("remove {sequences:?}"),
            MailEffect::FindOld { before } => format!("find before {before}"),
            MailEffect::Purge(name) => format!("purge {name}"),
        };
        effects
            .filter_map(|effect| if let Effect::Mail(effect) = effect { Some(text(effect)) } else { None })
            .collect()
    }

    /// What senders are told of their mail, by its first number: whether it is stored.
    fn outcomes(&mut self) -> Vec<(u64, bool)> {
        let mut outcomes = Vec::new();
        self.effects.retain(|effect| {
            match effect {
                Effect::Complete(Completion::Put { mail, stored: true }) => {
                    outcomes.push((mail.origin.first, true));
                }
                Effect::Complete(Completion::Uncopied { origin, .. }) => outcomes.push((origin.first, false)),
                _ => return true,
            }
            false
        });
        outcomes
    }

    /// The batch and the envelopes that the Router was given.
    fn forwarded(&mut self) -> Option<(BatchId, Vec<Forwarded>)> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        effects
            .filter_map(
                |effect| if let Effect::Forward(batch, of) = effect { Some((batch, of)) } else { None },
            )
            .last()
    }

    fn answer(&mut self, batch: BatchId, refused: &[u32]) {
        self.take(Input::Command(Command::Forwarded { batch, refused: refused.to_vec() }));
    }

    /// B is here, and the stream has mail for it of a server that has ended.
    fn with_adopted(found: Vec<Parcel>) -> Self {
        let mut bench = Self::with_stream();
        bench.presence("B", 7, true);
        bench.pass(Duration::from_secs(5));
        assert!(
            !bench.asked().iter().any(|asked| asked.starts_with("find")),
            "who is alive is not known yet"
        );
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.asked(), ["find for b"]);
        bench.hear(ALIVE);
        bench.mail(MailInput::Found(Some(vec![
            ([0; 16], name("b")),
            ([2; 16], name("b")),
            (GONE, name("b")),
        ])));
        assert_eq!(bench.asked(), ["list 3 b"], "the other two stores are in use");
        let found = found.into_iter().map(|parcel| (name("b"), parcel)).collect();
        bench.mail(MailInput::Listed { store: GONE, of: Some((name("b"), 7)), found: Some(found) });
        bench
    }
}

#[test]
fn mail_of_several_senders_is_split_and_keeps_its_places() {
    let (mut bench, session, _) = Bench::with_b();
    let frames = [envelopes("A", 2), envelopes("C", 1), envelopes("A", 1)].concat();
    bench.deliver(session, delivery(10, true, frames.into()));
    let sent = bench.sent();
    let (epoch, number, items) = &sent[0];
    let senders: Vec<&str> = items.iter().map(|item| item.from.as_str()).collect();
    assert_eq!(senders, ["A", "C", "A"]);
    bench.hear(Body::Done(vec![Handled { epoch: *epoch, number: *number, refused: vec![2] }]));
    bench.hear(Body::Taken { presence: session, count: 2 });
    bench.hear(Body::Taken { presence: session, count: 4 });
    let told = bench.told();
    assert!(
        matches!(told[..], [MemberCommand::Leave, MemberCommand::Taken(12), MemberCommand::Taken(13)]),
        "{told:?}"
    );
}

#[test]
fn mail_is_stored_when_the_stream_has_a_copy() {
    let mut bench = Bench::new();
    bench.stored(mail(0, 2));
    assert!(bench.asked().is_empty(), "what the stream has is not known");
    bench.listed(vec![]);
    assert_eq!(bench.asked(), ["copy 1: 0+2"]);
    bench.copied(1, None);
    assert!(bench.outcomes().is_empty());
    bench.pass(Duration::from_millis(250));
    assert_eq!(bench.asked(), ["copy 1: 0+2"], "the same number, so it is no second copy");
    bench.copied(1, Some(40));
    assert_eq!(bench.outcomes(), [(0, true)]);
    // One that takes too long is not stored for its sender, and copied all the same.
    bench.stored(mail(2, 1));
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.outcomes(), [(2, false)]);
    bench.copied(2, Some(41));
    assert!(bench.outcomes().is_empty());
    bench.forgotten(3);
    assert_eq!(bench.asked().last().map(String::as_str), Some("drop b before 42"));
}

#[test]
fn copies_are_dropped_with_the_mail_and_one_drop_at_a_time() {
    let mut bench = Bench::with_stream();
    for (number, (place, sequence)) in (1..).zip([(5, 50), (6, 51), (7, 52), (2, 53), (8, 54)]) {
        bench.stored(mail(place, 1));
        bench.copied(number, Some(sequence));
    }
    bench.effects.clear();
    // The envelope with place 2 came back from a broken session. It is behind others in the stream.
    bench.forgotten(6);
    assert_eq!(bench.asked(), ["drop b before 51"]);
    bench.forgotten(7);
    bench.forgotten(8);
    assert!(bench.asked().is_empty(), "one is under way");
    bench.mail(MailInput::Dropped(name("b")));
    assert_eq!(bench.asked(), ["drop b before 54"]);
    // What is forgotten before it was copied is dropped when it is.
    bench.stored(mail(9, 1));
    bench.forgotten(10);
    assert_eq!(bench.outcomes(), [(9, true)], "its recipient has it");
    bench.mail(MailInput::Dropped(name("b")));
    bench.mail(MailInput::Dropped(name("b")));
    bench.effects.clear();
    bench.copied(6, Some(55));
    assert!(bench.outcomes().is_empty());
    assert_eq!(bench.asked(), ["drop b before 56"]);
}

#[test]
fn copies_of_an_earlier_run_are_dropped_unless_the_mail_is_on_the_disk() {
    let mailboxes = vec![MailboxSize { name: name("b"), amounts: vec![], end: 4 }];
    let on_disk = OnDisk { mailboxes, ..OnDisk::default() };
    let mut bench = Bench { core: Cluster::new(ME, &PeerLimits::default(), on_disk), ..Bench::new() };
    bench.take(Input::Connected(true));
    assert!(bench.asked().contains(&"list 0 all".to_owned()));
    let parcel = |first, sequence| Parcel { first, count: 1, sequences: vec![sequence] };
    bench.listed(vec![(name("b"), parcel(3, 10)), (name("c"), parcel(0, 11))]);
    assert_eq!(bench.asked(), ["drop c before 12"]);
    bench.forgotten(4);
    assert_eq!(bench.asked(), ["drop b before 12"]);
}

#[test]
fn the_mail_of_a_server_that_has_ended_is_delivered_in_order_and_removed_when_it_was_taken() {
    let parcel = |first, sequence| Parcel { first, count: 2, sequences: vec![sequence] };
    let mut bench = Bench::with_adopted(vec![parcel(7, 20), parcel(5, 21)]);
    assert_eq!(bench.asked(), ["read [21]"], "a lower place came back from a broken session");
    let read = |bench: &mut Bench| {
        let mail = ReadMail::Found(envelopes("A", 2));
        bench.mail(MailInput::Read { name: name("b"), session: 7, mail });
        bench.forwarded().expect("the Router gets it")
    };
    let (batch, given) = read(&mut bench);
    assert_eq!((given[0].session, given[0].stored, given[0].frames.count()), (7, Some(0), 2));
    bench.answer(batch, &[0]);
    assert!(bench.asked().is_empty(), "the peer has no room");
    bench.pass(Duration::from_millis(250));
    assert_eq!(bench.asked(), ["read [21]"]);
    let (batch, given) = read(&mut bench);
    assert_eq!(given[0].stored, Some(2));
    bench.answer(batch, &[]);
    assert_eq!(bench.asked(), ["read [20]"]);
    bench.take(Input::Command(Command::Taken { session: 7, before: 3 }));
    assert!(bench.asked().is_empty(), "a part was taken");
    bench.take(Input::Command(Command::Taken { session: 7, before: 4 }));
    assert_eq!(bench.asked(), ["remove [21]"]);
    // What was taken by somebody else in the meantime is not there any more.
    bench.mail(MailInput::Read { name: name("b"), session: 7, mail: ReadMail::Gone });
    assert!(bench.asked().is_empty() && bench.forwarded().is_none());
}

#[test]
fn copies_that_the_peer_was_given_are_not_delivered_again_when_their_store_is_listed_again() {
    let parcel = |first, sequence| Parcel { first, count: 1, sequences: vec![sequence] };
    let mut bench = Bench::with_adopted(vec![parcel(0, 20), parcel(1, 21)]);
    let given = |bench: &mut Bench| {
        let mail = ReadMail::Found(envelopes("A", 1));
        bench.mail(MailInput::Read { name: name("b"), session: 7, mail });
        let (batch, _) = bench.forwarded().expect("the Router gets it");
        bench.answer(batch, &[]);
    };
    given(&mut bench);
    given(&mut bench);
    bench.take(Input::Command(Command::Taken { session: 7, before: 1 }));
    // The connection was lost, so this server looks for all mail.
    bench.take(Input::Connected(false));
    bench.take(Input::Connected(true));
    bench.pass(Duration::from_secs(5));
    bench.hear(ALIVE);
    bench.effects.clear();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.asked(), ["find all"]);
    bench.mail(MailInput::Found(Some(vec![(GONE, name("b"))])));
    assert_eq!(bench.asked(), ["list 3 b"]);
    let found = [parcel(1, 21), parcel(2, 22)].map(|parcel| (name("b"), parcel)).into();
    bench.mail(MailInput::Listed { store: GONE, of: Some((name("b"), 7)), found: Some(found) });
    assert_eq!(bench.asked(), ["read [22]"], "the peer has the other one, and may take it yet");
}

#[test]
fn the_session_of_an_adoption_ends_it() {
    let mut bench = Bench::with_adopted(vec![Parcel { first: 0, count: 1, sequences: vec![9] }]);
    bench.presence("B", 7, false);
    bench.effects.clear();
    bench.mail(MailInput::Read { name: name("b"), session: 7, mail: ReadMail::Found(envelopes("A", 1)) });
    assert!(bench.forwarded().is_none());
    bench.take(Input::Command(Command::Taken { session: 7, before: 9 }));
    assert!(bench.asked().is_empty());
}

#[test]
fn a_server_that_ends_makes_the_others_look_for_its_mail() {
    let mut bench = Bench::with_stream();
    bench.pass(Duration::from_secs(5));
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(1));
    bench.effects.clear();
    bench.hear(Body::Ends);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.asked(), ["find of 2"]);
}

#[test]
fn a_server_that_did_not_hear_others_looks_for_all_mail() {
    let mut bench = Bench::with_stream();
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.asked(), ["find of 2"]);
    // The question fails. Meanwhile the connection is lost, and the server that has ended may come back and store more.
    bench.mail(MailInput::Found(None));
    bench.take(Input::Connected(false));
    bench.pass(Duration::from_secs(60));
    bench.take(Input::Connected(true));
    bench.pass(Duration::from_millis(5900));
    assert!(bench.asked().is_empty(), "who is alive is not known yet");
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.asked(), ["find of 2"]);
    bench.mail(MailInput::Found(None));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.asked(), ["find all"], "the one that has failed holds up no other");
    bench.mail(MailInput::Found(Some(vec![])));
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.asked(), ["find of 2"]);
    bench.mail(MailInput::Found(Some(vec![])));
    // It is heard again without a new connection: the network between two servers of NATS was interrupted.
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(5));
    assert!(bench.asked().is_empty());
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.asked(), ["find all"]);
    bench.mail(MailInput::Found(Some(vec![])));
    bench.pass(Duration::from_secs(1));
    assert!(bench.asked().is_empty(), "once");
}

#[test]
fn a_server_that_ends_before_it_has_said_what_store_it_has_is_looked_for_too() {
    let mut bench = Bench::with_stream();
    bench.pass(Duration::from_secs(5));
    bench.hear(Body::Newcomer { network: Network::UNKNOWN });
    bench.pass(Duration::from_secs(1));
    bench.effects.clear();
    bench.hear(Body::Ends);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.asked(), ["find all"]);
}

#[test]
fn mail_that_another_server_keeps_is_dropped_there_when_the_peer_here_has_taken_it() {
    let mut bench = Bench::with_stream();
    let item = |presence, is_stored| Item {
        from: name("A"),
        to: name("b"),
        session: 70,
        presence,
        is_kept: true,
        is_stored,
        frames: envelopes("A", 2).to_vec(),
    };
    let bytes = wire::frame::body(&vec![item(8, true), item(8, false), item(8, true), item(9, true)]);
    bench.hear(Body::Part { epoch: 1, number: 0, is_last: true, handled: vec![], bytes: &bytes });
    let (batch, given) = bench.forwarded().expect("the Router gets it");
    assert_eq!(given.iter().map(|given| given.stored).collect::<Vec<_>>(), [Some(0), None, Some(2), Some(4)]);
    bench.answer(batch, &[3]);
    let taken = |bench: &mut Bench, before| {
        bench.effects.clear();
        bench.take(Input::Command(Command::Taken { session: 70, before }));
        let packets = std::mem::take(&mut bench.effects);
        packets.iter().find_map(|effect| match effect {
            Effect::Send { to: Some(OTHER), packet } => match decode(packet)?.body {
                Body::Taken { presence: 8, count } => Some(count),
                _ => None,
            },
            _ => None,
        })
    };
    assert_eq!(taken(&mut bench, 1), None);
    assert_eq!(taken(&mut bench, 2), Some(2));
    assert_eq!(taken(&mut bench, 4), Some(4), "it counts all, so that a lost packet does no harm");
}
