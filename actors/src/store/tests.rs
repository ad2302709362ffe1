use std::path::Path;
use std::time::{Duration, Instant};

use super::core::Write;
use super::*;
use crate::commands::network::Network;
use crate::commands::router;
use crate::commands::router::PeerKey;
use crate::commands::store::{
    Amount, Command, Completion, Frames, Mail, MailboxSize, Ordinal, Origin, Sender, StorePort as _,
};
use crate::runtime::{mailbox, reply};
use wire::PeerName;
use wire::frame::{LENGTH_BYTES, frame};
use wire::protocol::{Envelope, Kind, ToPeer, ToServer};

const PAGE_BYTES: usize = 4096;
const SOON: Duration = Duration::from_secs(10);

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

/// Frames with these bodies.
fn frames(texts: &[&str]) -> Frames {
    let framed = |text: &&str| {
        let length = u32::try_from(text.len()).expect("a short text");
        [&length.to_le_bytes(), text.as_bytes()].concat()
    };
    Frames::of(texts.iter().map(framed).collect::<Vec<_>>().concat().into())
}

fn texts(mail: &Mail) -> Vec<(Ordinal, String)> {
    let each = |(first, frames): &(Ordinal, Frames)| {
        let texts: Vec<String> =
            frames.iter().map(|f| String::from_utf8_lossy(&f[LENGTH_BYTES..]).into_owned()).collect();
        (*first..).zip(texts).collect::<Vec<_>>()
    };
    mail.iter().flat_map(each).collect()
}

fn sender() -> Sender {
    Sender { name: name("w"), network: Network::of(std::net::Ipv4Addr::LOCALHOST.into()) }
}

fn origin() -> Origin {
    Origin { peer: PeerKey(0), session: 1, first: 0 }
}

#[test]
fn a_mailbox_is_read_in_the_order_of_its_places_and_in_steps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(&folder.path().join("store"), [1; 16]).expect("it opens");
    let (b, other, sender) = (name("b"), name("bb"), sender());
    disk.write(&[
        Write::Mail(&b, 7, &frames(&["seven", "eight"]), &sender, 1),
        Write::Mail(&other, 1, &frames(&["not mine"]), &sender, 1),
        Write::Mail(&b, 2, &frames(&["two", "three"]), &sender, 1),
    ])
    .expect("it commits");
    let (mail, next) = disk.read(&b, 0..8, usize::MAX).expect("it reads");
    let expected = [(2, "two"), (3, "three"), (7, "seven"), (8, "eight")];
    let expected = expected.map(|(place, text)| (place, text.to_owned()));
    assert_eq!((texts(&mail).as_slice(), next), (expected.as_slice(), None), "a run is read as a whole");
    assert_eq!(mail.len(), 2, "what lies together stays together");
    let (mail, next) = disk.read(&b, 0..9, 4).expect("it reads");
    assert_eq!((texts(&mail).as_slice(), next), (&expected[..2], Some(7)));
    let forgotten = disk.write(&[Write::Forget(&b, 0..8)]).expect("it commits");
    let gone = [16, 9].into_iter().zip([2, 1]);
    let gone: Vec<_> = gone.map(|(bytes, envelopes)| (sender.clone(), Amount { envelopes, bytes })).collect();
    assert_eq!(forgotten, [gone]);
    let (mail, next) = disk.read(&b, 0..9, usize::MAX).expect("it reads");
    assert_eq!((texts(&mail), next), (vec![(8, "eight".to_owned())], None));
    let (mail, _) = disk.read(&other, 0..9, usize::MAX).expect("it reads");
    assert_eq!(texts(&mail), [(1, "not mine".to_owned())]);
}

#[test]
fn mail_is_taken_at_any_place_of_a_run_and_what_is_left_is_counted_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(&folder.path().join("store"), [1; 16]).expect("it opens");
    let (b, sender) = (name("b"), sender());
    // Some records of the table, with an envelope that is larger than one.
    let letters: Vec<String> =
        (0..300).map(|n| format!("{n} ").repeat(if n == 120 { 40_000 } else { 200 })).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let all = frames(&letters);
    disk.write(&[Write::Mail(&b, 10, &all, &sender, 1)]).expect("it commits");
    let (mail, next) = disk.read(&b, 0..310, 1).expect("it reads");
    let next = next.expect("a record is less than all");
    assert_eq!(texts(&mail).len() as u64, next - 10, "it goes on behind what was read");
    let mut gone = Amount::default();
    for end in [11, next, next + 1, 130, 131, 250, 310] {
        let forgotten = disk.write(&[Write::Forget(&b, 0..end)]).expect("it commits");
        for (_, amount) in &forgotten[0] {
            gone += *amount;
        }
        let (mail, _) = disk.read(&b, 0..310, usize::MAX).expect("it reads");
        let left: Vec<_> = (10..).zip(&letters).skip(usize::try_from(end - 10).expect("small")).collect();
        assert!(
            texts(&mail)
                .iter()
                .map(|(place, text)| (*place, text.as_str()))
                .eq(left.iter().map(|(p, t)| (*p, **t))),
            "{end}"
        );
        let inventory = disk.inventory().expect("it reads");
        let kept: Amount = inventory.mailboxes.first().map_or(Amount::default(), |size| size.amounts[0].1);
        assert_eq!(
            (gone.envelopes + kept.envelopes, gone.bytes + kept.bytes),
            (300, all.bytes.len() as u64),
            "{end}"
        );
    }
}

