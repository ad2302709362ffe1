//! A server that lies for a while: no message is lost, doubled, altered or out of order, and no process ends. Soon
//! after the lies have ended, everything has arrived without help from a user.
//!
//! `cargo test --workspace --test scenarios -- hostile_server --nocapture | grep recovery` prints how long that took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::{Character, Liar, Lie, Peer, Sandbox};
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::keys::{EncryptionKey, IdentityKey};

/// How often the server lies before it becomes honest again.
const TIMES: u64 = 4;
/// Everything must arrive within 5 seconds after the end of the trouble. The rest is for a debug build on a busy machine.
const RECOVERY_MAX: Duration = Duration::from_secs(5 + 10);
/// How long a peer may take to notice that a connection hangs.
const HANG_NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// Prints how long the delivery of everything took, and checks it.
fn check_recovery(trouble: &str, lasted: Duration, took: Duration) {
    println!("recovery: {took:.1?} after {lasted:.1?} of {trouble}");
    assert!(took < RECOVERY_MAX, "{trouble}: it took {took:?}");
}

/// A writes to B while the server lies for a moment, and everything must arrive afterwards. With `from_the_start`, the server
/// lies already when A connects.
fn recovers(lie: Lie, from_the_start: bool) {
    let (lasted, took) = trouble(lie, from_the_start, Duration::ZERO);
    check_recovery(&format!("{lie:?}"), lasted, took);
}

