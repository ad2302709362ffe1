//! A server that lies for a while: no message is lost, doubled, altered or out of order, and no process ends. Soon
//! after the lies have ended, everything has arrived without help from a user.

use std::time::{Duration, Instant};

use integration::{Character, Liar, Lie, Sandbox};

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
    let liar = Liar::start(server.address(), &Character::new("B"));
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
