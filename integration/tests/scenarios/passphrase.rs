//! What can be read on the disk of a peer that has a passphrase or keeps no history.

use std::path::{Path, PathBuf};

use integration::{Finished, Peer, Sandbox};

/// A marker in each text; it occurs nowhere else.
const SECRET: &str = "the-treasure-lies-under-the-third-oak";

fn write(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.path(name);
    std::fs::write(&path, text).expect("the sandbox can be written");
    path.to_str().expect("temporary folders have plain names").to_owned()
}

/// The files of a folder and those below it that contain the marker or a private key in the clear.
fn readable(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            found.extend(readable(&path));
            continue;
        }
        // The control socket cannot be read.
        let bytes = std::fs::read(&path).unwrap_or_default();
        let contains = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        if contains(SECRET) || contains("BEGIN PRIVATE KEY") {
            found.push(path);
        }
    }
    found
}

fn refused(peer: &Peer, arguments: &[&str], words: &[&str]) -> Finished {
    let finished = peer.run(arguments).expect(1).says(words);
    assert!(!finished.stderr.contains("remove"), "it advises to delete something: {}", finished.stderr);
    finished
}

#[test]
fn a_passphrase_encrypts_keys_and_messages_that_were_plain_before_and_is_needed_from_then_on() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let (right, wrong) =
        (write(&sandbox, "right", "open sesame\n"), write(&sandbox, "wrong", "open barley\n"));
    let listening = b.start(&["listen", "--count", "2"]);
    a.run(&["send", "B", SECRET, "--wait", "60"]).expect(0);
    a.run(&["send", "C", SECRET]).expect(0);
    let fingerprint = a.fingerprint();
    assert_eq!(readable(&a.private()).len(), 3, "keys and store: {:?}", readable(&a.private()));

    let history = a.run(&["--passphrase-file", &right, "history"]).expect(0);
    assert_eq!(history.answers("history").len(), 2);
    assert_eq!(readable(&a.private()), Vec::<PathBuf>::new());
    refused(&a, &["history"], &["store.key", "--passphrase-file"]);
    refused(&a, &["--passphrase-file", &wrong, "history"], &["store.key", "wrong passphrase"]);
    let empty = write(&sandbox, "empty", "\n");
    refused(&a, &["--passphrase-file", &empty, "history"], &["no passphrase"]);

    // It continues as the same peer: numbers, outbox and key are unchanged.
    let sent = a.run(&["--passphrase-file", &right, "send", "B", "again", "--wait", "60"]).expect(0);
    assert_eq!(sent.events("joined")[0]["fingerprint"], fingerprint);
    assert_eq!(sent.events("delivered")[0]["number"], 2);
    assert_eq!(listening.finish().expect(0).events("message")[1]["text"], "again");
    let outbox = a.run(&["--passphrase-file", &right, "outbox"]).expect(0);
    assert_eq!(outbox.answers("outbox")[0]["text"], SECRET);
}

#[test]
fn a_first_run_with_a_passphrase_keeps_nothing_readable_and_a_running_process_asks_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.newcomer("A", server.address()), sandbox.peer("B", server.address()));
    let right = write(&sandbox, "right", "open sesame\n");
    let listening = a.start(&["--passphrase-file", &right, "listen"]);
    listening.event("joined", |_| true);
    b.run(&["send", "A", SECRET, "--wait", "60"]).expect(0);
    // A command through the control socket needs no passphrase.
    let sent = a.run(&["send", "B", SECRET]).expect(0);
    assert_eq!(sent.events("queued")[0]["number"], 1);
    assert_eq!(a.history("B", "received")[0]["text"], SECRET);
    assert_eq!(readable(&a.private()), Vec::<PathBuf>::new());
    listening.kill();
    refused(&a, &["history"], &["store.key", "--passphrase-file"]);
    assert_eq!(readable(&a.private()), Vec::<PathBuf>::new());
}

