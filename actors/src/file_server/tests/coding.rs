//! Content codings: compressed files beside the original, and compression by the server.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::http::Coding;

use super::super::Body;
use super::super::cache::Limits;
use super::super::compressor::{Compressed, Job};
use super::super::core::Effect;
use super::bench::{Bench, LIMITS, field, text, text_of};
use crate::site::SiteConfig;

const TICK: Duration = Duration::from_millis(20);

fn compressing(limits: Limits) -> Bench {
    Bench::of_site(SiteConfig { compression: true, ..SiteConfig::default() }, limits)
}

fn page(word: &str) -> String {
    format!("<p>{word} once again. ").repeat(100)
}

fn unpacked(coding: Coding, body: &Body) -> String {
    let Body::Memory(content) = body else {
        panic!("compressed forms are kept in memory");
    };
    let mut text = String::new();
    let read = match coding {
        Coding::Brotli => brotli::Decompressor::new(&content[..], 4096).read_to_string(&mut text),
        Coding::Gzip => flate2::read::GzDecoder::new(&content[..]).read_to_string(&mut text),
        Coding::Zstd => panic!("nobody compresses with zstd here"),
    };
    read.expect("what was compressed can be unpacked");
    text
}

#[test]
fn pages_are_compressed_in_the_background() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.html", page("word"));
    let first = bench.asset("/a.html");
    assert!(first.is_negotiated && first.codings().next().is_none());
    assert_eq!(field(first.head(), "Vary"), Some("Accept-Encoding"), "another answer may come soon");
    assert_eq!(bench.compress(), 1);
    assert!(first.is_revoked(), "so that the next one who asks gets more");
    let (loads, second) = (bench.disk.loads(), bench.asset("/a.html"));
    assert_eq!(bench.disk.loads(), loads);
    assert_eq!(second.head(), first.head());
    assert_eq!(second.codings().collect::<Vec<_>>(), [Coding::Brotli, Coding::Gzip]);
    let mut tags = vec![field(second.head(), "ETag").expect("a file has a tag").to_owned()];
    for coding in second.codings() {
        let coded = second.in_coding(coding).expect("it is there");
        assert_eq!(unpacked(coding, &coded.body), page("word"));
        assert!(coded.body.bytes() * 10 < second.body().bytes());
        assert_eq!(field(coded.head(), "Content-Encoding"), Some(coding.name()));
        assert_eq!(field(coded.head(), "Content-Length"), Some(&*coded.body.bytes().to_string()));
        assert_eq!(field(coded.head(), "Vary"), Some("Accept-Encoding"));
        assert_eq!(field(coded.head(), "Content-Type"), Some("text/html; charset=utf-8"));
        let tag = field(coded.head(), "ETag").expect("a file has a tag");
        assert_eq!(coded.not_modified_head().and_then(|head| field(head, "ETag")), Some(tag));
        assert_eq!(coded.not_modified_head().and_then(|head| field(head, "Vary")), Some("Accept-Encoding"));
        tags.push(tag.to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "each coding has a tag of its own");
    assert_eq!(bench.counts.compressed.get(), 1);
}

#[test]
fn another_compressor_gives_other_tags() {
    let tag_of = |written: &'static [u8]| {
        let mut bench = compressing(LIMITS);
        bench.disk.write("a.html", page("word"));
        bench.asset("/a.html");
        let effects = std::mem::take(&mut bench.core.effects);
        let Some(Effect::Compress(Job { key, stamp, .. })) = effects.into_iter().next() else {
            panic!("nothing is compressed");
        };
        let coded = vec![(Coding::Brotli, Bytes::from_static(written))];
        bench.core.note_compressed(&Compressed { key, stamp, coded });
        let asset = bench.asset("/a.html");
        let coded = asset.in_coding(Coding::Brotli).expect("it is compressed");
        field(coded.head(), "ETag").expect("a file has a tag").to_owned()
    };
    assert_eq!(tag_of(b"as one version does it"), tag_of(b"as one version does it"));
    // A client that resumes a download gets the rest of the same bytes, or starts again.
    assert_ne!(tag_of(b"as one version does it"), tag_of(b"as the next one does it"));
}

