//! Measures the Index with a million files, or with those of as many peers as the variable `PEERS` says, each with as many files as
//! `FILES` says. It asserts nothing about time: `cargo test --workspace --release --lib -- --ignored --nocapture a_million_files`

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::commands::index::Page;

const PEERS_DEFAULT: usize = 3_000;
const FILES_EACH: usize = 334;
const KEYWORDS_EACH: usize = 3;
const VOCABULARY: usize = 100_000;

/// A word of the vocabulary. Small numbers are frequent, as in a language.
fn word(rng: &mut StdRng) -> String {
    let least = (0..4).map(|_| rng.random_range(0..VOCABULARY)).min();
    spelled(least.unwrap_or_default())
}

/// Each number as a word of its own, of syllables.
fn spelled(mut number: usize) -> String {
    let mut word = String::new();
    loop {
        word.push_str(["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu"][number % 10]);
        number /= 10;
        if number == 0 {
            return word;
        }
    }
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096.0 / f64::from(1 << 20)
}

fn share(rng: &mut StdRng, owner: usize, files_each: usize) -> Share {
    let files = (0..files_each).map(|n| {
        let words: Vec<String> = (0..KEYWORDS_EACH).map(|_| word(rng)).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.sort_unstable();
        words.dedup();
        file(&format!("{n:03}-{owner}.{}", ["pdf", "txt", "jpg"][n % 3]), &words)
    });
    Share {
        owner: peer(&format!("p{owner}")),
        network: network(u8::try_from(owner / 1000).unwrap_or(u8::MAX)),
        files: files.collect(),
    }
}

/// Makes the text of a search.
type Make<'m> = &'m dyn Fn(&mut StdRng) -> String;

/// Finds each of some texts, and prints how long that takes.
fn measure(core: &mut Core, what: &str, texts: &[String]) {
    let mut times = Vec::with_capacity(texts.len());
    let mut total = 0;
    for text in texts {
        let search = text.parse().expect("a good search");
        let (reply, pending) = reply();
        let begun = Instant::now();
        handle(core, Command::Find { search, page: Page { skip: 0, limit: 20 }, asker: FAR, reply });
        times.push(begun.elapsed());
        total += pending.wait(NOW).expect("it is answered").map_or(0, |found| found.total);
    }
    times.sort_unstable();
    let sum: std::time::Duration = times.iter().sum();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{what:<28} {:>9.0}/s  p50 {:?}  p99 {:?}  max {:?}  {:.1} matches on average",
        times.len() as f64 / sum.as_secs_f64(),
        at(50),
        at(99),
        at(100),
        total as f64 / texts.len() as f64
    );
}

/// Finds the files with each of some keywords, encodes the answers, and prints how long that takes.
fn measure_keywords(core: &mut Core, what: &str, keywords: &[String]) {
    let (mut found, mut bytes) = (0, 0);
    let begun = Instant::now();
    for keyword in keywords {
        let (reply, pending) = reply();
        let query = super::keywords(&[keyword]);
        handle(core, Command::Search { query, limit: 20, asker: FAR, reply });
        let Found { hits, total } = pending.wait(NOW).expect("it is answered").unwrap_or_default();
        bytes += wire::frame::frame(&wire::protocol::ToPeer::Found { id: 1, hits, total }).len();
        found += total;
    }
    let rate = keywords.len() as f64 / begun.elapsed().as_secs_f64();
    let of_each = |sum: f64| sum / keywords.len() as f64;
    let (found, bytes) = (of_each(found as f64), of_each(bytes as f64));
    println!("{what:<28} {rate:>9.0}/s  {found:.1} matches and {bytes:.0} bytes on average");
}

/// Answers a search by a pattern, and prints how long others wait meanwhile.
fn measure_scan(core: &mut Core, what: &str, query: Query) {
    let (reply, pending) = reply();
    let mut turns = Vec::new();
    let begun = Instant::now();
    handle(core, Command::Search { query, limit: 1000, asker: FAR, reply });
    turns.push(begun.elapsed());
    let mut goes_on = true;
    while goes_on {
        let begun = Instant::now();
        goes_on = core.go_on(begun);
        turns.push(begun.elapsed());
    }
    let found = pending.wait(NOW).expect("it is answered").map_or(0, |found| found.total);
    let (count, sum) = (turns.len(), turns.iter().sum::<std::time::Duration>());
    let longest = turns.iter().max().expect("there is one");
    println!("{what:<28} {sum:?} in {count} turns, the longest {longest:?}; {found} found");
}

#[test]
#[ignore = "it measures"]
fn a_million_files() {
    let peers =
        std::env::var("PEERS").map_or(PEERS_DEFAULT, |peers| peers.parse().expect("PEERS is a number"));
    let each = std::env::var("FILES").map_or(FILES_EACH, |files| files.parse().expect("FILES is a number"));
    let mut rng = StdRng::seed_from_u64(1);
    let shares: Vec<Share> = (0..peers).map(|owner| share(&mut rng, owner, each)).collect();
    let mut core = Core::default();
    let before = resident_mib();
    let begun = Instant::now();
    for share in &shares {
        core.restore(share, 0).expect("it fits");
    }
    println!("loaded in {:?}, {:.0} MiB", begun.elapsed(), resident_mib() - before);

    let begun = Instant::now();
    for share in shares.iter().take(100) {
        core.restore(share, 0).expect("it fits");
    }
    println!("a share of {each} files replaced in {:?}", begun.elapsed() / 100);

    let pattern = |text: &str| text.parse().expect("a good pattern");
    for (what, text) in [
        ("holders of a folder", "nothing/*"),
        ("holders of *.pdf", "*.pdf"),
        ("holders, all compared", "*x*"),
    ] {
        measure_scan(&mut core, what, Query::Holders { pattern: pattern(text) });
    }
    let from = || peer("p0");
    measure_scan(
        &mut core,
        "names of a peer",
        Query::Names { from: from(), pattern: pattern("**"), after: None },
    );
    let after = Some("5".parse().expect("a good name"));
    measure_scan(
        &mut core,
        "the same, later ones",
        Query::Names { from: from(), pattern: pattern("**"), after },
    );

    let keywords: Vec<String> = (0..50_000).map(|_| word(&mut rng)).collect();
    measure_keywords(&mut core, "one keyword", &keywords);

    let kinds: [(&str, Make<'_>, usize); 8] = [
        ("one word", &word, 2000),
        ("two words", &|rng| format!("{} {}", word(rng), word(rng)), 5000),
        ("three words", &|rng| format!("{} {} {}", word(rng), word(rng), word(rng)), 5000),
        ("two words, one of which", &|rng| format!("{} {}|{}", word(rng), word(rng), word(rng)), 2000),
        (
            "a prefix and a word",
            &|rng| format!("{} {}*", word(rng), spelled(rng.random_range(10..1000))),
            2000,
        ),
        ("a word with conditions", &|rng| format!("{} ext:pdf size<10 -{}", word(rng), word(rng)), 2000),
        ("a misspelt word", &|rng| format!("{}x", word(rng)), 200),
        ("all files", &|_| "size>0".into(), 3),
    ];
    for (what, make, count) in kinds {
        let texts: Vec<String> = (0..count).map(|_| make(&mut rng)).collect();
        measure(&mut core, what, &texts);
    }
}
