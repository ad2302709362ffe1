use super::*;
use crate::peer::folder::Folder;
use crate::peer::records::{ContactRecord, Direction, HistoryRecord, IncomingRecord, OutboxRecord, Write};
use wire::keys::Secret;
use wire::{Digest, PeerName};

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn outbox(text: &str) -> OutboxRecord {
    OutboxRecord { id: [1; 16], text: text.into(), queued_at: 7, sealed: None }
}

fn history(direction: Direction, number: u64, text: &str) -> HistoryRecord {
    let (with, text) = (name("Bob"), text.to_owned());
    HistoryRecord {
        with,
        direction,
        generation: 0,
        number,
        id: [1; 16],
        written_at: number,
        text,
        delivered: false,
    }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let contact = ContactRecord {
        name: name("Bob"),
        card: None,
        next_number: 3,
        last_number: 9,
        generation: 0,
        is_blocked: false,
    };
    let id = Digest::of(b"conversation");
    let incoming = IncomingRecord {
        from: name("Bob"),
        opening: vec![1],
        recipient_key: id,
        opened_at: 3,
        count: 2,
        running_hash: id,
        last_number: 9,
    };
    {
        let store = Store::open(&private, None, true).expect("it opens");
        let writes = [
            Write::Contact(contact.clone()),
            Write::Outbox(name("Bob"), 1, outbox("one")),
            Write::Outbox(name("BOB"), 2, outbox("two")),
            Write::Incoming(id, incoming.clone()),
        ];
        store.commit(&writes).expect("it commits");
    }
    let store = Store::open(&private, None, true).expect("it opens again");
    assert_eq!(store.contacts().expect("it reads"), [contact]);
    assert_eq!(store.incoming(id).expect("it reads"), Some(incoming.clone()));
    let accepted = store.accepted().expect("it reads");
    assert_eq!(accepted, [(id, IncomingRecord { opening: Vec::new(), ..incoming })]);
    let numbers: Vec<u64> = store.outbox().expect("it reads").into_iter().map(|((_, n), _)| n).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_message_counts_as_delivered_in_the_history_once_it_has_left_the_outbox() {
    let store = Store::in_memory().expect("it opens");
    let writes = [
        Write::Outbox(name("Bob"), 1, outbox("one")),
        Write::History(history(Direction::Sent, 1, "one")),
        Write::Outbox(name("Bob"), 2, outbox("two")),
        Write::History(history(Direction::Sent, 2, "two")),
        Write::Delivered(name("bob"), 1),
    ];
    store.commit(&writes).expect("it commits");
    let numbers: Vec<u64> = store.outbox().expect("it reads").into_iter().map(|((_, n), _)| n).collect();
    assert_eq!(numbers, [2]);
    let records = store.history(Some(&name("BOB"))).expect("it reads");
    let delivered: Vec<_> = records.iter().map(|record| (record.number, record.delivered)).collect();
    assert_eq!(delivered, [(1, true), (2, false)]);
}

#[test]
fn messages_wait_to_be_shown_in_the_order_of_their_arrival() {
    let store = Store::in_memory().expect("it opens");
    for number in [1, 2, 3] {
        let record = history(Direction::Received, number, "hello");
        let arrived = Write::Arrived(number + 6, name("Bob"), 0, number);
        store.commit(&[Write::History(record), arrived]).expect("it commits");
    }
    let number_at =
        |place| store.arrived(place).expect("it reads").map(|(place, record)| (place, record.number));
    assert_eq!([number_at(0), number_at(8), number_at(10)], [Some((7, 1)), Some((8, 2)), None]);
    assert_eq!(store.arrivals().expect("it reads"), (10, 0));
    store.commit(&[Write::Shown { before: 9, forget: 8 }]).expect("it commits");
    assert_eq!([number_at(0), number_at(9)], [Some((8, 2)), Some((9, 3))], "one is kept for a slow reader");
    assert_eq!(store.arrivals().expect("it reads"), (10, 9));
    store.commit(&[Write::Shown { before: 10, forget: 10 }]).expect("it commits");
    assert_eq!(number_at(0), None);
    assert_eq!(store.arrivals().expect("it reads"), (10, 10), "no place is used again");
}

#[test]
fn a_forgotten_peer_leaves_the_ids_of_its_messages_and_no_text() {
    let store = Store::in_memory().expect("it opens");
    let of = |with: &str, direction, number, text: &str| {
        Write::History(HistoryRecord { with: name(with), ..history(direction, number, text) })
    };
    let writes = [
        of("Bob", Direction::Sent, 1, "to Bob"),
        of("Bob", Direction::Received, 1, "from Bob"),
        of("Bob", Direction::Received, 2, "again from Bob"),
        of("Bobby", Direction::Received, 1, "from Bobby"),
        Write::Arrived(0, name("Bob"), 0, 1),
        Write::Arrived(1, name("Bob"), 0, 2),
        Write::Arrived(2, name("Bobby"), 0, 1),
        Write::Forgotten(name("BOB")),
    ];
    store.commit(&writes).expect("it commits");
    let texts: Vec<_> = store.history(None).expect("it reads").into_iter().map(|r| r.text).collect();
    assert_eq!(texts, ["from Bobby"]);
    assert_eq!(store.received(&name("Bob"), 0, 2).expect("it reads"), Some([1; 16]));
    let (place, first) = store.arrived(0).expect("it reads").expect("one is left");
    assert_eq!((place, first.with), (2, name("Bobby")), "nothing of a forgotten peer is shown any more");
}

#[test]
fn a_record_of_another_version_is_an_error_that_says_what_to_do_and_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let store = Store::open(&private, None, true).expect("it opens");
    store.commit(&[Write::Outbox(name("Bob"), 1, outbox("one"))]).expect("it commits");
    drop(store);
    let database = redb::Database::open(private.path().join("store.redb")).expect("it opens");
    let write = database.begin_write().expect("it begins");
    let table: redb::TableDefinition<(&str, u64), &[u8]> = redb::TableDefinition::new("outbox");
    write.open_table(table).expect("it is there").insert(("bob", 1), &b"\xff"[..]).expect("it is written");
    write.commit().expect("it commits");
    drop(database);
    let error = || Store::open(&private, None, true).expect("it opens").outbox().expect_err("it is old");
    for _ in 0..2 {
        let error = error().to_string();
        for part in ["store.redb was written by another version", "use that version, or", "store.made"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(error.contains("give up the outbox, the history and the message numbers"), "{error}");
    }
}

/// All bytes of the store, with those of pages that are not in use.
fn bytes_of(private: &Folder) -> Vec<u8> {
    std::fs::read(private.path().join("store.redb")).expect("it is there")
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_store_that_was_plain_is_sealed_and_nothing_readable_is_left_on_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let store = Store::open(&private, None, true).expect("it opens");
    for number in 1..50 {
        let text = format!("clearly readable {number}");
        let writes = [
            Write::Outbox(name("Bob"), number, outbox(&text)),
            Write::History(history(Direction::Sent, number, &text)),
        ];
        store.commit(&writes).expect("it commits");
    }
    store.commit(&[Write::Shown { before: 7, forget: 7 }]).expect("it commits");
    let before = (store.outbox().expect("it reads"), store.history(None).expect("it reads"));
    drop(store);
    std::fs::hard_link(folder.path().join("store.redb"), folder.path().join("witness"))
        .expect("a second name");
    assert!(contains(&bytes_of(&private), "clearly readable 9"));

    let key = Secret::new([7; 32]);
    let store = Store::open(&private, Some(&key), true).expect("it is sealed");
    assert_eq!((store.outbox().expect("it reads"), store.history(None).expect("it reads")), before);
    assert_eq!(store.arrivals().expect("it reads"), (7, 7));
    store.commit(&[Write::Outbox(name("Bob"), 99, outbox("clearly readable 99"))]).expect("it commits");
    store.commit(&[Write::Delivered(name("Bob"), 1)]).expect("it commits");
    assert_eq!(store.history(None).expect("it reads").iter().filter(|record| record.delivered).count(), 1);
    drop(store);
    assert!(!contains(&bytes_of(&private), "clearly readable"));
    let old = std::fs::read(folder.path().join("witness")).expect("it is there");
    assert!(old.iter().all(|byte| *byte == 0), "the old file was overwritten");
    let store = Store::open(&private, Some(&key), true).expect("it opens again");
    assert_eq!(store.outbox().expect("it reads").len(), 49);
    drop(store);

    let error =
        |key: Option<&Secret>| Store::open(&private, key, true).err().expect("it cannot be read").to_string();
    assert!(error(None).contains("store.key with its key is missing"), "{}", error(None));
    let other = Secret::new([8; 32]);
    assert!(error(Some(&other)).contains("another key than that in store.key"), "{}", error(Some(&other)));
}

#[test]
fn a_crash_while_a_store_is_sealed_leaves_one_that_opens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let store = Store::open(&private, None, true).expect("it opens");
    store.commit(&[Write::Outbox(name("Bob"), 1, outbox("clearly readable"))]).expect("it commits");
    drop(store);
    // What a crash leaves while the new file is written.
    std::fs::write(folder.path().join(".store.redb.new"), b"half of it").expect("it can be written");
    let key = Secret::new([7; 32]);
    // What a crash leaves after the exchange and before the old file is destroyed.
    std::fs::copy(folder.path().join("store.redb"), folder.path().join("old")).expect("it is copied");
    drop(Store::open(&private, Some(&key), true).expect("it is sealed"));
    std::fs::rename(folder.path().join("old"), folder.path().join(".store.redb.new")).expect("it is renamed");
    std::fs::hard_link(folder.path().join(".store.redb.new"), folder.path().join("witness"))
        .expect("a second name");
    private.clear_unfinished().expect("it clears");
    assert!(!contains(
        &std::fs::read(folder.path().join("witness")).expect("it is there"),
        "clearly readable"
    ));
    let store = Store::open(&private, Some(&key), true).expect("it opens again");
    assert_eq!(store.outbox().expect("it reads").len(), 1);
}

