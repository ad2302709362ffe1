//! Peers over TLS: which certificates they accept, and that nobody in the middle can join in their place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use integration::tunnel::{self, Speaks};
use integration::{Character, Finished, Passing, Peer, Process, Proxy, RawConnection, Sandbox, Server};
use wire::protocol::{Side, ToPeer};

use crate::admission::{administer, succeed};
use crate::tls::{TlsServer, make_certificate};

/// A peer of the server with TLS at this port.
pub(crate) fn tls_peer(sandbox: &Sandbox, name: &str, port: u16) -> Peer {
    let peer = sandbox.peer(name, ([127, 0, 0, 1], port).into());
    Peer { server: format!("tls:localhost:{port}"), ..peer }
}

/// A server with TLS and without, and an empty site.
pub(crate) fn start(sandbox: &Sandbox, arguments: &[&str]) -> TlsServer {
    sandbox.put_site(&[("index.html", "")]);
    TlsServer::start(sandbox, arguments)
}

/// Waits for a line of the server's log.
fn logged(server: &Server, words: &str) {
    server.process().wait(words, |lines| lines.iter().find(|line| line.contains(words)).cloned());
}

/// Runs a command that needs the server and fails without a connection, for this reason.
#[track_caller]
pub(crate) fn refused(peer: &Peer, arguments: &[&str], words: &[&str]) {
    let refused = peer.run(&[&["who"], arguments].concat()).expect(2);
    let errors = format!("{:?}", refused.events("error"));
    for word in words {
        assert!(errors.contains(word), "{word} is not in {errors}");
    }
}

fn pinned(joined: &Finished) -> Vec<serde_json::Value> {
    joined.events("joined").iter().map(|joined| joined["pinned_certificate"].clone()).collect()
}

#[test]
fn peers_with_tls_and_without_write_to_each_other_and_fetch_files() {
    for mode in [&[][..], &["--http-threads"]] {
        let sandbox = Sandbox::new();
        let server = start(&sandbox, mode);
        let a = tls_peer(&sandbox, "A", server.tls.port()).with_files();
        // The proxy removes the port at which B could be dialled, so files of B go through the server.
        let firewall = Proxy::start(server.server.address(), Passing::WithoutPorts);
        let b = sandbox.ready_peer("B", firewall.address());
        let _sharing = b.share();

        let first = a.run(&["send", "B", "over TLS", "--wait", "60"]).expect(0);
        assert!(pinned(&first).iter().any(serde_json::Value::is_string), "{:?}", first.lines);
        let listening = a.start(&["listen", "--count", "20"]);
        listening.event("joined", |joined| joined["pinned_certificate"].is_null());
        let lines: Vec<String> = (0..20).map(|n| format!("answer {n} {}", "x".repeat(2000))).collect();
        b.run_with_input(&["send", "A", "-", "--wait", "60"], &lines).expect(0);
        let heard = listening.finish().expect(0).events("message");
        let texts: Vec<_> = heard.iter().map(|event| event["text"].as_str().unwrap_or_default()).collect();
        assert_eq!(texts, lines);

        let got = a.run(&["get", "waves.png", "--from", "B"]).expect(0);
        assert_eq!(got.events("file_done")[0]["route"], "server");
        let content = |path: PathBuf| std::fs::read(path).expect("it is there");
        assert_eq!(content(a.dir.join("downloads/waves.png")), content(b.dir.join("waves.png")));
        // A peer that is connected sees that the server ends in order.
        let waiting = a.start(&["listen"]);
        waiting.event("joined", |_| true);
        server.server.stop();
        waiting.event("connection", |event| event["state"] == "lost");
    }
}

#[test]
fn the_bytes_of_a_transfer_arrive_whatever_end_uses_tls() {
    let sandbox = Sandbox::new();
    let server = start(&sandbox, &[]);
    let (plain, tls) = (
        server.server.address(),
        tunnel::start(Speaks::Plain, server.tls, Speaks::tls_to(&server.certificate)),
    );
    let member = RawConnection::join(plain, &Character::new("member"));
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    for (number, (from, to)) in (0..).zip([(tls, plain), (plain, tls), (tls, tls)]) {
        let end = |address, side| member.splice_at(address, "member", [number; 16], side);
        let (mut sender, mut receiver) = (end(from, Side::Sender), end(to, Side::Receiver));
        for end in [&mut sender, &mut receiver] {
            assert!(matches!(end.next_message(), ToPeer::Spliced));
        }
        thread::scope(|scope| {
            let received = scope.spawn(move || receiver.rest());
            sender.say_bytes(&bytes);
            sender.end();
            assert!(received.join().expect("it only reads") == bytes, "{from} {to}");
        });
    }
}

