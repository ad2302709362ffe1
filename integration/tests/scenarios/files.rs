//! Files: found by keyword, fetched from the holder directly or through the server, and equal to the original.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use integration::http::until;
use integration::{Finished, Passing, Peer, Proxy, Sandbox, Server, binary, sha256_hex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use pty::terminal;

#[path = "../../../tests/support/pty.rs"]
mod pty;

const BIG_BYTES: usize = 20 << 20;
/// A file of four chunks, or small files of that size together. At this rate, those after the first chunk take a second and a half.
const PACED_BYTES: usize = 4 * (128 << 10);
const PACED_RATE: &str = "256K";
const PACED_LEAST: Duration = Duration::from_millis(1_500);

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
    let sharing = [a.share(), b.share()];
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
    let sharing = b.share();
    search_and_fetch(&a, &b, "noise", "noise.bin", "server");
    let a = a.at(firewall.address());
    search_and_fetch(&a, &b, "soup", "pea soup.txt", "server");
    sharing.signal(rustix::process::Signal::INT);
    sharing.finish().expect(0);
    let _sharing = a.share();
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
    let sharing = b.share();
    let expected = std::fs::read(b.dir.join("wind.csv")).expect("B has it");
    std::fs::create_dir(a.dir.join("downloads")).expect("it is not there yet");
    let path = a.dir.join("downloads").join("wind.csv");
    std::fs::write(&path, "mine").expect("the sandbox can be written");

    a.run(&["get", "wind.csv"]).expect(1).says(&["wind.csv", "--overwrite", "--keep-both"]);
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"mine");

    let kept = a.run(&["get", "wind.csv", "--keep-both"]).expect(0);
    let numbered = a.dir.join("downloads").join("wind (2).csv");
    check_done(
        &kept,
        "B",
        kept.events("file_done")[0]["route"].as_str().unwrap_or_default(),
        &expected,
        &numbered,
    );
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"mine");
    // Both ends show the same request, and the holder shows who has the file.
    let request = &kept.events("file_request")[0];
    let seen = sharing.event("file_request", |event| event["transfer"] == request["transfer"]);
    assert_eq!(
        (&seen["with"], &seen["direction"], &request["with"]),
        (&json!("A"), &json!("received"), &json!("B"))
    );
    for field in ["name", "sha256", "salt", "offset", "chunks", "route"] {
        assert_eq!(seen[field], request[field], "{field}");
    }
    let sent = sharing.event("file_sent", |event| event["to"] == "A");
    assert_eq!((&sent["name"], &sent["bytes"]), (&json!("wind.csv"), &json!(expected.len())));
    std::fs::remove_file(numbered).expect("it is there");

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

#[test]
fn changes_in_the_directory_are_shared_while_the_peer_runs() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    b.put("keyword.txt", b"");
    let sharing = b.share();
    let published = |pairs: u64| {
        sharing.event("result", |event| event["kind"] == "published" && event["pairs"] == pairs);
    };
    b.put("tide.csv", b"1");
    b.put("keyword.txt", b"sea, tide.csv;");
    published(1);
    assert_eq!(names(&a.run(&["search", "sea"]).expect(0)), [("B".to_owned(), "tide.csv".to_owned())]);
    // As editors save: another file takes the name.
    b.put("keyword.txt~", b"sea, tide.csv; salt, tide.csv;");
    std::fs::rename(b.dir.join("keyword.txt~"), b.dir.join("keyword.txt"))
        .expect("the sandbox can be written");
    published(2);
    b.put("tide.csv", b"other");
    let bytes = || a.run(&["search", "salt"]).expect(0).answers("file")[0]["file"]["bytes"].clone();
    until("the new content", || (bytes() == 5).then_some(()));
    std::fs::remove_file(b.dir.join("tide.csv")).expect("it is there");
    until("no file", || names(&a.run(&["search", "sea"]).expect(0)).is_empty().then_some(()));
}

