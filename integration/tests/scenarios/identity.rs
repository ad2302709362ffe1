//! Identities: one identity on two connections, contact cards from files, and keys that change.

use std::time::{Duration, Instant};

use integration::Sandbox;

#[test]
fn the_newest_connection_of_an_identity_takes_over() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    a.run(&["who"]).expect(0);
    let elsewhere = a.copy_into(&sandbox.path("elsewhere"));

    let first = a.start(&["listen"]);
    first.event("joined", |_| true);
    let second = elsewhere.start(&["listen", "--count", "1"]);
    second.event("joined", |_| true);
    let first = first.finish().expect(1);
    let told = first.events("error");
    let told = told[0]["message"].as_str().expect("an error has a message");
    assert!(told.contains("joined from another place"), "{told}");
    assert_eq!(first.stderr.lines().count(), 1, "{}", first.stderr);

    b.run(&["send", "A", "still there?", "--wait", "60"]).expect(0);
    let second = second.finish().expect(0);
    assert_eq!(second.events("message")[0]["text"], "still there?");
}

#[test]
fn an_imported_card_lets_a_peer_write_to_somebody_who_has_never_joined() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    let card = b.run(&["card"]).expect(0).answers("card");
    let text = card[0]["card"].as_str().expect("a card is text");
    let file = sandbox.path("B.card");
    let letter = format!("Dear A, this is my card:\n\n{text}\nYours, B\n");
    std::fs::write(&file, letter).expect("the sandbox can be written");
    let path = file.to_str().expect("temporary folders have plain names");
    let trusted = a.run(&["import", path]).expect(0).answers("trusted");
    assert_eq!(trusted[0]["name"], "B");
    assert_eq!(trusted[0]["fingerprint"], card[0]["fingerprint"]);

    let sent = a.run(&["send", "B", "welcome"]).expect(0);
    assert_eq!(sent.events("stored").len(), 1, "sealed at once and kept: {:?}", sent.lines);

    let received = b.run(&["listen", "--count", "1", "--timeout", "60"]).expect(0);
    assert_eq!(received.events("message")[0]["text"], "welcome");
    let conversation = received.events("conversation");
    assert_eq!(conversation[0]["pinned_now"], true, "B sees A's key for the first time");
}

#[test]
fn a_damaged_or_foreign_card_is_not_imported() {
    let sandbox = Sandbox::new();
    let a = sandbox.peer("A", sandbox.nobodys_address());
    let b = sandbox.peer("B", sandbox.nobodys_address());
    let card = b.run(&["card"]).expect(0).answers("card");
    let text = card[0]["card"].as_str().expect("a card is text");
    // A character in the middle of the block.
    let mut damaged = text.to_owned().into_bytes();
    let at = damaged.len() / 2;
    damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
    for (name, bytes) in [("damaged", damaged), ("none", b"hello".to_vec())] {
        let file = sandbox.path(name);
        std::fs::write(&file, bytes).expect("the sandbox can be written");
        let path = file.to_str().expect("temporary folders have plain names");
        a.run(&["import", path]).expect(1).says(&["card"]);
    }
    a.run(&["import", "/nowhere/B.card"]).expect(2).says(&["/nowhere/B.card"]);
    let own = a.run(&["card"]).expect(0).answers("card");
    let file = sandbox.path("own");
    std::fs::write(&file, own[0]["card"].as_str().expect("a card is text")).expect("it can be written");
    let path = file.to_str().expect("temporary folders have plain names");
    a.run(&["import", path]).expect(1).says(&["own card"]);
}

#[test]
fn a_changed_key_is_refused_until_it_is_trusted() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    let listening = b.start(&["listen", "--count", "1"]);
    a.run(&["send", "B", "to the first B", "--wait", "60"]).expect(0);
    listening.finish().expect(0);
    let old = b.fingerprint();
    server.stop();

    // Another peer with the name B, at another server.
    std::fs::remove_dir_all(&b.dir).expect("it is there");
    let server = integration::Server::start_at(&sandbox.path("other_server_data"), "127.0.0.1:0");
    let (a, b) = (a.at(server.address()), b.at(server.address()));
    let new = b.fingerprint();
    assert_ne!(old, new);
    let listening = b.start(&["listen", "--count", "3"]);
    listening.event("joined", |_| true);

    let refused = a.run(&["send", "B", "to whom"]).expect(1);
    let reason = refused.events("refused")[0]["reason"].to_string();
    assert!(reason.contains(&new) && reason.contains("trust"), "it says what to do: {reason}");
    // `send --wait` also waits until the user trusts the key. Without --wait the error comes at once, as before.
    let waiting = a.start(&["send", "B", "to you", "--wait", "60"]);
    waiting.event("refused", |e| e["with"] == "B");
    a.run(&["send", "B", "and one more"]).expect(1).says(&["B", "identity key", "trust"]);
    assert!(a.history("B", "sent")[1..].iter().all(|record| record["delivered"] == false));

    a.run(&["trust", "B", &new]).expect(0);
    waiting.finish().expect(0);
    let received = listening.finish().expect(0);
    let texts: Vec<_> = received.events("message").iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, ["to whom", "to you", "and one more"]);
    server.stop();
}

