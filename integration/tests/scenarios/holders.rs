//! A file that several peers share comes from all of them, whatever one of them does.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use integration::http::until;
use integration::{Finished, Passing, Peer, Process, Proxy, Sandbox, sha256_hex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const NAME: &str = "x.iso";
const PIECE_BYTES: usize = 1 << 20;
/// So slow that a file lasts for seconds.
const LIMIT: &str = "4M";

fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    StdRng::seed_from_u64(9).fill_bytes(&mut bytes);
    bytes
}

fn give(peer: &Peer, content: &[u8]) {
    peer.put(NAME, content);
    peer.put("keyword.txt", format!("disk, {NAME};").as_bytes());
}

fn share(peer: &Peer, limit: &str) -> Process {
    let sharing = peer.start(&["share", "--up-limit", limit]);
    sharing.event("result", |event| event["kind"] == "published");
    sharing
}

/// Waits until the server lists the file of each holder with an address.
fn wait_until_reachable(asker: &Peer, holders: usize) {
    until("the holders can be dialled", || {
        let search = asker.run(&["search", "disk"]).expect(0);
        let found = search.answers("file");
        let reachable = found.iter().filter(|hit| !hit["address"].is_null()).count();
        (reachable == holders).then_some(())
    });
}

/// Checks the file, and returns how many bytes each holder has sent.
#[track_caller]
fn check(got: &Finished, path: &Path, content: &[u8]) -> Vec<(String, u64)> {
    assert_eq!(got.events("file_done").len(), 1, "{:?}", got.lines);
    assert!(std::fs::read(path).expect("it is there") == content, "the bytes differ");
    let told = &got.events("file_holders")[0];
    let count = told["holders"].as_array().map(Vec::len);
    assert_eq!(got.events("file_done")[0]["peers"].as_u64(), count.map(|count| count as u64));
    let parts = told["holders"].as_array().expect("a list of holders");
    let part = |part: &Value| {
        let from = part["from"].as_str().expect("a holder has a name");
        (from.to_owned(), part["bytes"].as_u64().expect("a number of bytes"))
    };
    parts.iter().map(part).collect()
}

fn dropped(got: &Finished) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let events = got.events("file_holder_dropped");
    events.iter().map(|event| (text(&event["from"]), text(&event["fault"]))).collect()
}

/// Changes the file of a holder, which still believes that it has the digest of the content before: a holder can write into its own
/// cache whatever it likes.
fn make_it_lie(peer: &Peer, content: &[u8]) {
    let digests = peer.private().join("digests");
    until("the digest is cached", || {
        peer.run(&["files"]).expect(0);
        let text = std::fs::read_to_string(&digests).ok()?;
        text.contains(NAME).then_some(())
    });
    let mut changed = content.to_vec();
    // In every piece, so that it does not matter which ones are taken from it.
    changed.iter_mut().step_by(PIECE_BYTES / 2).for_each(|byte| *byte ^= 1);
    peer.put(NAME, &changed);
    let there = std::fs::metadata(peer.dir.join(NAME)).expect("it is there");
    let line = format!(
        "{} {} {} {} {} {} {} {NAME}\n",
        sha256_hex(content),
        there.len(),
        there.mtime(),
        there.mtime_nsec(),
        there.ctime(),
        there.ctime_nsec(),
        there.ino()
    );
    std::fs::write(digests, line).expect("it can be written");
}

#[test]
fn a_file_comes_from_all_holders_and_one_that_lies_is_named() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, cleo, dora] =
        ["ann", "ben", "cleo", "dora"].map(|name| sandbox.peer(name, server.address()));
    let content = noise(24 * PIECE_BYTES + 777);
    for holder in [&ann, &ben, &cleo] {
        give(holder, &content);
    }
    make_it_lie(&ben, &content);
    let _sharing = [share(&ann, LIMIT), share(&ben, LIMIT), share(&cleo, LIMIT)];
    wait_until_reachable(&dora, 3);
    let digest = format!("sha256:{}", sha256_hex(&content));
    let got = dora.run(&["get", &digest]).expect(0);
    let parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    assert_eq!(dropped(&got), [("ben".to_owned(), "lied".to_owned())]);
    let event = &got.events("file_holder_dropped")[0];
    assert!(event["piece"].as_u64().is_some_and(|piece| piece < 25), "{event}");
    assert!(
        event["reason"].as_str().is_some_and(|reason| reason.contains("ben has sent a piece")),
        "{event}"
    );
    let mut names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ann", "cleo"], "nothing of the liar is used");
    assert_eq!(parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), content.len() as u64);
    let told = &got.events("file_holders")[0]["holders"];
    let mut routes = told.as_array().expect("a list").iter().map(|part| &part["route"]);
    assert!(
        routes.all(|route| *route == "direct"),
        "a transfer that is stopped says nothing about the way: {told}"
    );
    let left = std::fs::read_dir(dora.dir.join("downloads")).expect("it is there").count();
    assert_eq!(left, 1, "nothing is left beside the file");
}

#[test]
fn a_holder_that_is_killed_and_one_that_is_slow_do_not_matter() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, cleo, dora] =
        ["ann", "ben", "cleo", "dora"].map(|name| sandbox.peer(name, server.address()));
    let content = noise(40 * PIECE_BYTES);
    for holder in [&ann, &ben, &cleo] {
        give(holder, &content);
    }
    let (_ann, killed, _slow) = (share(&ann, LIMIT), share(&ben, LIMIT), share(&cleo, "64K"));
    wait_until_reachable(&dora, 3);
    let getting = dora.start(&["get", NAME]);
    let some = 4 * PIECE_BYTES as u64;
    getting.event("file_progress", |event| event["done"].as_u64().is_some_and(|done| done >= some));
    killed.kill();
    let got = getting.finish().expect(0);
    let parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    let mut faults = dropped(&got);
    faults.sort();
    let expected =
        [("ben", "gone"), ("cleo", "slow")].map(|(name, fault)| (name.to_owned(), fault.to_owned()));
    assert_eq!(faults, expected);
    assert_eq!(parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), content.len() as u64);
    assert_eq!(parts[0].0, "ann");
}

#[test]
fn a_receiver_that_is_killed_goes_on_with_the_pieces_that_it_has_also_through_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    // The proxy removes the ports at which the peers could be dialled.
    let firewall = Proxy::start(server.address(), Passing::WithoutPorts);
    let [ann, ben, dora] = ["ann", "ben", "dora"].map(|name| sandbox.peer(name, firewall.address()));
    let content = noise(24 * PIECE_BYTES);
    give(&ann, &content);
    give(&ben, &content);
    let _sharing = [share(&ann, LIMIT), share(&ben, LIMIT)];
    let getting = dora.start(&["get", NAME]);
    let records = dora.dir.join("downloads").join(format!(".switchboard-{}.pieces", sha256_hex(&content)));
    until("pieces are recorded", || {
        std::fs::metadata(&records).is_ok_and(|records| records.len() > 0).then_some(())
    });
    let got = getting.kill();
    assert!(got.events("file_done").is_empty(), "it was killed before the end");
    let got = dora.run(&["get", NAME]).expect(0);
    let parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    let fetched: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    assert!(fetched < content.len() as u64, "{fetched} bytes are fetched again");
    let told = &got.events("file_holders")[0]["holders"];
    let routes: Vec<&Value> = told.as_array().expect("a list").iter().map(|part| &part["route"]).collect();
    assert!(routes.iter().all(|route| *route == "server"), "{routes:?}");
    assert_eq!(dropped(&got), []);
}
