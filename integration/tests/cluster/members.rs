//! Members, invitations and released names, which are those of all servers.

use std::path::Path;
use std::process::{Command, Output};

use integration::{Character, Nats, Peer, Process, RawConnection, Sandbox, Server, binary, http};
use serde_json::Value;
use wire::invitation::Invitation;
use wire::protocol::{ErrorCode, ToPeer, ToServer, join_proof_text};

use super::two_servers;

/// How many invitations are used at two servers at the same moment.
const ROUNDS: usize = 20;

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

/// An invitation of this server.
fn invitation(server: &Server, arguments: &[&str]) -> String {
    let answer = succeed(&administer(server, &[&["invite", "--json"], arguments].concat()));
    let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
    answer["invitation"].as_str().expect("there is one").to_owned()
}

/// An invitation of this server, in a file. It names no address.
fn invite(sandbox: &Sandbox, server: &Server) -> std::path::PathBuf {
    let path = sandbox.path("invitation");
    std::fs::write(&path, invitation(server, &[])).expect("the sandbox can be written");
    path
}

/// The members and the open invitations, as this server lists them.
fn listed(server: &Server) -> Vec<Value> {
    let answer = succeed(&administer(server, &["members", "--json"]));
    let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
    answer["listed"].as_array().expect("there is a list").clone()
}

/// The message that joins with an invitation, whichever server it names.
fn join_invited(who: &Character, to: &RawConnection, invitation: &Invitation) -> ToServer<'static> {
    let ToServer::Join { card, proof, .. } = who.join(&to.greeting) else { panic!("it is a Join") };
    let invitation = invitation.claim(&join_proof_text(&to.greeting, &card, None));
    ToServer::JoinInvited { card, proof, invitation }
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
    // A list of its own has no effect, which the log says after the addresses.
    let ignored = with_members(&sandbox, &nats, "ignored");
    ignored.process().wait("a line of the log", |lines| {
        lines.iter().any(|line| line.contains("that of this server has no effect")).then_some(())
    });
    ignored.stop();
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

#[test]
fn an_invitation_of_one_server_is_used_at_another_and_at_none_again() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let first = with_members(&sandbox, &nats, "first");
    let second = nats.server(&sandbox, "second");
    let text = invite(&sandbox, &first);
    while listed(&second).is_empty() {}
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, second.address()));
    let option = ["--invitation", as_text(&text), "who"];
    a.run(&option).expect(0);
    b.run(&option).expect(2).says(&["does not accept the invitation: the invitation is used up"]);
    b.at(first.address()).run(&option).expect(1).says(&["used up"]);
    // A goes on at both, and a server outside of the cluster does not know the invitation.
    a.at(first.address()).run(&["who"]).expect(0);
    let stranger = sandbox.server();
    let third = nats.server(&sandbox, "third");
    let text = invite(&sandbox, &second);
    while listed(&third).len() != 2 {}
    let option = ["--invitation", as_text(&text), "who"];
    b.at(stranger.address())
        .run(&option)
        .expect(2)
        .says(&["does not accept the invitation", "check the address"]);
    let both = Peer { server: format!("{},{}", stranger.address(), third.address()), ..b.clone() };
    both.run(&option).expect(0);
    // What is taken back at one server is taken back at all.
    let for_carl = invitation(&first, &["--name", "carl"]);
    while listed(&second).len() != 3 {}
    assert_eq!(succeed(&administer(&second, &["remove", "Carl"])), "Carl is removed\n");
    while listed(&first).len() != 2 {}
    let path = sandbox.path("for_carl");
    std::fs::write(&path, for_carl).expect("the sandbox can be written");
    let carl = sandbox.peer("carl", first.address());
    carl.run(&["--invitation", as_text(&path), "who"]).expect(1).says(&["used up"]);
}

#[test]
fn an_invitation_that_two_peers_use_at_two_servers_at_the_same_moment_admits_one() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let first = with_members(&sandbox, &nats, "first");
    let second = nats.server(&sandbox, "second");
    let keys = [Character::new("one"), Character::new("two")];
    for round in 0..ROUNDS {
        let text = invitation(&first, &[]);
        let invited: Invitation = text.parse().expect("it is an invitation");
        while listed(&second).len() <= round {}
        let people = [0, 1].map(|side: usize| keys[side].renamed(&format!("pupil.{round}.{side}")));
        let mut both = [&first, &second].map(|server| RawConnection::open(server.address()));
        for (connection, who) in both.iter_mut().zip(&people) {
            let join = join_invited(who, connection, &invited);
            connection.say(&join);
        }
        let answers = both.each_mut().map(RawConnection::next_message);
        let shown = answers.iter().filter(|answer| matches!(answer, ToPeer::Invited { .. })).count();
        // Who came too late by an instant is to try again, and then finds that it is used up.
        let refused = |answer: &&ToPeer<'_>| {
            matches!(answer, ToPeer::Error { code: ErrorCode::NotAdmitted | ErrorCode::Busy, .. })
        };
        assert_eq!((shown, answers.iter().filter(refused).count()), (1, 1), "{round}: {answers:?}");
        assert_eq!(listed(&first).len(), round + 1, "the invitation has become a member");
    }
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