#[test]
fn peers_that_stay_up_write_to_each_other_after_all_their_keys_were_renewed_and_destroyed() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let times = ["--renew-keys", "4s", "--card-valid", "12s", "--keep-keys", "12s"];
    let listening = b.start(&[&times[..], &["listen", "--count", "2"]].concat());
    listening.event("joined", |_| true);
    let keys = || -> Vec<_> {
        let keys = std::fs::read_dir(b.private().join("encryption")).expect("it is there");
        keys.map(|entry| entry.expect("it reads").file_name()).collect()
    };
    let first = keys();
    a.run(&["send", "B", "one", "--wait", "60"]).expect(0);
    let deadline = Instant::now() + Duration::from_secs(120);
    while keys().iter().any(|key| first.contains(key)) {
        assert!(Instant::now() < deadline, "the first key is still there: {:?}", keys());
        std::thread::sleep(Duration::from_millis(100));
    }
    a.run(&["send", "B", "two", "--wait", "60"]).expect(0);
    let listened = listening.finish().expect(0);
    // How often depends on how long making a key takes on a busy machine.
    assert!(listened.events("joined").len() > 1, "it joins again with a new card: {:?}", listened.lines);
    assert_eq!(listened.events("message")[1]["text"], "two");
}

#[test]
fn inconsistent_times_of_keys_are_a_usage_error() {
    let sandbox = Sandbox::new();
    let a = sandbox.peer("A", sandbox.nobodys_address());
    for (arguments, why) in
        [(["--card-valid", "9d"], "at most 8 days"), (["--keep-keys", "1d"], "--keep-keys")]
    {
        let refused = a.run(&[&arguments[..], &["card"]].concat()).expect(2);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

#[test]
fn keys_that_were_compared_are_marked_until_another_key_is_trusted() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    a.run(&["verify", "B"]).expect(1).says(&["no key of B is known yet"]);
    let listening = b.start(&["listen", "--count", "1"]);
    a.run(&["send", "B", "hello", "--wait", "60"]).expect(0);
    assert_eq!(listening.finish().expect(0).events("message")[0]["compared"], false);

    let at_a = a.run(&["verify", "B"]).expect(0).answers("comparison");
    let at_b = b.run(&["verify", "a", "--yes"]).expect(0);
    let both = at_b.answers("comparison");
    assert_eq!(at_a[0]["keys"], both[0]["keys"], "both see the same in the same order");
    assert_eq!((&at_a[0]["code"], &at_a[0]["compared"]), (&both[0]["code"], &false.into()));
    assert_eq!(at_b.answers("compared")[0]["fingerprint"], a.fingerprint());
    let compared = |peer: &integration::Peer, name: &str| {
        let who = peer.run(&["who"]).expect(0).answers("peer");
        who.iter().find(|peer| peer["name"] == name).expect("it is known")["compared"].clone()
    };
    assert_eq!((compared(&b, "A"), compared(&a, "B")), (true.into(), false.into()));
    let listening = b.start(&["listen", "--count", "1"]);
    a.run(&["send", "B", "hello again", "--wait", "60"]).expect(0);
    assert_eq!(listening.finish().expect(0).events("message")[0]["compared"], true);

    // Trusting the same key changes nothing; another key was not compared.
    b.run(&["trust", "A", &a.fingerprint()]).expect(0);
    assert_eq!(compared(&b, "A"), true);
    b.run(&["trust", "A", &"0".repeat(64)]).expect(0);
    assert_eq!(compared(&b, "A"), false);
}

#[test]
fn a_successor_is_accepted_without_trust_and_no_message_is_lost() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    for (from, to) in [(&a, &b), (&b, &a)] {
        let listening = to.start(&["listen", "--count", "1"]);
        from.run(&["send", to.name(), "one", "--wait", "60"]).expect(0);
        listening.finish().expect(0);
    }
    a.run(&["verify", "B", "--yes"]).expect(0);
    // A has received the message of B, and B has not seen the receipt, which waits on the server with a message that is sealed
    // for the old key.
    b.run(&["send", "A", "two"]).expect(0);
    a.run(&["send", "B", "two"]).expect(0);
    let thief = b.copy_into(&sandbox.path("elsewhere"));
    let old = b.fingerprint();
    let replaced = b.run(&["successor"]).expect(0).answers("new_key");
    assert_eq!(replaced[0]["old"], old);
    // Twice, before anybody has seen the first successor.
    let again = b.run(&["successor"]).expect(0).answers("new_key");
    let new = again[0]["new"].as_str().expect("it is a fingerprint").to_owned();
    assert_eq!((&again[0]["old"], b.fingerprint()), (&replaced[0]["new"], new.clone()));

    let at_a = a.start(&["listen"]);
    at_a.event("joined", |_| true);
    let at_b = b.start(&["listen"]);
    at_b.event("joined", |_| true);
    b.run(&["successor"]).expect(1).says(&["another process runs"]);
    let succeeded = at_a.event("succeeded", |_| true);
    assert_eq!((&succeeded["with"], &succeeded["new"]), (&"B".into(), &new.clone().into()));
    a.run(&["send", "B", "three", "--wait", "60"]).expect(0);
    b.run(&["send", "A", "three", "--wait", "60"]).expect(0);
    for listening in [at_a, at_b] {
        let messages = listening.events("message", 2);
        let got: Vec<_> = messages.iter().map(|m| (&m["number"], &m["text"])).collect();
        assert_eq!(got, [(&2.into(), &"two".into()), (&3.into(), &"three".into())]);
        assert_eq!(listening.kill().events("message").len(), 2, "nothing comes twice");
    }
    let who = a.run(&["who"]).expect(0).answers("peer");
    let seen = who.iter().find(|peer| peer["name"] == "B").expect("it is known");
    assert_eq!((&seen["fingerprint"], &seen["compared"]), (&new.into(), &false.into()));
    let refused = thief.run(&["who"]).expect(1);
    assert!(refused.stderr.contains("belongs to another key"), "{}", refused.stderr);
}

