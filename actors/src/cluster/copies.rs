//! Copies of the mail of this server in the stream of the cluster.
//!
//! The store writes mail to the disk of this server, and delivers it. The copy is for the case that this server is lost: then the
//! servers at which the recipients are deliver it (`adopted`). So a sender learns that mail is stored when both have it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use wire::PeerName;
use wire::protocol::ServerId;

use super::core::RETRY;
use super::interface::{Effect, MailEffect, Parcel, Sequence};
use crate::commands::store::{Completion, Ordinal, Written};

/// How long a sender waits for the copy of its mail. After this time it is told that the server is busy.
const COPY_TIMEOUT: Duration = Duration::from_secs(5);
/// After this many attempts in which NATS was connected and refused the copy, there will be none.
const TRIES_MAX: u32 = 10;

/// Mail on the disk of this server that has no copy yet.
#[derive(Debug)]
struct Uncopied {
    mail: Box<Written>,
    since: Instant,
    /// When to try, if no attempt is under way.
    due: Option<Instant>,
    tries: u32,
    /// The latest message of the stream that was known when the first attempt began. So the copy, if it was made, is behind it.
    after: Option<Sequence>,
    /// The sender was told the outcome.
    is_answered: bool,
    /// The store has dropped it since.
    is_forgotten: bool,
}

/// The copies of the mail for one recipient.
#[derive(Debug, Default)]
struct Mailbox {
    parcels: Vec<Parcel>,
    /// What is before this number in the stream can be dropped.
    droppable: Sequence,
    /// What is before this number was dropped, or is being dropped.
    dropped: Sequence,
    is_dropping: bool,
}

#[derive(Debug)]
pub(super) struct Copies {
    pub(super) store: ServerId,
    /// The recipients of the mail that was on the disk when this server started.
    on_disk: HashSet<PeerName>,
    /// The copies of an earlier run of this server are known. No copy is made before.
    is_listed: bool,
    is_listing: bool,
    made: u64,
    /// The latest message of the stream that is known.
    latest: Sequence,
    uncopied: BTreeMap<u64, Uncopied>,
    mailboxes: HashMap<PeerName, Mailbox>,
}

impl Copies {
    pub(super) fn new(store: ServerId, on_disk: HashSet<PeerName>) -> Self {
        let (uncopied, mailboxes) = (BTreeMap::new(), HashMap::new());
        Self { store, on_disk, is_listed: false, is_listing: false, made: 0, latest: 0, uncopied, mailboxes }
    }

    /// Mail is on the disk.
    pub(super) fn stored(
        &mut self,
        now: Instant,
        mail: Box<Written>,
        is_connected: bool,
        out: &mut Vec<Effect>,
    ) {
        self.made += 1;
        let mut uncopied = Uncopied {
            mail,
            since: now,
            due: Some(now),
            tries: 0,
            after: None,
            is_answered: false,
            is_forgotten: false,
        };
        if is_connected && self.is_listed {
            uncopied.copy(self.made, self.latest, out);
        }
        self.uncopied.insert(self.made, uncopied);
    }

    /// Makes the copies that are due.
    fn copy(&mut self, now: Instant, is_connected: bool, out: &mut Vec<Effect>) {
        if !is_connected || !self.is_listed {
            return;
        }
        for (number, uncopied) in &mut self.uncopied {
            if uncopied.due.is_some_and(|due| due <= now) {
                uncopied.copy(*number, self.latest, out);
            }
        }
    }

    /// An attempt has ended: where the copy is, if it was made.
    pub(super) fn copied(
        &mut self,
        now: Instant,
        number: u64,
        sequences: Option<Vec<Sequence>>,
        is_connected: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(uncopied) = self.uncopied.get_mut(&number) else { return };
        uncopied.tries += u32::from(is_connected);
        let is_given_up = uncopied.tries >= TRIES_MAX;
        if sequences.is_none() && !is_given_up {
            uncopied.due = Some(now + RETRY);
            return;
        }
        let Some(mut uncopied) = self.uncopied.remove(&number) else { return };
        if let Some(sequences) = sequences {
            let Written { name, first, frames, .. } = &*uncopied.mail;
            self.latest = sequences.iter().copied().fold(self.latest, Sequence::max);
            let parcel = Parcel { first: *first, count: frames.count(), sequences };
            self.mailboxes.entry(name.clone()).or_default().parcels.push(parcel);
            if uncopied.is_forgotten {
                let (name, places) = (name.clone(), *first..first + frames.count());
                self.drop_copies(&name, &places, out);
            }
            uncopied.answer(true, out);
        } else {
            tracing::error!(target: "cluster", to = %uncopied.mail.name, "NATS keeps no copy of mail; it is on this server only");
            uncopied.answer(false, out);
        }
    }

