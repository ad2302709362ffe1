//! A file that several peers share comes from all of them, whatever one of them does.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use integration::http::until;
use integration::{Finished, Passing, Peer, Process, Proxy, Sandbox, Server, sha256_hex};
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
    wait_until_found(asker, "disk", holders);
}

fn wait_until_found(asker: &Peer, what: &str, holders: usize) {
    until("the holders can be dialled", || {
        let search = asker.run(&["search", what]).expect(0);
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
fn make_it_lie(peer: &Peer, files: &[(String, Vec<u8>)]) {
    let digests = peer.private().join("digests");
    until("the digests are cached", || {
        peer.run(&["files"]).expect(0);
        let text = std::fs::read_to_string(&digests).ok()?;
        files.iter().all(|(name, _)| text.contains(name)).then_some(())
    });
    let mut lines = String::new();
    for (name, content) in files {
        let mut changed = content.clone();
        // In every piece, so that it does not matter which ones are taken from it.
        changed.iter_mut().step_by(PIECE_BYTES / 2).for_each(|byte| *byte ^= 1);
        peer.put(name, &changed);
        let there = std::fs::metadata(peer.dir.join(name)).expect("it is there");
        let (mtime, ctime) = ((there.mtime(), there.mtime_nsec()), (there.ctime(), there.ctime_nsec()));
        let times = format!("{} {} {} {}", mtime.0, mtime.1, ctime.0, ctime.1);
        lines.push_str(&format!("{} {} {times} {} {name}\n", sha256_hex(content), there.len(), there.ino()));
    }
    std::fs::write(digests, lines).expect("it can be written");
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
    make_it_lie(&ben, &[(NAME.to_owned(), content.clone())]);
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

/// Lets two peers share a file, so slowly that one can be killed in the middle. Returns a third peer, and the two with their names.
fn shared_by_two(sandbox: &Sandbox, server: &Server, content: &[u8]) -> (Peer, [(&'static str, Process); 2]) {
    let sharing = ["ann", "ben"].map(|name| {
        let holder = sandbox.peer(name, server.address());
        give(&holder, content);
        (name, share(&holder, "2M"))
    });
    let dora = sandbox.peer("dora", server.address());
    wait_until_reachable(&dora, 2);
    (dora, sharing)
}

/// Kills the holder that sends a file, after some of it has arrived. Returns its name.
fn kill_the_sender(getting: &Process, sharing: [(&str, Process); 2], some: usize) -> (String, Process) {
    let asked = getting.event("file_request", |_| true);
    let from = asked["with"].as_str().expect("a holder has a name").to_owned();
    let some = some as u64;
    getting.event("file_progress", |event| event["done"].as_u64().is_some_and(|done| done >= some));
    let [one, other] = sharing;
    let (killed, left) = if one.0 == from { (one.1, other.1) } else { (other.1, one.1) };
    killed.kill();
    (from, left)
}

#[test]
fn a_small_file_goes_on_with_another_holder_when_the_one_that_sends_it_is_killed() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    // Too small to come from both.
    let content = noise(6 * PIECE_BYTES + 5);
    let (dora, sharing) = shared_by_two(&sandbox, &server, &content);
    let getting = dora.start(&["get", NAME]);
    let (killed, _left) = kill_the_sender(&getting, sharing, 2 * PIECE_BYTES);
    let other = if killed == "ann" { "ben" } else { "ann" };
    let got = getting.finish().expect(0);
    assert_eq!(dropped(&got), [(killed.clone(), "gone".to_owned())]);
    let reason = got.events("file_holder_dropped")[0]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with(&format!("{killed} has stopped sending")), "{reason}");
    assert!(reason.ends_with(&format!("{other} is asked for {NAME} instead")), "{reason}");
    let requests = got.events("file_request");
    let [_, again] = &requests[..] else { panic!("two requests: {requests:?}") };
    let offset = again["offset"].as_u64().expect("a number of bytes");
    assert!(again["with"] == other && offset >= 2 * PIECE_BYTES as u64, "{again}");
    let mut parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    parts.sort();
    let mut expected = vec![(killed, offset), (other.to_owned(), content.len() as u64 - offset)];
    expected.sort();
    assert_eq!(parts, expected);
    assert_eq!(std::fs::read_dir(dora.dir.join("downloads")).expect("it is there").count(), 1);
}

#[test]
fn only_a_holder_that_the_user_has_named_is_asked_for_a_file_also_if_it_is_killed() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (dora, sharing) = shared_by_two(&sandbox, &server, &noise(6 * PIECE_BYTES));
    let getting = dora.start(&["get", NAME, "--from", "ann"]);
    let (killed, _left) = kill_the_sender(&getting, sharing, PIECE_BYTES);
    assert_eq!(killed, "ann");
    let got = getting.finish().expect(1).says(&["ann has stopped sending", "are kept, and the same command"]);
    assert_eq!((dropped(&got), got.events("file_request").len()), (vec![], 1));
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

#[test]
fn a_part_that_one_holder_has_begun_comes_from_several_and_then_from_one_again() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, dora] = ["ann", "ben", "dora"].map(|name| sandbox.peer(name, server.address()));
    let content = noise(20 * PIECE_BYTES);
    give(&ann, &content);
    give(&ben, &content);
    let _ann = share(&ann, LIMIT);
    wait_until_reachable(&dora, 1);
    let records = dora.dir.join("downloads").join(format!(".switchboard-{}.pieces", sha256_hex(&content)));
    let recorded = || std::fs::metadata(&records).map_or(0, |records| records.len());
    let interrupt = |before: u64, of: &str| {
        let getting = dora.start(&["get", NAME]);
        getting.event("file_request", |request| request["with"] == of);
        until("more pieces are recorded", || (recorded() > before).then_some(()));
        let got = getting.kill();
        assert!(got.events("file_done").is_empty(), "it was killed before the end");
        recorded()
    };
    let begun = interrupt(0, "ann");
    let gone = share(&ben, LIMIT);
    wait_until_reachable(&dora, 2);
    let both = interrupt(begun, "ben");
    gone.kill();
    let got = dora.run(&["get", NAME]).expect(0);
    let parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    let [(from, bytes)] = &parts[..] else { panic!("only ann is here: {parts:?}") };
    let piece_record = 72;
    assert_eq!(
        (from.as_str(), *bytes),
        ("ann", content.len() as u64 - both / piece_record * PIECE_BYTES as u64)
    );
}

#[test]
fn a_file_comes_from_a_holder_too_that_calls_it_differently() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, dora] = ["ann", "ben", "dora"].map(|name| sandbox.peer(name, server.address()));
    let content = noise(24 * PIECE_BYTES);
    give(&ann, &content);
    ben.put("old disk.img", &content);
    ben.put("keyword.txt", b"disk, old disk.img;");
    let _sharing = [share(&ann, LIMIT), share(&ben, LIMIT)];
    wait_until_reachable(&dora, 2);
    let got = dora.run(&["get", NAME]).expect(0);
    let parts = check(&got, &dora.dir.join("downloads").join(NAME), &content);
    let mut names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ann", "ben"]);
    assert_eq!(std::fs::read_dir(dora.dir.join("downloads")).expect("it is there").count(), 1);
}

