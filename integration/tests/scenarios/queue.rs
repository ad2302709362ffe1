//! A holder with one upload slot: the others wait, see their places, and are served when it is free.

use integration::Sandbox;
use rustix::process::Signal;

#[test]
fn peers_wait_for_an_upload_slot_in_a_queue_and_those_that_leave_make_room() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let [a, b, c, d] = ["A", "B", "C", "D"].map(|name| sandbox.peer(name, server.address()));
    let [sharing, first] = b.keep_busy_with(&a);
    let second = c.start(&["get", "short.txt"]);
    let queued = second.event("file_queued", |event| event["place"] == 1);
    assert_eq!((&queued["name"], &queued["from"]), (&"short.txt".into(), &"B".into()));
    let third = d.start(&["get", "short.txt"]);
    third.event("file_queued", |event| event["place"] == 2);

    second.signal(Signal::INT);
    second.finish().expect(1);
    third.event("file_queued", |event| event["place"] == 1);
    assert!(!third.has_ended());

    first.kill();
    let third = third.finish().expect(0);
    assert_eq!(third.events("file_done").len(), 1, "{:?}", third.lines);
    let got = std::fs::read(d.dir.join("downloads").join("short.txt"));
    assert!(got.is_ok_and(|bytes| bytes == b"short"));
    let sent = sharing.event("file_sent", |_| true);
    assert_eq!(sent["to"], "D", "nothing was sent to C");
}
