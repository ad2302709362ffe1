//! The files of a pattern that are fetched alone.

use wire::signal::Reason;

use super::*;

#[test]
fn a_file_that_a_slow_holder_sends_alone_is_taken_from_one_that_has_nothing_to_do() {
    let files: Vec<Has<'_>> = vec![("d/1", 2 << 20, "1"), ("d/2", 2 << 20, "2")];
    let (mut bench, mut holder) = underway(&[("B", true, files.clone()), ("C", true, files)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/2"]);
    let asked = holder.requests_by_peer(&mut bench);
    assert_eq!(
        asked,
        [("B", "d/1"), ("C", "d/2")].map(|(peer, name)| (peer.to_owned(), Asked::One(name.into())))
    );
    // Both send.
    let transfers = holder.1.clone();
    for (peer, transfer) in ["B", "C"].into_iter().zip(&transfers) {
        answer_of(&mut bench, peer, *transfer, Verdict::Ready { bytes: 2 << 20, salt: [1; 16] });
    }
    bench.sleep(2);
    bench.effects.clear();
    let there = TransferOutcome::Received(Ok(PathBuf::from("/there")));
    bench.take([Input::Transfer(transfers[1], there)]);
    let is_stop =
        |effect: &Effect| matches!(effect, Effect::StopReceive(stopped) if *stopped == transfers[0]);
    bench.sleep(5);
    assert_eq!(bench.count(is_stop), 0, "C has taken two seconds, and B may take eight");
    bench.sleep(1);
    assert_eq!(bench.count(is_stop), 1);
    assert_eq!(faults(&mut bench), [("B".to_owned(), HolderFault::Slow)]);
    let cancelled = TransferOutcome::Received(Err("cancelled".into()));
    bench.take([Input::Transfer(transfers[0], cancelled)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"], "what has come of it is looked for");
    assert_eq!(holder.requests_by_peer(&mut bench), [("C".to_owned(), Asked::One("d/1".into()))]);
    assert_eq!(shown(&mut bench).1, [""; 0]);
}

#[test]
fn that_a_slow_transfer_is_stopped_is_no_failure_of_its_holder() {
    let files: Vec<Has<'_>> = vec![("d/1", 2 << 20, "1"), ("d/2", 2 << 20, "2")];
    let (mut bench, mut holder) = underway(&[("B", true, files.clone()), ("C", true, files)]);
    let cut = || TransferOutcome::CutOff("it was cut off".into(), 0);
    let ready = Verdict::Ready { bytes: 2 << 20, salt: [1; 16] };
    prepare_parts(&mut bench);
    holder.requests_by_peer(&mut bench);
    let of_c = holder.1[1];
    answer_of(&mut bench, "C", of_c, ready);
    answer_of(&mut bench, "B", holder.1[0], ready);
    // One failure of B, which another one would follow.
    bench.take([Input::Transfer(holder.1[0], cut())]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"]);
    assert_eq!(holder.requests_by_peer(&mut bench), [("B".to_owned(), Asked::One("d/1".into()))]);
    answer_of(&mut bench, "B", holder.1[2], ready);
    bench.sleep(2);
    bench.take([Input::Transfer(of_c, TransferOutcome::Received(Ok(PathBuf::from("/there"))))]);
    bench.sleep(10);
    // The connection is closed while it is read from.
    bench.take([Input::Transfer(holder.1[2], cut())]);
    assert_eq!(faults(&mut bench), [("B".to_owned(), HolderFault::Slow)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"]);
    assert_eq!(holder.requests_by_peer(&mut bench), [("C".to_owned(), Asked::One("d/1".into()))]);
}

#[test]
fn a_file_that_waits_in_the_queue_of_a_holder_is_taken_from_one_that_has_nothing_to_do() {
    let files: Vec<Has<'_>> = vec![("d/1", 2 << 20, "1"), ("d/2", 2 << 20, "2")];
    let (mut bench, mut holder) = underway(&[("B", true, files.clone()), ("C", true, files)]);
    let one = |peer: &str, name: &str| (peer.to_owned(), Asked::One(name.into()));
    let ready = Verdict::Ready { bytes: 2 << 20, salt: [1; 16] };
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/2"]);
    assert_eq!(holder.requests_by_peer(&mut bench), [one("B", "d/1"), one("C", "d/2")]);
    let [of_b, of_c] = holder.1[..] else { panic!("two requests: {:?}", holder.1) };
    answer_of(&mut bench, "C", of_c, ready);
    answer_of(&mut bench, "B", of_b, Verdict::Busy);
    assert_eq!(holder.requests_by_peer(&mut bench), [one("B", "d/1")]);
    let waits = holder.1[2];
    answer_of(&mut bench, "B", waits, Verdict::Queued { place: 1 });
    assert_eq!(holder.requests_by_peer(&mut bench), [], "C has something to do");
    let there = TransferOutcome::Received(Ok(PathBuf::from("/there")));
    bench.take([Input::Transfer(of_c, there)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"]);
    let left = |peer: &str, transfer| (peer.to_owned(), Asked::Withdrawn(transfer, Reason::Left));
    assert_eq!(holder.requests_by_peer(&mut bench), [left("B", waits), one("C", "d/1")]);
    // C is busy now too, so the file waits there. It does not go back and forth.
    answer_of(&mut bench, "C", holder.1[3], Verdict::Busy);
    assert_eq!(holder.requests_by_peer(&mut bench), [one("C", "d/1")]);
    let waits = holder.1[4];
    for _ in 0..2 {
        answer_of(&mut bench, "C", waits, Verdict::Queued { place: 1 });
        assert_eq!((prepare_parts(&mut bench), holder.requests_by_peer(&mut bench)), (vec![], vec![]));
        bench.sleep(29);
    }
    bench.sleep(2);
    assert_eq!(prepare_parts(&mut bench), ["d/1"], "B may have nothing to do now");
    assert_eq!(holder.requests_by_peer(&mut bench), [left("C", waits), one("B", "d/1")]);
}

#[test]
fn a_holder_that_sends_a_file_after_it_was_busy_may_have_nothing_to_do_soon() {
    let large = |name| (name, 2 << 20, name);
    let (mut bench, mut holder) =
        underway(&[("B", true, vec![large("d/1"), large("d/2")]), ("C", true, vec![large("d/2")])]);
    let ready = Verdict::Ready { bytes: 2 << 20, salt: [1; 16] };
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/2"]);
    holder.requests_by_peer(&mut bench);
    let [of_b, of_c] = holder.1[..] else { panic!("two requests: {:?}", holder.1) };
    answer_of(&mut bench, "B", of_b, Verdict::Queued { place: 1 });
    answer_of(&mut bench, "C", of_c, Verdict::Queued { place: 1 });
    answer_of(&mut bench, "B", of_b, ready);
    let there = TransferOutcome::Received(Ok(PathBuf::from("/there")));
    bench.take([Input::Transfer(of_b, there)]);
    assert_eq!(prepare_parts(&mut bench), ["d/2"]);
    let left = ("C".to_owned(), Asked::Withdrawn(of_c, Reason::Left));
    assert_eq!(holder.requests_by_peer(&mut bench), [left, ("B".to_owned(), Asked::One("d/2".into()))]);
}

#[test]
fn a_file_whose_transfer_is_cut_off_is_requested_once_more() {
    let (mut bench, mut holder) = underway(&[("B", true, vec![("d/1", 2 << 20, "1")])]);
    for again in [true, false] {
        assert_eq!(prepare_parts(&mut bench), ["d/1"]);
        assert_eq!(holder.requests_by_peer(&mut bench), [("B".to_owned(), Asked::One("d/1".into()))]);
        let transfer = *holder.1.last().expect("it was requested");
        answer_of(&mut bench, "B", transfer, Verdict::Ready { bytes: 2 << 20, salt: [1; 16] });
        bench.take([Input::Transfer(transfer, TransferOutcome::CutOff("it was cut off".into(), 0))]);
        assert_eq!(shown(&mut bench).1.is_empty(), again);
    }
    assert_eq!(prepare_parts(&mut bench), [""; 0]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn only_the_holder_that_was_asked_last_is_to_blame() {
    let large = || vec![("d/1", 64 << 20, "x"), ("d/2", 1, "y")];
    let (mut bench, mut holder) = underway(&[("B", true, large()), ("C", true, large())]);
    assert_eq!(prepare_parts(&mut bench), ["d/1"]);
    let opened = bench.effects.extract_if(.., |effect| matches!(effect, Effect::OpenPieces(..))).next();
    let Some(Effect::OpenPieces(part, _)) = opened else { panic!("several send it") };
    bench.take([Input::PiecesOpened(part, Ok(Vec::new()))]);
    ["B", "C"].into_iter().for_each(|peer| hear_card(&mut bench, peer));
    let pieces = holder.requests_by_peer(&mut bench);
    assert!(pieces.contains(&("B".to_owned(), Asked::One("d/1".into()))), "{pieces:?}");
    // B does not share it any more, and C was made before files came in pieces.
    answer_of(&mut bench, "B", holder.1[0], Verdict::NotShared);
    bench.sleep(6);
    assert_eq!(prepare_parts(&mut bench), ["d/1"], "C can send the whole file");
    holder.requests_by_peer(&mut bench);
    let whole = *holder.1.last().expect("it was requested");
    faults(&mut bench);
    bench.engine.fetch_refused(whole, Refusal::Absent);
    bench.take([]);
    assert_eq!(faults(&mut bench), [("C".to_owned(), HolderFault::Gone)]);
}
