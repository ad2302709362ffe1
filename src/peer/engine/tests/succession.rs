//! Identity keys that have named a successor.

use wire::Fingerprint;
use wire::succession::Succession;

use super::*;

static SUCCESSOR: LazyLock<IdentityKey> =
    LazyLock::new(|| IdentityKey::generate(2048, &mut StdRng::seed_from_u64(1)).expect("a good size"));

/// A card of B with the new key, with a statement of `signer` that it is the successor of the signer's key.
fn card_of_successor(signer: &IdentityKey) -> Card {
    let rng = &mut StdRng::seed_from_u64(2);
    let statement = Succession::sign(signer, &name("B"), SUCCESSOR.public().fingerprint(), START, rng);
    let term = Term { sequence: START + 9, issued_at: START, valid_until: START + CARD_VALID_SECONDS_MAX };
    let encryption = KEYS[1].1.public();
    Card::issue_for_successor(name("B"), &SUCCESSOR, encryption, term, &[statement], rng)
}

/// The keys to which this peer has opened conversations, in order.
fn recipients(bench: &Bench) -> Vec<Fingerprint> {
    let openings = bench.sent.iter().filter_map(|message| match message {
        ToServer::Envelope(Envelope { kind: Kind::Opening, sealed, .. }) => Opening::from_bytes(sealed).ok(),
        _ => None,
    });
    openings.map(|opening| opening.recipient).collect()
}

fn pinned(bench: &Bench) -> PinnedKey {
    bench.disk.pins.borrow()["b"]
}

#[test]
fn a_successor_is_pinned_and_shown_and_gets_what_was_sealed_for_the_earlier_key() {
    let mut bench = Bench::new();
    bench.send("one");
    bench.hear_card(&card_of_b(START, START));
    let (old, new) = (KEYS[1].0.public().fingerprint(), SUCCESSOR.public().fingerprint());
    assert_eq!(recipients(&bench), [old]);
    bench.take([Input::Command(CLIENT, Command::Compared { name: name("B"), fingerprint: None })]);
    assert_eq!(pinned(&bench), PinnedKey { fingerprint: old, is_compared: true });
    bench.sent.clear();

    bench.hear_card(&card_of_successor(&KEYS[1].0));
    let told = Event::Succeeded { with: name("B"), old, new };
    assert!(bench.events.contains(&told), "{:?}", bench.events);
    assert_eq!(bench.refusals(), Vec::<String>::new());
    assert_eq!(pinned(&bench), PinnedKey::new(new), "it was not compared");
    assert_eq!(recipients(&bench), [new], "the message is sealed again");
    let generation = bench.disk.contacts.borrow()["b"].generation;
    assert_eq!(generation, 0, "its numbers go on");

    // A card and mail of the old key that arrive late.
    bench.events.clear();
    bench.hear_card(&card_of_b(START, START + 1));
    let outgoing =
        Outgoing::open(&KEYS[1].0, &card_of_b(START, START), bench.engine.card(), 1, START, &mut rand::rng());
    bench.hear_envelope(Kind::Opening, 1, outgoing.opening().as_bytes());
    assert_eq!(bench.refusals(), Vec::<String>::new(), "no warning");
    assert_eq!(bench.card_of_b().expect("it is known").fingerprint(), new);
}

#[test]
fn a_key_that_somebody_else_has_signed_is_a_changed_one() {
    let mut bench = Bench::new();
    bench.send("one");
    bench.hear_card(&card_of_b(START, START));
    bench.hear_card(&card_of_successor(&KEYS[0].0));
    let refusals = bench.refusals();
    assert!(refusals.len() == 1 && refusals[0].contains("has changed"), "{refusals:?}");
    assert_eq!(pinned(&bench).fingerprint, KEYS[1].0.public().fingerprint());
}
