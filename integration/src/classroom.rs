//! The classroom: A writes to B, who has never joined; B joins later; both verify every message.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Finished, Peer, numbered, sha256_hex};

/// How many messages each of the two writes.
pub const MESSAGES: u64 = 50;

fn text(from: &str, number: u64) -> String {
    format!("Message {number} from {from}: the tide comes in at {number} o'clock, høyvann ⚓")
}

/// Checks that all messages arrived unchanged and in order, and that both ends computed the same hashes.
fn check_both_ends(from: &Peer, to: &Peer, sent: &Finished, received: &Finished) {
    let numbers: Vec<u64> = (1..=MESSAGES).collect();

    let messages = received.events("message");
    let order: Vec<u64> = messages.iter().filter_map(|m| m["number"].as_u64()).collect();
    assert_eq!(order, numbers, "messages come once each and in order");
    for message in &messages {
        let number = message["number"].as_u64().expect("it was read above");
        let expected = text(from.name(), number);
        assert_eq!(message["text"], expected);
        assert_eq!(message["from"], from.name());
        assert_eq!(message["verified"], true);
        assert_eq!(message["sha256"], sha256_hex(expected.as_bytes()));
    }
    let messages = numbered(messages);

    let queued = numbered(sent.events("queued"));
    assert!(queued.keys().eq(&numbers));
    for (number, event) in &queued {
        assert_eq!(event["sha256"], messages[number]["sha256"], "the digest before and after");
    }

    let went = went_out(sent);
    assert!(went.keys().eq(&numbers), "every message was relayed or stored");
    for (number, event) in &went {
        let arrival = &messages[number]["arrival"];
        for field in ["running_hash", "ciphertext_sha256", "conversation", "place", "bytes"] {
            assert_eq!(event[field], arrival[field], "{field} of number {number} at both ends");
        }
    }

    let delivered = numbered(sent.events("delivered"));
    assert!(delivered.keys().eq(&numbers), "every receipt was verified");
    for (number, event) in &delivered {
        let count = event["count"].as_u64().expect("a receipt counts");
        assert!(count >= *number, "the receipt for {number} covers {count}");
        assert_eq!(event["to"], to.name());
        assert_eq!(
            event["running_hash"], messages[&count]["arrival"]["running_hash"],
            "the receipt for {number} names the hash that the recipient had after {count}"
        );
    }

    let (opened, accepted) = (sent.events("conversation"), received.events("conversation"));
    let opened = one(&opened, "sent");
    let accepted = one(&accepted, "received");
    for field in ["conversation", "sender_key", "recipient_key", "wrapped_for", "wrapped_key", "commitment"] {
        assert_eq!(opened[field], accepted[field], "{field} of the conversation at both ends");
    }
    assert_eq!(opened["sender_key"], from.fingerprint());
    assert_eq!(opened["recipient_key"], to.fingerprint());
}

/// The outcome of each message at the server; a message that is sent again is reported again.
fn went_out(sent: &Finished) -> BTreeMap<u64, Value> {
    let events = sent.events("relayed").into_iter().chain(sent.events("stored"));
    events.filter_map(|event| Some((event["number"].as_u64()?, event))).collect()
}

#[track_caller]
fn one<'a>(conversations: &'a [Value], direction: &str) -> &'a Value {
    let mut found = conversations.iter().filter(|c| c["direction"] == direction);
    let first = found.next().expect("the conversation is told at both ends");
    assert_eq!(found.next(), None, "one conversation carries all of it");
    first
}

/// Lets two peers that have never run write to each other, and checks everything at both ends.
///
/// # Panics
/// A message is missing, comes twice, out of order, or changed; or the two ends do not agree on a hash.
pub fn write_to_each_other(a: &Peer, b: &Peer) {
    let texts = |from: &str| -> Vec<String> { (1..=MESSAGES).map(|n| text(from, n)).collect() };

    // A writes to B, who has never joined, and waits.
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    texts("A").iter().for_each(|line| sending.type_line(line));
    sending.end_input();
    sending.event("joined", |e| e["name"] == "A");
    sending.event("waiting", |e| e["to"] == "B");
    sending.events("queued", 50);
    // B joins for the first time.
    let received = b.run(&["listen", "--count", "50", "--timeout", "60"]).expect(0);
    let sent = sending.finish().expect(0);
    check_both_ends(a, b, &sent, &received);

    // B answers while A is away, so the server stores the messages.
    let mut sending = b.start(&["send", "A", "-", "--wait", "60"]);
    texts("B").iter().for_each(|line| sending.type_line(line));
    sending.end_input();
    sending.events("stored", 50);
    let received = a.run(&["listen", "--count", "50", "--timeout", "60"]).expect(0);
    let sent = sending.finish().expect(0);
    check_both_ends(b, a, &sent, &received);

    // Both have the whole history, and nothing is pending.
    for (peer, other) in [(a, b), (b, a)] {
        for (direction, from) in [("sent", peer), ("received", other)] {
            let history = peer.history(other.name(), direction);
            let told: Vec<&Value> = history.iter().map(|record| &record["text"]).collect();
            assert_eq!(told, texts(from.name()).iter().collect::<Vec<_>>());
            assert!(history.iter().all(|record| record["delivered"] == true));
        }
    }
}
