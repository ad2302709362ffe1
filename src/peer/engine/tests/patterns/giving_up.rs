//! What is not requested any more, and over which route.

use std::net::{Ipv4Addr, SocketAddr};

use wire::signal::{Route, Wish};

use super::*;

/// Some holders that can be dialled, each with these files, and all cards.
fn dialled(have: &[(&str, Vec<Has<'_>>)]) -> (Bench, Holder) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
    let mut bench = Bench::new();
    let wanted = Wanted::Pattern("d/*".parse().expect("a good pattern"));
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let (id, _) = search(&mut bench);
    let hits: Vec<Hit> = have.iter().map(|(peer, files)| hit(peer, true, files[0])).collect();
    bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    for (peer, files) in have {
        let (id, _) = search(&mut bench);
        let at = |file: &Has<'_>| Hit { address: Some(address), ..hit(peer, true, *file) };
        let hits: Vec<Hit> = files.iter().map(at).collect();
        bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    }
    let task = bench.effects.drain(..).find_map(|effect| match effect {
        Effect::PrepareMany(task, downloads) => Some((task, downloads.len())),
        _ => None,
    });
    let (task, count) = task.expect("the disk is looked at");
    bench.take([Input::PreparedMany(task, Ok(vec![Ok(Prepared::From(0)); count]))]);
    have.iter().for_each(|(peer, _)| hear_card(&mut bench, peer));
    (bench, Holder::default())
}

/// The requests for many files since the last call: whom they are for, the transfer and the route.
fn routes(bench: &mut Bench, holder: &mut Holder) -> Vec<(String, TransferId, Route)> {
    let many = holder.requests_by_peer(bench).into_iter().filter_map(|(to, asked)| match asked {
        Asked::Many(transfer, wish, _) => Some((to, transfer, Wish::route(wish))),
        _ => None,
    });
    many.collect()
}

fn cannot_dial(bench: &mut Bench, peer: &str, transfer: TransferId) {
    answer_of(bench, peer, transfer, Verdict::Ready { bytes: 1, salt: [1; 16] });
    bench.take([Input::Transfer(transfer, TransferOutcome::CannotDial("no route".into()))]);
}

#[test]
fn a_holder_that_cannot_be_dialled_is_asked_through_the_server_and_that_can_fail_too() {
    let (mut bench, mut holder) = dialled(&[("B", vec![("d/1", 1, "x")])]);
    let mut asked = routes(&mut bench, &mut holder);
    for (route, next) in [(Route::Direct, 1), (Route::Server, 1), (Route::Server, 0)] {
        assert_eq!(asked.iter().map(|(_, _, route)| *route).collect::<Vec<_>>(), [route]);
        cannot_dial(&mut bench, "B", asked[0].1);
        asked = routes(&mut bench, &mut holder);
        assert_eq!(asked.len(), next, "the second failure through the server is the last one");
    }
    assert_eq!(shown(&mut bench).1, ["d/1: no route; the same command fetches the rest"]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn without_room_a_holder_that_could_not_be_dialled_is_not_asked_again() {
    let (mut bench, mut holder) = dialled(&[("B", vec![("d/1", 1, "x")]), ("C", vec![("d/2", 1, "y")])]);
    let asked = routes(&mut bench, &mut holder);
    let [(_, of_b, _), (_, of_c, _)] = asked[..] else { panic!("two requests: {asked:?}") };
    answer_of(&mut bench, "B", of_b, Verdict::Ready { bytes: 1, salt: [1; 16] });
    answer_of(&mut bench, "C", of_c, Verdict::Ready { bytes: 1, salt: [1; 16] });
    bench.take([Input::Transfer(of_c, TransferOutcome::DiskFull("the disk is full".into()))]);
    bench.take([Input::Transfer(of_b, TransferOutcome::CannotDial("no route".into()))]);
    assert_eq!(routes(&mut bench, &mut holder), []);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn a_batch_that_is_cut_off_is_requested_once_more() {
    let (mut bench, mut holder) = underway(&[("B", true, vec![("d/1", 1, "x")])]);
    for again in [1, 0] {
        let asked = requests(&mut bench, &mut holder);
        assert_eq!(sizes(&asked), [("B", 1)]);
        answer_of(&mut bench, "B", asked[0].1, Verdict::Ready { bytes: 1, salt: [1; 16] });
        bench.take([Input::Transfer(asked[0].1, TransferOutcome::CutOff("it was cut off".into(), 0))]);
        assert_eq!(shown(&mut bench).1.len(), 1 - again);
    }
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn without_room_files_that_wait_alone_are_given_up() {
    let large = |name| vec![(name, 2 << 20, name)];
    let (mut bench, mut holder) = dialled(&[("B", large("d/1")), ("C", large("d/2"))]);
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/2"]);
    holder.requests_by_peer(&mut bench);
    let [of_b, of_c] = holder.1[..] else { panic!("two requests") };
    // B could not be dialled, and has not answered through the server.
    answer_of(&mut bench, "B", of_b, Verdict::Ready { bytes: 2 << 20, salt: [1; 16] });
    bench.take([Input::Transfer(of_b, TransferOutcome::CannotDial("no route".into()))]);
    answer_of(&mut bench, "C", of_c, Verdict::Ready { bytes: 2 << 20, salt: [1; 16] });
    holder.requests_by_peer(&mut bench);
    bench.take([Input::Transfer(of_c, TransferOutcome::DiskFull("the disk is full".into()))]);
    let errors = shown(&mut bench).1;
    let why = "1 file(s) were not fetched: the disk is full; the same command fetches the rest";
    assert_eq!(errors, [why, "d/2: the disk is full"]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn without_room_what_a_dropped_holder_was_asked_for_alone_is_not_requested_of_another() {
    let large = |name| (name, 2 << 20, name);
    let (mut bench, mut holder) =
        dialled(&[("B", vec![large("d/1"), ("d/3", 1, "d/3")]), ("C", vec![large("d/1"), large("d/2")])]);
    let batch = requests(&mut bench, &mut holder);
    assert_eq!(sizes(&batch), [("B", 1)]);
    assert_eq!(prepare_parts(&mut bench), ["d/1", "d/2"]);
    let one = |name: &str| Asked::One(name.into());
    assert_eq!(
        holder.requests_by_peer(&mut bench),
        [("B".to_owned(), one("d/1")), ("C".to_owned(), one("d/2"))]
    );
    let [of_b, of_c] = holder.1[..] else { panic!("two requests") };
    let ready = Verdict::Ready { bytes: 2 << 20, salt: [1; 16] };
    let cut = || TransferOutcome::CutOff("it was cut off".into(), 0);
    for (peer, transfer) in [("C", of_c), ("B", of_b), ("B", batch[0].1)] {
        answer_of(&mut bench, peer, transfer, ready);
    }
    bench.take([Input::Transfer(batch[0].1, cut())]);
    let again = requests(&mut bench, &mut holder);
    answer_of(&mut bench, "B", again[0].1, ready);
    bench.take([Input::Transfer(of_c, TransferOutcome::DiskFull("the disk is full".into()))]);
    // It had begun, so it goes on. But it could not be dialled, and B is dropped before it answers through the server.
    bench.take([Input::Transfer(of_b, TransferOutcome::CannotDial("no route".into()))]);
    bench.take([Input::Transfer(again[0].1, cut())]);
    assert_eq!(faults(&mut bench), [("B".to_owned(), HolderFault::Gone)]);
    assert_eq!(prepare_parts(&mut bench), [""; 0]);
    assert!(is_done(&mut bench, Ending::Failed));
}