#[test]
fn files_are_shared_tagged_and_unshared_at_the_prompt() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    b.put("tide.csv", b"1");
    b.put("keyword.txt", b"# mine\n");
    let mut prompt = b.start(&[]);
    for (line, pairs) in
        [("/share tide.csv sea", 1), ("/tag tide.csv salt \"high tide\"", 3), ("/unshare tide.csv Sea", 2)]
    {
        prompt.type_line(line);
        prompt.event("result", |event| event["kind"] == "published" && event["pairs"] == pairs);
    }
    prompt.type_line("/unshare tide.csv");
    until("no file", || names(&a.run(&["search", "salt"]).expect(0)).is_empty().then_some(()));
    let text = std::fs::read_to_string(b.dir.join("keyword.txt")).expect("it is there");
    assert_eq!(text, "# mine\n");
    assert!(b.dir.join("tide.csv").exists(), "only the entries are removed");
    prompt.type_line("/unshare tide.csv");
    prompt.event("error", |error| error.to_string().contains("has no such entry"));
}

#[test]
fn a_new_peer_is_told_how_to_share() {
    let sandbox = Sandbox::new();
    let peer = sandbox.peer("A", sandbox.nobodys_address());
    assert_eq!(peer.run(&["files"]).expect(0).answers("nothing_shared").len(), 1);
}

/// A holder of a file that takes at least 16 seconds to the receiver, through the server.
struct SlowHolder {
    sandbox: Sandbox,
    _server: Server,
    firewall: Proxy,
    a: Peer,
    b: Peer,
    content: Vec<u8>,
}

impl SlowHolder {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.put_site(&[("index.html", "")]);
        let server = sandbox.site_server(&["--transfer-rate", "128K"]);
        let firewall = Proxy::start(server.address(), Passing::WithoutPorts);
        let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, firewall.address()));
        let content = noise(2 << 20);
        b.put("noise.bin", &content);
        b.put("keyword.txt", b"noise, noise.bin;");
        Self { sandbox, _server: server, firewall, a, b, content }
    }

    /// Waits until a part of the file is recorded at the receiver. Returns how many bytes.
    fn wait_for_record(&self) -> u64 {
        let name = format!(".switchboard-{}.state", sha256_hex(&self.content));
        let path = self.a.dir.join("downloads").join(name);
        until("a record of what has arrived", || {
            let state = std::fs::read(&path).ok()?;
            Some(u64::from_le_bytes(*state.first_chunk()?)).filter(|bytes| *bytes > 0)
        })
    }
}

#[test]
fn a_transfer_continues_after_its_receiver_was_killed_and_after_its_connection_broke() {
    let slow = SlowHolder::new();
    let sharing = slow.b.share();
    let getting = slow.a.start(&["get", "noise.bin"]);
    let kept = slow.wait_for_record();
    getting.kill();
    let path = slow.a.dir.join("downloads").join("noise.bin");
    assert!(!path.exists(), "an incomplete file has no name");

    let getting = slow.a.start(&["get", "noise.bin"]);
    let from = getting.event("file_request", |_| true)["offset"].as_u64().expect("a number");
    assert!(from >= kept, "{from}, but {kept} bytes were recorded");
    let done = getting.event("file_progress", |_| true)["done"].as_u64().expect("a number");
    assert!(done > from, "it goes on after {from}, and not at {done}");
    drop(slow.firewall);
    let said = getting.finish().expect(1).stderr;
    assert!(said.contains("bytes are kept, and the same command fetches the rest"), "{said}");

    sharing.kill();

    // The rest, by another server and directly from the holder.
    let fast = Server::start_at(&slow.sandbox.path("fast_data"), "127.0.0.1:0");
    let (a, b) = (slow.a.at(fast.address()), slow.b.at(fast.address()));
    let _sharing = b.share();
    wait_until_reachable(&a, "noise");
    let got = a.run(&["get", "noise.bin"]).expect(0);
    let from = got.events("file_request")[0]["offset"].as_u64().expect("a number");
    assert!(from >= done, "{from}, but {done} bytes had arrived");
    check_done(&got, "B", "direct", &slow.content, &path);
}

