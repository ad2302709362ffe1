use proptest::prelude::*;

use super::*;
use crate::card::tests::bobs_card;
use crate::card::{Card, Term};
use crate::keys::NotAuthentic;
use crate::keys::tests::{ALICE, ALICE_ENCRYPTION, BOB, BOB_ENCRYPTION, rng};
use crate::protocol::Kind;

fn alices_card() -> Card {
    Card::issue(
        "A".parse().expect("a good name"),
        &ALICE,
        ALICE_ENCRYPTION.public(),
        Term::starting(1, 1, None),
        &mut rng(),
    )
}

fn outgoing() -> Outgoing {
    Outgoing::open(&ALICE, &alices_card(), &bobs_card(), 1, 1_000_000, &mut rng())
}

fn accept(out: &Outgoing) -> Incoming {
    let opening = Opening::from_bytes(out.opening().as_bytes()).expect("what was issued reads");
    Incoming::accept(&opening, &BOB_ENCRYPTION, None, &mut rng()).expect("it was wrapped for this key")
}

#[test]
fn what_was_sealed_opens_once_and_in_order() {
    let mut out = outgoing();
    let mut incoming = accept(&out);
    let first = out.seal_message(1, &[9; 16], 77, "hello");
    let second = out.seal_message(2, &[9; 16], 78, "");
    assert_eq!(incoming.open_message(2, &second.bytes), Err(Refused::Gap { expected: 0 }));
    let opened = incoming.open_message(1, &first.bytes).expect("the first opens");
    assert_eq!((opened.text.as_str(), opened.sent_at, opened.digest), ("hello", 77, first.digest));
    assert_eq!(incoming.running_hash(), first.running_hash);
    assert_eq!(incoming.open_message(1, &first.bytes), Err(Refused::Again));
    assert_eq!(incoming.open_message(2, &second.bytes).map(|m| m.text), Ok(String::new()));
    assert_eq!(incoming.running_hash(), second.running_hash);
}

#[test]
fn every_changed_byte_number_and_kind_is_noticed() {
    let mut out = outgoing();
    let mut incoming = accept(&out);
    let sealed = out.seal_message(1, &[9; 16], 77, "hello").bytes;
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(
            incoming.open_message(1, &changed).is_err(),
            "byte {at} was changed and the message still opens"
        );
    }
    assert_eq!(incoming.open_message(2, &sealed), Err(Refused::NotAuthentic));
    assert_eq!(incoming.open_signal(Kind::Receipt, 1, &sealed), Err(Refused::NotAuthentic));
    assert_eq!(incoming.open_message(1, &[]), Err(Refused::NotAuthentic));
    assert!(incoming.open_message(1, &sealed).is_ok(), "what was refused has changed nothing");
}

#[test]
fn signals_may_be_lost_but_not_repeated() {
    let mut out = outgoing();
    let mut incoming = accept(&out);
    let lost = out.seal_signal(Kind::Receipt, 1, b"one");
    let kept = out.seal_signal(Kind::Receipt, 2, b"two\0");
    assert_eq!(incoming.open_signal(Kind::Receipt, 2, &kept), Ok(b"two\0".to_vec()));
    assert_eq!(incoming.open_signal(Kind::Receipt, 1, &lost), Err(Refused::Again));
    assert_eq!(incoming.open_signal(Kind::Receipt, 2, &kept), Err(Refused::Again));
}

#[test]
fn a_conversation_is_taken_up_where_it_was_left() {
    let mut out = outgoing();
    let mut before = accept(&out);
    let first = out.seal_message(1, &[9; 16], 1, "one").bytes;
    before.open_message(1, &first).expect("the first opens");
    let resume = Some((before.messages_opened(), before.running_hash()));
    let mut after =
        Incoming::accept(out.opening(), &BOB_ENCRYPTION, resume, &mut rng()).expect("the key is still there");
    assert_eq!(after.open_message(1, &first), Err(Refused::Again));
    let second = out.seal_message(2, &[9; 16], 2, "two");
    assert!(after.open_message(2, &second.bytes).is_ok());
    assert_eq!(after.running_hash(), second.running_hash);
}

#[test]
fn every_changed_byte_of_an_opening_is_noticed() {
    let out = outgoing();
    let bytes = out.opening().as_bytes();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(Opening::from_bytes(&changed).is_err(), "byte {at} was changed and the opening still reads");
    }
}

#[test]
fn only_the_named_key_unwraps() {
    let out = outgoing();
    assert_eq!(out.opening().recipient, BOB.public().fingerprint());
    assert_eq!(out.opening().recipient_key, BOB_ENCRYPTION.public().fingerprint());
    assert_eq!(out.opening().unwrap_key(&ALICE_ENCRYPTION, &mut rng()).err(), Some(NotAuthentic));
}

#[test]
fn lengths_say_little() {
    let mut out = outgoing();
    let lengths: Vec<usize> = ["", "a", "a short one", &"x".repeat(71)]
        .map(|t| out.seal_message(1, &[9; 16], 1, t).bytes.len())
        .to_vec();
    assert!(lengths.iter().all(|l| *l == lengths[0]), "{lengths:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_text_arrives_as_it_was_written(texts in prop::collection::vec(any::<String>(), 1..10)) {
        let mut out = outgoing();
        let mut incoming = accept(&out);
        for (number, text) in (1..).zip(&texts) {
            let sealed = out.seal_message(number, &[9; 16], 5, text);
            let opened = incoming.open_message(number, &sealed.bytes)?;
            prop_assert_eq!(&opened.text, text);
            prop_assert_eq!(incoming.running_hash(), sealed.running_hash);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Opening::from_bytes(&bytes);
        let _ = sealed_parts(&bytes);
    }
}

#[test]
fn the_longest_text_fits() {
    let mut out = outgoing();
    let mut incoming = accept(&out);
    let text = "x".repeat(TEXT_BYTES_MAX);
    let sealed = out.seal_message(1, &[9; 16], 1, &text);
    assert_eq!(sealed.bytes.len(), 40 + (64 << 10) + 16);
    assert_eq!(incoming.open_message(1, &sealed.bytes).map(|m| m.text), Ok(text));
}