    /// The store has dropped mail.
    pub(super) fn forgotten(&mut self, name: &PeerName, places: &Range<Ordinal>, out: &mut Vec<Effect>) {
        for uncopied in self.uncopied.values_mut().filter(|uncopied| uncopied.mail.name == *name) {
            let first = uncopied.mail.first;
            if places.start <= first && first + uncopied.mail.frames.count() <= places.end {
                uncopied.is_forgotten = true;
                // Its recipient has it, which is more than a copy.
                uncopied.answer(true, out);
            }
        }
        self.drop_copies(name, places, out);
    }

    fn drop_copies(&mut self, name: &PeerName, places: &Range<Ordinal>, out: &mut Vec<Effect>) {
        let Some(mailbox) = self.mailboxes.get_mut(name) else { return };
        let had = mailbox.parcels.len();
        mailbox
            .parcels
            .retain(|parcel| places.start > parcel.first || parcel.first + parcel.count > places.end);
        if mailbox.parcels.len() == had {
            return;
        }
        // A parcel that came back from a broken session is behind later ones in the stream, so what can be dropped is what
        // precedes all that is left.
        let left = mailbox.parcels.iter().flat_map(|parcel| &parcel.sequences).copied();
        // The same holds for one whose answer has not come yet.
        let of_name = self.uncopied.values().filter(|uncopied| uncopied.mail.name == *name);
        let unknown = of_name.filter_map(|uncopied| uncopied.after).map(|after| after + 1);
        let before = left.chain(unknown).fold(self.latest + 1, Sequence::min);
        mailbox.droppable = mailbox.droppable.max(before);
        mailbox.drop_next(name, out);
    }

    /// A drop has ended. What a drop has left, because it has failed, the next one drops.
    pub(super) fn dropped(&mut self, name: &PeerName, out: &mut Vec<Effect>) {
        let Some(mailbox) = self.mailboxes.get_mut(name) else { return };
        mailbox.is_dropping = false;
        mailbox.drop_next(name, out);
        if mailbox.parcels.is_empty() && !mailbox.is_dropping {
            self.mailboxes.remove(name);
        }
    }

    /// The copies of earlier runs of this server, or none if they could not be read.
    pub(super) fn listed(
        &mut self,
        now: Instant,
        found: Option<Vec<(PeerName, Parcel)>>,
        is_connected: bool,
        out: &mut Vec<Effect>,
    ) {
        self.is_listing = false;
        let Some(found) = found else { return };
        self.is_listed = true;
        let mut gone: HashSet<PeerName> = found.iter().map(|(name, _)| name.clone()).collect();
        gone.retain(|name| !self.on_disk.contains(name));
        for (name, parcel) in found {
            self.latest = parcel.sequences.iter().copied().fold(self.latest, Sequence::max);
            self.mailboxes.entry(name).or_default().parcels.push(parcel);
        }
        // This server was killed after the store had dropped them.
        for name in &gone {
            self.drop_copies(name, &(0..Ordinal::MAX), out);
        }
        self.on_disk.clear();
        self.copy(now, is_connected, out);
    }

    pub(super) fn tick(&mut self, now: Instant, is_connected: bool, out: &mut Vec<Effect>) {
        if is_connected && !self.is_listed && !self.is_listing {
            self.is_listing = true;
            out.push(Effect::Mail(MailEffect::List { store: self.store, of: None }));
        }
        self.copy(now, is_connected, out);
        for uncopied in self.uncopied.values_mut() {
            if uncopied.since + COPY_TIMEOUT <= now {
                uncopied.answer(false, out);
            }
        }
    }
}

impl Uncopied {
    /// Begins an attempt. `latest` is the latest message of the stream that is known.
    fn copy(&mut self, number: u64, latest: Sequence, out: &mut Vec<Effect>) {
        self.due = None;
        self.after.get_or_insert(latest);
        let Written { name, first, frames, .. } = &*self.mail;
        out.push(Effect::Mail(MailEffect::Copy {
            number,
            name: name.clone(),
            first: *first,
            count: frames.count(),
            frames: frames.bytes.clone(),
        }));
    }

    /// Tells the sender the outcome, unless it was told before.
    fn answer(&mut self, is_copied: bool, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        let mail = self.mail.clone();
        out.push(Effect::Complete(match is_copied {
            true => Completion::Put { mail, stored: true },
            false => Completion::Uncopied { origin: mail.origin, amount: mail.frames.amount() },
        }));
    }
}

impl Mailbox {
    /// Drops what can be dropped. One drop for each recipient is under way at a time, because a recipient that takes much mail
    /// would cause a drop for each envelope.
    fn drop_next(&mut self, name: &PeerName, out: &mut Vec<Effect>) {
        if !self.is_dropping && self.dropped < self.droppable {
            (self.is_dropping, self.dropped) = (true, self.droppable);
            out.push(Effect::Mail(MailEffect::Drop { name: name.clone(), before: self.droppable }));
        }
    }
}
