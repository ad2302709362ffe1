//! Many servers as one, on a real nats-server. Without one in `PATH` these scenarios are skipped.

mod files;
mod import;
mod limits;
mod members;
mod rolling;
mod trouble;

use integration::classroom::write_to_each_other;
use integration::{Character, Nats, Peer, Process, RawConnection, Sandbox, Server, numbered};
use rustix::process::Signal;
use wire::protocol::{ErrorCode, ToPeer};

/// How many names two people come for at the same moment.
const ROUNDS: u32 = 200;

fn lines(from: &str, count: u64) -> Vec<String> {
    (1..=count).map(|n| format!("number {n} from {from}")).collect()
}

/// Checks that a listener has shown each text of a sender once and in order.
fn check_shown(listener: Process, from: &str, texts: &[String]) {
    let messages = listener.finish().expect(0).events("message");
    let shown: Vec<_> = messages.iter().filter(|m| m["from"] == from).map(|m| m["text"].clone()).collect();
    assert_eq!(shown, texts);
}

fn listen(peer: &Peer, count: u64) -> Process {
    let listener = peer.start(&["listen", "--count", &count.to_string(), "--timeout", "60"]);
    listener.event("joined", |_| true);
    listener
}

/// Sends the lines, and waits until the receipts of all are verified.
fn send(from: &Peer, to: &str, texts: &[String]) {
    let sent = from.run_with_input(&["send", to, "-", "--wait", "60"], texts).expect(0);
    assert_eq!(numbered(sent.events("delivered")).len(), texts.len());
}

/// Starts nats-server and two servers.
fn two_servers(sandbox: &Sandbox) -> Option<(Nats, Server, Server)> {
    let nats = Nats::start(sandbox)?;
    let (first, second) = (nats.server(sandbox, "first"), nats.server(sandbox, "second"));
    Some((nats, first, second))
}

#[test]
fn peers_at_different_servers_write_to_each_other() {
    let sandbox = Sandbox::new();
    let Some((_nats, first, second)) = two_servers(&sandbox) else { return };
    let (a, b) = (sandbox.newcomer("A", first.address()), sandbox.newcomer("B", second.address()));
    write_to_each_other(&a, &b);
    let known = b.run(&["who"]).expect(0);
    assert!(known.lines.iter().any(|line| line.contains("\"A\"")), "{:?}", known.lines);
}

#[test]
fn mail_on_a_server_that_is_lost_is_delivered_by_another_one() {
    let sandbox = Sandbox::new();
    let Some((nats, first, second)) = two_servers(&sandbox) else { return };
    let (a, b) = (sandbox.peer("A", first.address()), sandbox.peer("B", second.address()));
    b.run(&["who"]).expect(0);
    let texts = lines("A", 20);
    let sent = a.run_with_input(&["send", "B", "-"], &texts).expect(0);
    assert_eq!(sent.events("stored").len(), 20, "{:?}", sent.lines);
    first.process().signal(Signal::KILL);
    first.finish();
    // A is away too, so nobody but the stream has it.
    let listener = listen(&b, 20);
    check_shown(listener, "A", &texts);
    // The server comes back and still has that mail on its disk. B recognises it.
    let first = nats.server(&sandbox, "first");
    let listener = listen(&b, 1);
    // A gets the receipts of the others too.
    let texts = lines("A again", 1);
    a.at(first.address()).run_with_input(&["send", "B", "-", "--wait", "60"], &texts).expect(0);
    check_shown(listener, "A", &texts);
}

#[test]
fn a_name_has_one_owner_whichever_servers_two_people_come_to() {
    let sandbox = Sandbox::new();
    let Some((_nats, first, second)) = two_servers(&sandbox) else { return };
    let keys = [Character::new("one"), Character::new("two")];
    for round in 0..ROUNDS {
        let name = format!("pupil.{round}");
        let mut both = [&first, &second].map(|server| RawConnection::open(server.address()));
        for (connection, keys) in both.iter_mut().zip(&keys) {
            let join = keys.renamed(&name).join(&connection.greeting);
            connection.say(&join);
        }
        let answers = both.each_mut().map(RawConnection::next_message);
        let welcomed = answers.iter().filter(|answer| matches!(answer, ToPeer::Welcome { .. })).count();
        let refused =
            |answer: &&ToPeer<'_>| matches!(answer, ToPeer::Error { code: ErrorCode::NameTaken, .. });
        assert_eq!((welcomed, answers.iter().filter(refused).count()), (1, 1), "{name}: {answers:?}");
    }
}

