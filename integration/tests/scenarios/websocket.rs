//! Peers whose connections are WebSockets, as those of a browser are.

use std::net::SocketAddr;

use integration::tunnel::{self, Speaks};
use integration::{Passing, Peer, Proxy, Sandbox, Server};

use crate::tls::TlsServer;

/// `from` writes to `to`, who gets every byte and acknowledges it.
fn write(from: &Peer, to: &Peer) {
    let texts = [format!("hello from {}", from.name()), "x".repeat(60_000), "the last one".to_owned()];
    let mut sending = from.start(&["send", to.name(), "-", "--wait", "60"]);
    texts.iter().for_each(|text| sending.type_line(text));
    sending.end_input();
    let received = to.run(&["listen", "--count", "3", "--timeout", "60"]).expect(0);
    let told = received.events("message");
    assert!(told.iter().map(|message| &message["text"]).eq(&texts), "{told:?}");
    sending.finish().expect(0);
}

/// Lets the peer B use WebSockets, to `address` of the server.
fn check(sandbox: &Sandbox, server: Server, address: SocketAddr) {
    let browser = Proxy::start(address, Passing::AsBrowser);
    let a = sandbox.peer("A", server.address());
    let b = sandbox.ready_peer("B", browser.address());
    write(&b, &a);
    write(&a, &b);
    // A file goes through the server, by another WebSocket.
    let sharing = b.share();
    let got = a.run(&["get", "waves.png", "--from", "B"]).expect(0);
    assert_eq!(got.events("file_done")[0]["route"], "server");
    // The server ends in order while such a peer is connected.
    let log = server.stop().lines;
    assert!(
        log.iter().any(|line| line.contains("from=B") && line.contains("outcome=\"relayed\"")),
        "{log:?}"
    );
    sharing.event("connection", |e| e["state"] == "lost");
}

#[test]
fn a_peer_in_a_websocket_writes_and_reads_as_any_other() {
    for threads in ["--http-threads=off", "--http-threads=on"] {
        let sandbox = Sandbox::new();
        sandbox.put_site(&[("index.html", "a site")]);
        let server = sandbox.site_server(&[threads]);
        let address = server.address();
        check(&sandbox, server, address);
    }
}

#[test]
fn so_does_one_in_a_websocket_over_tls() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "a site")]);
    let TlsServer { server, tls, certificate } = TlsServer::start(&sandbox, &[]);
    check(&sandbox, server, tunnel::start(Speaks::Plain, tls, Speaks::tls_to(&certificate)));
}
