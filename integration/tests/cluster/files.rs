//! Files of peers at other servers: found, and fetched directly or through the servers.

use integration::{Nats, Passing, Peer, Proxy, Sandbox, Server, sha256_hex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::two_servers;

const BIG_BYTES: usize = 4 << 20;

fn found(at: &Peer, word: &str) -> usize {
    at.run(&["search", word]).expect(0).answers("file").len()
}

#[test]
fn files_are_found_and_fetched_whichever_server_their_holder_is_at() {
    let sandbox = Sandbox::new();
    let Some((nats, first, second)) = two_servers(&sandbox) else { return };
    let a = sandbox.peer("A", first.address());
    a.put("tides.txt", b"low water");
    a.put("keyword.txt", b"sea, tides.txt;");
    let sharing = a.share();
    let b = sandbox.peer("B", second.address());
    let found = |at: &Peer, word: &str| at.run(&["search", word]).expect(0).answers("file").len();
    // The other server gets it a moment later.
    while found(&b, "sea") != 1 {}
    // B dials A, although they are at different servers.
    while b.run(&["search", "sea"]).expect(0).answers("file")[0]["address"].is_null() {}
    let got = b.run(&["get", "tides.txt", "--from", "A"]).expect(0);
    assert_eq!(got.events("file_done")[0]["route"], "direct", "{:?}", got.lines);
    // A server that starts has all of it when it says that it listens.
    let third = nats.server(&sandbox, "third");
    let hits = b.at(third.address()).run(&["search", "sea"]).expect(0).answers("file");
    assert_eq!((&hits[0]["peer"], &hits[0]["online"]), (&"A".into(), &true.into()), "{hits:?}");
    // A change reaches all of them, and one that starts later.
    a.put("neap.txt", b"neap");
    a.put("keyword.txt", b"spring, tides.txt; neap, neap.txt;");
    sharing.event("result", |e| e["kind"] == "published" && e["files"] == 2);
    for at in [&b, &b.at(third.address())] {
        while found(at, "neap|spring") != 2 {}
        assert_eq!(found(at, "sea"), 0);
    }
    let fourth = nats.server(&sandbox, "fourth");
    let at_fourth = b.at(fourth.address());
    assert_eq!((found(&at_fourth, "neap|spring"), found(&at_fourth, "sea")), (2, 0));
    sharing.kill();
    // What replaces it at another server replaces it everywhere.
    a.put("keyword.txt", b"moon, tides.txt;");
    let _sharing = a.at(second.address()).share();
    let at_first = b.at(first.address());
    while found(&at_first, "moon") != 1 {}
    assert_eq!(found(&at_first, "sea|neap|spring"), 0);
}

/// Starts a server that others can connect to, at the NATS of an address.
fn advertising(sandbox: &Sandbox, nats: &Proxy, name: &str) -> Server {
    let (data, address) = (sandbox.path(name), sandbox.nobodys_address().to_string());
    let mut command = Server::command(&data, &address);
    command.args(["--cluster", &format!("nats://{}", nats.address()), "--advertise", &address]);
    Server::launch(&data, command)
}

#[test]
fn a_file_goes_from_server_to_server_if_its_holder_cannot_be_dialled() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let nats = Proxy::start(nats.address(), Passing::All);
    let servers = ["first", "second"].map(|name| advertising(&sandbox, &nats, name));
    let firewalls = servers.each_ref().map(|server| Proxy::start(server.address(), Passing::WithoutPorts));
    let a = sandbox.peer("A", firewalls[0].address());
    let b = sandbox.peer("B", firewalls[1].address());
    let mut big = vec![0; BIG_BYTES];
    StdRng::seed_from_u64(7).fill_bytes(&mut big);
    a.put("noise.bin", &big);
    a.put("keyword.txt", b"noise, noise.bin;");
    let _sharing = a.share();
    while found(&b, "noise") != 1 {}
    let got = b.run(&["get", "noise.bin", "--from", "A"]).expect(0);
    let done = &got.events("file_done")[0];
    assert_eq!((&done["route"], &done["sha256"]), (&"server".into(), &sha256_hex(&big).into()), "{done}");
    for server in servers {
        let log = server.stop().lines;
        assert!(log.iter().any(|line| line.contains("kind=\"file\"")), "each server has relayed it: {log:?}");
    }
    let passed = nats.recorded().len();
    assert!(passed < BIG_BYTES / 4, "{passed} bytes have passed NATS");
}

#[test]
fn who_gets_no_file_is_told_that_the_server_of_its_holder_is_not_advertised() {
    let sandbox = Sandbox::new();
    let Some((_nats, first, second)) = two_servers(&sandbox) else { return };
    let firewalls = [&first, &second].map(|server| Proxy::start(server.address(), Passing::WithoutPorts));
    let a = sandbox.peer("A", firewalls[0].address());
    let b = sandbox.peer("B", firewalls[1].address());
    a.put("tides.txt", b"low water");
    a.put("keyword.txt", b"sea, tides.txt;");
    let _sharing = a.share();
    while found(&b, "sea") != 1 {}
    b.run(&["get", "tides.txt", "--from", "A"])
        .expect(1)
        .says(&["another server of the cluster", "--advertise"]);
}

#[test]
fn a_limited_file_is_found_by_its_names_only_at_every_server() {
    let sandbox = Sandbox::new();
    let Some((nats, first, second)) = two_servers(&sandbox) else { return };
    let a = sandbox.peer("A", first.address());
    a.put("exam.txt", b"exam");
    a.put("tides.txt", b"low water");
    a.put("keyword.txt", b"sea, tides.txt; sea, exam.txt, @Ben;");
    let mut sharing = a.start(&[]);
    sharing.event("result", |e| e["kind"] == "published");
    let [ben, carl] = ["ben", "carl"].map(|name| sandbox.peer(name, second.address()));
    while found(&ben, "sea") != 2 {}
    assert_eq!(found(&carl, "sea"), 1);
    ben.run(&["get", "exam.txt"]).expect(0);
    carl.run(&["get", "exam.txt"]).expect(1).says(&["nobody else shares"]);
    // A server that starts has it as the others do, also after a change.
    sharing.type_line("/share exam.txt --with carl");
    while found(&carl, "sea") != 2 {}
    let third = nats.server(&sandbox, "third");
    let [ben, carl] = [ben, carl].map(|peer| peer.at(third.address()));
    assert_eq!((found(&ben, "sea"), found(&carl, "sea")), (1, 2));
}
