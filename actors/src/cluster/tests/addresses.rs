//! Where peers at other servers can be dialled.

use std::net::SocketAddr;

use super::*;

fn dialled_at(port: u16) -> Option<SocketAddr> {
    Some(([192, 0, 2, 1], port).into())
}

#[test]
fn an_address_is_no_join() {
    let mut bench = Bench::new();
    let can_be_dialled = |bench: &mut Bench, address| {
        let presence = Command::Presence { name: name("A"), session: 7, is_online: true, address };
        bench.take(Input::Command(presence));
    };
    let over = |bench: &mut Bench| {
        let put =
            |effect| if let Effect::Put { here, over, .. } = effect { Some((here, over)) } else { None };
        bench.effects.drain(..).find_map(put)
    };
    can_be_dialled(&mut bench, None);
    assert_eq!(over(&mut bench), Some((mine(7), None)));
    bench.take(Input::Put { name: name("a"), here: mine(7), revision: Some(3) });
    can_be_dialled(&mut bench, dialled_at(1));
    assert_eq!(over(&mut bench), None, "the bucket may have a later join");
    bench.here("a", Some(mine(7)), 3);
    let here = Here { address: dialled_at(1), ..mine(7) };
    assert_eq!(over(&mut bench), Some((here, Some(3))), "only in place of this join");
    // There was one.
    bench.take(Input::Put { name: name("a"), here, revision: None });
    bench.here("a", Some(THERE), 4);
    bench.pass(Duration::from_secs(1));
    assert_eq!(over(&mut bench), None);
}

#[test]
fn the_router_learns_the_address_of_a_peer_at_another_server() {
    let (mut bench, session, _) = Bench::with_b();
    let addresses = |bench: &mut Bench| {
        let address = |told| if let MemberCommand::Reachable(address) = told { Some(address) } else { None };
        bench.told().into_iter().filter_map(address).collect::<Vec<_>>()
    };
    let here = Here { address: dialled_at(1), ..THERE };
    bench.here("b", Some(here), 3);
    assert_eq!(addresses(&mut bench), [dialled_at(1).expect("there is one")], "the presence goes on");
    bench.here("b", Some(here), 4);
    assert!(addresses(&mut bench).is_empty(), "it knows");
    // A server that finds it in the bucket tells it too.
    bench.hear(Body::Ends);
    bench.take(Input::Command(Command::Closed { session }));
    bench.effects.clear();
    bench.hear(ALIVE);
    bench.appear();
    assert_eq!(addresses(&mut bench).len(), 1);
}
