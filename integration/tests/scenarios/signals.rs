//! Ending processes with signals.

use integration::http::HttpConnection;
use integration::{Character, Passing, Proxy, RawConnection, Sandbox};
use rustix::fs::{FileType, Mode};
use rustix::process::Signal;
use wire::protocol::ErrorCode;

#[test]
fn an_interrupted_server_drains_and_exits_with_0() {
    let sandbox = Sandbox::new();
    let a = sandbox.peer("A", sandbox.nobodys_address());
    for signal in [Signal::INT, Signal::TERM] {
        let server = sandbox.server();
        let listening = a.at(server.address()).start(&["listen"]);
        listening.event("joined", |_| true);
        server.end(signal);
    }
}

#[test]
fn connected_peers_are_told_that_the_server_ends() {
    for threads in ["--http-threads=off", "--http-threads=on"] {
        let sandbox = Sandbox::new();
        sandbox.put_site(&[("index.html", "here")]);
        let server = sandbox.site_server(&[threads]);
        let browser = Proxy::start(server.address(), Passing::AsBrowser);
        let mut peers = [("a", server.address()), ("b", browser.address())]
            .map(|(name, address)| RawConnection::join(address, &Character::new(name)));
        server.end(Signal::TERM);
        for peer in &mut peers {
            peer.expect_error(ErrorCode::ShuttingDown);
        }
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

#[test]
fn a_server_that_cannot_end_says_what_hangs_and_exits_with_1() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "here")]);
    // The access log is a pipe that nobody reads, so writing it blocks for ever.
    let log = sandbox.path("log");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &log, FileType::Fifo, mode, 0).expect("pipes can be made");
    let _reader = std::fs::File::options().read(true).write(true).open(&log).expect("it is there");
    let server = sandbox.site_server(&["--access-log", log.to_str().expect("it has a plain name")]);
    let mut connection = HttpConnection::open(server.address());
    let agent = format!("User-Agent: {}", "a".repeat(8_000));
    for _ in 0..40 {
        // More than the buffer of a pipe.
        assert_eq!(connection.get("/", &[&agent]).status, 200);
    }
    drop(connection);
    server.process().signal(Signal::TERM);
    server.finish().expect(1).says(&["server:", "access log", "did not end"]);
}
