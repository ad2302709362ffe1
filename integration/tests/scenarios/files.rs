//! Files: found by keyword, fetched from the holder directly or through the server, and equal to the original.

use std::path::Path;

use integration::{Finished, Passing, Peer, Process, Proxy, Sandbox, sha256_hex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const BIG_BYTES: usize = 20 << 20;

/// Pseudo-random bytes, the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
    bytes
}

fn names(search: &Finished) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a hit has names").to_owned();
    let mut found: Vec<(String, String)> =
        search.answers("file").iter().map(|hit| (text(&hit["peer"]), text(&hit["file"]["name"]))).collect();
    found.sort();
    found
}

/// Starts to share, and waits until the server has published it.
fn share(peer: &Peer) -> Process {
    let sharing = peer.start(&["share"]);
    sharing.event("result", |e| e["kind"] == "published");
    sharing
}

/// Searches until the holder can be dialled. The server calls it back first to verify its address.
fn wait_until_reachable(asker: &Peer, query: &str) {
    loop {
        let search = asker.run(&["search", query]).expect(0);
        if search.answers("file").iter().all(|hit| !hit["address"].is_null()) {
            return;
        }
    }
}

#[track_caller]
fn check_done(got: &Finished, holder: &str, route: &str, expected: &[u8], path: &Path) {
    let done = got.events("file_done");
    assert_eq!(done.len(), 1, "{:?}", got.lines);
    assert_eq!(done[0]["route"], route);
    assert_eq!(done[0]["from"], holder);
    assert_eq!(done[0]["bytes"], expected.len());
    assert_eq!(done[0]["sha256"], sha256_hex(expected));
    let told = done[0]["path"].as_str().expect("a path is text");
    let told = std::fs::canonicalize(told).expect("the path that was told is there");
    assert_eq!(told, std::fs::canonicalize(path).expect("the file is there"));
    assert!(std::fs::read(path).expect("it can be read") == expected, "the bytes differ");
}

/// Each peer finds and fetches the files of the other; `route` is the expected route of the bytes.
fn search_and_fetch(asker: &Peer, holder: &Peer, keyword: &str, file: &str, route: &str) {
    let search = asker.run(&["search", keyword]).expect(0);
    let found = names(&search);
    assert!(found.contains(&(holder.name().to_owned(), file.to_owned())), "{found:?}");
    let expected = std::fs::read(holder.dir.join(file)).expect("the holder has it");
    let got = asker.run(&["get", file, "--from", holder.name()]).expect(0);
    let path = asker.dir.join("downloads").join(file);
    check_done(&got, holder.name(), route, &expected, &path);
}

/// Both peers share; `route` is the expected route between them.
fn both_ways(a: &Peer, b: &Peer, route: &str) {
    let big = noise(BIG_BYTES);
    b.put("big noise.bin", &big);
    let keywords = std::fs::read_to_string(b.dir.join("keyword.txt")).expect("a ready peer has one");
    b.put("keyword.txt", format!("{keywords}\nnoise, big noise.bin;").as_bytes());
    let sharing = [share(a), share(b)];
    if route == "direct" {
        wait_until_reachable(a, "picture");
    }

    // One keyword with many files at both peers, case-insensitive; more keywords narrow the result.
    let pictures = a.run(&["search", "PICTURE"]).expect(0);
    let expected = [("A", "lighthouse.svg"), ("A", "sunset.png"), ("B", "compass.svg"), ("B", "waves.png")];
    assert_eq!(names(&pictures), expected.map(|(p, f)| (p.to_owned(), f.to_owned())));
    assert_eq!(names(&b.run(&["search", "sea", "poem"]).expect(0)).len(), 2);
    assert_eq!(names(&a.run(&["search", "\"low water\""]).expect(0)).len(), 2);
    assert!(names(&a.run(&["search", "submarine"]).expect(0)).is_empty());

    search_and_fetch(a, b, "weather", "über den Wolken.txt", route);
    search_and_fetch(a, b, "soup", "pea soup.txt", route);
    search_and_fetch(b, a, "dessert", "crème brûlée.txt", route);
    search_and_fetch(b, a, "night", "lighthouse.svg", route);
    search_and_fetch(a, b, "noise", "big noise.bin", route);

    // By digest, to a given path.
    let sunset = std::fs::read(a.dir.join("sunset.png")).expect("A has it");
    let output = b.dir.join("evening.png");
    let path = output.to_str().expect("temporary folders have plain names");
    let digest = format!("sha256:{}", sha256_hex(&sunset));
    let got = b.run(&["get", &digest, "--output", path]).expect(0);
    check_done(&got, "A", route, &sunset, &output);
    for process in sharing {
        process.signal(rustix::process::Signal::INT);
        process.finish().expect(0);
    }
}

