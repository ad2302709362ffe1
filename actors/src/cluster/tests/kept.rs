//! How much mail servers keep, which they tell each other so that limits hold for all.

use super::*;
use crate::commands::store::{Amount, Counted, MailboxSize, Sender, Written};

const THIRD: Incarnation = Incarnation(3);
const KIB: u64 = 1 << 10;

fn sender() -> Sender {
    Sender { name: name("a"), network: Network::UNKNOWN }
}

fn counted() -> [Counted; 3] {
    [Counted::Recipient(name("b")), Counted::Sender(name("a")), Counted::Network(Network::UNKNOWN)]
}

/// A step of each limit is `kib` KiB.
fn limits(kib: u64) -> PeerLimits {
    let mut limits = PeerLimits { mail_bytes_per_recipient: 64 * kib * KIB, ..PeerLimits::default() };
    (limits.mail_bytes.per_sender, limits.mail_bytes.per_address) = (64 * kib * KIB, 64 * kib * KIB);
    limits
}

impl Bench {
    fn with_limits(limits: &PeerLimits, on_disk: OnDisk) -> Self {
        let mut bench = Self { core: Cluster::new(ME, limits, on_disk), ..Self::new() };
        bench.take(Input::Connected(true));
        bench
    }

    /// The store writes envelopes without content: each counts 1 KiB.
    fn keeps(&mut self, envelopes: usize) {
        let origin = Origin { peer: PeerKey(1), session: 5, first: 0 };
        let frames = Frames { lengths: vec![0; envelopes], bytes: Bytes::new() };
        let mail = Written { name: name("b"), first: 0, frames, sender: sender(), origin };
        self.take(Input::Command(Command::Stored(Box::new(mail))));
    }

    fn drops(&mut self, envelopes: u64) {
        let amounts = vec![(sender(), Amount { envelopes, bytes: 0 })];
        self.take(Input::Command(Command::Forgotten { name: name("b"), places: 0..0, amounts }));
    }

    /// What was said about the mail for B: to whom, whether it was all, and the steps.
    fn said_kept(&mut self) -> Vec<(Option<Incarnation>, bool, Vec<u64>)> {
        let mut said = Vec::new();
        for effect in std::mem::take(&mut self.effects) {
            let Effect::Send { to, packet } = effect else { continue };
            if let Some(Packet { body: Body::Kept { is_all, amounts }, .. }) = decode(&packet) {
                let of_b = amounts.into_iter().filter(|(of, _)| *of == counted()[0]);
                said.push((to, is_all, of_b.map(|(_, steps)| steps).collect()));
            }
        }
        said
    }

    /// What the Router was told, in KiB.
    fn elsewhere(&mut self) -> Vec<(Counted, u64)> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let told = effects.filter_map(|effect| match effect {
            Effect::KeptElsewhere(sums) => Some(sums),
            _ => None,
        });
        told.flatten().map(|(of, bytes)| (of, bytes / KIB)).collect()
    }

    fn hear_of(&mut self, from: Incarnation, body: Body<'_>) {
        self.take(Input::Packet(Packet { from, body }.encode().into()));
    }
}

#[test]
fn a_server_says_what_it_keeps_when_that_has_changed_by_a_step() {
    let mut bench = Bench::with_limits(&limits(10), OnDisk::default());
    bench.keeps(9);
    assert!(bench.said_kept().is_empty(), "it is less than a step");
    bench.keeps(12);
    assert_eq!(bench.said_kept(), [(None, false, vec![2])]);
    bench.drops(2);
    bench.keeps(1);
    bench.drops(9);
    assert!(bench.said_kept().is_empty(), "it is near the step");
    bench.drops(1);
    assert_eq!(bench.said_kept(), [(None, false, vec![1])]);
    // Who is new, or may have missed something, is told all.
    bench.hear(ALIVE);
    assert_eq!(bench.said_kept(), [(Some(OTHER), true, vec![1])]);
    bench.hear(Body::Missed);
    assert_eq!(bench.said_kept(), [(Some(OTHER), true, vec![1])]);
    bench.take(Input::Connected(false));
    bench.drops(10);
    assert!(bench.said_kept().is_empty());
    bench.take(Input::Connected(true));
    assert_eq!(bench.said_kept().last(), Some(&(None, false, vec![0])));
    bench.hear(Body::Missed);
    assert_eq!(bench.said_kept(), [(Some(OTHER), true, vec![])]);
}

#[test]
fn what_was_on_the_disk_at_the_start_counts() {
    let amounts = vec![(sender(), Amount { envelopes: 30, bytes: 0 })];
    let mailboxes = vec![MailboxSize { name: name("b"), amounts, end: 30 }];
    let mut bench = Bench::with_limits(&limits(10), OnDisk { mailboxes, ..OnDisk::default() });
    assert_eq!(bench.said_kept(), [(None, false, vec![3])]);
}

#[test]
fn the_router_is_told_what_all_others_keep_until_they_are_gone() {
    let mut bench = Bench::with_limits(&limits(10), OnDisk::default());
    bench.hear(ALIVE);
    bench.hear_of(THIRD, Body::Alive { store: [4; 16] });
    let kept = |is_all, steps: u64| {
        let amounts = if steps == 0 { vec![] } else { counted().map(|of| (of, steps)).to_vec() };
        Body::Kept { is_all, amounts }
    };
    let sums = |kib: u64| counted().map(|of| (of, kib)).to_vec();
    bench.effects.clear();
    bench.hear(kept(false, 2));
    assert_eq!(bench.elsewhere(), sums(20));
    bench.hear_of(THIRD, kept(false, 3));
    assert_eq!(bench.elsewhere(), sums(50));
    bench.hear(kept(false, 1));
    assert_eq!(bench.elsewhere(), sums(40), "an amount takes the place of the one before");
    bench.hear(kept(true, 0));
    assert_eq!(bench.elsewhere(), sums(30), "it has nothing any more");
    // The third one ends and starts again with what is on its disk.
    bench.hear_of(THIRD, Body::Ends);
    bench.effects.clear();
    bench.hear_of(Incarnation(5), kept(true, 3));
    assert_eq!(bench.elsewhere(), sums(60));
    bench.hear_of(Incarnation(5), Body::Alive { store: [4; 16] });
    assert_eq!(bench.elsewhere(), sums(30));
    // It is lost for good.
    bench.pass(Duration::from_secs(61));
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.elsewhere(), sums(0));
}