#[test]
fn without_history_no_text_is_on_the_disk_after_the_run_and_nothing_comes_twice() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let in_store = |peer: &Peer| readable(&peer.private()).contains(&peer.private().join("store.redb"));
    let listening = b.start(&["listen", "--count", "1"]);
    a.run(&["send", "B", SECRET, "--wait", "60"]).expect(0);
    listening.finish().expect(0);
    assert!(in_store(&a) && in_store(&b), "both keep a history");

    let listening = b.start(&["--no-history", "listen", "--count", "2"]);
    listening.event("joined", |_| true);
    let more = [format!("{SECRET} 2"), format!("{SECRET} 3")];
    a.run_with_input(&["--no-history", "send", "B", "-", "--wait", "60"], &more).expect(0);
    let numbers: Vec<_> =
        listening.finish().expect(0).events("message").iter().map(|m| m["number"].clone()).collect();
    assert_eq!(numbers, [2, 3]);
    assert!(!in_store(&a) && !in_store(&b), "neither their own messages nor those of the run before");
    assert_eq!(a.run(&["history"]).expect(0).answers("history").len(), 0);

    // A message that waits is kept, and numbers continue.
    let queued = a.run(&["--no-history", "send", "C", SECRET]).expect(0);
    assert_eq!(queued.events("queued")[0]["number"], 1);
    assert!(in_store(&a));
    let c = sandbox.peer("C", server.address());
    let listening = c.start(&["--no-history", "listen", "--count", "2"]);
    a.run(&["--no-history", "send", "C", "2", "--wait", "60"]).expect(0);
    assert_eq!(listening.finish().expect(0).events("message")[0]["text"], SECRET);
    assert!(!in_store(&a) && !in_store(&c));
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_the_peer_stays_the_same() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let [first, second] = ["first", "second"].map(|name| write(&sandbox, name, name));
    let listening = b.start(&["listen", "--count", "2"]);
    a.run(&["send", "B", SECRET, "--wait", "60"]).expect(0);
    a.run(&["send", "C", SECRET]).expect(0);
    let fingerprint = a.fingerprint();
    let change = |old: Option<&String>, new: Option<&String>| {
        let old = old.map_or(Vec::new(), |old| vec!["--passphrase-file", old]);
        let new = new.map_or(vec!["--remove"], |new| vec!["--new-passphrase-file", new]);
        a.run(&[old, vec!["passphrase"], new].concat())
    };
    let is_set = |finished: integration::Finished| finished.answers("passphrase")[0]["is_set"].clone();

    change(None, None).expect(1).says(&["has no passphrase"]);
    change(Some(&first), Some(&second)).expect(1).says(&["has no passphrase"]);
    assert_eq!(is_set(change(None, Some(&first)).expect(0)), true);
    assert_eq!(readable(&a.private()), Vec::<PathBuf>::new());
    refused(&a, &["history"], &["store.key", "--passphrase-file"]);

    change(Some(&second), Some(&second)).expect(1).says(&["store.key", "wrong passphrase"]);
    change(None, Some(&second)).expect(1).says(&["store.key", "--passphrase-file"]);
    a.run(&["--passphrase-file", &first, "passphrase"]).expect(1).says(&["--new-passphrase-file"]);
    assert_eq!(is_set(change(Some(&first), Some(&second)).expect(0)), true);
    refused(&a, &["--passphrase-file", &first, "history"], &["store.key", "wrong passphrase"]);
    let history = a.run(&["--passphrase-file", &second, "history"]).expect(0);
    assert_eq!(history.answers("history").len(), 2);
    assert_eq!(readable(&a.private()), Vec::<PathBuf>::new());

    let running = a.start(&["--passphrase-file", &second, "listen"]);
    running.event("joined", |event| event["fingerprint"] == fingerprint);
    change(Some(&second), None).expect(1).says(&["another process runs"]);
    running.kill();
    assert_eq!(is_set(change(Some(&second), None).expect(0)), false);
    assert_eq!(readable(&a.private()).len(), 3, "keys and store: {:?}", readable(&a.private()));
    let sent = a.run(&["send", "B", "again", "--wait", "60"]).expect(0);
    assert_eq!(sent.events("joined")[0]["fingerprint"], fingerprint);
    assert_eq!(sent.events("delivered")[0]["number"], 2);
    assert_eq!(listening.finish().expect(0).events("message")[1]["text"], "again");
    assert_eq!(a.run(&["outbox"]).expect(0).answers("outbox")[0]["text"], SECRET);
}