/// Bytes that cannot be compressed (xorshift).
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn what_is_not_worth_it_is_not_compressed() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("short.html", "short");
    bench.disk.write("picture.png", page("word"));
    bench.disk.write("404.html", page("word"));
    for path in ["/short.html", "/picture.png", "/missing"] {
        bench.asset(path);
    }
    assert_eq!(bench.compress(), 0);
    assert!(!bench.asset("/picture.png").is_negotiated);
    assert_eq!(field(bench.asset("/picture.png").head(), "Vary"), None);
    // It was tried and was not small enough, so it is not tried again.
    bench.disk.write("noise.txt", noise(2000));
    let lease = bench.asset("/noise.txt");
    assert_eq!(bench.compress(), 1);
    assert!(!lease.is_revoked() && lease.codings().next().is_none());
    bench.asset("/noise.txt");
    assert_eq!(bench.compress(), 0);
    // Nothing is compressed if compression is off.
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.html", page("word"));
    assert!(!bench.asset("/a.html").is_negotiated);
    assert_eq!(bench.compress(), 0);
}

#[test]
fn what_changed_while_it_was_compressed_is_compressed_anew() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.html", page("old"));
    let lease = bench.asset("/a.html");
    bench.disk.write("a.html", page("new"));
    bench.core.note_change(Some("a.html".into()));
    bench.pass(TICK);
    assert!(lease.is_revoked());
    let lease = bench.asset("/a.html");
    assert!(lease.codings().next().is_none());
    assert_eq!(bench.compress(), 2, "the old one, in vain, and the new one");
    let asset = bench.asset("/a.html");
    let coded = asset.in_coding(Coding::Brotli).expect("it is compressed");
    assert_eq!(unpacked(Coding::Brotli, &coded.body), page("new"));
    assert_eq!(bench.counts.compressed.get(), 1);
}

#[test]
fn what_is_revoked_for_another_reason_is_not_compressed_again() {
    let site = SiteConfig { compression: true, clean_urls: true, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    bench.disk.write("a.html", page("word"));
    bench.asset("/a");
    assert_eq!(bench.compress(), 1);
    let lease = bench.asset("/a");
    // A file is created at the clean URL.
    bench.disk.write("a", "file");
    bench.core.note_change(Some("a".into()));
    bench.pass(TICK);
    // The flag belongs to the entry that was given for the clean URL.
    let again = bench.asset("/a.html");
    assert!(lease.is_revoked() && !again.is_revoked());
    assert!(again.has(Coding::Brotli) && again.has(Coding::Gzip));
    assert_eq!(bench.compress(), 0);
}

#[test]
fn larger_files_are_compressed_from_the_disk() {
    let mut bench = compressing(Limits { memory_file_bytes_max: 1000, ..LIMITS });
    bench.disk.write("a.js", page("word"));
    let lease = bench.asset("/a.js");
    assert!(matches!(lease.body(), Body::File { .. }));
    // The temporary file has another stamp than the fake disk says, as if it had changed in the meantime.
    assert_eq!(bench.compress(), 1);
    assert!(!lease.is_revoked());
}

#[test]
fn no_more_than_two_are_compressed_at_once_and_all_in_the_end() {
    let mut bench = compressing(LIMITS);
    for n in 0..10 {
        bench.disk.write(&format!("{n}.html"), page("word"));
        bench.asset(&format!("/{n}.html"));
    }
    let first = std::mem::take(&mut bench.core.effects);
    assert_eq!(first.len(), 2);
    assert!(std::mem::take(&mut bench.core.effects).is_empty());
    for effect in first {
        if let Effect::Compress(job) = effect {
            bench.core.note_compressed(&super::super::compressor::compress(job));
        }
    }
    assert_eq!(bench.compress(), 8);
    assert_eq!(bench.counts.compressed.get(), 10);
}

#[test]
fn compressed_forms_count_against_the_room() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.html", page("word"));
    bench.asset("/a.html");
    let before = bench.counts.bytes.get();
    bench.compress();
    let asset = bench.asset("/a.html");
    let coded: u64 = asset.codings().filter_map(|c| Some(asset.in_coding(c)?.body.bytes())).sum();
    assert!(coded > 0 && bench.counts.bytes.get() >= before + coded);
}

