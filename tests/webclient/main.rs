//! The `webclient` command as a person or a script calls it.

mod interrupt;
mod mistaken;
mod options;
#[path = "../support/pty.rs"]
mod pty;
mod redirect;
mod resume;
mod save;
mod server;
mod terminal;

use std::path::Path;
use std::process::{Command, Output};

use server::Server;

/// Runs the command against a server that sends `answer`.
fn call(answer: &str, options: &[&str]) -> Output {
    let server = Server::answering([answer]);
    let output = server.call("HelloWorld.html", options);
    server.finish();
    output
}

fn webclient(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the command can be started")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webclient"));
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is a place for temporary files")
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World\n";

#[test]
fn prints_head_and_body_or_one_of_them() {
    let head = "HTTP/1.1 200 OK\nContent-Length: 13\n";
    for (options, expected) in [
        (&[][..], format!("{head}\nHello, World\n")),
        (&["--head"], head.to_owned()),
        (&["--body"], "Hello, World\n".to_owned()),
        (&["--head", "--body"], format!("{head}\nHello, World\n")),
    ] {
        let output = call(GOOD, options);
        assert_eq!(text(&output.stdout), expected, "{options:?}");
        assert_eq!(text(&output.stderr), "", "{options:?}");
        assert_eq!(output.status.code(), Some(0), "{options:?}");
    }
}

#[test]
fn exit_status_says_how_it_went_and_one_line_says_why() {
    let missing = call("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("answered 404 for /HelloWorld.html"));
    let truncated = call("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", &[]);
    assert_eq!(truncated.status.code(), Some(2));
    let unwritable = call(GOOD, &["--output", "/nowhere/at/all"]);
    assert_eq!(unwritable.status.code(), Some(1));
    let moved =
        call("HTTP/1.1 308 x\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n", &["--output", "/nowhere/x"]);
    assert_eq!(moved.status.code(), Some(1));
    assert!(text(&moved.stderr).contains("answered 308 and redirects to /new"), "{}", text(&moved.stderr));
    let unknown = webclient(&["a b", "80", "x"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("a host is a name"), "{}", text(&unknown.stderr));
    for output in [missing, truncated, unwritable, moved, unknown] {
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    }
    // A refused connection has the same exit status, so only the message shows that no connection was tried.
    for usage in [&["localhost"][..], &["localhost", "0", "x"], &["localhost", "99999", "x"]] {
        let refused = webclient(usage);
        assert_eq!(refused.status.code(), Some(2), "{usage:?}");
        assert!(text(&refused.stderr).contains("--help"), "{usage:?}: {}", text(&refused.stderr));
    }
    let nothing_to_save = webclient(&["localhost", "1", "x", "--head", "--output", "y"]);
    assert_eq!(nothing_to_save.status.code(), Some(2));
    let said = text(&nothing_to_save.stderr);
    assert!(said.contains("--head fetches no body"), "{said}");
}