#[test]
fn a_sealed_record_in_the_place_of_another_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let key = Secret::new([7; 32]);
    let store = Store::open(&private, Some(&key), true).expect("it opens");
    store
        .commit(&[1, 2].map(|n| Write::Outbox(name("Bob"), n, outbox(&format!("{n}")))))
        .expect("it commits");
    drop(store);
    let database = redb::Database::open(private.path().join("store.redb")).expect("it opens");
    let write = database.begin_write().expect("it begins");
    use redb::ReadableTable as _;
    let definition: redb::TableDefinition<(&str, u64), &[u8]> = redb::TableDefinition::new("outbox");
    let mut table = write.open_table(definition).expect("it is there");
    let first = table.get(("bob", 1)).expect("it reads").expect("it is there").value().to_vec();
    table.insert(("bob", 2), first.as_slice()).expect("it is written");
    drop(table);
    write.commit().expect("it commits");
    drop(database);
    let store = Store::open(&private, Some(&key), true).expect("it opens");
    assert!(store.outbox_entry(&name("Bob"), 1).is_ok());
    let error = store.outbox_entry(&name("Bob"), 2).expect_err("it is another record").to_string();
    assert!(error.contains("a record of outbox cannot be decrypted"), "{error}");
}

#[test]
fn without_history_no_text_stays_once_it_was_shown_or_delivered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let private = Folder::open(folder.path()).expect("it opens");
    let received = |number| {
        let record = history(Direction::Received, number, &format!("clearly readable, received {number}"));
        [Write::History(record), Write::Arrived(number, name("Bob"), 0, number)]
    };
    let sent = |number| {
        let text = format!("clearly readable, sent {number}");
        [
            Write::Outbox(name("Bob"), number, outbox(&text)),
            Write::History(history(Direction::Sent, number, &text)),
        ]
    };
    // An earlier run, with history.
    let store = Store::open(&private, None, true).expect("it opens");
    store.commit(&[received(1), sent(1)].concat()).expect("it commits");
    store
        .commit(&[Write::Delivered(name("Bob"), 1), Write::Shown { before: 2, forget: 2 }])
        .expect("it commits");
    drop(store);
    assert!(contains(&bytes_of(&private), "clearly readable, received 1"));
    let store = Store::open(&private, None, false).expect("it opens");
    assert!(!contains(&bytes_of(&private), "clearly readable"));

    store.commit(&[received(2), received(3), sent(2), sent(3)].concat()).expect("it commits");
    store
        .commit(&[Write::Delivered(name("Bob"), 2), Write::Shown { before: 3, forget: 3 }])
        .expect("it commits");
    let texts = |store: &Store| -> Vec<String> {
        store.history(None).expect("it reads").into_iter().map(|record| record.text).collect()
    };
    assert_eq!(texts(&store), ["clearly readable, received 3"], "only what is to be shown");
    store.close(&private).expect("it closes");
    let bytes = bytes_of(&private);
    for (text, is_kept) in [("received 2", false), ("received 3", true), ("sent 2", false), ("sent 3", true)]
    {
        assert_eq!(contains(&bytes, &format!("clearly readable, {text}")), is_kept, "{text}");
    }
    // The ids are kept, to recognise a repeated message.
    let store = Store::open(&private, None, true).expect("it opens");
    for number in 1..=3 {
        assert_eq!(store.received(&name("Bob"), 0, number).expect("it reads"), Some([1; 16]), "{number}");
    }
    assert_eq!(store.received(&name("Bob"), 0, 4).expect("it reads"), None);
    assert_eq!(
        store.arrived(0).expect("it reads").map(|(place, record)| (place, record.number)),
        Some((3, 3))
    );
}

