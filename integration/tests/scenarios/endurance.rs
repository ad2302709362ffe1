//! The server keeps serving when nobody reads its output, and drains requests that it has not read yet when it stops.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use integration::http::{HttpConnection, get};
use integration::{PATIENCE, Sandbox, Server};
use rustix::process::{Pid, Signal, kill_process};

/// More lines than fit into the log queue and the pipe behind it.
const LINES: usize = 160_000;
/// More connections than one `epoll_wait` of a poller returns.
const CONNECTIONS: usize = 1_200;

/// Kills a process even if the test fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // This fails if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_continues_when_nobody_reads_its_output() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "here")]);
    let mut command = Server::site_command(&sandbox.path("data"), &sandbox.path("site"));
    command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = Ended(command.spawn().expect("the server can be started"));
    let mut output = BufReader::new(server.0.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it says where it listens");
    let address: SocketAddr =
        line.trim_start_matches("listening on ").trim().parse().expect("it is an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let mut writer = stream.try_clone().expect("a socket can be cloned");
    let sending = std::thread::spawn(move || {
        let requests = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
        (0..LINES / 100).try_for_each(|_| writer.write_all(requests.as_bytes()))
    });
    let mut answers = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut last = 0;
    while answers < LINES {
        let count = stream.read(&mut buffer).expect("it goes on answering");
        assert_ne!(count, 0, "it goes on answering");
        // Counts the empty lines that end the heads, however the reads split them.
        for &byte in &buffer[..count] {
            last = last << 8 | u32::from(byte);
            answers += usize::from(last == u32::from_be_bytes(*b"\r\n\r\n"));
        }
    }
    sending.join().expect("no panic").expect("the server reads");
    assert_eq!(get(address, "/", &[]).text(), "here", "others are answered too");
    let pid = Pid::from_child(&server.0);
    kill_process(pid, Signal::TERM).expect("it runs");
    let status = server.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn requests_that_have_arrived_when_the_server_ends_are_answered() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "here")]);
    let server = sandbox.site_server(&["--quiet"]);
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| HttpConnection::open(server.address())).collect();
    for connection in &mut connections {
        assert_eq!(connection.get("/", &[]).text(), "here");
    }
    server.process().signal(Signal::STOP);
    for connection in &mut connections {
        connection.ask("GET", "/", &[]);
    }
    server.process().signal(Signal::TERM);
    server.process().signal(Signal::CONT);
    for connection in &mut connections {
        connection.stream().set_read_timeout(Some(Duration::from_secs(30))).expect("it is a socket");
        let answer = connection.answer().expect("what was here is answered");
        assert_eq!(answer.text(), "here");
    }
    let finished = server.finish();
    finished.expect(0);
}
