//! The server stops and starts again: every client of a peer is notified at once, and no request hangs.

use std::time::{Duration, Instant};

use integration::{Peer, Process, Sandbox, Server};
use serde_json::Value;

/// Deadline for the answer to a request without a server, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

fn is_connection(state: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["state"] == state
}

#[test]
fn every_client_is_told_that_the_server_is_gone_and_back() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let (address, data) = (server.address(), server.data().to_owned());
    let (a, b) = (sandbox.peer("A", address), sandbox.peer("B", address));
    let mut prompt = a.start(&[]);
    prompt.event("joined", |_| true);
    // Two commands that the process of the prompt executes, and one in a process of its own.
    let clients = [a.start(&["listen"]), a.start(&["share"]), b.start(&["listen"])];
    for client in &clients {
        client.event("joined", |_| true);
    }
    server.stop();
    for client in clients.iter().chain([&prompt]) {
        let lost = client.event("connection", is_connection("lost"));
        assert_eq!(lost["server"], address.to_string());
        assert!(lost["retry_ms"].as_u64().is_some_and(|ms| ms < 5_000), "{lost}");
        client.event("connection", is_connection("trying"));
    }
    let begun = Instant::now();
    prompt.type_line("/who");
    prompt.event("error", |e| e["message"].as_str().is_some_and(|m| m.contains("not connected")));
    for command in [&["who"][..], &["search", "sea"], &["get", "x.txt"]] {
        a.run(command).expect(2).says(&["not connected", &address.to_string()]);
    }
    a.run(&["send", "B", "hello"]).expect(2).says(&["not connected", "queued on disk"]);
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    // A client that connects now is notified as well.
    let late = a.start(&["listen"]);
    late.event("connection", is_connection("trying"));

    let _server = Server::start_at(&data, &address.to_string());
    for client in clients.iter().chain([&prompt, &late]) {
        client.event("connection", is_connection("back"));
    }
    clients[2].event("message", |m| m["text"] == "hello");
    let count =
        |client: &Process| client.events("connection", 1).iter().filter(|e| e["state"] == "lost").count();
    assert!(clients.iter().all(|client| count(client) == 1), "each loss is told once");
}

#[test]
fn a_peer_says_which_server_it_is_back_at_and_which_has_another_key() {
    let sandbox = Sandbox::new();
    let first = sandbox.server_to_restart();
    let second = Server::start_at(&sandbox.path("second_data"), "127.0.0.1:0");
    let (data, address) = (first.data().to_owned(), first.address().to_string());
    let a = sandbox.peer("A", first.address());
    let a = Peer { server: format!("{address},{}", second.address()), ..a };
    let listening = a.start(&["listen"]);
    listening.event("joined", |joined| joined["server"] == address);
    first.stop();
    let lost = listening.event("connection", is_connection("lost"));
    assert_eq!(lost["server"], address);
    let back = listening.event("connection", is_connection("back"));
    assert_eq!(back["server"], second.address().to_string());
    listening.kill();
    // The next server can be joined, but somebody may have taken the place of the first one.
    std::fs::remove_dir_all(&data).expect("the sandbox can be written");
    let _impostor = Server::start_at(&data, &address);
    let asked =
        a.run(&["who"]).expect(0).says(&[&address, "is a new server", "going on with another server"]);
    assert_eq!(asked.events("joined")[0]["server"], second.address().to_string());
}