const SMALL_FILES: usize = 300;

/// Shares a folder with small files and a large one.
fn give_folder(peer: &Peer, large: &[u8]) {
    for n in 0..SMALL_FILES {
        peer.put(&format!("lectures/{n:03}.bin"), &small(n));
    }
    peer.put("lectures/large.iso", large);
    peer.put("keyword.txt", b"disk, lectures/*;");
}

fn small(number: usize) -> Vec<u8> {
    format!("{number:08}").repeat(1024).into_bytes()
}

/// Who has sent the small files, each name as often as it has sent one.
#[track_caller]
fn check_folder(got: &Finished, dora: &Peer, large: &[u8]) -> Vec<String> {
    let folder = dora.dir.join("downloads/lectures");
    for n in 0..SMALL_FILES {
        assert!(
            std::fs::read(folder.join(format!("{n:03}.bin"))).is_ok_and(|there| there == small(n)),
            "{n}"
        );
    }
    assert!(std::fs::read(folder.join("large.iso")).is_ok_and(|there| there == large));
    assert_eq!(
        std::fs::read_dir(&folder).expect("it is there").count(),
        SMALL_FILES + 1,
        "nothing is left beside"
    );
    let fetched = &got.answers("fetched")[0];
    assert_eq!(
        (&fetched["failed"], fetched["files_done"].as_u64()),
        (&Value::from(0), Some(SMALL_FILES as u64 + 1))
    );
    let is_small = |done: &&Value| done["bytes"] == 8192;
    let done = got.events("file_done");
    done.iter()
        .filter(is_small)
        .map(|done| done["from"].as_str().expect("a holder has a name").to_owned())
        .collect()
}

#[test]
fn the_files_of_a_pattern_come_from_all_holders_also_if_one_is_killed() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, dora] = ["ann", "ben", "dora"].map(|name| sandbox.peer(name, server.address()));
    let large = noise(9 * PIECE_BYTES + 5);
    give_folder(&ann, &large);
    give_folder(&ben, &large);
    let _ann = share(&ann, LIMIT);
    let to_kill = share(&ben, LIMIT);
    wait_until_found(&dora, "file:lectures/large.iso", 2);
    let getting = dora.start(&["get", "lectures/*"]);
    getting.event("file_done", |done| done["from"] == "ben");
    to_kill.kill();
    let got = getting.finish().expect(0);
    let from = check_folder(&got, &dora, &large);
    for name in ["ann", "ben"] {
        assert!(from.iter().any(|from| from == name), "{name} has sent some");
    }
    assert_eq!(got.answers("fetched")[0]["peers"], 2);
    let parts = got.events("file_holders");
    assert_eq!(parts.len(), 1, "once for all files: {parts:?}");
    let got = dora.run(&["get", "lectures/*", "--from", "ben"]).expect(1).says(&["not here now"]);
    assert!(got.answers("fetched").is_empty(), "only whom the user has named is asked");
}

#[test]
fn a_small_file_that_one_holder_lies_about_comes_from_another() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [ann, ben, dora] = ["ann", "ben", "dora"].map(|name| sandbox.peer(name, server.address()));
    let large = noise(100);
    give_folder(&ann, &large);
    give_folder(&ben, &large);
    let _ann = share(&ann, LIMIT);
    let lies: Vec<(String, Vec<u8>)> =
        (0..SMALL_FILES).map(|n| (format!("lectures/{n:03}.bin"), small(n))).collect();
    make_it_lie(&ben, &lies);
    let _ben = share(&ben, LIMIT);
    wait_until_found(&dora, "file:lectures/large.iso", 2);
    let got = dora.run(&["get", "lectures/*"]).expect(0);
    assert_eq!(dropped(&got), [("ben".to_owned(), "lied".to_owned())]);
    let from = check_folder(&got, &dora, &large);
    assert!(from.iter().all(|from| from == "ann"), "what was sent instead is not kept");
}
