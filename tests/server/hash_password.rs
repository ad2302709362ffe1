//! `--hash-password`: from a pipe, and on a terminal, which must not show the password.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

use actors::credentials::{self, PASSWORD_BYTES_MAX};
use zeroize::Zeroizing;

use crate::prompt::{shows, wait_for_prompt};
use crate::pty::terminal;

fn command(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.args(["--hash-password", name]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command with this standard input.
fn call(name: &str, input: &[u8]) -> Output {
    let mut child = command(name).stdin(Stdio::piped()).spawn().expect("the command can be started");
    // A command that needs no input has ended already, and its output says why.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input);
    child.wait_with_output().expect("it was started")
}

/// Whether the line that the command printed lets `name` in with `password`.
fn lets_in(printed: &[u8], name: &str, password: &str) -> bool {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path().join("users");
    std::fs::write(&path, printed).expect("the folder can be written");
    let users = credentials::start(&path).expect("the line is good");
    users.verify(name, Zeroizing::new(password.to_owned())).expect("it has nothing else to do")
}

#[test]
fn the_line_that_is_printed_lets_the_user_in() {
    for input in ["correct horse\n", "correct horse", "correct horse\r\nmore\n"] {
        let output = call("ann", input.as_bytes());
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{input:?}");
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{input:?}");
        assert!(lets_in(&output.stdout, "ann", "correct horse"), "{input:?}");
        assert!(!lets_in(&output.stdout, "ann", "correct"), "{input:?}");
    }
}

#[test]
fn what_cannot_be_a_password_or_a_name_is_refused() {
    let long = vec![b'a'; PASSWORD_BYTES_MAX + 1];
    for (name, input, words) in [
        ("ann", &b""[..], "the password is empty"),
        ("ann", b"\n", "the password is empty"),
        ("ann", &long, "the password is 73 bytes long; bcrypt takes at most 72"),
        ("ann", b"a\0b\n", "control character"),
        ("ann", b"\xff\n", "not UTF-8"),
        ("a:b", b"good\n", "the name has a colon in it"),
    ] {
        let output = call(name, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{words}: {said}");
        assert!(said.starts_with("server: ") && said.contains(words) && said.lines().count() == 1, "{said}");
    }
}

/// Types two lines, each after its prompt, because the terminal could show what is typed before.
fn type_in(child: &mut Child, ours: &mut File, theirs: &OwnedFd, lines: [&str; 2]) {
    for (prompt, line) in ["password for ann: ", "\nonce more: "].iter().zip(lines) {
        wait_for_prompt(child, prompt, theirs);
        ours.write_all(line.as_bytes()).expect("it is open");
    }
}

#[test]
fn a_terminal_does_not_show_the_password_and_is_left_as_it_was() {
    let (mut ours, theirs) = terminal();
    assert!(shows(&theirs));
    let stdin = Stdio::from(theirs.try_clone().expect("there are descriptors left"));
    let mut child = command("ann").stdin(stdin).spawn().expect("the command can be started");
    type_in(&mut child, &mut ours, &theirs, ["correct horse\n"; 2]);
    let output = child.wait_with_output().expect("it was started");
    assert_eq!(output.status.code(), Some(0));
    assert!(lets_in(&output.stdout, "ann", "correct horse"));
    assert!(shows(&theirs));
    drop(theirs);
    let mut shown = Vec::new();
    // Reading fails (EIO) once the other end is closed.
    let _ = ours.read_to_end(&mut shown);
    assert!(shown.is_empty(), "{:?}", String::from_utf8_lossy(&shown));
}

#[test]
fn what_is_typed_differently_the_second_time_is_refused() {
    let (mut ours, theirs) = terminal();
    let stdin = Stdio::from(theirs.try_clone().expect("there are descriptors left"));
    let mut child = command("ann").stdin(stdin).spawn().expect("the command can be started");
    type_in(&mut child, &mut ours, &theirs, ["correct horse\n", "correct house\n"]);
    let output = child.wait_with_output().expect("it was started");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the two passwords differ"));
    assert!(shows(&theirs));
}

#[test]
fn a_terminal_shows_again_what_is_typed_after_ctrl_c() {
    let (mut ours, theirs) = terminal();
    let stdin = Stdio::from(theirs.try_clone().expect("there are descriptors left"));
    let mut child = command("ann").stdin(stdin).spawn().expect("the command can be started");
    wait_for_prompt(&mut child, "password for ann: ", &theirs);
    ours.write_all(b"half a pass\x03").expect("it is open");
    let output = child.wait_with_output().expect("it was started");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(130), &b""[..]));
    assert!(shows(&theirs));
}
