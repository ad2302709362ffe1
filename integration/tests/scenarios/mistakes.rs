//! Wrong usage and damaged files: each gives one clear line and the right exit status, and nothing is lost.

use std::path::Path;
use std::process::Command;

use integration::{Finished, Peer, Process, Sandbox, Server, binary};

fn run(name: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary(name));
    command.args(arguments);
    let mut process = Process::start(format!("{name} {}", arguments.join(" ")), command);
    process.end_input();
    process.finish()
}

/// Runs a server that is expected to refuse to start.
fn refused(data: &Path, listen: &str) -> Finished {
    Process::start("second server", Server::command(data, listen)).finish()
}

#[test]
fn nonsensical_arguments_are_usage_errors() {
    for (name, arguments) in [
        ("server", &["--listen", "nowhere"][..]),
        ("server", &["--lisen", "127.0.0.1:0"]),
        ("peer", &[]),
        ("peer", &["who"]),
        ("peer", &["--dir", "/tmp", "--name", "no name", "who"]),
        ("peer", &["--dir", "/tmp", "dance"]),
        ("peer", &["--dir", "/tmp", "--server", "http://localhost", "who"]),
        ("peer", &["--dir", "/tmp", "--server", "localhost:99999", "who"]),
        ("peer", &["--dir", "/tmp", "send", "B"]),
        ("peer", &["--dir", "/tmp", "listen", "--count", "none"]),
        ("peer", &["--dir", "/tmp", "trust", "B", "1234"]),
        ("webclient", &["localhost"]),
        ("webclient", &["localhost", "port", "file"]),
        ("webclient", &["localhost", "1", "file", "--head", "--output", "x"]),
    ] {
        let finished = run(name, arguments).expect(2);
        assert!(!finished.stderr.is_empty(), "{name} {arguments:?} says nothing");
        assert!(finished.lines.is_empty(), "{name} {arguments:?} prints errors to standard output");
    }
}

#[test]
fn a_server_that_cannot_read_into_which_cluster_it_was_imported_does_not_start_without() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    // A directory cannot be read, whoever runs the server.
    std::fs::create_dir_all(data.join("imported")).expect("the sandbox can be written");
    refused(&data, "127.0.0.1:0").expect(1).says(&["imported", "make it readable", "--cluster"]);
}

#[test]
fn without_threads_a_program_says_so_and_exits_with_1() {
    let sandbox = Sandbox::new();
    let (data, dir) = (sandbox.path("data"), sandbox.path("A"));
    let mut commands = vec![Server::command(&data, "127.0.0.1:0")];
    for arguments in [&[][..], &["who"], &["send", "B", "hello"], &["listen"], &["get", "x.txt"]] {
        let mut command = Command::new(binary("peer"));
        command.arg("--dir").arg(&dir).args(["--server", "127.0.0.1:1", "--json"]).args(arguments);
        commands.push(command);
    }
    for mut command in commands {
        // No machine has room for such a stack, so the system refuses every thread.
        command.env("RUST_MIN_STACK", (1_u64 << 47).to_string());
        let mut process = Process::start(format!("{command:?}"), command);
        process.end_input();
        process.finish().expect(1).says(&["cannot start a thread"]);
    }
}

#[test]
fn without_a_server_commands_say_so_and_exit_with_2() {
    let sandbox = Sandbox::new();
    let nobody = sandbox.nobodys_address();
    let a = sandbox.peer("A", nobody);
    for command in [&["who"][..], &["search", "sea"], &["get", "x.txt"], &["share"], &["listen"]] {
        a.run(command).expect(2).says(&[&nobody.to_string()]);
    }
    let queued = a.run(&["send", "B", "hello"]).expect(2).says(&[&nobody.to_string(), "queued on disk"]);
    assert_eq!(queued.events("queued").len(), 1);
    // The message is in the queue, and commands that need no server work.
    assert_eq!(a.history("B", "sent").len(), 1);
    a.run(&["card"]).expect(0);
}

#[test]
fn broken_entries_in_keyword_txt_are_reported_and_the_others_found() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    let b = sandbox.peer("B", server.address());
    for name in ["good.txt", "also good.txt"] {
        b.put(name, name.as_bytes());
    }
    let text = "first, good.txt;\n\
        no comma here;\n\
        up, ../../etc/passwd;\n\
        gone, vanished.txt;\n\
        , good.txt;\n\
        hidden, .secret;\n\
        second, also good.txt; second, good.txt";
    b.put("keyword.txt", text.as_bytes());

    let listed = b.run(&["files"]).expect(0);
    let problems: Vec<String> = listed
        .answers("problem")
        .iter()
        .map(|p| p["problem"].as_str().expect("a problem is text").to_owned())
        .collect();
    for (line, word) in [(2, "no comma here"), (3, "passwd"), (5, "good.txt"), (6, ".secret")] {
        let named = format!("line {line}");
        assert!(
            problems.iter().any(|p| p.contains(&named) && p.contains(word)),
            "line {line} with {word} is not in {problems:#?}"
        );
    }
    // A missing file is noticed after keyword.txt was parsed, so the problem has no line number.
    assert!(problems.iter().any(|p| p.contains("vanished.txt: No such file")), "{problems:#?}");
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert_eq!(listed.answers("sharing").len(), 2);

    let _sharing = b.share();
    for (query, count) in [("first", 1), ("second", 2), ("gone", 0), ("up", 0), ("hidden", 0)] {
        let found = a.run(&["search", query]).expect(0);
        assert_eq!(found.answers("found")[0]["total"], count, "{query}");
    }

    // A file that is removed after it was published.
    std::fs::remove_file(b.dir.join("good.txt")).expect("it is there");
    let failed = a.run(&["get", "good.txt"]).expect(1);
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
    let downloads = std::fs::read_dir(a.dir.join("downloads"));
    assert!(downloads.map_or(0, Iterator::count) == 0, "nothing half is left");
    a.run(&["get", "also good.txt"]).expect(0);
}

