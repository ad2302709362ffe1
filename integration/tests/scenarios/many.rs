//! Many files by a pattern: all of them, in their folders, and what is said of those that do not come.

use std::path::Path;

use integration::http::until;
use integration::{Finished, Passing, Peer, Proxy, Sandbox};
use rustix::process::Signal;

const SMALL_FILES: usize = 1500;

/// A holder of small files in two folders, one large file, and one that no pattern here describes.
fn holder(sandbox: &Sandbox, server: std::net::SocketAddr) -> Peer {
    let holder = sandbox.peer("B", server);
    for n in 0..SMALL_FILES {
        let folder = if n % 2 == 0 { "lectures" } else { "lectures/week 1" };
        holder.put(&format!("{folder}/{n:04}.txt"), format!("file {n}").as_bytes());
    }
    holder.put("lectures/large.bin", &large());
    holder.put("lectures/empty", b"");
    holder.put("other.txt", b"other");
    holder.put("keyword.txt", b"*, **;");
    holder
}

fn large() -> Vec<u8> {
    (0..=250).cycle().take(3 << 20).collect()
}

fn sums(got: &Finished) -> [u64; 4] {
    let fetched = got.answers("fetched");
    assert_eq!(fetched.len(), 1, "{:?}", got.lines);
    ["files", "files_done", "here", "failed"].map(|field| fetched[0][field].as_u64().expect("a number"))
}

/// Checks that these files are below a folder, and nothing else.
fn check(downloads: &Path, folders: &[&str]) {
    for n in 0..SMALL_FILES {
        let folder = if n % 2 == 0 { "lectures" } else { "lectures/week 1" };
        let there = std::fs::read(downloads.join(folder).join(format!("{n:04}.txt"))).ok();
        assert_eq!(there, folders.contains(&folder).then(|| format!("file {n}").into_bytes()), "{n}");
    }
    assert!(std::fs::read(downloads.join("lectures/large.bin")).ok() == Some(large()));
    let entries = std::fs::read_dir(downloads.join("lectures")).expect("it is there");
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    assert!(!entries.flatten().any(|entry| hidden(&entry.file_name())), "nothing unfinished is left");
    assert!(!downloads.join("other.txt").exists());
}

#[test]
fn a_pattern_fetches_all_files_that_it_describes_directly() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), holder(&sandbox, server.address()));
    let sharing = b.share();
    while a.run(&["search", "file:other.txt"]).expect(0).answers("file")[0]["address"].is_null() {}
    let got = a.run(&["get", "lectures/**", "--from", "b"]).expect(0);
    let all = SMALL_FILES as u64 + 2;
    assert_eq!(sums(&got), [all, all, 0, 0]);
    let done = got.events("file_done");
    assert_eq!(done.len() as u64, all);
    assert!(done.iter().all(|done| done["route"] == "direct" && done["from"] == "B"), "{}", done[0]);
    assert!(got.events("files_progress").last().is_some_and(|last| last["files_done"] == all));
    check(&a.dir.join("downloads"), &["lectures", "lectures/week 1"]);
    let requests = sharing.events("files_request", 2);
    assert!(requests.iter().all(|request| request["with"] == "A"), "the holder sees who asks: {requests:?}");

    // What is here is not fetched again; another content is an error of its own.
    a.put("downloads/lectures/0002.txt", b"mine");
    std::fs::remove_file(a.dir.join("downloads/lectures/0004.txt")).expect("it is there");
    let got = a.run(&["get", "lectures/*", "--from", "B"]).expect(1).says(&["0002.txt", "--overwrite"]);
    let in_folder = SMALL_FILES as u64 / 2 + 2;
    assert_eq!(sums(&got), [in_folder, in_folder - 1, in_folder - 2, 1]);
    let mine = std::fs::read(a.dir.join("downloads/lectures/0002.txt"));
    assert_eq!(mine.ok().as_deref(), Some(&b"mine"[..]));
    a.run(&["get", "lectures/0002*", "--from", "B", "--overwrite"]).expect(0);
    check(&a.dir.join("downloads"), &["lectures", "lectures/week 1"]);

    let folder = sandbox.path("elsewhere");
    let to = folder.to_str().expect("temporary folders have plain names");
    let got =
        a.run(&["get", "lectures/**", "--from", "B", "--output", to]).expect(1).says(&["not a directory"]);
    assert_eq!(got.events("error").len(), 1, "once, and not for each file");
    std::fs::create_dir(&folder).expect("the sandbox can be written");
    a.run(&["get", "lectures/*.bin", "--from", "B", "--output", to]).expect(0);
    assert!(folder.join("lectures/large.bin").exists());
    let got = a.run(&["get", "lectures/*"]).expect(0);
    assert_eq!(sums(&got), [in_folder, in_folder, in_folder, 0], "whoever has them");
    a.run(&["get", "nothing/*"]).expect(1).says(&["nobody else shares a file"]);
    a.run(&["get", "nothing/*", "--from", "B"]).expect(1).says(&["shares no file"]);
    a.run(&["get", "nothing/*", "--from", "C"]).expect(1).says(&["shares no file"]);
    a.run(&["get", "../*", "--from", "B"]).expect(2);
    sharing.kill();
    a.run(&["get", "lectures/*", "--from", "B"]).expect(1).says(&["not here now"]);
}

