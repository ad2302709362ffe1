//! Output on a terminal, compared with a pipe.

use std::io::Read as _;
use std::process::{Output, Stdio};

use super::pty::terminal;
use super::server::{Server, answer};
use super::{command, text};

/// Calls the command with its standard output on a terminal; what appears there is in `stdout`, in lines that end with LF.
fn call_on_terminal(answer: Vec<u8>, options: &[&str]) -> Output {
    let server = Server::answering([answer]);
    let (mut ours, theirs) = terminal();
    let port = server.port.to_string();
    let child = command(&[&["127.0.0.1", &port, "x"], options].concat())
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // Reading fails (EIO) once the other end is closed.
    while let Ok(read @ 1..) = ours.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..read]);
    }
    let mut output = child.wait_with_output().expect("it was started");
    output.stdout = text(&shown).replace("\r\n", "\n").into_bytes();
    server.finish();
    output
}

#[test]
fn no_binary_body_is_shown_on_a_terminal() {
    for (status, line, body, says) in [
        (200, "Content-Type: image/png", &b"no, text"[..], "(image/png, 8 bytes)"),
        (200, "X: y", b"a\0b", "(of no declared type, 3 bytes)"),
        (200, "Content-Type: application/octet-stream", b"gr\xfcn", "(application/octet-stream, 4 bytes)"),
        (404, "Content-Type: image/gif", b"GIF89a", "(image/gif, 6 bytes)"),
    ] {
        let output = call_on_terminal(answer(status, &[line], body), &[]);
        let expected = format!("HTTP/1.1 {status} x\n{line}\nContent-Length: {}\n\n", body.len());
        assert_eq!(text(&output.stdout), expected);
        let said = text(&output.stderr);
        assert!(said.contains(says) && said.contains("--output FILE"), "{said}");
        assert_eq!(output.status.code(), Some(i32::from(status >= 400)));
    }
}

#[test]
fn text_is_shown_on_a_terminal_and_cannot_steer_it() {
    let body = "grün \u{1b}[2J\\ \u{202e}\n";
    for content_type in ["text/plain", "image/svg+xml", "application/octet-stream"] {
        let line = format!("Content-Type: {content_type}");
        let output = call_on_terminal(answer(200, &[&line], body.as_bytes()), &["--body"]);
        assert_eq!(text(&output.stdout), "grün \\u{1b}[2J\\ \\u{202e}\n", "{content_type}");
        assert_eq!(text(&output.stderr), "");
    }
    let latin = call_on_terminal(
        answer(200, &["Content-Type: text/plain; charset=iso-8859-1"], b"gr\xfcn\n"),
        &["--body"],
    );
    assert_eq!(text(&latin.stdout), "gr\u{fffd}n\n");
}

#[test]
fn a_pipe_gets_every_byte() {
    let body: Vec<u8> = (0..=u8::MAX).collect();
    let server = Server::answering([answer(200, &["Content-Type: image/png"], &body)]);
    let output = server.call("x", &["--body"]);
    assert_eq!((output.stdout, text(&output.stderr)), (body, String::new()));
    server.finish();
}