#[test]
fn numbers_that_are_carried_over_recognise_what_was_received() {
    let store = Store::in_memory().expect("it opens");
    let contact = ContactRecord {
        name: name("Bob"),
        card: None,
        next_number: 3,
        last_number: 2,
        generation: 0,
        is_blocked: true,
    };
    let received = [1, 2].map(|number| Write::History(history(Direction::Received, number, "hello")));
    let sent =
        [Write::History(history(Direction::Sent, 1, "hi")), Write::Outbox(name("Bob"), 2, outbox("two"))];
    store.commit(&[&received[..], &sent, &[Write::Contact(contact.clone())]].concat()).expect("it commits");
    let other = Store::in_memory().expect("it opens");
    other.write_numbers(&store.numbers().expect("it reads")).expect("it writes");
    assert_eq!(other.contacts().expect("it reads"), [contact]);
    assert_eq!(other.received(&name("bob"), 0, 2).expect("it reads"), Some([1; 16]));
    assert_eq!(other.history(None).expect("it reads").len() + other.outbox().expect("it reads").len(), 0);
    let again = Store::in_memory().expect("it opens");
    again.write_numbers(&other.numbers().expect("it reads")).expect("it writes");
    assert_eq!(
        again.received(&name("bob"), 0, 1).expect("it reads"),
        Some([1; 16]),
        "also when it moves again"
    );
}