#[test]
fn a_pattern_fetches_through_the_server_and_only_what_it_may() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let firewall = Proxy::start(server.address(), Passing::WithoutPorts);
    let (a, b) = (sandbox.peer("A", firewall.address()), holder(&sandbox, firewall.address()));
    b.put("keyword.txt", b"*, **; *, lectures/week 1/**, @carl;");
    let mut prompt = b.start(&[]);
    prompt.event("result", |e| e["kind"] == "published");
    let got = a.run(&["get", "lectures/**", "--from", "B"]).expect(0);
    let some = SMALL_FILES as u64 / 2 + 2;
    assert_eq!(sums(&got), [some, some, 0, 0]);
    assert!(got.events("file_done").iter().all(|done| done["route"] == "server"));
    check(&a.dir.join("downloads"), &["lectures"]);
    // From the prompt too.
    prompt.type_line("/share \"lectures/week 1/**\" --with *");
    let found = || a.run(&["search", "file:\"lectures/week 1/0001.txt\""]).expect(0).answers("file").len();
    until("the other folder", || (found() == 1).then_some(()));
    let mut mine = a.start(&[]);
    mine.type_line("/get lectures/week*/** from B");
    let fetched = mine.event("result", |event| event["kind"] == "fetched");
    assert_eq!((fetched["failed"].as_u64(), fetched["files_done"].as_u64()), (Some(0), Some(some - 2)));
    mine.kill();
    check(&a.dir.join("downloads"), &["lectures", "lectures/week 1"]);
}

#[test]
fn an_interrupted_get_of_many_leaves_nothing_hidden_and_one_that_was_killed_only_until_the_next() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), holder(&sandbox, server.address()));
    let _sharing = b.share();
    until("the files are found", || {
        let found = a.run(&["search", "file:other.txt"]).expect(0).answers("file").len();
        (found == 1).then_some(())
    });
    let folder = a.dir.join("downloads/lectures");
    let hidden = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")).count()
    };
    // So slow that files have no names yet when they are seen.
    let get = ["--down-limit", "64K", "get", "lectures/**.txt", "--from", "B"];
    for signal in [Signal::INT, Signal::KILL] {
        let fetching = a.start(&get);
        until("a file arrives", || (hidden() > 0).then_some(()));
        fetching.signal(signal);
        let got = fetching.finish();
        if signal == Signal::INT {
            got.expect(1).says(&["what has arrived is kept, and the same command fetches the rest"]);
            assert_eq!(hidden(), 0);
            assert!(std::fs::read_dir(&folder).is_ok_and(|mut there| there.next().is_some()), "it is kept");
        }
    }
    a.run(&["get", "lectures/**", "--from", "B"]).expect(0);
    check(&a.dir.join("downloads"), &["lectures", "lectures/week 1"]);
}
