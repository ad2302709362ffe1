//! A peer whose connections are WebSockets, as those of a browser are.

use integration::{Passing, Peer, Proxy, Sandbox};

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

#[test]
fn a_peer_in_a_websocket_writes_and_reads_as_any_other() {
    for threads in ["--http-threads=off", "--http-threads=on"] {
        let sandbox = Sandbox::new();
        sandbox.put_site(&[("index.html", "a site")]);
        let server = sandbox.site_server(&[threads]);
        let browser = Proxy::start(server.address(), Passing::AsBrowser);
        let a = sandbox.peer("A", server.address());
        let b = sandbox.peer("B", browser.address());
        write(&b, &a);
        write(&a, &b);
        // The server ends in order while such a peer is connected.
        let listening = b.start(&["listen"]);
        listening.event("joined", |e| e["name"] == "B");
        let log = server.stop().lines;
        assert!(
            log.iter().any(|line| line.contains("from=B") && line.contains("outcome=\"relayed\"")),
            "{log:?}"
        );
        listening.event("connection", |e| e["state"] == "lost");
    }
}
