//! Admission: members, invitations, released names, and servers that prove their key.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use integration::{Finished, Peer, Process, RawConnection, Sandbox, Server, binary, http};
use rustix::process::Signal;
use serde_json::Value;
use wire::frame::{self, LENGTH_BYTES, PREFACE};
use wire::protocol::{Greeting, ToPeer, ToServer};
use wire::server_key::{SIGNATURE_BYTES, ServerKey};

/// Starts a server that admits the members in the file `members`.
fn members_only(sandbox: &Sandbox) -> Server {
    let data = sandbox.path("server_data");
    let mut command = Server::command(&data, "127.0.0.1:0");
    command.arg("--members").arg(sandbox.path("members"));
    Server::launch(&data, command)
}

/// Runs a command of the administrator for the running server of a data directory.
pub(crate) fn administer(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("server"));
    command.args(arguments).arg("--data").arg(data);
    command.output().expect("the server's binary runs")
}

#[track_caller]
pub(crate) fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

#[track_caller]
fn fail(output: &Output, code: i32, words: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(words) && said.lines().count() == 1, "{said}");
}

/// An invitation by `server invite --json`, in a file.
fn invite(sandbox: &Sandbox, server: &Server, arguments: &[&str], file: &str) -> PathBuf {
    let arguments = [&["invite", "--json"], arguments].concat();
    let answer: Value =
        serde_json::from_str(&succeed(&administer(server.data(), &arguments))).expect("it is JSON");
    let path = sandbox.path(file);
    std::fs::write(&path, answer["link"].as_str().expect("there is a link"))
        .expect("the sandbox can be written");
    path
}

/// Writes an invitation as text, without the address of its server.
fn forget_address(invitation: &Path) {
    let link = std::fs::read_to_string(invitation).expect("it is there");
    let (_, text) = link.trim_start_matches("switchboard://").split_once('/').expect("a link");
    std::fs::write(invitation, text).expect("it is written");
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Waits for an error of the process that contains these words.
fn wait_for_error(process: &Process, words: &str) {
    process.event("error", |event| event["message"].as_str().is_some_and(|text| text.contains(words)));
}

fn members(server: &Server) -> Value {
    serde_json::from_str(&succeed(&administer(server.data(), &["members", "--json"]))).expect("it is JSON")
}

#[test]
fn a_peer_joins_a_closed_server_with_an_invitation_and_stays_a_member() {
    let sandbox = Sandbox::new();
    let server = members_only(&sandbox);
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, server.address()));
    let refused = a.run(&["who"]).expect(1).says(&["admits only members", &a.fingerprint()]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);

    let invitation = invite(&sandbox, &server, &["--name", "a"], "invitation");
    let open = members(&server);
    assert_eq!(open["listed"][0]["invitation"]["name"], "a");
    assert!(!open.to_string().contains("secret"), "{open}");
    let option = ["--invitation", as_text(&invitation), "who"];
    b.run(&option).expect(1).says(&["admitted as a only", "--name a"]);
    // A link names the server.
    let astray = Peer { server: sandbox.nobodys_address().to_string(), ..a.clone() };
    astray.run(&option).expect(0);
    b.run(&option).expect(1).says(&["used up"]);
    a.run(&["who"]).expect(0);
    let listed = &members(&server)["listed"];
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["member"]["fingerprint"], a.fingerprint());

    let listening = a.start(&["listen"]);
    listening.event("joined", |_| true);
    assert_eq!(succeed(&administer(server.data(), &["remove", "A"])), "A is removed\n");
    wait_for_error(&listening, "removed you from the members");
    listening.finish().expect(1);
    a.run(&["who"]).expect(1).says(&["admits only members"]);
    fail(&administer(server.data(), &["remove", "A"]), 1, "A is not a member");
}

#[test]
fn a_peer_remembers_the_server_of_the_link_with_which_it_has_joined() {
    let sandbox = Sandbox::new();
    let server = members_only(&sandbox);
    let invitation = invite(&sandbox, &server, &[], "invitation");
    let a = sandbox.peer("A", sandbox.nobodys_address());
    let without_server = || {
        let mut command = Command::new(binary("peer"));
        command.arg("--dir").arg(&a.dir).args(["--json", "who"]);
        Process::start("peer who", command).finish()
    };
    let joined = |finished: Finished| finished.expect(0).events("joined")[0]["server"].clone();
    assert_eq!(joined(a.run(&["--invitation", as_text(&invitation), "who"])), server.address().to_string());
    assert_eq!(joined(without_server()), server.address().to_string());
    // Who names a server means that one.
    a.run(&["who"]).expect(2).says(&["no server at", &a.server]);
    std::fs::write(a.private().join("server"), "no server\n").expect("it is written");
    without_server()
        .expect(1)
        .says(&["\"no server\" is neither a host name nor", "remove it and use --server"]);
}