#[test]
fn a_server_in_the_middle_cannot_join_in_place_of_a_peer() {
    let sandbox = Sandbox::new();
    let server = start(&sandbox, &[]);
    let [certificate, key] = make_certificate(&sandbox, "middle", "DNS:localhost");
    let ca = certificate.to_str().expect("it is UTF-8");
    let accepts = Speaks::tls_with(&certificate, &key);
    let words = ["somebody in between has ended the TLS connection"];
    for (to, forwards) in
        [(server.tls, Speaks::tls_to(&server.certificate)), (server.server.address(), Speaks::Plain)]
    {
        let middle = tunnel::start(accepts.clone(), to, forwards);
        // The peer accepts the certificate of the server in the middle, because its user says so, or at first use.
        let a = tls_peer(&sandbox, if to == server.tls { "A" } else { "B" }, middle.port());
        refused(&a, &["--ca", ca], &words);
        refused(&a, &[], &words);
    }
    // The same with a peer that does not know that somebody uses TLS for it.
    let middle = tunnel::start(Speaks::Plain, server.tls, Speaks::tls_to(&server.certificate));
    refused(&sandbox.peer("C", middle), &[], &["does not verify for this TLS connection"]);
    // The server itself has refused them, and has not seen their names.
    logged(&server.server, "code=BadProof");
    let known = tls_peer(&sandbox, "D", server.tls.port()).run(&["who"]).expect(0);
    let names: Vec<_> = known.answers("peer").iter().map(|peer| peer["name"].clone()).collect();
    assert_eq!(names, ["D"], "{:?}", known.lines);
}

#[test]
fn a_pinned_certificate_that_changes_is_refused_until_it_is_trusted() {
    let sandbox = Sandbox::new();
    let server = start(&sandbox, &[]);
    let a = tls_peer(&sandbox, "A", server.tls.port());
    let first = a.run(&["who"]).expect(0);
    let old = pinned(&first)[0].as_str().expect("it is pinned at first use").to_owned();
    assert_eq!(pinned(&a.run(&["who"]).expect(0)), [serde_json::Value::Null]);
    let [other, other_key] = make_certificate(&sandbox, "other", "DNS:localhost");
    std::fs::copy(other_key, sandbox.path("server.key")).expect("it can be replaced");
    std::fs::copy(other, &server.certificate).expect("it can be replaced");
    server.server.process().signal(rustix::process::Signal::HUP);
    logged(&server.server, "were read again");
    refused(&a, &[], &["has changed", &old, "trust tls:localhost:"]);
    // With --ca, the pin does not matter.
    a.run(&["who", "--ca", path(&server.certificate)]).expect(0);
    let new = fingerprint(&server.certificate);
    a.run(&["trust", &a.server, &new]).expect(0);
    assert_eq!(pinned(&a.run(&["who"]).expect(0)), [serde_json::Value::Null]);
    let known = std::fs::read_to_string(a.private().join("known_servers")).expect("it is there");
    assert!(known.lines().any(|line| line.starts_with(&format!("{} {new} ", a.server))), "{known}");
    assert_eq!(known.lines().count(), 2, "{known}");
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

/// The SHA-256 digest of a certificate, by openssl.
fn fingerprint(certificate: &Path) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate);
    let shown = String::from_utf8(command.output().expect("openssl is installed").stdout);
    let shown = shown.expect("it is text").trim().to_lowercase();
    shown.split_once("fingerprint=").expect("it is shown").1.replace(':', "")
}

#[test]
fn an_invitation_to_a_server_with_tls_only_names_its_address() {
    let sandbox = Sandbox::new();
    let [certificate, key] = make_certificate(&sandbox, "server", "IP:127.0.0.1");
    sandbox.put_site(&[("index.html", "")]);
    let mut command = Server::site_command(&sandbox.path("data"), &sandbox.path("site"));
    command.args(["--listen", "tls:127.0.0.1:0"]).arg("--members").arg(sandbox.path("members"));
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    let server = Process::start("server", command);
    let address = server.line("listening on ");
    // The control socket is there before this line.
    let invitation = succeed(&administer(&sandbox.path("data"), &["invite", "--json"]));
    let invitation: serde_json::Value = serde_json::from_str(&invitation).expect("it is JSON");
    let link = invitation["link"].as_str().expect("there is a link");
    assert!(link.starts_with(&format!("switchboard://{address}/")), "{link}");
    let file = sandbox.path("invitation");
    std::fs::write(&file, link).expect("the sandbox can be written");
    let a = sandbox.peer("A", sandbox.nobodys_address());
    let joined = a.run(&["who", "--invitation", path(&file)]).expect(0);
    assert_eq!(joined.events("joined")[0]["server"], address);
}

#[test]
fn the_next_of_several_servers_is_used_when_one_ends() {
    let sandbox = Sandbox::new();
    let second = start(&sandbox, &[]);
    let first = Server::start_at(&sandbox.path("first"), "127.0.0.1:0");
    let dead = sandbox.nobodys_address();
    let a = sandbox.peer("A", dead);
    let a = Peer { server: format!("{dead},{},tls:localhost:{}", first.address(), second.tls.port()), ..a };
    let listening = a.start(&["listen", "--count", "1"]);
    listening.event("joined", |joined| joined["server"] == first.address().to_string());
    first.stop();
    listening.event("joined", |joined| joined["server"] == format!("tls:{}", second.tls));
    let b = tls_peer(&sandbox, "B", second.tls.port());
    b.run(&["send", "A", "to the second one", "--wait", "60"]).expect(0);
    listening.finish().expect(0);
}
