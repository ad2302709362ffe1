//! File transfers between peers of different servers.

use wire::protocol::TransferId;

use super::*;
use crate::commands::cluster::{Offered, WaitingEnd};

const TRANSFER: TransferId = [7; 16];
const SECRET: [u8; 32] = [9; 32];

fn waits(bench: &mut Bench, end: Option<WaitingEnd>) {
    bench.take(Input::Command(Command::TransferWaits { transfer: TRANSFER, end }));
}

/// What is sent to others about transfers, and to whom.
fn said(bench: &mut Bench) -> Vec<(Option<Incarnation>, String)> {
    let mut said = Vec::new();
    for effect in bench.effects.drain(..) {
        let Effect::Send { to, packet } = effect else { continue };
        let body = decode(&packet).expect("it was encoded here").body;
        if matches!(body, Body::Wanted { .. } | Body::Offered { .. }) {
            said.push((to, format!("{body:?}")));
        }
    }
    said
}

fn offered() -> Option<Offered> {
    Some(Offered { address: "one.example.org:6789".to_owned(), secret: SECRET })
}

#[test]
fn a_receiving_end_asks_until_it_knows_where_the_sending_end_is() {
    let mut bench = Bench::new();
    let asks = vec![(None, format!("{:?}", Body::Wanted { transfer: TRANSFER }))];
    waits(&mut bench, Some(WaitingEnd::Receiver));
    assert_eq!(said(&mut bench), asks, "at once");
    bench.pass(Duration::from_millis(100));
    assert_eq!(said(&mut bench), []);
    bench.pass(Duration::from_millis(200));
    assert_eq!(said(&mut bench), asks, "again");
    let elsewhere = |bench: &mut Bench| {
        bench.effects.drain(..).find_map(|effect| match effect {
            Effect::Elsewhere(transfer, offered) => Some((transfer, offered)),
            _ => None,
        })
    };
    bench.hear(Body::Offered { transfer: TRANSFER, offered: offered() });
    assert_eq!(elsewhere(&mut bench), Some((TRANSFER, offered())));
    bench.hear(Body::Offered { transfer: TRANSFER, offered: offered() });
    assert_eq!(elsewhere(&mut bench), None, "a doubled answer");
    bench.pass(Duration::from_secs(1));
    assert_eq!(said(&mut bench), []);
    // One that gives up asks no more.
    waits(&mut bench, Some(WaitingEnd::Receiver));
    waits(&mut bench, None);
    bench.effects.clear();
    bench.pass(Duration::from_secs(1));
    assert_eq!(said(&mut bench), []);
}

#[test]
fn a_server_offers_what_waits_there_or_says_that_nobody_can_connect() {
    let mut bench = Bench::new();
    let wanted = |bench: &mut Bench| {
        bench.hear(Body::Wanted { transfer: TRANSFER });
        said(bench)
    };
    let answer =
        |offered| vec![(Some(OTHER), format!("{:?}", Body::Offered { transfer: TRANSFER, offered }))];
    assert_eq!(wanted(&mut bench), [], "nobody waits");
    waits(&mut bench, Some(WaitingEnd::Sender { guest: SECRET }));
    assert_eq!(wanted(&mut bench), answer(None), "it has no address");
    bench.core =
        std::mem::replace(&mut bench.core, Cluster::new(ME, &PeerLimits::default(), OnDisk::default()))
            .advertising(Some("one.example.org:6789".to_owned()));
    assert_eq!(wanted(&mut bench), answer(offered()));
    waits(&mut bench, None);
    assert_eq!(wanted(&mut bench), [], "it has begun");
}
