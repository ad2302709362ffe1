use std::time::{Duration, Instant};

use super::core::Write;
use super::*;
use crate::commands::router;
use crate::commands::router::PeerKey;
use crate::commands::store::{
    Command, Completion, Frames, Mail, MailboxSize, Ordinal, Origin, StorePort as _,
};
use crate::runtime::{mailbox, reply};
use wire::PeerName;

const SOON: Duration = Duration::from_secs(10);

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn frames(texts: &[&str]) -> Frames {
    let lengths = texts.iter().map(|t| u32::try_from(t.len()).expect("a short text")).collect();
    Frames { lengths, bytes: texts.concat().into() }
}

fn texts(mail: &Mail) -> Vec<(Ordinal, String)> {
    let each = |(first, frames): &(Ordinal, Frames)| {
        let texts: Vec<String> = frames.iter().map(|f| String::from_utf8_lossy(&f).into_owned()).collect();
        (*first..).zip(texts).collect::<Vec<_>>()
    };
    mail.iter().flat_map(each).collect()
}

fn origin() -> Origin {
    Origin { peer: PeerKey(0), session: 1, first: 0 }
}

#[test]
fn a_mailbox_is_read_in_the_order_of_its_places_and_in_steps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(&folder.path().join("store"), [1; 16]).expect("it opens");
    let (b, other) = (name("b"), name("bb"));
    disk.write(&[
        Write::Mail(&b, 7, &frames(&["seven", "eight"])),
        Write::Mail(&other, 1, &frames(&["not mine"])),
        Write::Mail(&b, 2, &frames(&["two", "three"])),
    ])
    .expect("it commits");
    let (mail, next) = disk.read(&b, 0..8, usize::MAX).expect("it reads");
    let expected = [(2, "two".to_owned()), (3, "three".to_owned()), (7, "seven".to_owned())];
    assert_eq!((texts(&mail).as_slice(), next), (expected.as_slice(), None));
    assert_eq!(mail.len(), 2, "what lies together stays together");
    let (mail, next) = disk.read(&b, 0..9, 4).expect("it reads");
    assert_eq!((texts(&mail).as_slice(), next), (&expected[..2], Some(7)));
    disk.write(&[Write::Forget(&b, 8)]).expect("it commits");
    let (mail, next) = disk.read(&b, 0..9, usize::MAX).expect("it reads");
    assert_eq!((texts(&mail), next), (vec![(8, "eight".to_owned())], None));
    let (mail, _) = disk.read(&other, 0..9, usize::MAX).expect("it reads");
    assert_eq!(texts(&mail), [(1, "not mine".to_owned())]);
}

#[test]
fn the_inventory_says_what_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    {
        let disk = Disk::open(&path, [1; 16]).expect("it opens");
        let (a, b) = (name("a"), name("b"));
        disk.write(&[Write::Card(&a, b"card of a"), Write::Mail(&b, 5, &frames(&["one", "three"]))])
            .expect("it commits");
    }
    let disk = Disk::open(&path, [2; 16]).expect("it opens again");
    let inventory = disk.inventory().expect("it reads");
    assert_eq!(inventory.server, [1; 16], "the server stays who it is");
    assert_eq!(inventory.cards, [(name("a"), b"card of a".to_vec())]);
    assert_eq!(inventory.mailboxes, [MailboxSize { name: name("b"), envelopes: 2, bytes: 8, end: 7 }]);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    std::fs::write(&path, b"somebody's notes, not a database at all").expect("it is written");
    assert!(matches!(Disk::open(&path, [1; 16]), Err(StoreError::Damaged { .. })));
    let content = std::fs::read(&path).expect("it is still there");
    assert_eq!(content, b"somebody's notes, not a database at all");
}

#[test]
fn what_is_said_to_be_stored_is_on_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let (_router, mut told) = mailbox::<router::Command, router::Command>(1);
    let (running, _) = start(&path, told.answers(None)).expect("it starts");
    let mut next = || loop {
        let mut batch = Vec::new();
        assert!(told.wait(Some(Instant::now() + SOON), 1, &mut batch), "the Router is not ended");
        match batch.pop().expect("it completes") {
            router::Command::Completed(completion) => return completion,
            other => panic!("{other:?}"),
        }
    };
    let mut handle = (*running).clone();
    let (reply, written) = reply();
    let card = b"card of b".to_vec();
    handle.send(Command::PutCard { peer: PeerKey(3), name: name("b"), card, reply });
    handle.send(Command::Put { name: name("b"), first: 4, frames: frames(&["hello"]), origin: origin() });
    assert_eq!(written.wait(SOON), Ok(()));
    let mut stored = 0;
    while stored == 0 {
        match next() {
            Completion::Put { count, bytes, stored: true, .. } => stored = count * bytes,
            Completion::Card { peer: PeerKey(3), written: true } => {}
            other => panic!("{other:?}"),
        }
    }
    handle.send(Command::Fetch { name: name("b"), peer: PeerKey(3), session: 9, places: 0..5 });
    match next() {
        Completion::Fetched { peer: PeerKey(3), session: 9, found: Some((mail, None)) } => {
            assert_eq!(texts(&mail), [(4, "hello".to_owned())]);
        }
        other => panic!("{other:?}"),
    }
    drop(running);
    let inventory = Disk::open(&path, [2; 16]).expect("it is let go of").inventory().expect("it reads");
    assert_eq!((inventory.cards.len(), inventory.mailboxes.len()), (1, 1));
}
