//! Leases that end, a server that stops, and a server that is overloaded.

use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use wire::http::SitePath;

use super::*;
use crate::commands::asset::Asset;
use crate::commands::file_server::{Found, detached};

#[test]
fn a_changed_file_is_seen_on_an_open_connection() {
    let site = Site::new();
    let mut client = site.connect();
    let mut ask = || {
        client.write_all(get("/small.txt").as_bytes()).expect("the server reads");
        read_one(&mut client).1
    };
    assert_eq!(ask(), SMALL.as_bytes());
    std::fs::write(site.root().join("small.txt"), "changed").expect("the folder can be written to");
    let since = Instant::now();
    while ask() != b"changed" {
        assert!(since.elapsed() < SOON, "the change was not seen");
    }
}

fn find(site: &Site, file: &str) -> Arc<Asset> {
    match site.files.find(Some(SitePath::decode(file, false).expect("it is a path"))) {
        Ok(Found::Asset(asset)) => asset,
        other => panic!("{file} gave {other:?}"),
    }
}

/// Repeats `keep` until it was given the current asset: FileServer may read a file that was just written more than once.
fn keep_current(site: &Site, file: &str, mut keep: impl FnMut(&Arc<Asset>)) -> Arc<Asset> {
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < SOON, "the file does not come to rest");
        let asset = find(site, file);
        keep(&asset);
        if Arc::ptr_eq(&asset, &find(site, file)) {
            return asset;
        }
    }
}

/// Changes a file, and waits until the lease of the previous version is revoked.
fn outdate(site: &Site, file: &str, old: Arc<Asset>) -> Weak<Asset> {
    std::fs::write(site.root().join(&file[1..]), "changed").expect("the folder can be written to");
    let since = Instant::now();
    while !old.is_revoked() {
        assert!(since.elapsed() < SOON, "the change was not seen");
        find(site, file);
    }
    let weak = Arc::downgrade(&old);
    drop(old);
    weak
}

#[test]
fn an_outdated_file_is_let_go_though_nobody_asks() {
    let site = Site::new();
    let mut client = site.connect();
    let mut ask = |path| {
        client.write_all(get(path).as_bytes()).expect("the server reads");
        read_one(&mut client).0
    };
    let old = keep_current(&site, "/small.txt", |_| assert!(ask("/small.txt").contains(" 200 ")));
    // Before the change: after it, the connection may let the file go at any moment.
    let by_this_test_and_the_cache = 2;
    assert!(Arc::strong_count(&old) > by_this_test_and_the_cache, "the connection keeps it");
    let old = outdate(&site, "/small.txt", old);
    let since = Instant::now();
    while old.upgrade().is_some() {
        assert!(since.elapsed() < SOON, "it is still kept");
        std::thread::yield_now();
    }
}

#[test]
fn stopping_lets_the_answer_at_work_be_the_last() {
    // First a response that fits into the buffers of the sockets, so it is written when the server ends: then one more request may
    // be answered. Then a larger response, which is in progress until it is read.
    for (bytes, further_max) in [(2_000_000, 1), (20_000_000, 0)] {
        stops_behind_an_answer_of(bytes, further_max);
    }
}

fn stops_behind_an_answer_of(bytes: usize, further_max: usize) {
    let site = Site::new();
    let mut client = site.connect();
    let large = pattern(bytes);
    std::fs::write(site.root().join("huge.bin"), &large).expect("the folder can be written to");
    client.write_all(get("/huge.bin").as_bytes()).expect("the server reads");
    let mut first = [0; 15];
    client.read_exact(&mut first).expect("the answer has begun");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let has_begun = Arc::clone(&site.stopping);
    let stopping = std::thread::spawn(move || drop(site));
    wait_until("the server does not end", || has_begun.load(Ordering::SeqCst));
    client.write_all(get("/small.txt").repeat(2).as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the connection is not reset");
    stopping.join().expect("no panic");
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a head");
    assert!(answer[head + 4..].starts_with(&large), "the answer at work is whole");
    let further = String::from_utf8_lossy(&answer[head + 4 + large.len()..]).matches(SMALL).count();
    assert!(further <= further_max, "{further}");
}

#[test]
fn when_the_file_server_is_busy_clients_are_asked_to_come_back() {
    // This mailbox has no room.
    let (files, mailbox) = detached(0);
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let sites = vec![super::super::Site::new(Arc::default(), files, None)];
    let site = Site::with_sites(Limits::default(), sites, Vec::new(), vec![folder]);
    let answer = site.text(get("/small.txt"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(field(&answer, "Retry-After"), Some("1"));
    drop(mailbox);
}