#[test]
fn the_inventory_says_what_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    {
        let disk = Disk::open(&path, [1; 16]).expect("it opens");
        let (a, b) = (name("a"), name("b"));
        disk.write(&[
            Write::Card(&a, b"card of a"),
            Write::Mail(&b, 5, &frames(&["one", "three"]), &sender(), 1),
        ])
        .expect("it commits");
        disk.write(&[Write::Forget(&b, 0..6)]).expect("it commits");
    }
    let disk = Disk::open(&path, [2; 16]).expect("it opens again");
    let inventory = disk.inventory().expect("it reads");
    assert_eq!(inventory.server, [1; 16], "the server stays who it is");
    assert_eq!(inventory.cards, [(name("a"), b"card of a".to_vec())]);
    let amounts = vec![(sender(), Amount { envelopes: 1, bytes: 9 })];
    assert_eq!(inventory.mailboxes, [MailboxSize { name: name("b"), amounts, end: 7 }]);
}

/// Frames of messages as a peer sends them.
fn messages(to: &str, numbers: &[u64]) -> Frames {
    let envelope = |&number: &u64| Envelope { from: "W", to, kind: Kind::Message, number, sealed: b"x" };
    let each: Vec<Vec<u8>> =
        numbers.iter().map(|number| frame(&ToServer::Envelope(envelope(number)))).collect();
    let lengths = each.iter().map(|frame| u32::try_from(frame.len()).expect("a short frame")).collect();
    Frames { lengths, bytes: each.concat().into() }
}

#[test]
fn a_sweep_finds_what_is_too_old_in_steps_and_names_the_messages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::open(&folder.path().join("store"), [1; 16]).expect("it opens");
    let (b, c, sender) = (name("b"), name("c"), sender());
    let mut writes = vec![];
    let old = messages("b", &[4, 5, 9]);
    writes.push(Write::Mail(&b, 10, &old, &sender, 99));
    let new = messages("b", &[10]);
    writes.push(Write::Mail(&b, 13, &new, &sender, 100));
    let one = messages("c", &[1]);
    writes.extend((0..250).map(|place| Write::Mail(&c, place, &one, &sender, 1)));
    disk.write(&writes).expect("it commits");
    let (mut found, mut next, mut steps) = (Vec::new(), None, 0);
    loop {
        let (overdue, following) = disk.sweep(next.as_ref(), 100).expect("it reads");
        found.extend(overdue);
        steps += 1;
        next = following;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((found.len(), steps), (251, 3), "it looks at a part at a time");
    assert_eq!((&found[0].name, found[0].places.clone(), &found[0].sender), (&b, 10..13, &sender));
    let notice = found[0].notice.as_ref().expect("there are messages");
    let told: Vec<_> = notice.iter().map(|frame| ToPeer::decode(frame[4..].to_vec().leak())).collect();
    let expired = |first, last| Ok(ToPeer::Expired { to: name("b"), first, last });
    assert_eq!(told, [expired(4, 5), expired(9, 9)]);
    disk.write(&[Write::Forget(&b, found[0].places.clone())]).expect("it commits");
    let (mail, _) = disk.read(&b, 0..99, usize::MAX).expect("it reads");
    assert_eq!(mail.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [13]);
}

