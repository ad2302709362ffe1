//! Mail that comes when the card or the key that it was sealed for has expired.

use super::*;

/// B has sealed something for the card that A had at the start; A has run for `days` since.
fn mail_after(days: u64) -> (Bench, Outgoing) {
    let mut bench = Bench::new();
    let (card, rng) = (card_of_b(START, START), &mut rand::rng());
    let outgoing = Outgoing::open(&KEYS[1].0, &card, bench.engine.card(), 5, START, rng);
    bench.live(days);
    let now = bench.now.unix;
    // A needs a card of B to seal its answers.
    bench.take([Input::Command(CLIENT, Command::Import { card: card_of_b(now, now).to_text() })]);
    bench.events.clear();
    bench.sent.clear();
    bench.hear_envelope(Kind::Opening, 5, outgoing.opening().as_bytes());
    (bench, outgoing)
}

#[test]
fn mail_that_comes_in_time_is_opened_although_its_card_has_expired() {
    let (mut bench, mut outgoing) = mail_after(13);
    let sealed = outgoing.seal_message(5, &[5; 16], START, "late, but not too late");
    bench.hear_envelope(Kind::Message, 5, &sealed.bytes);
    let text = bench
        .events
        .iter()
        .find_map(|e| if let Event::Message(m) = e { Some(m.text.as_str()) } else { None });
    assert_eq!(text, Some("late, but not too late"));
}

#[test]
fn a_receipt_waits_for_a_card_that_has_not_expired() {
    let mut bench = Bench::new();
    let (card, rng) = (card_of_b(START, START), &mut rand::rng());
    let mut outgoing = Outgoing::open(&KEYS[1].0, &card, bench.engine.card(), 1, START, rng);
    bench.hear_envelope(Kind::Opening, 1, outgoing.opening().as_bytes());
    bench.live(9);
    bench.sent.clear();
    bench.hear_envelope(Kind::Message, 1, &outgoing.seal_message(1, &[1; 16], START, "hello").bytes);
    assert_eq!(bench.lookups(), 1);
    let now = bench.now.unix;
    bench.hear_card(&card_of_b(now, now));
    assert!(matches!(bench.receipts()[..], [Receipt::Received { count: 1, .. }]));
}

#[test]
fn mail_that_comes_too_late_is_refused_and_both_ends_are_told() {
    let (mut bench, outgoing) = mail_after(14);
    let conversation = outgoing.opening().id;
    let complaint = Receipt::Refused { conversation, count: 0, reason: Complaint::KeyDestroyed };
    assert_eq!(bench.receipts(), [complaint], "the sender is told");
    let refusals = bench.refusals();
    assert!(
        refusals.iter().any(|reason| reason.contains("came too late")),
        "the recipient is told: {refusals:?}"
    );
    bench.live(13);
    assert_eq!(bench.refusals(), [] as [String; 0]);
    bench.live(1);
    let refusals = bench.refusals();
    assert!(refusals.iter().any(|reason| reason.contains("has not come again")), "{refusals:?}");
    bench.live(20);
    assert_eq!(bench.refusals(), [] as [String; 0], "told once");
}

#[test]
fn a_card_does_not_outlive_its_key() {
    let mut bench = Bench::new();
    bench.sleep(10 * DAY);
    assert_eq!(bench.engine.card().term.valid_until, START + 14 * DAY, "no new key could be made yet");
    bench.sleep(4 * DAY);
    assert!(!bench.engine.card().is_valid_at(bench.now.unix));
    bench.make_key();
    assert_eq!(bench.engine.card().term.valid_until, bench.now.unix + 8 * DAY);
}

#[test]
fn a_conversation_of_signals_only_is_opened_anew_when_its_key_is_destroyed() {
    let mut bench = Bench::new();
    let (card, rng) = (card_of_b(START, START), &mut rand::rng());
    let mut outgoing = Outgoing::open(&KEYS[1].0, &card, bench.engine.card(), 1, START, rng);
    bench.hear_envelope(Kind::Opening, 1, outgoing.opening().as_bytes());
    bench.hear_envelope(Kind::Message, 1, &outgoing.seal_message(1, &[1; 16], START, "hello").bytes);
    let opened = |bench: &Bench| {
        bench.sent.iter().rev().find_map(|message| match message {
            ToServer::Envelope(Envelope { kind: Kind::Opening, sealed, .. }) => {
                Opening::from_bytes(sealed).ok()
            }
            _ => None,
        })
    };
    let conversation = opened(&bench).expect("there was a receipt").id;
    let complaint = Receipt::Refused { conversation, count: 0, reason: Complaint::KeyDestroyed };
    let sealed = outgoing.seal_signal(Kind::Receipt, 0, &signal::encode(&complaint));
    bench.hear_envelope(Kind::Receipt, 0, &sealed);
    bench.sent.clear();
    // B has another card by now.
    bench.take([Input::Command(CLIENT, Command::Import { card: card_of_b(START, START + 1).to_text() })]);
    bench.hear_envelope(Kind::Message, 2, &outgoing.seal_message(2, &[2; 16], START, "hello").bytes);
    assert_ne!(opened(&bench).expect("there was another receipt").id, conversation);
}

#[test]
fn mail_that_was_sealed_anew_is_not_missed() {
    let (mut bench, _) = mail_after(14);
    let (now, rng) = (bench.now.unix, &mut rand::rng());
    let mut again = Outgoing::open(&KEYS[1].0, &card_of_b(now, now), bench.engine.card(), 5, now, rng);
    bench.hear_envelope(Kind::Opening, 5, again.opening().as_bytes());
    bench.hear_envelope(Kind::Message, 5, &again.seal_message(5, &[5; 16], now, "again").bytes);
    bench.refusals();
    bench.live(20);
    assert_eq!(bench.refusals(), [] as [String; 0]);
}

#[test]
fn a_sender_seals_anew_for_an_existing_key_although_its_card_has_a_smaller_sequence_number() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START, START + 1000));
    let sent = bench.sent.iter().find_map(|m| match m {
        ToServer::Envelope(Envelope { kind: Kind::Opening, sealed, .. }) => Opening::from_bytes(sealed).ok(),
        _ => None,
    });
    let conversation = sent.expect("a conversation was opened").id;
    // B was restored from a copy that is older than that card, while its clock was wrong.
    let restored = card_of_b_for(&POOL[9], START, START + 5);
    let rng = &mut rand::rng();
    let mut outgoing = Outgoing::open(&KEYS[1].0, &restored, bench.engine.card(), 1, START, rng);
    bench.hear_card(&restored);
    bench.hear_envelope(Kind::Opening, 1, outgoing.opening().as_bytes());
    let complaint = Receipt::Refused { conversation, count: 0, reason: Complaint::KeyDestroyed };
    let sealed = outgoing.seal_signal(Kind::Receipt, 0, &signal::encode(&complaint));
    bench.sent.clear();
    bench.hear_envelope(Kind::Receipt, 0, &sealed);
    // The other end backs off before it sends anything again.
    bench.sleep(60);
    assert!(bench.lookups() > 0);
    bench.hear_card(&restored);
    bench.sleep(60);
    let opened_for = bench.sent.iter().find_map(|m| match m {
        ToServer::Envelope(Envelope { kind: Kind::Opening, sealed, .. }) => Opening::from_bytes(sealed).ok(),
        _ => None,
    });
    assert_eq!(opened_for.map(|opening| opening.recipient_key), Some(POOL[9].public().fingerprint()));
    assert_eq!(bench.envelopes().last(), Some(&Kind::Message));
}
