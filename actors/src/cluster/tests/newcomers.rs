//! The limit of new names, which is one for all servers.

use super::*;

#[test]
fn new_names_that_other_servers_have_admitted_count_too() {
    let limits = PeerLimits { new_names_per_hour: 2, ..PeerLimits::default() };
    let mut bench = Bench { core: Cluster::new(ME, &limits, OnDisk::default()), ..Bench::new() };
    bench.take(Input::Connected(true));
    bench.effects.clear();
    let _first = bench.claim(&card("one", 0, 1));
    let is_told = |effect: &Effect| match effect {
        Effect::Send { to: None, packet } => {
            matches!(decode(packet), Some(Packet { body: Body::Newcomer { network: Network::UNKNOWN }, .. }))
        }
        _ => false,
    };
    assert_eq!(bench.effects.iter().filter(|effect| is_told(effect)).count(), 1, "the others count it");
    bench.hear(Body::Newcomer { network: Network::UNKNOWN });
    assert_eq!(bench.claim(&card("two", 0, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::TooManyNames)));
}
