//! An import, against a model of NATS that fails at any step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::cluster::import::{Copy, Embedded, GaveUp, Imported, Target, import};
use crate::cluster::interface::Parcel;
use crate::commands::index::Share;
use crate::commands::store::{Mail, Ordinal};

/// The maximum number of envelopes in one read of the disk.
const READ_ENVELOPES: u64 = 3;

#[derive(Default)]
struct Disk {
    cards: Vec<(PeerName, Bytes)>,
    /// The envelopes of each mailbox. Places are missing.
    mail: BTreeMap<PeerName, BTreeMap<Ordinal, Bytes>>,
    shares: Vec<Share>,
}

impl Embedded for Disk {
    fn cards(&self) -> Vec<(PeerName, Bytes)> {
        self.cards.clone()
    }

    fn mailboxes(&self) -> Vec<(PeerName, Ordinal)> {
        let end = |mailbox: &BTreeMap<Ordinal, Bytes>| mailbox.keys().last().map_or(0, |last| last + 1);
        self.mail.iter().map(|(name, mailbox)| (name.clone(), end(mailbox))).collect()
    }

    fn mail(&self, name: &PeerName, places: Range<Ordinal>) -> Result<(Mail, Option<Ordinal>), String> {
        let mut found = self.mail[name].range(places);
        let mut mail: Mail = Vec::new();
        for _ in 0..READ_ENVELOPES {
            let Some((place, bytes)) = found.next() else { return Ok((mail, None)) };
            match mail.last_mut().filter(|(first, frames)| first + frames.count() == *place) {
                Some((_, frames)) => *frames = Frames::of([&frames.bytes[..], bytes].concat().into()),
                None => mail.push((*place, Frames::of(bytes.clone()))),
            }
        }
        Ok((mail, found.next().map(|(place, _)| *place)))
    }

    fn next_share(&mut self) -> Option<Share> {
        self.shares.pop()
    }
}

#[derive(Default)]
struct FakeNats {
    names: RefCell<BTreeMap<PeerName, Bytes>>,
    copies: RefCell<Vec<Copy>>,
    shares: RefCell<BTreeMap<PeerName, Vec<Bytes>>>,
    /// How many more writes are done before the import is killed.
    left: Cell<u64>,
}

impl FakeNats {
    fn step(&self) -> Result<(), GaveUp> {
        let left = self.left.get().checked_sub(1).ok_or(GaveUp::Nats("live"))?;
        self.left.set(left);
        Ok(())
    }
}

impl Target for FakeNats {
    async fn claim(&self, cards: Vec<(PeerName, Bytes)>) -> Result<Vec<(PeerName, Bytes)>, GaveUp> {
        let mut names = self.names.borrow_mut();
        let claim = |(name, card): (PeerName, Bytes)| {
            self.step()?;
            Ok((name.clone(), names.entry(name).or_insert(card).clone()))
        };
        cards.into_iter().map(claim).collect()
    }

    async fn copies(&self) -> Result<Vec<(PeerName, Parcel)>, GaveUp> {
        let parcel = |copy: &Copy| {
            let (first, count) = (copy.first, copy.frames.count());
            (copy.name.clone(), Parcel { first, count, sequences: Vec::new() })
        };
        Ok(self.copies.borrow().iter().map(parcel).collect())
    }

    async fn copy(&self, mail: Vec<Copy>) -> Result<(), GaveUp> {
        mail.into_iter().try_for_each(|copy| {
            self.step()?;
            self.copies.borrow_mut().push(copy);
            Ok(())
        })
    }

    async fn share(&self, name: &PeerName, parts: Vec<Bytes>) -> Result<bool, GaveUp> {
        self.step()?;
        let mut shares = self.shares.borrow_mut();
        Ok(*shares.entry(name.clone()).or_insert_with(|| parts.clone()) == parts)
    }
}

fn run(disk: &mut Disk, nats: &FakeNats, writes: u64) -> Result<Imported, GaveUp> {
    nats.left.set(writes);
    import(disk, nats).now_or_never().expect("the model does not wait")
}

/// The envelopes that have a copy, in the order of their places; each copy of one counts.
fn copied(nats: &FakeNats) -> Vec<(PeerName, Ordinal, Bytes)> {
    let mut all = Vec::new();
    for Copy { name, first, frames } in &*nats.copies.borrow() {
        all.extend((*first..).zip(frames.iter()).map(|(place, frame)| (name.clone(), place, frame)));
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_import_that_is_killed_again_and_again_loses_and_doubles_nothing(
        places in prop::collection::vec(prop::collection::btree_set(0u64..30, 0..20), 3),
        kills in prop::collection::vec(0u64..6, 0..20),
    ) {
        let names = ["a", "b", "c"].map(name);
        let mail = names.iter().zip(&places).map(|(name, places)| {
            (name.clone(), places.iter().map(|place| (*place, envelopes(name.as_str(), 1))).collect())
        });
        let mut disk = Disk { mail: mail.collect(), ..Disk::default() };
        let nats = FakeNats::default();
        for writes in kills {
            let _ = run(&mut disk, &nats, writes);
        }
        let imported = run(&mut disk, &nats, u64::MAX).expect("nothing fails");
        prop_assert_eq!(imported.mail.envelopes, places.iter().map(|p| p.len() as u64).sum::<u64>());
        let all = disk.mail.iter().flat_map(|(name, mailbox)| {
            mailbox.iter().map(|(place, bytes)| (name.clone(), *place, bytes.clone()))
        });
        prop_assert_eq!(copied(&nats), all.collect::<Vec<_>>());
    }
}

#[test]
fn what_belongs_to_another_key_in_the_cluster_is_left_out() {
    let encoded = |text: &str, key| (name(text).folded(), bytes(&card(text, key, 1)));
    let share = |text: &str| Share { owner: name(text), network: Network::UNKNOWN, files: Vec::new() };
    let mut disk = Disk {
        cards: vec![
            encoded("A", 0),
            encoded("B", 0),
            (name("c"), Bytes::from_static(b"damaged")),
            encoded("D", 0),
        ],
        shares: vec![share("A"), share("B"), share("D")],
        ..Disk::default()
    };
    for text in ["a", "b", "c", "nobody"] {
        disk.mail.insert(name(text), BTreeMap::from([(7, envelopes(text, 1))]));
    }
    let nats = FakeNats::default();
    // Somebody else has B. D's owner has renewed the card, and published other files.
    let newer = bytes(&card("D", 0, 2));
    nats.names.borrow_mut().extend([(name("b"), bytes(&card("B", 1, 1))), (name("d"), newer.clone())]);
    nats.shares.borrow_mut().insert(name("d"), vec![Bytes::from_static(b"newer")]);
    let imported = run(&mut disk, &nats, u64::MAX).expect("nothing fails");
    assert_eq!(imported.left_out, [name("B"), name("c")], "as its owner spells it, if its card says that");
    assert_eq!((imported.names, imported.shares, imported.mail.envelopes), (2, 1, 2));
    let of: Vec<_> = copied(&nats).into_iter().map(|(name, place, _)| (name, place)).collect();
    assert_eq!(of, [(name("a"), 7), (name("nobody"), 7)]);
    assert_eq!(nats.names.borrow()[&name("d")], newer);
    assert_eq!(nats.shares.borrow().keys().cloned().collect::<Vec<_>>(), [name("a"), name("d")]);
    assert_eq!(nats.shares.borrow()[&name("d")], ["newer"]);
}