#[test]
fn whoever_is_listed_by_hand_may_join() {
    let sandbox = Sandbox::new();
    let a = sandbox.peer("A", sandbox.nobodys_address());
    std::fs::write(sandbox.path("members"), format!("# us\n{}\n", a.fingerprint())).expect("it is written");
    let server = members_only(&sandbox);
    a.at(server.address()).run(&["who"]).expect(0);
    let shown = succeed(&administer(server.data(), &["members"]));
    assert!(shown.starts_with("A ") && !shown.contains("not a member"), "{shown}");
    sandbox.peer("B", server.address()).run(&["who"]).expect(1).says(&["admits only members"]);
}

#[test]
fn whoever_is_removed_from_the_list_by_hand_is_disconnected() {
    let sandbox = Sandbox::new();
    let [a, b] = ["A", "B"].map(|name| sandbox.peer(name, sandbox.nobodys_address()));
    let path = sandbox.path("members");
    let all = format!("{}\n{} B\n", a.fingerprint(), b.fingerprint());
    std::fs::write(&path, &all).expect("it is written");
    let server = members_only(&sandbox);
    let listening = [&a, &b].map(|peer| {
        let listening = peer.at(server.address()).start(&["listen"]);
        listening.event("joined", |_| true);
        listening
    });
    // A list that cannot be used changes nothing.
    std::fs::write(&path, "no fingerprint\n").expect("it is written");
    let says = |words: &'static str| {
        server.process().wait(words, |lines| lines.iter().any(|line| line.contains(words)).then_some(()));
    };
    says("the previous one stays");
    std::fs::write(&path, format!("{} # without B\n", a.fingerprint())).expect("it is written");
    let [of_a, of_b] = listening;
    wait_for_error(&of_b, "removed you from the members");
    of_b.finish().expect(1);
    b.at(server.address()).run(&["who"]).expect(1).says(&["admits only members"]);
    // A is still there.
    std::fs::write(&path, all).expect("it is written");
    http::until("B is admitted again", || {
        let sent = b.at(server.address()).run(&["send", "A", "back again", "--wait", "30"]);
        sent.events("delivered").len().checked_sub(1)
    });
    of_a.event("message", |event| event["text"] == "back again");
    assert_eq!(of_a.events("connection", 0).len(), 0, "A was never disconnected");
}

#[test]
fn an_invitation_is_shown_as_text_link_and_code() {
    let sandbox = Sandbox::new();
    let server = members_only(&sandbox);
    let shown = succeed(&administer(server.data(), &["invite", "--days", "1"]));
    let link = shown.lines().find_map(|line| line.trim().strip_prefix("switchboard://")).expect("a link");
    let (address, text) = link.split_once('/').expect("an address and the invitation");
    assert_eq!(address, server.address().to_string());
    assert!(shown.contains(&format!("    {text}\n")), "{shown}");
    assert!(shown.contains('█') && shown.contains("--invitation -"), "{shown}");
    // The printed invitation works, even in lower case.
    let a = sandbox.peer("A", server.address());
    a.run_with_input(&["--invitation", "-", "who"], &[text.to_lowercase()]).expect(0);
}

#[test]
fn an_invitation_is_of_no_use_at_another_server() {
    let sandbox = Sandbox::new();
    let server = members_only(&sandbox);
    let invitation = invite(&sandbox, &server, &[], "invitation");
    forget_address(&invitation);
    let other = Server::start_at(&sandbox.path("other_data"), "127.0.0.1:0");
    let a = sandbox.peer("A", other.address());
    let option = ["--invitation", as_text(&invitation), "who"];
    a.run(&option)
        .expect(2)
        .says(&["does not accept the invitation: the invitation is used up", "check the address"]);
    std::fs::write(&invitation, "ABCD").expect("it is written");
    a.run(&option).expect(1).says(&["not an invitation"]);
}

#[test]
fn a_released_name_is_free_and_its_files_are_gone() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    let sharing = a.share();
    let b = sandbox.peer("B", server.address());
    b.run(&["send", "A", "for the old one"]).expect(0);
    let found = || b.run(&["search", "evening"]).expect(0).answers("found")[0]["total"].clone();
    assert_eq!(found(), 1);
    let thief = Peer { dir: sandbox.path("other/A"), ..a.clone() };
    std::fs::create_dir(sandbox.path("other")).expect("the sandbox can be written");
    thief.run(&["who"]).expect(1).says(&["belongs to another key"]);

    fail(&administer(server.data(), &["remove", "A"]), 1, "anybody may join");
    assert_eq!(succeed(&administer(server.data(), &["release", "A", "--mail"])), "A is free\n");
    wait_for_error(&sharing, "released your name");
    sharing.finish().expect(1);
    fail(&administer(server.data(), &["release", "A"]), 1, "nobody has the name A");
    let names: Vec<Value> = b.run(&["who"]).expect(0).answers("peer");
    assert!(names.iter().all(|peer| peer["name"] != "A"), "{names:?}");
    assert_eq!(found(), 0);
    thief.run(&["who"]).expect(0);
}

#[test]
fn a_command_without_a_server_says_which_directory_has_none() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let data = server.data().to_owned();
    fail(&administer(&data, &["invite"]), 1, "--members FILE");
    server.stop();
    fail(&administer(&data, &["members"]), 2, as_text(&data));
}