#[test]
fn ctrl_c_at_the_prompt_cancels_a_transfer_and_not_the_program() {
    let slow = SlowHolder::new();
    let _sharing = slow.b.share();
    let (mut keys, theirs) = terminal();
    let mut command = Command::new(binary("peer"));
    command.arg("--dir").arg(&slow.a.dir).args(["--server", &slow.firewall.address().to_string()]);
    let theirs = || Stdio::from(theirs.try_clone().expect("it is open"));
    command.env("TERM", "xterm").stdin(theirs()).stdout(theirs()).stderr(theirs());
    let mut prompt = Killed(command.spawn().expect("it can be started"));
    let screen = Arc::<Mutex<String>>::default();
    let (mut shown, copy) = (keys.try_clone().expect("it is open"), Arc::clone(&screen));
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = shown.read(&mut bytes) {
            copy.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    let wait_for = |text: &str| {
        until(text, || screen.lock().expect("nobody panics").contains(text).then_some(()));
    };
    let mut press = |text: &str| keys.write_all(text.as_bytes()).expect("the terminal is open");
    wait_for("online >");
    press("/get noise.bin\r");
    slow.wait_for_record();
    press("\x03");
    wait_for("noise.bin: cancelled");
    press("/files\r");
    wait_for("nothing is shared yet");
    press("/quit\r");
    let status = until("the end of the program", || prompt.0.try_wait().expect("it was started"));
    assert!(status.success(), "{status}");
    assert!(!slow.a.dir.join("downloads").join("noise.bin").exists());
}

/// Kills a process at the end of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn limits_hold_for_the_files_that_are_fetched_and_for_those_that_others_fetch() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [a, b, c] = ["A", "B", "C"].map(|name| sandbox.peer(name, server.address()));
    let content = noise(PACED_BYTES);
    for (holder, file, folder) in [(&a, "paced.bin", "paced"), (&b, "free.bin", "free")] {
        holder.put(file, &content);
        for (number, part) in content.chunks(PACED_BYTES / 16).enumerate() {
            holder.put(&format!("{folder}/{number}"), part);
        }
        holder.put("keyword.txt", format!("noise, {file}; noise, {folder}/*;").as_bytes());
    }
    let slow = a.start(&["share", "--up-limit", PACED_RATE]);
    slow.event("result", |e| e["kind"] == "published");
    let fast = b.share();
    // The time is measured at the receiver, from before the request; so it is never less than the transfer takes.
    let limited = ["--down-limit", PACED_RATE];
    for (file, from, options, count) in [
        ("paced.bin", "A", [].as_slice(), 1),
        ("free.bin", "B", &limited, 1),
        ("paced/*", "A", &[], 16),
        ("free/*", "B", &limited, 16),
    ] {
        let begun = Instant::now();
        let arguments = [["get", file, "--from", from].as_slice(), options].concat();
        let got = c.run(&arguments).expect(0);
        assert!(begun.elapsed() >= PACED_LEAST, "{file} took {:?}", begun.elapsed());
        assert_eq!(got.events("file_done").len(), count, "{:?}", got.lines);
    }
    for file in ["paced.bin", "free.bin"] {
        assert!(std::fs::read(c.dir.join("downloads").join(file)).is_ok_and(|bytes| bytes == content));
    }
    // A process that is attached to another one moves no files.
    let refused = a.run(&["files", "--up-limit", "1M"]).expect(1).events("error");
    let told = |error: &Value| error["message"].as_str().is_some_and(|text| text.contains("--up-limit"));
    assert!(refused.iter().any(told), "{refused:?}");
    let refused = c.run(&["get", "free.bin", "--down-limit", "1K"]).expect(2);
    assert!(refused.stderr.contains("the lowest limit is 64K"), "{}", refused.stderr);
    drop((slow, fast));
}
