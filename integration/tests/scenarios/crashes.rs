//! Crashes (SIGKILL): no message is lost or doubled, and the order stays.

use integration::{Peer, Sandbox, Server, numbered};
use rustix::process::Signal;
use serde_json::Value;

fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["text"].as_str()).collect()
}

/// Lets two peers join once, so that the server knows them.
fn acquaint(sandbox: &Sandbox, server: std::net::SocketAddr) -> (Peer, Peer) {
    let (a, b) = (sandbox.peer("A", server), sandbox.peer("B", server));
    a.run(&["who"]).expect(0);
    b.run(&["who"]).expect(0);
    (a, b)
}

#[test]
fn messages_stored_on_a_server_that_restarts_arrive_once() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server_to_restart();
    let (a, b) = acquaint(&sandbox, server.address());
    let stored = a.run_with_input(&["send", "B", "-"], &lines(1..=20)).expect(0);
    assert_eq!(stored.events("stored").len(), 20);
    server = server.restart();
    let stored = a.run_with_input(&["send", "B", "-"], &lines(21..=40)).expect(0);
    assert_eq!(stored.events("stored").len(), 20);
    server = server.crash_and_restart();

    let listening = b.start(&["listen", "--count", "41"]);
    listening.events("message", 40);
    // The next message is the next in order, and nothing comes twice.
    a.run(&["send", "B", "line 41", "--wait", "60"]).expect(0);
    let received = listening.finish().expect(0);
    assert_eq!(texts(&received.events("message")), lines(1..=41));
    assert!(a.history("B", "sent").iter().all(|record| record["delivered"] == true));
    server.stop();
}

#[test]
fn a_sender_gets_all_receipts_although_the_server_is_killed_meanwhile() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server_to_restart();
    let (a, b) = acquaint(&sandbox, server.address());
    let listening = b.start(&["listen", "--count", "160"]);
    listening.event("joined", |_| true);
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    for round in 0..4_u64 {
        let first = round * 40 + 1;
        lines(first..=first + 39).iter().for_each(|line| sending.type_line(line));
        // Kill in the middle: some messages are delivered, some relayed, some in flight.
        let begun = usize::try_from(first + 4).expect("it is small");
        sending.events("delivered", begun);
        server = server.crash_and_restart();
    }
    sending.end_input();
    let sent = sending.finish().expect(0);
    let delivered = numbered(sent.events("delivered"));
    assert!(delivered.keys().copied().eq(1..=160));
    let received = listening.finish().expect(0);
    assert_eq!(texts(&received.events("message")), lines(1..=160));
    server.stop();
}

#[test]
fn a_sender_that_stays_gets_all_receipts_although_the_recipient_is_killed_meanwhile() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = acquaint(&sandbox, server.address());
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    // Each process of the recipient begins with the messages that the previous one has not confirmed on disk.
    let mut shown: Vec<Value> = Vec::new();
    for round in 0..4_u64 {
        let (before, after) = (round * 20, round * 20 + 20);
        let listening = b.start(&["listen"]);
        listening.event("joined", |_| true);
        if before > 0 {
            listening.event("message", |m| m["number"] == before);
        }
        // The recipient is stopped (SIGSTOP), so the server sends messages that it does not take. Then it is killed.
        listening.signal(Signal::STOP);
        lines(before + 1..=after).iter().for_each(|line| sending.type_line(line));
        sending.event("relayed", |e| e["number"] == after);
        shown.extend(listening.kill().events("message"));
    }
    sending.end_input();
    let listening = b.start(&["listen"]);
    listening.event("message", |m| m["number"] == 80);
    let sent = sending.finish().expect(0);
    assert!(numbered(sent.events("delivered")).keys().copied().eq(1..=80));
    assert_eq!(sent.events("joined").len(), 1, "nothing but the server has sent anything anew");
    listening.signal(Signal::INT);
    shown.extend(listening.finish().expect(0).events("message"));
    shown.sort_by_key(|message| message["number"].as_u64());
    shown.dedup_by_key(|message| message["number"].as_u64());
    assert_eq!(texts(&shown), lines(1..=80), "all are shown");
    assert_eq!(texts(&b.history("A", "received")), lines(1..=80));
    server.stop();
}

#[test]
fn messages_queued_without_a_server_go_when_there_is_one() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let (a, b) = acquaint(&sandbox, server.address());
    let address = server.address();
    let data = server.data().to_owned();
    server.stop();
    let queued = a.run_with_input(&["send", "B", "-"], &lines(1..=3)).expect(2);
    assert_eq!(queued.events("queued").len(), 3, "{:?}", queued.lines);

    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    sending.type_line("line 4");
    sending.end_input();
    sending.events("queued", 1);
    // The peer has no server: it reports that once, and retries until there is one.
    sending.event("error", |_| true);
    let server = Server::start_at(&data, &address.to_string());
    let received = b.run(&["listen", "--count", "4", "--timeout", "60"]).expect(0);
    sending.finish().expect(0);
    assert_eq!(texts(&received.events("message")), lines(1..=4));
    server.stop();
}