#[test]
fn search_and_fetch_both_ways_directly_from_the_holder() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    let b = sandbox.ready_peer("B", server.address());
    both_ways(&a, &b, "direct");
    let log = server.stop().lines;
    assert!(!log.iter().any(|line| line.contains("kind=\"file\"")), "no file passed the server");
}

#[test]
fn search_and_fetch_both_ways_through_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    // The proxy removes the ports at which the peers could be dialled.
    let firewall = Proxy::start(server.address(), Passing::WithoutPorts);
    let a = sandbox.ready_peer("A", firewall.address());
    let b = sandbox.ready_peer("B", firewall.address());
    both_ways(&a, &b, "server");
    // The proxy saw only ciphertext.
    let recorded = firewall.recorded();
    assert!(recorded.len() > BIG_BYTES, "the big file passed");
    let big = noise(BIG_BYTES);
    for at in [0, BIG_BYTES / 2, BIG_BYTES - 64] {
        assert!(!contains(&recorded, &big[at..at + 64]), "its bytes did not");
    }
    let log = server.stop().lines;
    assert!(log.iter().any(|line| line.contains("kind=\"file\"")), "the server says so");
}

#[test]
fn peers_in_websockets_fetch_from_each_other_and_from_others() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let browser = Proxy::start(server.address(), Passing::AsBrowser);
    let firewall = Proxy::start(server.address(), Passing::WithoutPorts);
    let a = sandbox.ready_peer("A", browser.address());
    let b = sandbox.ready_peer("B", browser.address());
    let big = noise(1 << 20);
    b.put("noise.bin", &big);
    b.put("keyword.txt", b"noise, noise.bin; soup, pea soup.txt;");
    let sharing = share(&b);
    search_and_fetch(&a, &b, "noise", "noise.bin", "server");
    let a = a.at(firewall.address());
    search_and_fetch(&a, &b, "soup", "pea soup.txt", "server");
    sharing.signal(rustix::process::Signal::INT);
    sharing.finish().expect(0);
    let _sharing = share(&a);
    search_and_fetch(&b, &a, "night", "lighthouse.svg", "server");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    let b = sandbox.ready_peer("B", server.address());
    let _sharing = share(&b);
    let expected = std::fs::read(b.dir.join("wind.csv")).expect("B has it");
    std::fs::create_dir(a.dir.join("downloads")).expect("it is not there yet");
    let path = a.dir.join("downloads").join("wind.csv");
    std::fs::write(&path, "mine").expect("the sandbox can be written");

    a.run(&["get", "wind.csv"]).expect(1).says(&["wind.csv"]);
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"mine");

    a.run(&["get", "wind.csv", "--overwrite"]).expect(0);
    assert_eq!(std::fs::read(&path).expect("it is there"), expected);

    // Fetching the same file again is not an error.
    let again = a.run(&["get", "wind.csv"]).expect(0);
    assert_eq!(again.events("file_done")[0]["route"], "here");
    let left: Vec<_> = std::fs::read_dir(a.dir.join("downloads"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").file_name())
        .collect();
    assert_eq!(left, ["wind.csv"], "nothing is left beside it");
}
