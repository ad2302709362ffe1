//! Moves what a server without a cluster has into a cluster: names, mail and shared files.
//!
//! Each step is harmless if it was taken before, so an import that was killed is begun anew, and writes what is missing. Mail
//! becomes copies in the stream, like those of a server that is lost: the servers at which the recipients are deliver it (`adopted`).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use wire::PeerName;
use wire::card::Card;

use super::interface::Parcel;
use super::published::parts_of;
use crate::commands::index::Share;
use crate::commands::store::{Amount, Frames, Mail, Ordinal};

/// How many cards are claimed, and how much mail is copied, at once.
const AT_ONCE: usize = 64;

/// What a server without a cluster has on its disk.
pub trait Embedded {
    /// The encoded cards of all names, by folded name.
    fn cards(&self) -> Vec<(PeerName, Bytes)>;

    /// The folded names that have mail, and for each the place after the last.
    fn mailboxes(&self) -> Vec<(PeerName, Ordinal)>;

    /// Reads envelopes of a mailbox, and where to continue if there are more.
    ///
    /// # Errors
    /// What is wrong with the disk.
    fn mail(&self, name: &PeerName, places: Range<Ordinal>) -> Result<(Mail, Option<Ordinal>), String>;

    /// What the next peer shares; none at the end.
    fn next_share(&mut self) -> Option<Share>;
}

/// Mail to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) name: PeerName,
    pub(super) first: Ordinal,
    pub(super) frames: Frames,
}

/// The cluster, as an import needs it. All operations repeat what has failed, and give up after a while.
pub(super) trait Target {
    /// Writes each card if there is none for its name. Returns the cards that there are then.
    async fn claim(&self, cards: Vec<(PeerName, Bytes)>) -> Result<Vec<(PeerName, Bytes)>, GaveUp>;

    /// The copies that there are of the mail of the importing server.
    async fn copies(&self) -> Result<Vec<(PeerName, Parcel)>, GaveUp>;

    /// Copies mail.
    async fn copy(&self, mail: Vec<Copy>) -> Result<(), GaveUp>;

    /// Writes the parts of what a peer shares, unless it has published something since. Returns whether they are there.
    async fn share(&self, name: &PeerName, parts: Vec<Bytes>) -> Result<bool, GaveUp>;
}

/// Why an import has ended early. What is done stays done.
#[derive(Debug, thiserror::Error)]
pub enum GaveUp {
    #[error("NATS does not {0}; run the same command again, which continues")]
    Nats(&'static str),
    #[error("the mail for {name} cannot be read: {why}")]
    Mail { name: PeerName, why: String },
}

/// What an import has moved, or found moved by an earlier run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Imported {
    pub names: u64,
    pub mail: Amount,
    pub shares: u64,
    /// Names that belong to another key in the cluster, and those whose card is damaged: those are folded, because only the card
    /// says how its owner spells it. All that they have is left out.
    pub left_out: Vec<PeerName>,
}

/// Moves everything. Names come first, because mail and files of a name that another key has are left out.
pub(super) async fn import(from: &mut impl Embedded, to: &impl Target) -> Result<Imported, GaveUp> {
    let mut imported = Imported::default();
    names(from, to, &mut imported).await?;
    let left_out: HashSet<PeerName> = imported.left_out.iter().map(PeerName::folded).collect();
    let mut copied: HashMap<PeerName, Vec<Range<Ordinal>>> = HashMap::new();
    for (name, parcel) in to.copies().await? {
        copied.entry(name).or_default().push(parcel.first..parcel.first.saturating_add(parcel.count));
    }
    for (name, end) in from.mailboxes() {
        if !left_out.contains(&name) {
            let copied = copied.remove(&name).unwrap_or_default();
            let amount = mailbox(from, to, (&name, end), copied).await?;
            imported.mail += amount;
        }
    }
    while let Some(share) = from.next_share() {
        let name = share.owner.folded();
        if !left_out.contains(&name) && to.share(&name, parts_of(&share)).await? {
            imported.shares += 1;
        }
    }
    Ok(imported)
}

async fn names(from: &impl Embedded, to: &impl Target, imported: &mut Imported) -> Result<(), GaveUp> {
    let mut cards = HashMap::new();
    for (name, bytes) in from.cards() {
        match Card::from_bytes(&bytes) {
            Ok(card) => {
                cards.insert(name, card);
            }
            Err(_) => imported.left_out.push(name),
        }
    }
    let all: Vec<_> =
        cards.iter().map(|(name, card)| (name.clone(), Bytes::copy_from_slice(card.as_bytes()))).collect();
    for some in all.chunks(AT_ONCE) {
        for (name, found) in to.claim(some.to_vec()).await? {
            let mine = cards.get(&name);
            // The owner may have joined a server of the cluster since, with a newer card or the successor of its key.
            let is_mine = mine.zip(Card::from_bytes(&found).ok()).is_some_and(|(mine, found)| {
                found.is_of(&mine.fingerprint()) || mine.is_of(&found.fingerprint())
            });
            match is_mine {
                true => imported.names += 1,
                false => imported.left_out.push(mine.map_or(name, |mine| mine.name.clone())),
            }
        }
    }
    imported.left_out.sort_by_key(PeerName::folded);
    Ok(())
}

/// Copies what is in a mailbox and has no copy. Returns the amount of all that is in it.
async fn mailbox(
    from: &impl Embedded,
    to: &impl Target,
    (name, end): (&PeerName, Ordinal),
    copied: Vec<Range<Ordinal>>,
) -> Result<Amount, GaveUp> {
    let copied = merged(copied);
    let (mut at, mut amount, mut missing) = (Some(0), Amount::default(), Vec::new());
    while let Some(start) = at {
        let read = from.mail(name, start..end);
        let (mail, next) = read.map_err(|why| GaveUp::Mail { name: name.clone(), why })?;
        for (first, frames) in mail {
            amount += frames.amount();
            let uncopied = uncopied(first, frames, &copied);
            missing.extend(uncopied.into_iter().map(|(first, frames)| Copy {
                name: name.clone(),
                first,
                frames,
            }));
        }
        if missing.len() >= AT_ONCE || next.is_none() {
            to.copy(std::mem::take(&mut missing)).await?;
        }
        at = next;
    }
    Ok(amount)
}

/// Puts ranges in order, and joins those that overlap or follow each other.
fn merged(mut ranges: Vec<Range<Ordinal>>) -> Vec<Range<Ordinal>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<Ordinal>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

/// Those of some consecutive envelopes that are at no place that has a copy.
fn uncopied(first: Ordinal, frames: Frames, copied: &[Range<Ordinal>]) -> Vec<(Ordinal, Frames)> {
    let has_copy = |place: &Ordinal| {
        let next = copied.partition_point(|places| places.start <= *place);
        next > 0 && copied[next - 1].contains(place)
    };
    let (mut groups, mut rest, mut at) = (Vec::new(), frames, first);
    while rest.count() > 0 {
        let places = at..at + rest.count();
        let skipped = places.clone().take_while(has_copy).count();
        let count = places.skip(skipped).take_while(|place| !has_copy(place)).count();
        rest = rest.skip(skipped);
        if count > 0 {
            groups.push((at + skipped as u64, rest.clone().first(count)));
            rest = rest.skip(count);
        }
        at += (skipped + count) as u64;
    }
    groups
}
