//! How processes are ended by a person.

use integration::Sandbox;
use rustix::process::Signal;

#[test]
fn an_interrupted_server_drains_and_exits_with_0() {
    let sandbox = Sandbox::new();
    for signal in [Signal::INT, Signal::TERM] {
        let server = sandbox.server();
        let a = sandbox.peer("A", server.address());
        let listening = a.start(&["listen"]);
        listening.event("joined", |_| true);
        server.end(signal);
    }
}

#[test]
fn an_interrupted_share_or_listen_exits_with_0_and_an_unfinished_one_with_1() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    for (command, signal, code) in [
        (&["share"][..], Signal::INT, 0),
        (&["share"], Signal::TERM, 0),
        (&["listen"], Signal::INT, 0),
        (&["listen", "--count", "1"], Signal::INT, 1),
    ] {
        let running = a.start(command);
        running.event("joined", |_| true);
        running.signal(signal);
        running.finish().expect(code);
    }
}
