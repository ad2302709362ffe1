//! Display of received messages: each once, also by a slow reader, and at least once after a crash.

use std::process::Command;

use integration::{Peer, Process, Sandbox, binary};
use rustix::process::Signal;
use serde_json::Value;

/// More messages than the window, the channels and the socket of a stopped client hold.
const MANY: u64 = 6_000;

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["number"].as_u64()).collect()
}

fn send(from: &Peer, to: &Peer, count: u64) {
    let lines: Vec<String> = (1..=count).map(|number| format!("line {number}")).collect();
    from.run_with_input(&["send", to.name(), "-", "--wait", "60"], &lines).expect(0);
}

#[test]
fn messages_that_a_killed_client_has_not_written_are_shown_by_the_next() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let running = b.start(&["share"]);
    running.event("joined", |_| true);
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    listening.signal(Signal::STOP);
    send(&a, &b, 20);
    assert_eq!(listening.kill().events("message").len(), 0);
    let listening = b.run(&["listen", "--count", "20", "--timeout", "10"]).expect(0);
    assert_eq!(numbers(&listening.events("message")), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_stopped_client_misses_nothing_and_delays_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let running = b.start(&["share"]);
    running.event("joined", |_| true);
    let fast = b.start(&["listen", "--count", &MANY.to_string()]);
    fast.event("joined", |_| true);
    let slow = b.start(&["listen", "--count", &MANY.to_string()]);
    slow.event("joined", |_| true);
    slow.signal(Signal::STOP);
    send(&a, &b, MANY);
    let numbered: Vec<u64> = (1..=MANY).collect();
    let count = usize::try_from(MANY).expect("it is small");
    assert_eq!(numbers(&fast.events("message", count)), numbered);
    slow.signal(Signal::CONT);
    assert_eq!(numbers(&slow.finish().expect(0).events("message")), numbered);
    fast.finish().expect(0);
}

#[test]
fn messages_written_to_a_closed_pipe_are_shown_by_the_next_client() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" | head -n 1", "sh"]).arg(binary("peer")).arg("--dir").arg(&b.dir);
    command.args(["--server", &b.server, "--quiet", "listen"]);
    let listening = Process::start("peer B listen | head", command);
    a.run(&["send", "B", "one", "--wait", "60"]).expect(0);
    listening.wait("the message", |lines| lines.iter().find(|line| line.ends_with("A #1: one")).cloned());
    a.run(&["send", "B", "two"]).expect(0);
    // The pipeline ends, so nobody reads the output of the listener.
    listening.finish();
    a.run(&["send", "B", "three"]).expect(0);
    let listening = b.run(&["listen", "--count", "2", "--timeout", "10"]).expect(0);
    assert_eq!(numbers(&listening.events("message")), [2, 3]);
}

#[test]
fn messages_shown_by_a_process_that_was_ended_are_not_shown_again() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    send(&a, &b, 20);
    listening.events("message", 20);
    listening.signal(Signal::TERM);
    listening.finish().expect(0);
    a.run(&["send", "B", "line 21"]).expect(0);
    let listening = b.run(&["listen", "--count", "1", "--timeout", "10"]).expect(0);
    assert_eq!(numbers(&listening.events("message")), [21]);
}

#[test]
fn a_listener_that_takes_over_from_a_process_that_was_ended_shows_nothing_twice() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let owner = b.start(&["share"]);
    owner.event("joined", |_| true);
    let listening = b.start(&["listen", "--count", "40"]);
    listening.event("joined", |_| true);
    send(&a, &b, 20);
    owner.signal(Signal::INT);
    owner.finish().expect(0);
    send(&a, &b, 20);
    assert_eq!(numbers(&listening.finish().expect(0).events("message")), (1..=40).collect::<Vec<_>>());
}