#[test]
fn the_control_socket_is_for_its_owner_only() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&server.data().join("control")), 0o600);
    assert_eq!(mode(&server.data().join("server_key")), 0o600);
    assert_eq!(mode(server.data()), 0o700);
}

#[test]
fn a_server_that_has_lost_its_data_is_used_only_after_a_person_has_accepted_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let (data, address) = (server.data().to_owned(), server.address().to_string());
    let a = sandbox.peer("A", server.address());
    let listening = a.start(&["listen", "--count", "1"]);
    let known = listening.event("joined", |_| true)["server_key"].clone();
    let server = server.restart();
    listening.event("connection", |event| event["state"] == "back");
    server.stop();
    std::fs::remove_dir_all(&data).expect("the sandbox can be written");
    let server = Server::start_at(&data, &address);
    wait_for_error_or_trouble(&listening, "is a new server");
    let key = server.process().line("server key ");
    assert_ne!(Value::from(key.clone()), known);

    let trusted = a.run(&["trust", &address, &key]).expect(0).answers("trusted_server");
    assert_eq!(trusted[0]["fingerprint"], key);
    listening.event("connection", |event| event["state"] == "back");
    sandbox.peer("B", server.address()).run(&["send", "A", "hello again", "--wait", "60"]).expect(0);
    listening.finish().expect(0);
}

/// Waits for an error, or the reason of a lost connection, that contains these words.
fn wait_for_error_or_trouble(process: &Process, words: &str) {
    process.wait(words, |lines| lines.iter().any(|line| line.contains(words)).then_some(()));
}

#[test]
fn a_server_whose_key_is_damaged_does_not_start() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (data, key) = (server.data().to_owned(), server.process().line("server key "));
    server.end(Signal::INT);
    let path = data.join("server_key");
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, &text[1..]).expect("it is written");
    let mut command = Server::command(&data, "127.0.0.1:0");
    let output = command.output().expect("the server's binary runs");
    fail(&output, 1, "server_key is damaged");
    std::fs::write(&path, &text).expect("it is written");
    let again = Server::start_at(&data, "127.0.0.1:0");
    assert_eq!(again.process().line("server key "), key);
}

#[test]
fn an_impostor_that_shows_the_key_of_a_server_but_cannot_prove_it_is_not_joined() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let greeting = RawConnection::open(server.address()).greeting;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A peer that has ended does not read the answer.
            let _ = stream.and_then(|stream| welcome(&stream, greeting));
        }
    });
    let a = sandbox.peer("A", address);
    let asking = a.start(&["who"]);
    wait_for_error(&asking, "did not prove its own key");
    asking.finish().expect(2);
    assert!(!a.private().join("known_servers").exists(), "its key is not pinned");
}

/// Welcomes a peer with an invalid signature.
fn welcome(stream: &TcpStream, greeting: Greeting) -> std::io::Result<()> {
    let name = "A".parse().expect("a good name");
    let welcome = ToPeer::Welcome { name, proof: vec![7; SIGNATURE_BYTES] };
    greet(stream, greeting, |_| vec![frame::frame(&welcome)])
}

/// Greets a peer, and answers its join.
fn greet(
    mut stream: &TcpStream,
    greeting: Greeting,
    answers: impl Fn(&ToServer<'_>) -> Vec<Vec<u8>>,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()])?;
    stream.write_all(&frame::frame(&ToPeer::Hello(greeting)))?;
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    let join = ToServer::decode(&body).expect("the peer speaks the protocol");
    answers(&join).iter().try_for_each(|answer| stream.write_all(answer))?;
    // Wait until the peer disconnects.
    stream.read(&mut [0]).map(|_| ())
}

#[test]
fn an_impostor_that_admits_everybody_does_not_deceive_somebody_with_an_invitation() {
    let sandbox = Sandbox::new();
    let server = members_only(&sandbox);
    let invitation = invite(&sandbox, &server, &[], "invitation");
    forget_address(&invitation);
    for is_shown in [false, true] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let key = ServerKey::from_seed(&[7; 32]);
        let greeting = Greeting { key: key.public(), ..Greeting::default() };
        let answers = move |join: &ToServer<'_>| {
            let ToServer::JoinInvited { proof, invitation, .. } = join else { panic!("{join:?}") };
            let name = "A".parse().expect("a good name");
            let welcome = ToPeer::Welcome { name, proof: key.welcome(proof) };
            // It has no other MAC than the one that the peer has sent.
            let shown = is_shown.then(|| frame::frame(&ToPeer::Invited { proof: invitation.mac }));
            shown.into_iter().chain([frame::frame(&welcome)]).collect()
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A peer that has ended does not read the answer.
                let _ = stream.and_then(|stream| greet(&stream, greeting, &answers));
            }
        });
        let a = sandbox.peer(if is_shown { "A" } else { "B" }, address);
        let asking = a.run(&["--invitation", as_text(&invitation), "who"]).expect(2);
        asking.says(&["not the server that the invitation is for", "has not proved"]);
        assert!(!a.private().join("known_servers").exists(), "its key is not pinned");
    }
}
