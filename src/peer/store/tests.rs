use super::*;
use crate::peer::records::{ContactRecord, Direction, HistoryRecord, IncomingRecord, OutboxRecord, Write};
use wire::{Digest, PeerName};

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn outbox(text: &str) -> OutboxRecord {
    OutboxRecord { text: text.into(), queued_at: 7, sealed: None }
}

fn history(direction: Direction, number: u64, text: &str) -> HistoryRecord {
    let (with, text) = (name("Bob"), text.to_owned());
    HistoryRecord { with, direction, generation: 0, number, written_at: number, text, delivered: false }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.redb");
    let contact =
        ContactRecord { name: name("Bob"), card: None, next_number: 3, last_number: 9, generation: 0 };
    let id = Digest::of(b"conversation");
    let incoming = IncomingRecord { from: name("Bob"), opening: vec![1], count: 2, running_hash: id };
    {
        let store = Store::open(&path).expect("it opens");
        let writes = [
            Write::Contact(contact.clone()),
            Write::Outbox(name("Bob"), 1, outbox("one")),
            Write::Outbox(name("BOB"), 2, outbox("two")),
            Write::Incoming(id, incoming.clone()),
        ];
        store.commit(&writes).expect("it commits");
    }
    let store = Store::open(&path).expect("it opens again");
    assert_eq!(store.contacts().expect("it reads"), [contact]);
    assert_eq!(store.incoming(id).expect("it reads"), Some(incoming));
    let numbers: Vec<u64> = store.outbox().expect("it reads").into_iter().map(|((_, n), _)| n).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_receipt_empties_the_outbox_and_marks_the_history() {
    let store = Store::in_memory().expect("it opens");
    let writes = [
        Write::Outbox(name("Bob"), 1, outbox("one")),
        Write::History(history(Direction::Sent, 1, "one")),
        Write::Delivered(name("bob"), 1),
    ];
    store.commit(&writes).expect("it commits");
    assert_eq!(store.outbox().expect("it reads"), []);
    let records = store.history(Some(&name("BOB"))).expect("it reads");
    assert_eq!(records.iter().map(|r| r.delivered).collect::<Vec<_>>(), [true]);
}

#[test]
fn messages_wait_to_be_shown_in_the_order_of_their_arrival() {
    let store = Store::in_memory().expect("it opens");
    for number in [1, 2, 3] {
        let record = history(Direction::Received, number, "hello");
        store.commit(&[Write::History(record), Write::Unshown(name("Bob"), 0, number)]).expect("it commits");
    }
    let numbers: Vec<u64> = store.unshown().expect("it reads").iter().map(|r| r.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    store.commit(&[Write::AllShown]).expect("it commits");
    assert_eq!(store.unshown().expect("it reads"), []);
}
