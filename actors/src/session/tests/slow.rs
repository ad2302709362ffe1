//! Peers that read or acknowledge slowly, or not at all.

use super::*;

#[test]
fn a_peer_that_does_not_read_is_not_read_from_and_then_ended() {
    let mut bench = Bench::joined();
    assert_eq!(bench.session.deadline(), None);
    while bench.session.has_room() {
        bench.take(Input::Command(SessionCommand::Deliver(delivery(0, false, 1000))));
    }
    assert!(bench.session.outgoing.bytes() < 16 << 20, "that is bounded");
    assert!(bench.session.held_bytes() >= bench.session.outgoing.bytes() as u64, "and counted");
    bench.receive(&frame::frame(&ToServer::Taken { count: 1 }));
    let due = bench.now.instant + TAKEN_TIMEOUT;
    assert_eq!(bench.session.deadline(), Some(due), "it has to acknowledge the next one by then");
}

/// A session whose peer has much to read and nothing to acknowledge.
fn with_answers_to_read() -> Bench {
    let mut bench = Bench::joined();
    while bench.session.outgoing.bytes() < 1 << 20 {
        bench.take(Input::Command(SessionCommand::Card(vec![1; 60_000].into())));
    }
    bench
}

/// Lets time pass while the peer reads `bytes`.
fn reads(bench: &mut Bench, seconds: u64, bytes: usize) {
    bench.now.instant += Duration::from_secs(seconds);
    bench.session.outgoing.advance(bytes);
    if bytes > 0 {
        bench.take(Input::Written);
    }
    bench.take(Input::Tick);
}

#[test]
fn a_peer_that_reads_a_little_now_and_then_is_ended_in_time() {
    // 200 bytes a second.
    let mut bench = with_answers_to_read();
    for _ in 0..5 {
        reads(&mut bench, 5, 1000);
        assert!(bench.effects.is_empty());
    }
    reads(&mut bench, 5, 1000);
    assert!(matches!(bench.effects[..], [Effect::End { is_refused: true }]), "{:?}", bench.effects);
    // A peer that reads much at first and then nothing does not get twice the time.
    let mut bench = with_answers_to_read();
    reads(&mut bench, 1, 100_000);
    reads(&mut bench, 29, 0);
    assert!(bench.effects.is_empty());
    reads(&mut bench, 1, 0);
    assert!(matches!(bench.effects[..], [Effect::End { is_refused: true }]), "{:?}", bench.effects);
}

#[test]
fn a_peer_that_reads_slowly_but_fast_enough_stays() {
    let mut bench = with_answers_to_read();
    for _ in 0..20 {
        reads(&mut bench, 25, 40 << 10);
        assert!(bench.effects.is_empty());
    }
}

#[test]
fn a_peer_that_does_not_acknowledge_is_ended_and_its_mail_comes_back() {
    let mut bench = Bench::joined();
    for first in [0, 1] {
        bench.take(Input::Command(SessionCommand::Deliver(delivery(first, false, 1))));
    }
    bench.written();
    bench.now.instant += TAKEN_TIMEOUT - Duration::from_secs(1);
    bench.receive(&frame::frame(&ToServer::Taken { count: 1 }));
    // A new acknowledgement extends the time for the rest; a repeated one does not.
    bench.now.instant += TAKEN_TIMEOUT - Duration::from_secs(1);
    bench.receive(&frame::frame(&ToServer::Taken { count: 1 }));
    bench.take(Input::Tick);
    assert!(bench.effects().is_empty());
    bench.now.instant += Duration::from_secs(1);
    bench.take(Input::Tick);
    assert_eq!(bench.refusal(), ErrorCode::TimedOut);
    let rest: Vec<_> = bench.session.part([]).iter().map(|delivery| delivery.first).collect();
    assert_eq!(rest, [1]);
}

#[test]
fn a_large_envelope_may_take_longer_to_acknowledge() {
    let mut bench = Bench::joined();
    let mut large = delivery(0, false, 1);
    large.frames = Frames { lengths: vec![40 << 10], bytes: vec![0; 40 << 10].into() };
    bench.take(Input::Command(SessionCommand::Deliver(large)));
    bench.session.outgoing.advance(40 << 10);
    bench.take(Input::Written);
    assert_eq!(bench.session.deadline(), Some(bench.now.instant + TAKEN_TIMEOUT + Duration::from_secs(10)));
}

#[test]
fn with_many_unknown_outcomes_nothing_more_is_read() {
    let mut bench = Bench::joined();
    let frame = envelope("A", "B", Kind::Message, 1);
    let mut sent = 0;
    while bench.session.may_read() {
        bench.receive(&frame);
        sent += 1;
        assert!(sent <= 8_192, "it never ends");
    }
    let routed = |outcome, count| Input::Command(SessionCommand::Routed { first: 0, count, outcome });
    bench.take(routed(Outcome::Relayed, 1));
    assert!(bench.session.may_read());
    // A peer whose envelopes were refused by the thousand is read from again after a pause.
    bench.take(routed(Outcome::Refused(Refusal::SenderFull), 8_192));
    assert!(!bench.session.may_read());
    bench.now.instant = bench.session.deadline().expect("it goes on some time");
    bench.take(Input::Tick);
    assert!(bench.session.may_read());
}
