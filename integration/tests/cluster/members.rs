//! Members, invitations and released names, which are those of all servers.

use std::path::Path;
use std::process::{Command, Output};

use integration::{Nats, Peer, Process, Sandbox, Server, binary, http};
use serde_json::Value;

use super::two_servers;

fn administer(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("server"));
    command.args(arguments).arg("--data").arg(server.data());
    command.output().expect("the server's binary runs")
}

#[track_caller]
fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// An invitation of this server, in a file.
fn invite(sandbox: &Sandbox, server: &Server) -> std::path::PathBuf {
    let answer = succeed(&administer(server, &["invite", "--json"]));
    let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
    let path = sandbox.path("invitation");
    let link = answer["link"].as_str().expect("there is a link");
    std::fs::write(&path, link).expect("the sandbox can be written");
    path
}

fn wait_for_error(process: &Process, words: &str) {
    process.event("error", |event| event["message"].as_str().is_some_and(|text| text.contains(words)));
}

/// Starts a server that has a list of members.
fn with_members(sandbox: &Sandbox, nats: &Nats, name: &str) -> Server {
    let (data, address) = (sandbox.path(name), sandbox.nobodys_address().to_string());
    let mut command = nats.command(&data, &address);
    command.arg("--members").arg(sandbox.path("members"));
    Server::launch(&data, command)
}

#[test]
fn who_is_removed_at_one_server_is_refused_at_all() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let first = with_members(&sandbox, &nats, "first");
    // It has no list of its own, and finds that of the cluster.
    let second = nats.server(&sandbox, "second");
    let a = sandbox.peer("A", second.address());
    a.run(&["who"]).expect(1).says(&["admits only members"]);
    let invitation = invite(&sandbox, &second);
    a.run(&["--invitation", as_text(&invitation), "who"]).expect(0);
    let at_first = a.at(first.address());
    while at_first.run(&["who"]).code != Some(0) {}
    let listening = at_first.start(&["listen"]);
    listening.event("joined", |_| true);
    assert_eq!(succeed(&administer(&second, &["remove", "A"])), "A is removed\n");
    wait_for_error(&listening, "removed you from the members");
    listening.finish().expect(1);
    for server in [&first, &second] {
        a.at(server.address()).run(&["who"]).expect(1).says(&["admits only members"]);
    }
    // What was read from the file counts at a server that starts later, and while nobody edits it.
    let third = nats.server(&sandbox, "third");
    a.at(third.address()).run(&["who"]).expect(1).says(&["admits only members"]);
}

/// The status of the answer to a browser that asks who has a name.
fn asked(server: &Server) -> u16 {
    http::get(server.address(), "/switchboard/owner?name=A", &[]).status
}

#[test]
fn a_server_that_runs_when_the_cluster_gets_its_list_says_no_more_who_has_which_name() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let open = nats.server(&sandbox, "open");
    let a = sandbox.peer("A", open.address());
    a.run(&["who"]).expect(0);
    assert_eq!(asked(&open), 200);
    let closed = with_members(&sandbox, &nats, "closed");
    assert_eq!(asked(&closed), 403);
    // It learns of the list a moment later.
    while a.run(&["who"]).code == Some(0) {}
    assert_eq!(asked(&open), 403);
}

#[test]
fn a_name_that_is_released_at_one_server_is_free_at_all() {
    let sandbox = Sandbox::new();
    let Some((nats, first, second)) = two_servers(&sandbox) else { return };
    let third = nats.server(&sandbox, "third");
    let a = sandbox.peer("A", first.address());
    a.put("tides.txt", b"low water");
    a.put("keyword.txt", b"sea, tides.txt;");
    // A server that is away learns of it when it comes back.
    a.at(third.address()).run(&["who"]).expect(0);
    let data = third.data().to_owned();
    third.stop();
    let sharing = a.share();
    let b = sandbox.peer("B", second.address());
    while b.run(&["search", "sea"]).expect(0).answers("file").len() != 1 {}
    assert_eq!(succeed(&administer(&second, &["release", "A", "--mail"])), "A is free\n");
    let ended = sharing.finish();
    assert!(ended.stderr.contains("released your name"), "{}", ended.stderr);
    while !b.run(&["search", "sea"]).expect(0).answers("file").is_empty() {}
    let address = sandbox.nobodys_address();
    let third = Server::launch(&data, nats.command(&data, &address.to_string()));
    let other = Peer { dir: sandbox.path("other/A"), ..a.at(third.address()) };
    std::fs::create_dir(sandbox.path("other")).expect("the sandbox can be written");
    other.run(&["who"]).expect(0);
    for server in [&first, &second] {
        a.at(server.address()).run(&["who"]).expect(1).says(&["belongs to another key"]);
    }
    let output = administer(&first, &["release", "nobody"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody has the name"), "{output:?}");
}