#[test]
fn forms_that_would_fill_the_cache_are_thrown_away_and_not_made_again() {
    let mut bench = compressing(Limits { memory_bytes_max: 20_000, ..LIMITS });
    // Half of it can be compressed.
    let content: Vec<u8> = noise(5000).into_iter().chain(page("word").into_bytes()).collect();
    bench.disk.write("a.html", content);
    let lease = bench.asset("/a.html");
    assert_eq!(bench.compress(), 1);
    assert!(!lease.is_revoked());
    assert!(bench.asset("/a.html").codings().next().is_none());
    assert_eq!(bench.compress(), 0);
}

#[test]
fn a_neighbour_that_is_of_no_use_keeps_nothing_from_being_compressed() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.html.gz", "too old");
    bench.disk.write("a.html", page("word"));
    assert!(bench.asset("/a.html").codings().next().is_none());
    assert_eq!(bench.compress(), 1);
    let asset = bench.asset("/a.html");
    assert_eq!(asset.codings().collect::<Vec<_>>(), [Coding::Brotli, Coding::Gzip]);
    // A compressed file beside it is used instead.
    bench.disk.write("a.html.gz", "new");
    bench.core.note_change(Some("a.html.gz".into()));
    bench.pass(TICK);
    assert_eq!(bench.asset("/a.html").codings().collect::<Vec<_>>(), [Coding::Gzip]);
}

#[test]
fn compressed_neighbours_are_used_if_they_are_as_new_and_no_larger() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.css.gz", "too old");
    bench.disk.write("a.css", "original, quite long");
    bench.disk.write("a.css.br", "br");
    bench.disk.write("a.css.zst", "longer than the original is");
    let asset = bench.asset("/a.css");
    assert_eq!(asset.codings().collect::<Vec<_>>(), [Coding::Brotli]);
    let coded = asset.in_coding(Coding::Brotli).expect("it is there");
    assert_eq!(text_of(&coded.body), "br");
    assert_eq!(field(coded.head(), "Content-Encoding"), Some("br"));
    assert_eq!(field(coded.head(), "Content-Type"), Some("text/css; charset=utf-8"));
    assert_ne!(field(coded.head(), "ETag"), field(asset.head(), "ETag"));
    assert_eq!(field(asset.head(), "Vary"), Some("Accept-Encoding"));
    assert_eq!(bench.compress(), 0, "somebody has done that already");
    let direct = bench.asset("/a.css.gz");
    assert_eq!(field(direct.head(), "Content-Type"), Some("application/gzip"));
    assert_eq!(field(direct.head(), "Content-Encoding"), None);
}

#[test]
fn neighbours_count_without_compression_too_and_only_then_answers_vary() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.css", "original");
    let lease = bench.asset("/a.css");
    assert_eq!(field(lease.head(), "Vary"), None);
    bench.disk.write("a.css.zst", "zst");
    bench.core.note_change(Some("a.css.zst".into()));
    bench.pass(TICK);
    assert!(lease.is_revoked(), "there is another form now");
    let lease = bench.asset("/a.css");
    assert!(lease.has(Coding::Zstd) && lease.is_negotiated);
    assert_eq!(field(lease.head(), "Vary"), Some("Accept-Encoding"));
    // It changes without a report.
    bench.disk.write("a.css.zst", "new");
    bench.pass_in_steps(Duration::from_secs(5));
    assert!(lease.is_revoked());
    let lease = bench.asset("/a.css");
    bench.disk.remove("a.css.zst");
    bench.core.note_change(None);
    bench.pass(TICK);
    assert!(lease.is_revoked());
    assert!(!bench.asset("/a.css").is_negotiated);
}

#[test]
fn a_neighbour_that_appears_takes_the_place_of_what_was_compressed() {
    let mut bench = compressing(LIMITS);
    bench.disk.write("a.css", page("word"));
    bench.asset("/a.css");
    bench.compress();
    assert!(bench.asset("/a.css").has(Coding::Gzip));
    bench.disk.write("a.css.br", "br");
    bench.core.note_change(Some("a.css.br".into()));
    bench.pass(TICK);
    let asset = bench.asset("/a.css");
    assert_eq!(asset.codings().collect::<Vec<_>>(), [Coding::Brotli]);
    assert!(Arc::ptr_eq(&asset, &bench.asset("/a.css")));
    assert_eq!(text(&asset), page("word"));
}
