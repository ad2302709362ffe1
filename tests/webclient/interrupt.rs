//! Ctrl-C during a download.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::server::{Server, answer};
use super::{command, folder, names, plain, text};

/// Longest wait for the first bytes of a file.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a download that the server does not complete, and waits until all bytes that it sent are in a file.
fn start(server: &Server, folder: &Path, options: &[&str]) -> Child {
    let path = folder.join("out");
    let port = server.port.to_string();
    let arguments = [&["127.0.0.1", &port, "file", "--output", plain(&path)], options].concat();
    let child = command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let deadline = Instant::now() + PATIENCE;
    let is_there = || {
        names(folder).iter().any(|name| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == 1000))
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "nothing has come: {:?}", names(folder));
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// The first 1000 bytes of 5000.
fn beginning() -> Vec<u8> {
    let mut beginning = answer(200, &["ETag: \"v1\""], &[b'x'; 5000]);
    beginning.truncate(beginning.len() - 4000);
    beginning
}

#[test]
fn an_interrupted_download_leaves_its_part_only_to_resume() {
    for (signal, exit_status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for (options, left, says) in [
            (&["--resume"][..], &["out.part", "out.part.source"][..], "1000 bytes are kept in"),
            (&[], &[], "interrupted"),
        ] {
            let folder = folder();
            let server = Server::holding(beginning());
            let child = start(&server, folder.path(), options);
            kill_process(Pid::from_child(&child), signal).expect("it runs");
            let output = child.wait_with_output().expect("it was started");
            assert_eq!(output.status.code(), Some(exit_status), "{options:?}");
            let said = text(&output.stderr);
            assert!(said.contains(says) && said.lines().count() == 1, "{said}");
            assert_eq!(names(folder.path()), left, "{options:?}");
            server.finish();
        }
    }
}

#[test]
fn two_calls_do_not_write_one_part() {
    let folder = folder();
    let server = Server::holding(beginning());
    let mut first = start(&server, folder.path(), &["--resume"]);
    let second = server.call("file", &["--output", plain(&folder.path().join("out")), "--resume"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process"), "{}", text(&second.stderr));
    first.kill().expect("it runs");
    first.wait().expect("it was started");
    // The first call was killed and leaves its part, which the second has not changed.
    assert_eq!(names(folder.path()), ["out.part", "out.part.source"]);
    server.finish();
}
