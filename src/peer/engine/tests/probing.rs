//! A file that waits in the queue of a holder while others have it too.

use std::path::PathBuf;

use wire::protocol::TransferId;
use wire::signal::{Reason, Verdict};

use super::many::{Asked, Holder, answer_of, is_done, shown};
use super::patterns::hear_card;
use super::*;
use crate::peer::command::{Ending, Existing};
use crate::peer::engine::{Prepared, TransferOutcome};

const READY: Verdict = Verdict::Ready { bytes: 1, salt: [1; 16] };

/// A fetches the file that B, C and D have, and B is busy. Returns the request that waits at B.
fn waiting() -> (Bench, Holder, TransferId) {
    let (mut bench, mut holder) = (Bench::new(), Holder::default());
    let wanted = Wanted::Name(hit_of_b().file.name);
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let id = bench.sent.drain(..).find_map(|message| match message {
        ToServer::Search { id, .. } => Some(id),
        _ => None,
    });
    let id = id.expect("the server is asked who has it");
    let hits = ["B", "C", "D"].map(|peer| Hit { peer: name(peer), ..hit_of_b() });
    bench.hear(&ToPeer::Found { id, hits: hits.into(), total: 3 });
    bench.take([Input::Prepared(id, Ok(Prepared::From(0)))]);
    hear_card(&mut bench, "B");
    let first = asked(&mut bench, &mut holder, "B");
    bench.sent.clear();
    answer_of(&mut bench, "B", first, Verdict::Busy);
    assert_eq!(looked_up(&bench), ["C"]);
    let second = asked(&mut bench, &mut holder, "B");
    (bench, holder, second)
}

fn looked_up(bench: &Bench) -> Vec<String> {
    let names = bench.sent.iter().filter_map(|message| match message {
        ToServer::Lookup { name } => Some(name.to_string()),
        _ => None,
    });
    names.collect()
}

/// The only request since the last call, which is to this peer.
fn asked(bench: &mut Bench, holder: &mut Holder, peer: &str) -> TransferId {
    let one = Asked::One(hit_of_b().file.name.to_string());
    assert_eq!(holder.requests_by_peer(bench), [(peer.to_owned(), one)]);
    *holder.1.last().expect("it was requested")
}

/// The transfers that are received from now on.
fn received(bench: &mut Bench) -> Vec<TransferId> {
    let effects = bench.effects.extract_if(.., |effect| matches!(effect, Effect::Receive(_)));
    let transfer = |effect| match effect {
        Effect::Receive(job) => job.key.transfer,
        _ => unreachable!("the others were left out"),
    };
    effects.map(transfer).collect()
}

fn left(transfer: TransferId) -> Asked {
    Asked::Withdrawn(transfer, Reason::Left)
}

#[test]
fn a_file_that_waits_comes_from_another_holder_that_is_ready() {
    // A holder that was made before the queue does not say that the request waits.
    for is_queued in [true, false] {
        let (mut bench, mut holder, at_b) = waiting();
        if is_queued {
            answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 3 });
        }
        hear_card(&mut bench, "C");
        let at_c = asked(&mut bench, &mut holder, "C");
        answer_of(&mut bench, "C", at_c, READY);
        assert_eq!(received(&mut bench), [at_c]);
        assert_eq!(holder.requests_by_peer(&mut bench), [("B".to_owned(), left(at_b))]);
        // B was ready at the same time.
        answer_of(&mut bench, "B", at_b, READY);
        assert_eq!((received(&mut bench), holder.requests_by_peer(&mut bench)), (vec![], vec![]));
        bench.take([Input::Transfer(at_c, TransferOutcome::Received(Ok(PathBuf::from("/there"))))]);
        let from = bench.events.iter().find_map(|event| match event {
            Event::FileDone { from, .. } => from.clone(),
            _ => None,
        });
        assert_eq!(from, Some(name("C")));
        assert!(is_done(&mut bench, Ending::Done));
    }
}

#[test]
fn a_holder_that_is_ready_first_is_the_one_although_another_is_asked() {
    let (mut bench, mut holder, at_b) = waiting();
    answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 1 });
    hear_card(&mut bench, "C");
    let at_c = asked(&mut bench, &mut holder, "C");
    answer_of(&mut bench, "B", at_b, READY);
    assert_eq!(received(&mut bench), [at_b]);
    assert_eq!(holder.requests_by_peer(&mut bench), [("C".to_owned(), left(at_c))]);
    answer_of(&mut bench, "C", at_c, READY);
    assert_eq!((received(&mut bench), holder.requests_by_peer(&mut bench)), (vec![], vec![]));
}

#[test]
fn others_that_are_busy_are_asked_in_turn_and_again_later() {
    let (mut bench, mut holder, at_b) = waiting();
    for (peer, next) in [("C", &["D"][..]), ("D", &[])] {
        hear_card(&mut bench, peer);
        let transfer = asked(&mut bench, &mut holder, peer);
        answer_of(&mut bench, peer, transfer, Verdict::Busy);
        assert_eq!(looked_up(&bench), next);
    }
    for (seconds, again) in [(9, &[][..]), (1, &["C"])] {
        bench.sleep(seconds);
        answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 1 });
        assert_eq!(looked_up(&bench), again);
    }
    assert_eq!(shown(&mut bench).1, [""; 0]);
}

#[test]
fn a_holder_that_does_not_answer_or_has_left_is_not_asked_again() {
    let (mut bench, mut holder, at_b) = waiting();
    hear_card(&mut bench, "C");
    let at_c = asked(&mut bench, &mut holder, "C");
    assert!(bench.engine.next_deadline().is_some_and(|at| at <= bench.now.instant + Duration::from_secs(5)));
    bench.sleep(5);
    assert_eq!(looked_up(&bench), ["D"]);
    assert_eq!(holder.requests_by_peer(&mut bench), [("C".to_owned(), left(at_c))]);
    hear_card(&mut bench, "D");
    let at_d = asked(&mut bench, &mut holder, "D");
    bench.engine.fetch_refused(at_d, Refusal::Absent);
    for _ in 0..3 {
        bench.sleep(9);
        answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 1 });
    }
    assert_eq!((looked_up(&bench), shown(&mut bench).1), (vec![], vec![]));
}

#[test]
fn what_waits_and_what_is_asked_are_taken_back_when_the_fetch_is_cancelled() {
    let (mut bench, mut holder, at_b) = waiting();
    hear_card(&mut bench, "C");
    let at_c = asked(&mut bench, &mut holder, "C");
    bench.take([Input::Gone(CLIENT)]);
    let taken_back = [("B".to_owned(), left(at_b)), ("C".to_owned(), left(at_c))];
    assert_eq!(holder.requests_by_peer(&mut bench), taken_back);
}

#[test]
fn others_are_asked_again_on_a_new_connection() {
    let (mut bench, mut holder, at_b) = waiting();
    answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 1 });
    hear_card(&mut bench, "C");
    asked(&mut bench, &mut holder, "C");
    bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    bench.join();
    hear_card(&mut bench, "B");
    assert_eq!(asked(&mut bench, &mut holder, "B"), at_b);
    bench.sent.clear();
    answer_of(&mut bench, "B", at_b, Verdict::Queued { place: 1 });
    assert_eq!(looked_up(&bench), ["C"]);
    hear_card(&mut bench, "C");
    asked(&mut bench, &mut holder, "C");
}