#[test]
fn an_exported_identity_goes_on_in_another_place() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let write = |name: &str, text: &str| {
        std::fs::write(sandbox.path(name), text).expect("the sandbox can be written");
        sandbox.path(name).to_str().expect("temporary folders have plain names").to_owned()
    };
    let (right, wrong) = (write("right", "open sesame"), write("wrong", "open barley"));
    let file = sandbox.path("A.identity").to_str().expect("temporary folders have plain names").to_owned();
    for (from, to) in [(&a, &b), (&b, &a)] {
        let listening = to.start(&["listen", "--count", "1"]);
        from.run(&["send", to.name(), "before", "--wait", "60"]).expect(0);
        listening.finish().expect(0);
    }
    a.run(&["verify", "B", "--yes"]).expect(0);
    a.run(&["block", "C"]).expect(0);
    let fingerprint = a.fingerprint();

    let running = a.start(&["share"]);
    running.event("joined", |_| true);
    a.run(&["export", &file, "--file-passphrase", &right]).expect(1).says(&["another process runs"]);
    running.kill();
    // Queued only now: the process above would send it.
    a.at(sandbox.nobodys_address()).run(&["send", "B", "stays behind"]).expect(2);
    a.run(&["export", &file]).expect(1).says(&["--file-passphrase"]);
    let exported = a.run(&["export", &file, "--file-passphrase", &right]).expect(0);
    assert_eq!(exported.answers("exported")[0]["queued"], 1);
    a.run(&["export", &file, "--file-passphrase", &right])
        .expect(1)
        .says(&["A.identity", "cannot be written"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("it is there"));
    assert_eq!(mode & 0o777, 0o600);
    let content = std::fs::read_to_string(&file).expect("it is text");
    assert!(!content.contains("PRIVATE KEY"), "{content}");

    std::fs::create_dir(sandbox.path("elsewhere")).expect("the sandbox can be written");
    let elsewhere = integration::Peer { dir: sandbox.path("elsewhere").join("A"), server: a.server.clone() };
    a.run(&["import", &file, "--file-passphrase", &right]).expect(1).says(&["has an identity already"]);
    b.at(server.address())
        .run(&["import", &file, "--file-passphrase", &right])
        .expect(1)
        .says(&["has an identity"]);
    let other = sandbox.newcomer("D", server.address());
    other
        .run(&["import", &file, "--file-passphrase", &right])
        .expect(1)
        .says(&["the identity of A", "--name A"]);
    elsewhere.run(&["import", &file, "--file-passphrase", &wrong]).expect(1).says(&["wrong passphrase"]);
    let under = ["--passphrase-file", &right];
    let import = ["import", &file, "--file-passphrase", &right];
    let imported = elsewhere.run(&[&under[..], &import].concat()).expect(0).answers("imported");
    assert_eq!(imported[0]["fingerprint"], fingerprint);

    // The same key, pins and numbers; nothing of before comes again.
    let at_b = b.start(&["listen"]);
    let at_a = elsewhere.start(&[&under[..], &["listen"]].concat());
    at_a.event("joined", |event| event["fingerprint"] == fingerprint);
    let sent = elsewhere.run(&["send", "B", "after", "--wait", "60"]).expect(0);
    assert_eq!(sent.events("delivered")[0]["number"], 3, "2 stays behind");
    b.run(&["send", "A", "after", "--wait", "60"]).expect(0);
    for (process, number, compared) in [(at_a, 2, true), (at_b, 3, false)] {
        process.events("message", 1);
        let messages = process.kill().events("message");
        let got: Vec<_> = messages.iter().map(|m| (&m["number"], &m["text"], &m["compared"])).collect();
        assert_eq!(got, [(&number.into(), &"after".into(), &compared.into())], "the rest was before");
    }
    assert_eq!(b.history("A", "received").len(), 2);
}
