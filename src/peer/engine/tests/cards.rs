//! Cards, keys and their dates.

use super::*;

#[test]
fn a_card_from_the_future_does_not_block_a_usable_one() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START + 365 * DAY, START + 365 * DAY));
    assert_eq!(bench.envelopes(), [], "nothing is sealed for it");
    let reasons = bench.reasons();
    assert!(
        reasons.iter().any(|r| r.contains("in the future") && r.contains("messages go when B")),
        "{reasons:?}"
    );
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn an_expired_card_does_not_block_one_with_a_smaller_sequence_number() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START - 9 * DAY, START + 1000));
    assert_eq!(bench.envelopes(), []);
    assert!(bench.reasons().iter().any(|reason| reason.contains("expired")));
    bench.hear_card(&card_of_b(START - DAY, START - DAY));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn the_sequence_number_decides_which_of_two_usable_cards_is_kept() {
    let mut bench = Bench::new();
    bench.send("hello");
    // B's clock has gone back by an hour between the two.
    let (old, new) = (card_of_b(START, START), card_of_b(START - HOUR, START + 1));
    for (shown, kept) in [(&old, &old), (&new, &new), (&old, &new)] {
        bench.hear_card(shown);
        assert_eq!(bench.card_of_b().map(|card| card.term), Some(kept.term));
    }
}

#[test]
fn a_peer_numbers_its_cards_upwards_whatever_its_clock_does() {
    let disk = Disk::default();
    let at = |unix, disk: &Disk| {
        let bench = Bench::on(disk.clone(), Now { unix, instant: Instant::now() }, START);
        bench.engine.card().clone()
    };
    let first = at(START, &disk);
    assert_eq!(at(START + 1, &disk).as_bytes(), first.as_bytes(), "it is kept while it can be used");
    let ahead = at(START + 365 * DAY, &disk);
    assert_eq!(ahead.term.sequence, START + 365 * DAY);
    let back = at(START + DAY, &disk);
    assert_eq!((back.term.sequence, back.term.issued_at), (START + 365 * DAY + 1, START + DAY));
    assert_eq!(at(START + DAY, &Disk::default()).term.sequence, START + DAY, "restored from a copy");
    assert_ne!(Digest::of(back.as_bytes()), Digest::of(ahead.as_bytes()));
}

#[test]
fn a_key_is_renewed_after_a_day_and_destroyed_after_two_weeks() {
    let mut bench = Bench::new();
    bench.sleep(DAY - 1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::MakeKey)), 0);
    assert!(bench.engine.next_deadline().is_some_and(|at| at <= bench.now.instant + Duration::from_secs(1)));
    bench.sleep(1);
    bench.sleep(1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::MakeKey)), 1, "asked for once");
    let before = bench.engine.card().clone();
    bench.make_key();
    let (card, now) = (bench.engine.card().clone(), bench.now.unix);
    assert_eq!(card.encryption.fingerprint(), POOL[0].public().fingerprint());
    assert!(card.replaces(&before, now));
    assert_eq!(card.term.valid_until, now + 8 * DAY);
    let written = bench.disk.contacts.borrow()["a"].card.clone();
    assert_eq!(written.as_deref(), Some(card.as_bytes()), "a restart has the same card");
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 1);
    bench.join();
    bench.sleep(1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 0, "the server has it");

    bench.live(12);
    bench.sleep(START + 14 * DAY - 1 - bench.now.unix);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::DestroyKey(_))), 0);
    bench.sleep(1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::DestroyKey(START))), 1);
}

#[test]
fn a_machine_that_has_slept_renews_when_it_wakes() {
    let mut bench = Bench::new();
    // The monotonic clock does not advance meanwhile.
    bench.now.unix += 3 * DAY;
    bench.now.instant += Duration::from_secs(HOUR);
    assert!(bench.engine.next_deadline().is_some_and(|at| at <= bench.now.instant));
    bench.take([]);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::MakeKey)), 1);
}

#[test]
fn a_key_that_cannot_be_made_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.sleep(DAY);
    bench.count(|_| true);
    bench.take([Input::KeyMade(Err("the disk is full".into()))]);
    assert!(
        bench
            .events
            .iter()
            .any(|e| matches!(e, Event::Error { message } if message.contains("disk is full")))
    );
    assert_eq!(bench.engine.next_renewal(), bench.now.instant + Duration::from_secs(60));
    bench.sleep(59);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::MakeKey)), 0);
    bench.sleep(1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::MakeKey)), 1);
}

#[test]
fn joining_again_waits_for_a_file_that_is_being_fetched() {
    let mut bench = Bench::new();
    bench.sleep(DAY);
    let wanted = Wanted::Name("file.txt".parse().expect("a good name"));
    let get =
        Command::Get { wanted, from: None, output: None, existing: crate::peer::command::Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    bench.hear(&ToPeer::Found { id: 2, hits: vec![hit_of_b()], total: 1 });
    bench.count(|_| true);
    bench.make_key();
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 0);
    bench.sleep(HOUR - 1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 0);
    bench.sleep(1);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 1, "but not longer than an hour");
}

#[test]
fn a_clock_that_is_set_back_leads_to_a_usable_card() {
    let mut bench = Bench::new();
    let before = bench.engine.card().clone();
    bench.now.unix -= 30 * DAY;
    bench.sleep(1);
    let card = bench.engine.card();
    assert!(card.is_valid_at(bench.now.unix) && card.term.sequence > before.term.sequence);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Reconnect)), 1);
}

#[test]
fn a_newer_card_is_asked_for_when_that_of_a_contact_has_expired() {
    let mut bench = Bench::new();
    bench.send("one");
    bench.hear_card(&card_of_b(START, START));
    bench.sent.clear();
    bench.live(8);
    bench.sent.clear();
    bench.events.clear();
    bench.send("two");
    // The server has only the expired card.
    bench.hear_card(&card_of_b(START, START));
    let reasons = bench.reasons();
    assert!(
        reasons.iter().any(|reason| reason.contains("expired") && reason.contains("B joins")),
        "{reasons:?}"
    );
    let is_sealed = |bench: &Bench| bench.disk.outbox.borrow()[&("b".into(), 2)].sealed.is_some();
    assert!(!is_sealed(&bench));
    bench.sent.clear();
    for _ in 0..3 {
        bench.sleep(20 * 60);
        assert_eq!(bench.lookups(), 1, "it is asked for again and again");
    }
    bench.hear_card(&card_of_b(bench.now.unix, bench.now.unix));
    assert!(is_sealed(&bench));
}
