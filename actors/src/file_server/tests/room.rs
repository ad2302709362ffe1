//! Eviction from the cache.

use std::sync::Arc;

use super::super::cache::Limits;
use super::bench::{Bench, LIMITS, text};

const LARGE: usize = 100_000;

/// Room for two large files and the cost of two entries.
const TWO_LARGE: Limits = Limits { memory_bytes_max: 2 * LARGE as u64 + 10_000, ..LIMITS };

fn large(letter: &str) -> String {
    letter.repeat(LARGE)
}

#[test]
fn makes_room_by_ending_leases_of_what_was_not_used() {
    let mut bench = Bench::new(TWO_LARGE);
    for name in ["a", "b", "c"] {
        bench.disk.write(name, large(name));
    }
    let first = bench.asset("/a");
    let second = bench.asset("/b");
    first.touch();
    let third = bench.asset("/c");
    assert!(second.is_revoked(), "although it is leased");
    assert!(!first.is_revoked() && !third.is_revoked());
    assert_eq!(text(&second), large("b"), "what is revoked can still be sent");
    assert_eq!((bench.counts.evictions.get(), bench.counts.revocations.get()), (1, 0));
    assert!(bench.counts.bytes.get() <= TWO_LARGE.memory_bytes_max);
}

#[test]
fn where_all_are_used_one_goes_all_the_same() {
    let mut bench = Bench::new(Limits { entries_max: 3, ..LIMITS });
    for name in ["a", "b", "c", "d"] {
        bench.disk.write(name, name);
    }
    let leases = ["/a", "/b", "/c"].map(|path| bench.asset(path));
    leases.iter().for_each(|lease| lease.touch());
    let last = bench.asset("/d");
    assert_eq!(leases.iter().filter(|lease| lease.is_revoked()).count(), 1);
    assert!(!last.is_revoked());
}

#[test]
fn what_is_larger_than_all_the_room_serves_for_one_answer() {
    let mut bench = Bench::new(Limits { memory_bytes_max: 10_000, ..LIMITS });
    bench.disk.write("small", "small");
    bench.disk.write("large", large("l"));
    let small = bench.asset("/small");
    let asset = bench.asset("/large");
    assert!(asset.is_revoked());
    assert_eq!(text(&asset), large("l"));
    assert!(!small.is_revoked(), "nothing was gained by making room");
}

#[test]
fn keeps_a_bounded_number_of_files() {
    let mut bench = Bench::new(Limits { entries_max: 2, ..LIMITS });
    for name in ["a", "b", "c"] {
        bench.disk.write(name, name);
        bench.asset(&format!("/{name}"));
    }
    let loads = bench.disk.loads();
    bench.asset("/b");
    bench.asset("/c");
    assert_eq!(bench.disk.loads(), loads);
    assert_eq!(bench.counts.hits.get(), 2);
    bench.asset("/a");
    assert_eq!(bench.disk.loads(), loads + 1);
    assert_eq!((bench.counts.misses.get(), bench.counts.entries.get()), (4, 2));
}

#[test]
fn keeps_few_descriptors_and_those_that_are_used() {
    let mut bench = Bench::new(Limits { memory_file_bytes_max: 2, open_files_max: 2, ..LIMITS });
    for name in ["a", "b", "c"] {
        bench.disk.write(name, "a file");
    }
    bench.disk.write("small", "s");
    let small = bench.asset("/small");
    let (first, second) = (bench.asset("/a"), bench.asset("/b"));
    first.touch();
    let third = bench.asset("/c");
    assert!(second.is_revoked());
    assert!(!first.is_revoked() && !third.is_revoked() && !small.is_revoked());
    assert_eq!(text(&third), "a file");
}

/// A search for the entry that was not used for the longest time would look at all entries for each eviction.
#[test]
fn making_room_does_not_depend_on_how_much_is_kept() {
    const ENTRIES: usize = 4_096;
    let mut bench = Bench::new(Limits { entries_max: ENTRIES, memory_bytes_max: 1 << 30, ..LIMITS });
    for n in 0..2 * ENTRIES {
        bench.disk.write(&format!("{n}.png"), "");
    }
    let mut leases = Vec::new();
    for n in 0..2 * ENTRIES {
        let lease: Arc<_> = bench.asset(&format!("/{n}.png"));
        lease.touch();
        leases.push(lease);
    }
    assert_eq!(leases.iter().filter(|lease| !lease.is_revoked()).count(), ENTRIES);
    let moves = bench.core.cache.hand_moves;
    assert!((ENTRIES..4 * ENTRIES).contains(&moves), "{moves} moves for {ENTRIES} evictions");
}