/// The server lies at least for `time`. Returns how long it did, and how long the delivery of everything took after that.
fn trouble(lie: Lie, from_the_start: bool, time: Duration) -> (Duration, Duration) {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let liar = Liar::start(server.address(), Character::new("B"));
    let (a, b) = (sandbox.peer("A", liar.address()), sandbox.peer("B", liar.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    a.run(&["send", "B", "before", "--wait", "60"]).expect(0);

    let mut begun = Instant::now();
    if from_the_start {
        liar.tells(lie);
    }
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    if !from_the_start {
        sending.type_line("still before");
        sending.event("delivered", |_| true);
        begun = Instant::now();
        liar.tells(lie);
    }
    let lines = ["one", "two", "three", "four", "five", "six"];
    lines.iter().for_each(|line| sending.type_line(line));
    sending.end_input();
    // If messages arrive in spite of the lie, or nothing passes any more, there may be only one occasion to lie.
    let lies_once = matches!(lie, Lie::Hangs | Lie::Pauses | Lie::WithholdsOutcomes);
    liar.wait_for(if lies_once { 1 } else { TIMES });
    // The length of the trouble is what is tested: pauses grow while it lasts.
    std::thread::sleep(time.saturating_sub(begun.elapsed()));

    liar.tells(Lie::None);
    let (lasted, honest) = (begun.elapsed(), Instant::now());
    let sent = sending.finish().expect(0);
    let took = honest.elapsed();
    let expected: Vec<&str> =
        ["before"].into_iter().chain((!from_the_start).then_some("still before")).chain(lines).collect();
    let received = listening.events("message", expected.len());
    let texts: Vec<_> = received.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(texts, expected, "once, and in order");
    let numbers: Vec<_> = received.iter().filter_map(|event| event["number"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    assert_eq!(sent.events("delivered").len() + 1, expected.len(), "each is delivered once");
    server.stop();
    (lasted, took)
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
    let begun = Instant::now();
    liar.tells(Lie::ShowsOtherCards);
    let sending = a.start(&["send", "B", "hello", "--wait", "60"]);
    liar.wait_for(1);
    // Time for a complaint about a message that was sealed for the wrong key.
    std::thread::sleep(Duration::from_secs(3));
    liar.tells(Lie::None);
    let honest = Instant::now();
    sending.finish().expect(0);
    assert_eq!(listening.events("message", 1).len(), 1);
    check_recovery(&format!("a card made in {issued_in} s"), honest - begun, honest.elapsed());
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
    recovers(Lie::Alters, false);
}

#[test]
fn dropped_envelopes_are_sent_again() {
    recovers(Lie::Drops, false);
}

#[test]
fn replayed_envelopes_count_once() {
    recovers(Lie::Replays, false);
}

#[test]
fn mail_that_was_falsely_reported_as_stored_is_sent_again() {
    recovers(Lie::ClaimsStored, false);
}

#[test]
fn false_refusals_are_retried() {
    recovers(Lie::Refuses, false);
}

#[test]
fn withheld_outcomes_do_not_stop_messages() {
    recovers(Lie::WithholdsOutcomes, false);
}

#[test]
fn a_lookup_without_an_answer_is_repeated() {
    recovers(Lie::WithholdsCards, true);
}

#[test]
fn a_card_of_somebody_else_is_ignored() {
    recovers(Lie::ShowsOtherCards, true);
}

#[test]
fn garbage_ends_the_connection_and_not_the_process() {
    recovers(Lie::SendsGarbage, false);
}

#[test]
fn damaged_frames_end_the_connection_and_not_the_process() {
    recovers(Lie::DamagesFrames, false);
}

#[test]
fn connections_that_end_at_once_are_retried() {
    recovers(Lie::Disconnects, false);
}

/// All of them at the same time, each for another time, so that pauses have grown as far as they do.
#[test]
fn everything_arrives_soon_after_trouble_of_up_to_20_seconds() {
    let troubles = [
        (Lie::Alters, false),
        (Lie::Drops, false),
        (Lie::Replays, false),
        (Lie::ClaimsStored, false),
        (Lie::Refuses, false),
        (Lie::Swallows, false),
        (Lie::WithholdsCards, true),
        (Lie::ShowsOtherCards, true),
        (Lie::SendsGarbage, false),
        (Lie::DamagesFrames, false),
        (Lie::Disconnects, false),
        (Lie::ForgesReceipts, false),
        (Lie::Reflects, false),
        (Lie::Pauses, false),
        (Lie::Floods, false),
    ];
    let seconds = (6..=20).map(Duration::from_secs);
    std::thread::scope(|scope| {
        for ((lie, from_the_start), time) in troubles.into_iter().zip(seconds) {
            scope.spawn(move || {
                let (lasted, took) = trouble(lie, from_the_start, time);
                check_recovery(&format!("{lie:?}"), lasted, took);
            });
        }
    });
}

/// The connections never work again, but new ones do.
#[test]
fn a_connection_that_hangs_is_replaced() {
    let (lasted, took) = trouble(Lie::Hangs, false, Duration::ZERO);
    println!("recovery: {took:.1?} after {lasted:.1?} of connections that hang for ever");
    assert!(took < HANG_NOTICED_WITHIN + RECOVERY_MAX, "it took {took:?}");
}

/// By the end of the trouble, the peers have noticed it, and dial a server that accepts connections and says nothing.
#[test]
fn a_server_that_hangs_for_long_is_used_soon_after_it_has_come_back() {
    let (lasted, took) = trouble(Lie::Hangs, false, HANG_NOTICED_WITHIN + Duration::from_secs(3));
    check_recovery("all connections hanging", lasted, took);
}

#[test]
fn a_server_that_hangs_for_a_moment_is_used_at_once_when_it_goes_on() {
    recovers(Lie::Pauses, false);
}

#[test]
fn envelopes_that_the_server_swallows_are_sent_again() {
    recovers(Lie::Swallows, false);
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
    recovers(Lie::ForgesReceipts, false);
}

#[test]
fn envelopes_that_come_back_to_their_sender_are_refused() {
    recovers(Lie::Reflects, false);
}

#[test]
fn a_flood_of_openings_and_complaints_from_the_server_loses_nothing() {
    recovers(Lie::Floods, false);
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
    let begun = Instant::now();
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
    check_recovery("Crosses", honest - begun, honest.elapsed());
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
