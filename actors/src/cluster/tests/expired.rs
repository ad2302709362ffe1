//! Mail that has expired at a server that is gone.

use super::*;
use crate::cluster::interface::{MailEffect, MailInput, OldCopy};

const LIFETIME: Duration = Duration::from_secs(64);
const GONE: [u8; 16] = [3; 16];

fn old(store: [u8; 16], sequence: u64, kind: Kind) -> OldCopy {
    let one =
        |number| frame(&ToPeer::Envelope(Envelope { from: "A", to: "B", kind, number, sealed: b"opaque" }));
    let frames = [4, 5, 9].into_iter().flat_map(one).collect::<Vec<u8>>().into();
    OldCopy { store, name: name("b"), sequences: vec![sequence], frames }
}

impl Bench {
    fn of_short_lives() -> Self {
        let limits = PeerLimits { mail_lifetime: LIFETIME, ..PeerLimits::default() };
        let mut bench = Self { core: Cluster::new(ME, &limits, OnDisk::default()), ..Self::new() };
        bench.take(Input::Connected(true));
        bench.pass(Duration::from_secs(6));
        bench
    }

    /// What is looked for, and what is removed.
    fn of_stream(&mut self) -> (Vec<u64>, Vec<u64>) {
        let (mut before, mut removed) = (Vec::new(), Vec::new());
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Mail(MailEffect::FindOld { before: time }) => before.push(time),
                Effect::Mail(MailEffect::Remove(sequences)) => removed.extend(sequences),
                _ => {}
            }
        }
        (before, removed)
    }

    fn found(&mut self, found: Vec<OldCopy>) {
        self.take(Input::Mail(MailInput::FoundOld(Some(found))));
    }
}

#[test]
fn the_first_server_tells_the_senders_of_old_mail_of_servers_that_are_gone() {
    let mut bench = Bench::of_short_lives();
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(1));
    // A server that runs has a second more to find it itself.
    let before = bench.now.unix() - LIFETIME.as_secs() - 1;
    assert_eq!(bench.of_stream().0, [before]);
    bench.pass(Duration::from_secs(3));
    assert!(bench.of_stream().0.is_empty(), "one search at a time");
    bench.found(vec![
        old(GONE, 20, Kind::Message),
        old([2; 16], 21, Kind::Message),
        old([0; 16], 22, Kind::Message),
    ]);
    let told: Vec<_> = std::mem::take(&mut bench.effects)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Expired { sender, name, count, notice } => Some((sender, name, count, notice?)),
            _ => None,
        })
        .collect();
    let [(sender, to, count, notice)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((sender, to, *count), (&name("A"), &name("b"), 3));
    let numbers: Vec<(u64, u64)> = notice
        .iter()
        .map(|frame| match ToPeer::decode(&frame[4..]) {
            Ok(ToPeer::Expired { first, last, .. }) => (first, last),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, [(4, 5), (9, 9)]);
    // Not removed before the notice is safe, and nobody is told twice meanwhile.
    bench.found(vec![old(GONE, 20, Kind::Message)]);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Expired { .. })));
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.of_stream().1, [20]);
    // What is no message is removed, and nobody waits for it.
    bench.found(vec![old(GONE, 23, Kind::Receipt)]);
    let is_counted = |effect: &Effect| matches!(effect, Effect::Expired { count: 3, notice: None, .. });
    assert!(bench.effects.iter().any(is_counted), "{:?}", bench.effects);
    bench.hear(ALIVE);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.of_stream().1, [23]);
}

#[test]
fn only_the_first_of_the_servers_looks_for_old_mail_and_only_while_it_knows_who_is_alive() {
    let mut bench = Bench::of_short_lives();
    bench.take(Input::Packet(Packet { from: Incarnation(0), body: ALIVE }.encode().into()));
    bench.pass(Duration::from_secs(2));
    assert!(bench.of_stream().0.is_empty(), "the other one does it");
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.of_stream().0.len(), 1, "it has ended");
    bench.found(vec![]);
    bench.take(Input::Connected(false));
    bench.pass(Duration::from_secs(9));
    bench.take(Input::Connected(true));
    bench.pass(Duration::from_secs(5));
    assert!(bench.of_stream().0.is_empty(), "others had no time to be heard");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.of_stream().0.len(), 1);
}
