//! Options of the peer: --rekey 1, and the trace for people.

use std::process::Command;

use integration::{Finished, Peer, Process, Sandbox, binary};
use serde_json::Value;

/// Runs a peer without `--json`.
fn for_people(peer: &Peer, server: std::net::SocketAddr, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary("peer"));
    command.arg("--dir").arg(&peer.dir).args(["--server", &server.to_string()]).args(arguments);
    Process::start(format!("peer {} {}", peer.name(), arguments.join(" ")), command)
}

/// The value in the line of a trace that starts with `words`.
fn value<'a>(finished: &'a Finished, words: &str) -> &'a str {
    let line = finished.lines.iter().find_map(|line| line.trim_start().strip_prefix(words));
    line.unwrap_or_else(|| panic!("no line starts with {words}: {:?}", finished.lines)).trim()
}

#[test]
fn with_rekey_1_every_message_has_a_conversation_of_its_own() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = b.start(&["listen", "--count", "3"]);
    listening.event("joined", |_| true);
    let texts = ["one", "two", "three"].map(str::to_owned);
    let sent = a.run_with_input(&["send", "B", "-", "--wait", "60", "--rekey", "1"], &texts).expect(0);
    let opened = sent.events("conversation").into_iter().filter(|c| c["direction"] == "sent").count();
    assert_eq!(opened, 3);
    let received = listening.finish().expect(0).events("message");
    assert!(received.iter().all(|message| message["arrival"]["place"] == 0), "{received:?}");
    assert!(received.iter().map(|message| &message["text"]).eq(&texts));
}

#[test]
fn the_trace_for_people_shows_the_same_hashes_at_both_ends_and_no_control_characters() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = for_people(&b, server.address(), &["listen", "--count", "1"]);
    listening.wait("joined", |lines| lines.iter().any(|l| l.starts_with("joined")).then_some(()));
    let sent = for_people(&a, server.address(), &["send", "B", "red \u{1b}[31malert", "--wait", "60"])
        .finish()
        .expect(0);
    let received = listening.finish().expect(0);
    for words in ["SHA-256 of it", "ciphertext", "wrapped key", "opening"] {
        assert_eq!(value(&sent, words), value(&received, words), "{words}");
    }
    let text = value(&sent, "SHA-256 of the text");
    assert_eq!(value(&received, "SHA-256 of the text"), format!("{text}, equal to the one sealed inside"));
    assert!(value(&sent, "receipt verified").starts_with("1 message(s)"));
    assert!(
        received.lines.iter().any(|line| line.ends_with(" A #1: red \\u{1b}[31malert")),
        "{:?}",
        received.lines
    );
    let all = sent.lines.iter().chain(&received.lines);
    assert!(!all.flat_map(|line| line.chars()).any(char::is_control));
}

#[test]
fn a_sender_restored_from_an_older_copy_reports_repeated_numbers() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    a.run(&["who"]).expect(0);
    let restored = a.copy_into(&sandbox.path("restored"));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    a.run(&["send", "B", "the same", "--wait", "60"]).expect(0);
    a.run(&["send", "B", "another", "--wait", "60"]).expect(0);
    // The same number and text in two lives of the sender are still two messages.
    let sent = restored.run(&["send", "B", "the same", "--wait", "60"]).expect(0);
    assert_eq!(sent.events("delivered")[0]["number"], 1);
    restored.run(&["send", "B", "the next", "--wait", "60"]).expect(0);
    let received = listening.events("message", 4);
    let received: Vec<_> =
        received.iter().map(|event| (event["number"].as_u64(), event["text"].as_str())).collect();
    let expected = [(1, "the same"), (2, "another"), (1, "the same"), (3, "the next")];
    assert_eq!(received, expected.map(|(number, text)| (Some(number), Some(text))));
    let says_so = |events: Vec<Value>| {
        events
            .iter()
            .any(|event| event["message"].as_str().is_some_and(|m| m.contains("restored from an older copy")))
    };
    assert!(says_so(sent.events("error")), "the sender is told");
    assert!(says_so(listening.events("error", 1)), "the recipient is told");
    assert_eq!(b.history("A", "received").len(), 4);
}
