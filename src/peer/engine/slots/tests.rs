use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use wire::Digest;
use wire::many::{ManyRequest, NoName};
use wire::signal::{FileRequest, Route, Wish};

use super::*;

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

/// A request for a file or, if the transfer has an odd number, for many.
fn request(transfer: u8) -> Requested {
    request_of([transfer; 16])
}

fn request_of(transfer: TransferId) -> Requested {
    let (secret, wish) = ([0; 32], Wish::Queue(Route::Server));
    if transfer[0] % 2 == 1 {
        return Requested::Files(ManyRequest { transfer, secret, mark: NoName, wish, files: Vec::new() });
    }
    let (name, sha256) = ("file.txt".parse().expect("a good name"), Digest::of(b"x"));
    Requested::File(FileRequest { transfer, secret, name, sha256, offset: 0, wish })
}

/// Slots, and a clock.
struct Bench {
    slots: Slots,
    now: Instant,
}

impl Bench {
    fn new(max: u32) -> Self {
        Self { slots: Slots::new(max), now: Instant::now() }
    }

    fn serve(&mut self, to: &str, transfer: u8) {
        self.serve_until(to, transfer, true);
    }

    fn serve_until(&mut self, to: &str, transfer: u8, is_underway: bool) {
        let (request, salt, expires) = (request(transfer), [0; 16], self.now + OFFER_WAIT);
        self.slots.serve(Offer { to: name(to), request, salt, expires, is_underway });
    }

    fn wait(&mut self, from: &str, transfer: u8) -> bool {
        self.slots.enqueue(&name(from), transfer.into(), request(transfer))
    }

    /// Serves from the queue what there is room for. Returns the transfers.
    fn advance(&mut self) -> Vec<u8> {
        let mut served = Vec::new();
        while let Some(Waiting { from, request, .. }) = self.slots.next() {
            served.push(request.transfer()[0]);
            self.serve(from.as_str(), request.transfer()[0]);
        }
        served
    }

    /// The transfers whose receivers are told their places now, and these.
    fn told(&mut self) -> Vec<(u8, u32)> {
        self.slots.places(self.now).into_iter().map(|told| (told.transfer[0], told.place)).collect()
    }