#[test]
fn mail_of_a_version_that_kept_no_senders_gets_them_when_the_store_is_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    {
        let disk = Disk::open(&path, [1; 16]).expect("it opens");
        disk.write(&[Write::Mail(&name("b"), 3, &messages("b", &[1, 2]), &sender(), 1)]).expect("it commits");
        disk.forget_parcels();
    }
    let inventory = Disk::open(&path, [1; 16]).expect("it opens").inventory().expect("it reads");
    assert_eq!(inventory.mailboxes.len(), 1);
    let MailboxSize { amounts, end, .. } = &inventory.mailboxes[0];
    assert_eq!((amounts[0].0.name.as_str(), amounts[0].1.envelopes, *end), ("w", 2, 5));
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
    let (running, _) = start(&path, told.answers(None), None).expect("it starts");
    let mut next = || {
        let mut batch = Vec::new();
        assert!(told.wait(Some(Instant::now() + SOON), 1, &mut batch), "the Router is not ended");
        match batch.pop().expect("it completes") {
            router::Command::Completed(completion) => completion,
            other => panic!("{other:?}"),
        }
    };
    let mut handle = (*running).clone();
    let (reply, written) = reply();
    let card = b"card of b".to_vec();
    handle.send(Command::PutCard { peer: PeerKey(3), name: name("b"), card, reply });
    let (sender, origin) = (Box::new(sender()), origin());
    handle.send(Command::Put {
        name: name("b"),
        first: 4,
        frames: frames(&["hello"]),
        sender,
        at: 1,
        origin,
    });
    assert_eq!(written.wait(SOON), Ok(()));
    let mut stored = 0;
    while stored == 0 {
        match next() {
            Completion::Put { mail, stored: true } => stored = mail.frames.amount().bytes,
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

/// Makes a small store. Returns the contents of its file, and its cards and mail.
fn small_store(path: &Path) -> (Vec<u8>, Cards, Letters) {
    let disk = Disk::open(path, [1; 16]).expect("it opens");
    let cards: Cards = (0..12).map(|n| (name(&format!("peer{n:02}")), vec![n; 1000])).collect();
    let mut mail = Vec::new();
    for (owner, card) in &cards {
        let letters: Vec<String> = (0..4).map(|n| format!("{owner} {n} ").repeat(100)).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        disk.write(&[Write::Card(owner, card), Write::Mail(owner, 5, &frames(&letters), &sender(), 1)])
            .expect("it commits");
        mail.push((owner.clone(), (5..).zip(letters.iter().map(ToString::to_string)).collect()));
    }
    drop(disk);
    (std::fs::read(path).expect("it reads"), cards, mail)
}

type Cards = Vec<(PeerName, Vec<u8>)>;
type Letters = Vec<(PeerName, Vec<(Ordinal, String)>)>;

#[test]
fn a_store_with_a_zeroed_page_is_recovered_or_refused_and_never_loses_a_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.redb");
    let (whole, cards, mail) = small_store(&path);
    let (mut unharmed, mut recovered, mut refused, mut lost) = (0, 0, 0, 0);
    for at in (0..whole.len()).step_by(PAGE_BYTES) {
        let mut damaged = whole.clone();
        damaged[at..at + PAGE_BYTES].fill(0);
        if damaged == whole {
            continue;
        }
        std::fs::write(&path, &damaged).expect("it can be written");
        let kept = folder.path().join("store.damaged-1");
        match recovery::open(&path, [2; 16]) {
            Ok((disk, inventory)) => {
                assert_eq!(inventory.cards, cards, "page {at}");
                let is_recovered = inventory.server == [2; 16];
                for (owner, sent) in &mail {
                    let (found, _) = disk.read(owner, 0..99, usize::MAX).expect("it reads");
                    let found = texts(&found);
                    assert!(found.iter().all(|letter| sent.contains(letter)), "page {at}");
                    assert!(
                        is_recovered || found == *sent,
                        "page {at}: the store stays who it is, and lost mail"
                    );
                    lost += sent.len() - found.len();
                }
                assert_eq!(std::fs::read(&kept).ok(), is_recovered.then_some(damaged), "page {at}");
                if is_recovered { recovered += 1 } else { unharmed += 1 }
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("store.redb is damaged"), "page {at}: {error}");
                assert!(
                    std::fs::read(&path).expect("it reads") == damaged,
                    "page {at}: the file was changed"
                );
            }
        }
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("it lists")
            .map(|e| e.expect("it reads").file_name())
            .collect();
        left.retain(|name| name != "store.damaged-1");
        left.sort();
        assert_eq!(left, ["store.made", "store.redb"], "page {at}");
        let _ = std::fs::remove_file(&kept);
    }
    println!("{unharmed} unharmed, {recovered} recovered with {lost} envelopes lost, {refused} refused");
    assert!(recovered > 10 && refused > 3 && unharmed > 0, "{recovered} {refused} {unharmed}");
    assert!(lost < recovered * 8, "one page holds few envelopes, but {lost} are lost by {recovered} pages");
}

#[test]
fn a_store_that_is_damaged_twice_is_recovered_twice_and_both_files_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.redb");
    let (whole, cards, _) = small_store(&path);
    let recover = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at..at + PAGE_BYTES].fill(0);
        std::fs::write(&path, &damaged).expect("it can be written");
        let recovered = recovery::open(&path, [2; 16]).ok().filter(|(_, found)| found.server == [2; 16]);
        recovered.map(|(_, inventory)| (damaged, inventory.cards))
    };
    let mut pages = (0..whole.len()).step_by(PAGE_BYTES);
    let (at, first) = pages.find_map(|at| Some((at, recover(at)?))).expect("a page of mail");
    let second = recover(at).expect("it is recovered again");
    for (number, (damaged, found)) in [(1, first), (2, second)] {
        assert_eq!(found, cards);
        let kept = folder.path().join(format!("store.damaged-{number}"));
        assert!(std::fs::read(kept).expect("it is kept") == damaged);
    }
}