#[test]
fn a_file_that_nobody_has_is_not_fetched() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    a.run(&["get", "unheard-of.txt"]).expect(1).says(&["unheard-of.txt"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    a.run(&["get", &digest]).expect(1).says(&["000000"]);
    a.run(&["get", "x.txt", "--from", "nobody"]).expect(1).says(&["nobody", "x.txt"]);
    a.run(&["get", "../x.txt"]).expect(2).says(&["x.txt"]);
}

#[test]
fn paths_that_are_not_directories_are_reported() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("file");
    std::fs::write(&file, "not a directory").expect("the sandbox can be written");
    let text = file.to_str().expect("temporary folders have plain names");
    let peer = |dir: &Path| Peer { dir: dir.to_owned(), server: sandbox.nobodys_address().to_string() };
    peer(&file).run(&["card"]).expect(1).says(&[text]);
    let deep = sandbox.path("no").join("such").join("A");
    peer(&deep).run(&["card"]).expect(1).says(&["no such directory"]);
    refused(&file, "127.0.0.1:0").expect(1).says(&[text]);
    run(
        "server",
        &["--listen", "127.0.0.1:0", "--root", text, "--data", sandbox.path("d").to_str().expect("plain")],
    )
    .expect(1)
    .says(&[text]);
    // The private directory is a regular file.
    let a = peer(&sandbox.path("A"));
    a.put(".switchboard", b"");
    a.run(&["card"]).expect(1).says(&[".switchboard"]);
}

#[test]
fn a_damaged_identity_is_reported_and_unchanged() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.peer("A", server.address());
    a.run(&["who"]).expect(0);
    let path = a.private().join("identity.pem");
    let good = std::fs::read(&path).expect("it was made");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad.truncate(middle);
    std::fs::write(&path, &bad).expect("it can be written");
    a.run(&["who"]).expect(1).says(&["identity.pem"]);
    assert_eq!(std::fs::read(&path).expect("it is there"), bad);
    // A missing identity is not replaced by a new one.
    std::fs::remove_file(&path).expect("it is there");
    a.run(&["who"]).expect(1).says(&["identity"]);
    std::fs::write(&path, good).expect("it can be written");
    a.run(&["who"]).expect(0);
}

#[test]
fn a_second_server_on_the_same_port_or_data_does_not_start() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let address = server.address().to_string();
    refused(&sandbox.path("other_data"), &address).expect(1).says(&[&address]);
    let text = server.data().to_str().expect("temporary folders have plain names").to_owned();
    refused(server.data(), "127.0.0.1:0").expect(1).says(&[&text, "another server"]);
    // The first server is not affected.
    sandbox.peer("A", server.address()).run(&["who"]).expect(0);
    server.stop();
}

#[test]
fn a_server_whose_start_fails_halfway_ends_and_says_why() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "")]);
    let path =
        |name: &str| sandbox.path(name).to_str().expect("temporary folders have plain names").to_owned();
    let (site, missing, log) = (path("site"), path("missing"), path("access.log"));
    let two = path("two.toml");
    std::fs::write(&two, format!("root = {site:?}\n[[site]]\nhosts = [\"b.test\"]\nroot = {missing:?}\n"))
        .expect("the sandbox can be written");
    std::fs::create_dir(sandbox.path("junk")).expect("the sandbox can be written");
    std::fs::write(sandbox.path("junk/store.redb"), "junk").expect("the sandbox can be written");
    // Actors that were started before the failure wait for others. They must end too.
    for (data, arguments, said) in [
        ("a", &["--access-log", &log, "--root", &missing][..], &missing),
        ("b", &["--access-log", &log, "--root", &site, "--users", &missing], &missing),
        ("c", &["--access-log", &log, "--config", &two], &missing),
        ("junk", &["--access-log", &log, "--root", &site], &path("junk")),
    ] {
        let data = path(data);
        let finished = run("server", &[&["--listen", "127.0.0.1:0", "--data", &data], arguments].concat());
        finished.expect(1).says(&[said]);
    }
}
