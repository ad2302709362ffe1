//! Signals to a running server.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Starts a server of an empty site; returns also its output and its address.
fn start(folder: &tempfile::TempDir) -> (Child, Lines<BufReader<ChildStdout>>, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
        .args(["--listen=127.0.0.1:0", "--root=.", "--data=data"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    let line = lines.next().expect("it says where it listens").expect("it is text");
    let address = line.strip_prefix("listening on ").expect("that is what it says first");
    (child, lines, address.parse().expect("it is an address"))
}

/// The status line for a request.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn sighup_without_an_access_log_changes_nothing() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (mut child, lines, address) = start(&folder);
    let pid = Pid::from_child(&child);
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).expect("it runs");
        assert!(ask(address).starts_with("HTTP/1."), "it answers");
    }
    // The server handles signals in order, so it would have ended by now.
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
    let stopping = lines.map_while(Result::ok).filter(|line| line.contains("stopping")).count();
    assert_eq!(stopping, 1);
}
