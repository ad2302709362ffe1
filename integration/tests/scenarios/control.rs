//! A peer directory that another process has locked: commands go through the control socket of that process.

use integration::Sandbox;

#[test]
fn a_running_process_executes_the_commands_of_others() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let a = sandbox.ready_peer("A", server.address());
    let b = sandbox.ready_peer("B", server.address());
    let at_b = b.start(&["listen"]);
    at_b.event("joined", |_| true);
    let mut at_a = a.start(&["listen"]);
    at_a.event("joined", |_| true);

    let sent = a.run(&["send", "B", "one", "--wait", "60"]).expect(0);
    assert_eq!(sent.events("joined").len(), 1, "it answers as if it had joined itself");
    assert_eq!(sent.events("delivered")[0]["number"], 1);
    a.run_with_input(&["send", "B", "-", "--wait", "60"], &["two".into(), "three".into()]).expect(0);
    let texts: Vec<_> = at_b.events("message", 3).iter().map(|m| m["text"].clone()).collect();
    assert_eq!(texts, ["one", "two", "three"]);

    let who = a.run(&["who"]).expect(0).answers("peer");
    let known: Vec<_> = who.iter().map(|p| (p["name"].as_str(), p["online"].as_bool())).collect();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&(Some("A"), Some(true))) && known.contains(&(Some("B"), Some(true))));

    let found = a.run(&["search", "recipe"]).expect(0);
    assert_eq!(found.answers("found").len(), 1);
    assert_eq!(a.run(&["history", "B"]).expect(0).answers("history").len(), 3);

    at_a.end_input();
    at_a.signal(rustix::process::Signal::INT);
    at_a.finish().expect(0);
    at_b.signal(rustix::process::Signal::INT);
    at_b.finish().expect(0);
    let log = server.stop().lines;
    let joins = log.iter().filter(|l| l.contains("joined") && l.contains("name=A")).count();
    assert_eq!(joins, 1, "only the process that runs the directory has joined");
}
