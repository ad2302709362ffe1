//! A server that lies for a while: no message is lost, doubled, altered or out of order, and no process ends. Soon
//! after the lies have ended, everything has arrived without help from a user.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::{Character, Liar, Lie, Peer, Sandbox};
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::keys::{EncryptionKey, IdentityKey};

/// How often the server lies before it becomes honest again.
const TIMES: u64 = 4;
/// Deadline for the delivery of everything after that, in seconds. It takes at most 5 on an idle machine; a hanging connection
/// is noticed within 30.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
const HANG_ENDS_WITHIN: Duration = Duration::from_secs(45);

/// A writes to B while the server lies, and everything must arrive afterwards. With `from_the_start`, it lies already when A
/// connects.
fn recovers(lie: Lie, from_the_start: bool, within: Duration) {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("B"));
    let (a, b) = (sandbox.peer("A", liar.address()), sandbox.peer("B", liar.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    a.run(&["send", "B", "before", "--wait", "60"]).expect(0);

    if from_the_start {
        liar.tells(lie);
    }
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    if !from_the_start {
        sending.type_line("still before");
        sending.event("delivered", |_| true);
        liar.tells(lie);
    }
    let lines = ["one", "two", "three", "four", "five", "six"];
    lines.iter().for_each(|line| sending.type_line(line));
    sending.end_input();
    // If messages arrive in spite of the lie, or nothing passes any more, there may be only one occasion to lie.
    liar.wait_for(if matches!(lie, Lie::Hangs | Lie::WithholdsOutcomes) { 1 } else { TIMES });

    liar.tells(Lie::None);
    let honest = Instant::now();
    let sent = sending.finish().expect(0);
    let took = honest.elapsed();
    println!("{lie:?}: everything was delivered {took:.1?} after the server had become honest");
    let expected: Vec<&str> =
        ["before"].into_iter().chain((!from_the_start).then_some("still before")).chain(lines).collect();
    let received = listening.events("message", expected.len());
    let texts: Vec<_> = received.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(texts, expected, "once, and in order");
    let numbers: Vec<_> = received.iter().filter_map(|event| event["number"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    assert_eq!(sent.events("delivered").len() + 1, expected.len(), "each is delivered once");
    assert!(took < within, "{lie:?}: it took {took:?}");
    server.stop();
}

/// A writes to B for the first time, while the server shows a card of B that was made this many seconds from now.
fn recovers_from_card(issued_in: i64, sequence: u64) {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("nobody"));
    let (a, b) = (sandbox.peer("A", liar.address()), sandbox.peer("B", server.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    liar.shows(&card_of(&b, issued_in, sequence));
    liar.tells(Lie::ShowsOtherCards);
    let sending = a.start(&["send", "B", "hello", "--wait", "60"]);
    liar.wait_for(1);
    // Time for a complaint about a message that was sealed for the wrong key.
    std::thread::sleep(Duration::from_secs(3));
    liar.tells(Lie::None);
    let honest = Instant::now();
    sending.finish().expect(0);
    let took = honest.elapsed();
    println!(
        "a card made in {issued_in} s: everything was delivered {took:.1?} after the server had become honest"
    );
    assert_eq!(listening.events("message", 1).len(), 1);
    assert!(took < ARRIVES_WITHIN, "{took:?}");
}

/// A card that B could have signed: with a new encryption key, made this many seconds from now.
fn card_of(b: &Peer, issued_in: i64, sequence: u64) -> Card {
    let pem = std::fs::read_to_string(b.private().join("identity.pem")).expect("B has an identity");
    let identity = IdentityKey::from_pem(&pem, None).expect("it has no passphrase");
    let encryption = EncryptionKey::generate(2048, &mut rand::rng()).expect("the size is a good one");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let issued_at = now.checked_add_signed(issued_in).expect("it is after 1970");
    let term = Term { sequence, issued_at, valid_until: issued_at + CARD_VALID_SECONDS_MAX };
    let name = b.name().parse().expect("a good name");
    Card::issue(name, &identity, encryption.public(), term, &mut rand::rng())
}

#[test]
fn altered_envelopes_arrive_unaltered_in_the_end() {
    recovers(Lie::Alters, false, ARRIVES_WITHIN);
}

#[test]
fn dropped_envelopes_are_sent_again() {
    recovers(Lie::Drops, false, ARRIVES_WITHIN);
}

#[test]
fn replayed_envelopes_count_once() {
    recovers(Lie::Replays, false, ARRIVES_WITHIN);
}

#[test]
fn mail_that_was_falsely_reported_as_stored_is_sent_again() {
    recovers(Lie::ClaimsStored, false, ARRIVES_WITHIN);
}

#[test]
fn false_refusals_are_retried() {
    recovers(Lie::Refuses, false, ARRIVES_WITHIN);
}

#[test]
fn withheld_outcomes_do_not_stop_messages() {
    recovers(Lie::WithholdsOutcomes, false, ARRIVES_WITHIN);
}

#[test]
fn a_lookup_without_an_answer_is_repeated() {
    recovers(Lie::WithholdsCards, true, ARRIVES_WITHIN);
}

#[test]
fn a_card_of_somebody_else_is_ignored() {
    recovers(Lie::ShowsOtherCards, true, ARRIVES_WITHIN);
}

#[test]
fn garbage_ends_the_connection_and_not_the_process() {
    recovers(Lie::SendsGarbage, false, ARRIVES_WITHIN);
}

#[test]
fn damaged_frames_end_the_connection_and_not_the_process() {
    recovers(Lie::DamagesFrames, false, ARRIVES_WITHIN);
}

#[test]
fn connections_that_end_at_once_are_retried() {
    recovers(Lie::Disconnects, false, ARRIVES_WITHIN);
}

#[test]
fn a_connection_that_hangs_is_replaced() {
    recovers(Lie::Hangs, false, HANG_ENDS_WITHIN);
}

#[test]
fn an_old_card_of_the_recipient_delays_messages_only_while_it_is_shown() {
    recovers_from_card(-60, 1);
}

#[test]
fn an_expired_card_of_the_recipient_is_not_used() {
    recovers_from_card(-8 * 24 * 60 * 60 - 1, u64::MAX);
}

#[test]
fn a_card_of_the_recipient_from_the_future_is_not_used() {
    recovers_from_card(2 * 60 * 60, u64::MAX);
}

#[test]
fn receipts_that_a_member_has_forged_do_not_count() {
    recovers(Lie::ForgesReceipts, false, ARRIVES_WITHIN);
}

#[test]
fn envelopes_that_come_back_to_their_sender_are_refused() {
    recovers(Lie::Reflects, false, ARRIVES_WITHIN);
}

#[test]
fn a_flood_of_openings_and_complaints_from_the_server_loses_nothing() {
    recovers(Lie::Floods, false, ARRIVES_WITHIN);
}

#[test]
fn envelopes_under_the_conversation_of_another_sender_are_refused() {
    const COUNT: usize = 6;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("nobody"));
    let [a, b, c] = ["A", "B", "C"].map(|name| sandbox.peer(name, liar.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    let mut sending = [a, c].map(|peer| peer.start(&["send", "B", "-", "--wait", "60"]));
    for process in &mut sending {
        process.type_line("before");
        process.event("delivered", |_| true);
    }
    liar.tells(Lie::Crosses);
    for number in 1..COUNT {
        sending.iter_mut().for_each(|process| process.type_line(&number.to_string()));
    }
    liar.wait_for(TIMES);
    liar.tells(Lie::None);
    let honest = Instant::now();
    for mut process in sending {
        process.end_input();
        process.finish().expect(0);
    }
    println!("Crosses: everything was delivered {:.1?} after the server had become honest", honest.elapsed());
    assert!(honest.elapsed() < ARRIVES_WITHIN);
    for from in ["A", "C"] {
        let messages = listening.events("message", 2 * COUNT);
        let of_one = messages.iter().filter(|message| message["from"] == from);
        let numbers: Vec<_> = of_one.filter_map(|message| message["number"].as_u64()).collect();
        assert_eq!(numbers, (1..=COUNT as u64).collect::<Vec<_>>(), "{from}: once, and in order");
    }
}

/// The server is honest only for moments. Not everything has to arrive, but messages are shown unaltered, once and in
/// order, and no other message counts as delivered.
#[test]
fn a_server_that_only_lies_cannot_forge_repeat_or_confirm_a_message() {
    const MESSAGES: usize = 30;
    const LIES: [Lie; 14] = [
        Lie::None,
        Lie::ForgesReceipts,
        Lie::Replays,
        Lie::Alters,
        Lie::None,
        Lie::Reflects,
        Lie::Drops,
        Lie::Crosses,
        Lie::Floods,
        Lie::ClaimsStored,
        Lie::ShowsOtherCards,
        Lie::None,
        Lie::Refuses,
        Lie::Disconnects,
    ];
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("B"));
    let [a, b, c] = ["A", "B", "C"].map(|name| sandbox.peer(name, liar.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    let senders = [a, c];
    let mut sending =
        senders.each_ref().map(|peer| peer.start(&["--rekey", "3", "send", "B", "-", "--wait", "5"]));
    for process in &mut sending {
        process.type_line("1");
        process.event("delivered", |_| true);
    }
    for number in 2..=MESSAGES {
        liar.tells(LIES[number % LIES.len()]);
        sending.iter_mut().for_each(|process| process.type_line(&number.to_string()));
        std::thread::sleep(Duration::from_millis(200));
    }
    liar.tells(Lie::ForgesReceipts);
    let sent = sending.map(|mut process| {
        process.end_input();
        process.finish()
    });
    // Delivered messages are shown, perhaps a moment later.
    let delivered = sent.each_ref().map(|sent| sent.events("delivered"));
    let messages = listening.events("message", delivered.iter().map(Vec::len).sum());
    for (peer, delivered) in senders.iter().zip(&delivered) {
        let name = peer.name();
        let of_one: Vec<_> = messages.iter().filter(|message| message["from"] == name).collect();
        println!(
            "{name}: {} of {MESSAGES} messages were shown, {} are delivered",
            of_one.len(),
            delivered.len()
        );
        for (at, message) in of_one.iter().enumerate() {
            assert_eq!(message["number"], at + 1, "{name}: once, in order, nothing passed over");
            assert_eq!(message["text"], (at + 1).to_string(), "{name}");
        }
        for receipt in delivered {
            assert!(receipt["number"].as_u64() <= Some(of_one.len() as u64), "{name}: {receipt}");
        }
    }
}