    fn sleep(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn one_name_has_at_most_half_of_the_slots() {
    for (max, each) in [(1, 1), (2, 1), (3, 2), (8, 4)] {
        let mut bench = Bench::new(max);
        for transfer in 1..=20 {
            assert!(bench.wait("A", transfer));
        }
        assert_eq!(bench.advance().len(), each, "of {max}");
        assert!(!bench.slots.has_room_for(&name("a")), "whatever the case");
        assert_eq!(bench.slots.has_room_for(&name("B")), max > 1);
        bench.wait("B", 100);
        assert_eq!(bench.advance(), if max > 1 { vec![100] } else { vec![] });
    }
}

#[test]
fn the_queue_goes_round_among_the_names_and_in_order_within_one() {
    let mut bench = Bench::new(1);
    bench.serve("A", 1);
    for (from, transfer) in [("A", 2), ("A", 3), ("A", 4), ("B", 5), ("C", 6), ("B", 7)] {
        assert!(bench.wait(from, transfer));
    }
    assert_eq!(bench.told(), [(2, 1), (5, 2), (6, 3), (3, 4), (7, 5), (4, 6)]);
    let mut served = vec![1];
    while let Some(last) = served.last() {
        bench.slots.free([*last; 16]);
        let next = bench.advance();
        assert!(next.len() <= 1, "there is one slot");
        if next.is_empty() {
            break;
        }
        served.extend(next);
    }
    assert_eq!(served, [1, 2, 5, 6, 3, 7, 4], "A came first, and then everybody has a turn");
}

#[test]
fn a_receiver_is_told_its_place_when_it_changes_and_at_intervals_and_not_more_often_than_each_second() {
    let mut bench = Bench::new(1);
    bench.serve("X", 1);
    assert_eq!(bench.slots.deadline(), None, "nobody waits");
    for (from, transfer) in [("A", 2), ("B", 3), ("C", 4)] {
        bench.wait(from, transfer);
    }
    assert_eq!(bench.told(), [(2, 1), (3, 2), (4, 3)]);
    assert_eq!(bench.slots.deadline(), Some(bench.now + PLACE_AGAIN));
    bench.slots.withdraw(&name("A"), [2; 16]);
    assert_eq!(bench.told(), []);
    assert_eq!(bench.slots.deadline(), Some(bench.now + PLACE_EVERY));
    bench.slots.withdraw(&name("b"), [3; 16]);
    bench.sleep(1);
    assert_eq!(bench.told(), [(4, 1)], "it has moved by two");
    bench.sleep(9);
    assert_eq!(bench.told(), []);
    bench.sleep(1);
    assert_eq!(bench.told(), [(4, 1)], "a sign of life");
    bench.slots.tell_again();
    assert_eq!(bench.told(), [(4, 1)]);
}

#[test]
fn a_request_that_comes_again_keeps_its_place_and_only_its_peer_can_repeat_or_withdraw_it() {
    let mut bench = Bench::new(1);
    bench.serve("X", 1);
    bench.wait("A", 2);
    bench.wait("B", 3);
    assert_eq!(bench.told(), [(2, 1), (3, 2)]);
    assert!(!bench.wait("B", 2), "the transfer is that of A");
    bench.slots.withdraw(&name("B"), [2; 16]);
    assert!(bench.wait("A", 2));
    assert_eq!(bench.told(), [(2, 1)]);
    assert_eq!(bench.slots.waiting.len(), 2);
}

#[test]
fn the_queue_is_bounded_in_all_and_for_each_name() {
    let mut bench = Bench::new(1);
    bench.serve("X", 255);
    let mut number = 0;
    let mut wait = |bench: &mut Bench, from: &str| {
        let mut transfer = [0; 16];
        transfer[..4].copy_from_slice(&u32::to_le_bytes(number));
        number += 1;
        bench.slots.enqueue(&name(from), 0, request_of(transfer))
    };
    for _ in 0..QUEUE_EACH_MAX {
        assert!(wait(&mut bench, "A"));
    }
    assert!(!wait(&mut bench, "a"));
    for from in 0..QUEUE_MAX - QUEUE_EACH_MAX {
        assert!(wait(&mut bench, &format!("B{from}")));
    }
    assert!(!wait(&mut bench, "C"));
}

#[test]
fn an_offer_that_nobody_dials_for_or_that_is_withdrawn_frees_its_slot() {
    let mut bench = Bench::new(2);
    bench.serve_until("A", 1, false);
    bench.serve_until("B", 2, false);
    bench.wait("C", 3);
    bench.told();
    assert_eq!(bench.advance(), [] as [u8; 0]);
    bench.slots.withdraw(&name("A"), [2; 16]);
    assert_eq!(bench.advance(), [] as [u8; 0], "the offer is for B");
    bench.slots.withdraw(&name("B"), [2; 16]);
    assert_eq!(bench.advance(), [3]);
    bench.wait("D", 4);
    bench.told();
    assert_eq!(bench.slots.deadline(), Some(bench.now + OFFER_WAIT));
    bench.sleep(10);
    bench.slots.free_unused(bench.now, |_| false);
    assert_eq!(bench.advance(), [4]);
    bench.slots.withdraw(&name("C"), [3; 16]);
    assert!(bench.slots.serves(&[3; 16]), "what is being sent goes on");
}

/// Whatever comes and goes: no slot is empty while somebody waits for whom it may be used, and each name that waits is served
/// before any other is served twice.
#[test]
fn nobody_waits_for_a_free_slot_and_nobody_is_passed_over() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(rng.random_range(1..5));
        let names = ["A", "B", "C", "D"];
        let mut passed: HashMap<PeerName, HashMap<PeerName, u32>> = HashMap::new();
        for transfer in 0..200 {
            if rng.random_bool(0.6) {
                bench.wait(names[rng.random_range(0..names.len())], transfer);
            } else {
                let under = bench.slots.serving.keys().copied().collect::<Vec<_>>();
                if let Some(ended) = under.get(rng.random_range(0..under.len().max(1))) {
                    bench.slots.free(*ended);
                }
            }
            while let Some(Waiting { from, request, .. }) = bench.slots.next() {
                passed.remove(&from);
                let may_be_served = |w: &&Waiting| w.from != from && bench.slots.has_room_for(&w.from);
                let others: BTreeSet<&PeerName> =
                    bench.slots.waiting.iter().filter(may_be_served).map(|waiting| &waiting.from).collect();
                for other in others {
                    let times = passed.entry(other.clone()).or_default().entry(from.clone());
                    let times = times.and_modify(|times| *times += 1).or_insert(1);
                    assert!(*times <= 1, "seed {seed}: {from} overtakes {other} again");
                }
                bench.serve(from.as_str(), request.transfer()[0]);
            }
            let is_stuck = |waiting: &Waiting| bench.slots.has_room_for(&waiting.from);
            assert!(!bench.slots.waiting.iter().any(is_stuck), "seed {seed}");
        }
    }
}
