//! The server's configuration: a file, the environment and the command line of the real binary.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use integration::{Finished, Process, Sandbox, binary};

/// A sandbox with `server.toml` and three directories, each with a page that contains the directory's name.
fn sandbox(text: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    for folder in ["one", "two", "three"] {
        std::fs::create_dir(sandbox.path(folder)).expect("the sandbox can be written");
        std::fs::write(sandbox.path(folder).join("index.html"), folder).expect("the sandbox can be written");
    }
    std::fs::write(sandbox.path("server.toml"), text).expect("the sandbox can be written");
    sandbox
}

/// Starts a server with the working directory `/`, so that paths in the file are not relative to the working directory.
fn server(sandbox: &Sandbox, arguments: &[&str], variables: &[(&str, &Path)]) -> Process {
    let mut command = Command::new(binary("server"));
    command.arg("--config").arg(sandbox.path("server.toml")).args(arguments).current_dir("/");
    command.envs(variables.iter().copied());
    Process::start(format!("server {}", arguments.join(" ")), command)
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// The body of the response for `/`.
fn page(server: &Process) -> String {
    let address: SocketAddr = server.line("listening on ").parse().expect("what follows is an address");
    let mut command = Command::new(binary("webclient"));
    command.args([&address.ip().to_string(), &address.port().to_string(), "/", "--body"]);
    Process::start("webclient", command).finish().expect(0).lines.join("\n")
}

#[test]
fn paths_in_the_file_are_relative_to_it_and_the_command_line_precedes_it() {
    let sandbox = sandbox("listen = \"127.0.0.1:0\"\nroot = \"one\"\ndata = \"kept\"\n");
    let first = server(&sandbox, &[], &[]);
    assert_eq!(page(&first), "one");
    assert!(sandbox.path("kept").join("store.redb").is_file(), "what is kept is beside the file");
    first.kill();
    let (two, three) = (sandbox.path("two"), sandbox.path("three"));
    let second = server(&sandbox, &["--root", text_of(&three)], &[("SWITCHBOARD_ROOT", &two)]);
    assert_eq!(page(&second), "three");
}

#[test]
fn the_file_sets_the_format_of_the_log() {
    for (text, is_json) in [("log_format = \"json\"", true), ("log_format = \"text\"", false)] {
        let sandbox = sandbox(&format!("listen = \"127.0.0.1:0\"\nroot = \"one\"\ndata = \"kept\"\n{text}"));
        let server = server(&sandbox, &[], &[]);
        page(&server);
        server.signal(rustix::process::Signal::TERM);
        let finished: Finished = server.finish().expect(0);
        let stopping = finished.lines.iter().find(|line| line.contains("stopping"));
        assert_eq!(
            stopping.expect("it says that it stops").starts_with('{'),
            is_json,
            "{:?}",
            finished.lines
        );
    }
}

#[test]
fn check_says_what_would_be_served_and_starts_nothing() {
    let sandbox = sandbox(
        "listen = \"127.0.0.1:0\"\nroot = \"one\"\ndata = \"kept\"\n[[site]]\nhosts = \"b.example\"\nroot = \"two\"",
    );
    let finished = server(&sandbox, &["--check"], &[]).finish().expect(0);
    assert_eq!(finished.stderr, "");
    for words in [
        "127.0.0.1:0",
        text_of(&sandbox.path("one")),
        "hosts = [\"b.example\"]",
        text_of(&sandbox.path("two")),
    ] {
        assert!(finished.lines.iter().any(|line| line.contains(words)), "{words}: {:?}", finished.lines);
    }
    assert!(!finished.lines.iter().any(|line| line.starts_with("listening on")));
    assert!(!sandbox.path("kept").exists(), "nothing was started");
}

#[test]
fn all_mistakes_are_reported_with_their_places_and_nothing_starts() {
    let sandbox =
        sandbox("listen = \"127.0.0.1:0\"\nlisen = 1\nroot = \"none\"\ndata = \"kept\"\n\n  spa = 1");
    let file = sandbox.path("server.toml");
    let variables = [("SWITCHBOARD_HEAD_TIMEOUT", Path::new("30"))];
    for (arguments, count) in [(&["--check"][..], 4), (&[], 3)] {
        let finished = server(&sandbox, arguments, &variables).finish().expect(1);
        let said: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!(said.len(), count, "{said:?}");
        assert!(finished.lines.is_empty(), "{:?}", finished.lines);
        let place_of = |line, column| format!("server: {}:{line}:{column}: ", text_of(&file));
        for (start, words) in [
            ("server: SWITCHBOARD_HEAD_TIMEOUT: ".to_owned(), "\"30\" is not a time"),
            (place_of(2, 1), "did you mean listen?"),
            (place_of(6, 9), "expected a boolean"),
        ] {
            let found = said.iter().find(|line| line.starts_with(&start));
            assert!(found.is_some_and(|line| line.contains(words)), "{start}: {said:?}");
        }
    }
    assert!(!sandbox.path("kept").exists(), "nothing was started");
}

#[test]
fn a_command_line_that_is_wrong_is_a_mistake_in_usage() {
    let sandbox = sandbox("");
    for (argument, words) in [
        ("--head-timeout=30", "unit"),
        ("--header=Date: a", "the server sends the field Date itself"),
        ("--redirect=/a", "such as '/old /new 301'"),
        ("--log-format=xml", "possible values: text, json"),
        ("--lisen=systemd", "--listen"),
    ] {
        let finished = server(&sandbox, &[argument], &[]).finish().expect(2);
        assert!(finished.stderr.contains(words), "{argument}: {}", finished.stderr);
    }
}
