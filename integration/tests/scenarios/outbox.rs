//! Messages that wait: for a name that nobody has, and until they are cancelled.

use integration::Sandbox;
use serde_json::Value;

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["text"].as_str()).collect()
}

#[test]
fn a_name_that_nobody_has_is_reported_with_similar_names_and_the_prompt_ends_with_0() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("Ann", server.address()), sandbox.peer("Robert", server.address()));
    b.run(&["who"]).expect(0);
    let mut prompt = a.start(&[]);
    prompt.event("joined", |_| true);
    prompt.type_line("/msg Robret hello");
    prompt.event("waiting", |e| e["reason"].as_str().is_some_and(|r| r.contains("did you mean Robert?")));
    prompt.type_line("/msg Robert hello");
    prompt.event("stored", |e| e["to"] == "Robert");
    prompt.end_input();
    let ended = prompt.finish().expect(0);
    assert!(ended.stderr.contains("1 message(s) stay queued"), "{}", ended.stderr);

    let waiting = a.run(&["outbox"]).expect(0).answers("outbox");
    let listed: Vec<_> = waiting.iter().map(|m| (m["to"].as_str(), m["state"].as_str())).collect();
    assert_eq!(listed, [(Some("Robert"), Some("stored")), (Some("Robret"), Some("queued"))]);
    a.run(&["cancel", "1"]).expect(1).says(&["Robert, Robret"]);
    a.run(&["cancel", "1", "Robert"]).expect(1).says(&["may have been sent already"]);
    a.run(&["cancel", "1", "robret"]).expect(0);
    a.run(&["cancel", "1", "Robret"]).expect(1).says(&["no message #1"]);
    assert_eq!(a.history("Robret", "sent").len(), 0);
    let silent = a.run_with_input(&[], &["/outbox".into()]).expect(0);
    assert!(silent.stderr.is_empty(), "{}", silent.stderr);
}

#[test]
fn messages_behind_cancelled_ones_arrive() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let lines: Vec<String> = (1..=6).map(|number| format!("/msg B line {number}")).collect();
    let cancelled = ["/cancel 1", "/cancel 3", "/cancel 6"].map(str::to_owned);
    a.run_with_input(&[], &[&lines[..], &cancelled].concat()).expect(0);
    let sending = a.start(&["send", "B", "line 7", "--wait", "60"]);
    sending.event("waiting", |_| true);
    let received = b.run(&["listen", "--count", "4", "--timeout", "60"]).expect(0);
    assert_eq!(texts(&received.events("message")), ["line 2", "line 4", "line 5", "line 7"]);
    let sent = sending.finish().expect(0);
    // The recipient must not think that the server holds back the cancelled message.
    assert_eq!([received.events("refused"), sent.events("refused")], [const { Vec::<Value>::new() }; 2]);
    let empty = a.run(&["outbox"]).expect(0);
    assert_eq!((empty.answers("outbox").len(), empty.answers("nothing_queued").len()), (0, 1));
    let nobody = a.run(&["history", "C"]).expect(0).answers("no_history");
    assert_eq!(nobody.iter().map(|answer| answer["with"].as_str()).collect::<Vec<_>>(), [Some("C")]);
    assert_eq!(a.run(&["history", "B"]).expect(0).answers("no_history").len(), 0);
}