#[test]
fn the_newest_join_wins_whichever_server_it_is_at() {
    let sandbox = Sandbox::new();
    let Some((_nats, first, second)) = two_servers(&sandbox) else { return };
    let a = sandbox.peer("A", first.address());
    a.run(&["who"]).expect(0);
    let elsewhere = a.copy_into(&sandbox.path("elsewhere")).at(second.address());
    let older = a.start(&["listen"]);
    older.event("joined", |_| true);
    let newer = elsewhere.start(&["listen"]);
    newer.event("joined", |_| true);
    let older = older.finish().expect(1);
    assert!(older.stderr.contains("joined from another"), "{}", older.stderr);
    // What is written to it arrives at the newer one.
    let b = sandbox.peer("B", first.address());
    send(&b, "A", &lines("B", 1));
    newer.event("message", |message| message["from"] == "B");
}

#[test]
fn peers_go_on_at_another_server_when_theirs_is_killed() {
    let sandbox = Sandbox::new();
    let Some((_nats, first, second)) = two_servers(&sandbox) else { return };
    let a = sandbox.peer("A", second.address());
    let mut b = sandbox.peer("B", first.address());
    b.server = format!("{},{}", first.address(), second.address());
    let listener = listen(&b, 20);
    let texts = lines("A", 20);
    send(&a, "B", &texts[..10]);
    first.process().signal(Signal::KILL);
    send(&a, "B", &texts[10..]);
    check_shown(listener, "A", &texts);
}

#[test]
fn while_nats_is_gone_peers_of_one_server_write_to_each_other_and_the_rest_follows() {
    let sandbox = Sandbox::new();
    let Some((nats, first, second)) = two_servers(&sandbox) else { return };
    let (a, b) = (sandbox.peer("A", first.address()), sandbox.peer("B", first.address()));
    let c = sandbox.peer("C", second.address());
    for peer in [&a, &b, &c] {
        peer.run(&["who"]).expect(0);
    }
    let (at_b, at_c) = (listen(&b, 10), listen(&c, 20));
    let texts = lines("A", 20);
    send(&a, "C", &texts[..10]);
    let nats = nats.kill();
    // A's key is known to its server, so A can join again.
    send(&a, "B", &lines("A to B", 10));
    check_shown(at_b, "A", &lines("A to B", 10));
    let sent = a.start(&["send", "C", "-", "--wait", "60"]);
    let mut sent = sent;
    texts[10..].iter().for_each(|line| sent.type_line(line));
    sent.end_input();
    sent.events("queued", 10);
    let d = sandbox.peer("D", first.address()).run(&["who"]);
    assert_eq!(d.code, Some(2), "nobody knows whether the name is free: {d:?}");
    let why = "does not reach its cluster (NATS), so it does not know whether the name D is free; try";
    assert_eq!(d.stderr.matches(why).count(), 1, "{d:?}");
    assert!(d.stderr.ends_with("given up after 15 seconds; try again\n"), "{d:?}");
    let _nats = nats.start();
    sent.finish().expect(0);
    check_shown(at_c, "A", &texts);
}

#[test]
fn a_cluster_that_cannot_be_reached_is_found_by_check() {
    let sandbox = Sandbox::new();
    let url = format!("nats://{}", sandbox.nobodys_address());
    let mut command = Server::command(&sandbox.path("data"), "127.0.0.1:0");
    command.args(["--cluster", &url, "--check"]);
    Process::start("server --check", command).finish().expect(1).says(&["cluster: cannot connect to", &url]);
}
