//! Files that are damaged, missing, or readable by others when a peer or the server starts.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use integration::{Peer, Sandbox, Server, http};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

/// The peers A and B, after they have exchanged a message.
fn acquainted(sandbox: &Sandbox, server: &Server) -> (Peer, Peer) {
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    b.run(&["who"]).expect(0);
    a.run(&["send", "B", "first"]).expect(0);
    b.run(&["listen", "--count", "1", "--timeout", "60"]).expect(0);
    (a, b)
}

#[test]
fn a_peer_that_lost_pins_does_not_start_until_the_keys_are_trusted_again() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = acquainted(&sandbox, &server);
    let pins = a.private().join("known_peers");
    let whole = std::fs::read_to_string(&pins).expect("it reads");
    let key = b.fingerprint();

    for (damaged, says) in
        [(whole.replace(&key[..8], "not hex "), "known_peers line 1"), (String::new(), "known_peers lacks B")]
    {
        std::fs::write(&pins, &damaged).expect("it can be written");
        let refused = a.run(&["send", "B", "for an impostor?"]).expect(1);
        assert_eq!(std::fs::read_to_string(&pins).ok(), Some(damaged));
        refused.says(&[says]);
    }
    std::fs::remove_file(&pins).expect("it is there");
    a.run(&["who"]).expect(1).says(&["known_peers lacks B", &format!("trust B {key}")]);
    a.run(&["trust", "B", &key]).expect(0);
    a.run(&["send", "B", "second"]).expect(0);
    let received = b.run(&["listen", "--count", "1", "--timeout", "60"]).expect(0);
    assert_eq!(received.events("message")[0]["text"], "second");
    assert_eq!(received.events("message")[0]["number"], 2);
}

#[test]
fn a_lost_pin_does_not_let_another_key_replace_the_known_one() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, _) = acquainted(&sandbox, &server);
    std::fs::write(a.private().join("known_peers"), "").expect("it can be written");
    let other = "ab".repeat(32);
    // The user trusts another key, so the numbers start again.
    a.run(&["trust", "B", &other]).expect(0);
    let queued = a.run(&["send", "B", "for another"]);
    assert!(queued.events("relayed").is_empty() && queued.events("stored").is_empty(), "{:?}", queued.lines);
}

#[test]
fn a_peer_whose_store_is_missing_or_damaged_starts_anew_only_on_request() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = acquainted(&sandbox, &server);
    let store = a.private().join("store.redb");
    let zeros = vec![0; std::fs::read(&store).expect("it reads").len()];
    for content in [None, Some(Vec::new()), Some(zeros)] {
        match &content {
            None => std::fs::remove_file(&store).expect("it is there"),
            Some(bytes) => std::fs::write(&store, bytes).expect("it can be written"),
        }
        let refused = a.run(&["send", "B", "numbered 1 again?"]).expect(1);
        refused.says(&["store.redb", "the outbox, the history and the message numbers", "store.made"]);
        assert_eq!(std::fs::read(&store).ok(), content);
    }
    std::fs::remove_file(&store).expect("it is there");
    std::fs::remove_file(a.private().join("store.made")).expect("it is there");
    a.run(&["send", "B", "anew"]).expect(0);
    let received = b.run(&["listen", "--count", "1", "--timeout", "60"]).expect(0);
    assert_eq!(received.events("message")[0]["text"], "anew");
}

#[test]
fn the_files_of_the_server_are_private_also_those_of_older_versions() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let (a, _) = acquainted(&sandbox, &server);
    a.put("keyword.txt", b"color, a.txt");
    a.put("a.txt", b"red");
    let sharing = a.start(&["share"]);
    let list = server.data().join("index/a.files");
    http::until("the share is kept", || list.exists().then_some(()));
    sharing.kill();
    let data = server.data().to_owned();
    let server = server.restart();
    let check = || {
        for name in ["", "index"] {
            assert_eq!(mode(&data.join(name)), 0o700, "{name}");
        }
        for name in ["store.redb", "store.made", "lock"] {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
        // The Index reads its files, and corrects their modes, while the server is serving already.
        for name in ["index/a.txt", "index/a.files"] {
            http::until(name, || (mode(&data.join(name)) == 0o600).then_some(()));
        }
    };
    check();
    for name in ["", "index", "store.redb", "lock", "index/a.txt", "index/a.files"] {
        std::fs::set_permissions(data.join(name), Permissions::from_mode(0o755)).expect("it is ours");
    }
    let server = server.restart();
    check();
    server.stop();
}
