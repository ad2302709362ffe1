//! The conversations that other peers have opened with this one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::conversation::{ConversationId, Incoming, Opening};
use wire::signal::Complaint;
use wire::{Digest, Fingerprint, PeerName};

use super::contact::same_name;
use super::contacts::Contacts;
use super::local::Local;
use crate::peer::records::{IncomingRecord, Write};

/// The maximum number of conversations in memory. Each takes about 3 KB.
const ACCEPTED_MAX: usize = 2_048;
/// The maximum number of conversations of one peer on disk. If a message of a deleted one arrives, its sender seals it
/// again in a new one.
const KEPT_EACH_MAX: usize = 64;

/// A conversation that another peer has opened and this one has accepted.
pub(super) struct Accepted {
    pub(super) from: PeerName,
    opening: Vec<u8>,
    /// The encryption key of this peer for which the secret was wrapped.
    recipient_key: Fingerprint,
    opened_at: u64,
    /// All messages with smaller numbers have a receipt, according to the sender.
    pub(super) first_number: u64,
    /// The highest number of a message that has arrived; 0 if there is none.
    pub(super) last_number: u64,
    pub(super) incoming: Incoming,
}

impl Accepted {
    /// Unwraps the secret of a conversation. `record` is its record on disk, if messages of it have arrived before.
    fn unwrap(
        local: &mut Local,
        opening: &Opening,
        record: Option<&IncomingRecord>,
    ) -> Result<Self, Complaint> {
        let Some(key) = local.keys.by_fingerprint(&opening.recipient_key) else {
            return Err(Complaint::KeyDestroyed);
        };
        let resume = record.map(|record| (record.count, record.running_hash));
        let incoming =
            Incoming::accept(opening, key, resume, &mut local.rng).map_err(|_| Complaint::NotAuthentic)?;
        Ok(Self {
            from: opening.sender.name.clone(),
            opening: opening.as_bytes().to_vec(),
            recipient_key: opening.recipient_key,
            opened_at: opening.opened_at,
            first_number: opening.first_number,
            last_number: record.map_or(0, |record| record.last_number),
            incoming,
        })
    }

    /// The number of messages that have arrived, and the running hash over them.
    pub(super) fn received(&self) -> (u64, Digest) {
        (self.incoming.messages_opened(), self.incoming.running_hash())
    }

    fn record(&self) -> IncomingRecord {
        let (count, running_hash) = self.received();
        IncomingRecord {
            from: self.from.clone(),
            opening: self.opening.clone(),
            recipient_key: self.recipient_key,
            opened_at: self.opened_at,
            count,
            running_hash,
            last_number: self.last_number,
        }
    }
}

/// The part of a conversation's record that decides how long the record is needed.
struct Kept {
    recipient_key: Fingerprint,
    opened_at: u64,
    last_number: u64,
}

impl Kept {
    fn of(record: &IncomingRecord) -> Self {
        let IncomingRecord { recipient_key, opened_at, last_number, .. } = *record;
        Self { recipient_key, opened_at, last_number }
    }
}

#[derive(Default)]
pub(super) struct Conversations {
    /// Those that are in memory. The others are only on disk.
    accepted: HashMap<ConversationId, Accepted>,
    changed: BTreeSet<ConversationId>,
    /// Those on disk, by folded name of the sender.
    kept: HashMap<PeerName, BTreeMap<ConversationId, Kept>>,
}

impl Conversations {
    pub(super) fn load(accepted: Vec<(ConversationId, IncomingRecord)>) -> Self {
        let mut conversations = Self::default();
        for (id, record) in accepted {
            conversations.kept.entry(record.from.folded()).or_default().insert(id, Kept::of(&record));
        }
        conversations
    }

    /// Whether a conversation was accepted before and can still be opened.
    ///
    /// `key` is the encryption key for which its secret was wrapped.
    pub(super) fn knows(&self, local: &mut Local, id: ConversationId, key: Fingerprint) -> bool {
        self.accepted.contains_key(&id)
            || local.keys.by_fingerprint(&key).is_some() && local.records.incoming(id).is_some()
    }

    pub(super) fn accept(&mut self, local: &mut Local, opening: &Opening) -> Result<(), Complaint> {
        let accepted = Accepted::unwrap(local, opening, None)?;
        self.drop_finished(local, opening);
        self.accepted.insert(opening.id, accepted);
        self.changed.insert(opening.id);
        Ok(())
    }

    /// Deletes the finished older conversations of a sender. The new opening says which messages have receipts, and
    /// those are not sent again. A conversation without a message is not finished: its first message may still be on its
    /// way.
    fn drop_finished(&mut self, local: &mut Local, new: &Opening) {
        let Some(kept) = self.kept.get_mut(&new.sender.name.folded()) else { return };
        let is_finished = |kept: &Kept| {
            kept.opened_at <= new.opened_at && (1..new.first_number).contains(&kept.last_number)
        };
        let mut gone: Vec<ConversationId> =
            kept.iter().filter(|(_, kept)| is_finished(kept)).map(|(id, _)| *id).collect();
        if kept.len() - gone.len() >= KEPT_EACH_MAX {
            let left = kept.iter().filter(|(_, kept)| !is_finished(kept));
            gone.extend(left.min_by_key(|(_, kept)| (kept.last_number, kept.opened_at)).map(|(id, _)| *id));
        }
        for id in gone {
            kept.remove(&id);
            self.accepted.remove(&id);
            local.records.write(Write::IncomingGone(id));
        }
    }

    /// Finds the conversation under which a peer has sealed an envelope, in memory or on disk.
    pub(super) fn find(
        &mut self,
        local: &mut Local,
        from: &PeerName,
        id: ConversationId,
    ) -> Result<&mut Accepted, Complaint> {
        let accepted = match self.accepted.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(load(local, id)?),
        };
        if same_name(&accepted.from, from) { Ok(accepted) } else { Err(Complaint::UnknownConversation) }
    }

    /// Notes that a message of the conversation has arrived.
    pub(super) fn message_came(&mut self, id: ConversationId, number: u64) {
        if let Some(accepted) = self.accepted.get_mut(&id) {
            accepted.last_number = accepted.last_number.max(number);
            // A further opening in the same step looks at this before the record is written.
            let kept = self.kept.get_mut(&accepted.from.folded()).and_then(|kept| kept.get_mut(&id));
            if let Some(kept) = kept {
                kept.last_number = accepted.last_number;
            }
            self.changed.insert(id);
        }
    }

    pub(super) fn received(&self, id: ConversationId) -> Option<(u64, Digest)> {
        self.accepted.get(&id).map(Accepted::received)
    }

    pub(super) fn forget(&mut self, local: &mut Local, from: &PeerName) {
        self.accepted.retain(|_, accepted| !same_name(&accepted.from, from));
        for id in self.kept.remove(&from.folded()).unwrap_or_default().into_keys() {
            local.records.write(Write::IncomingGone(id));
        }
    }

    /// Drops conversations from memory if there are too many, which happens if peers open one for each message. One
    /// that is used again is read from disk, as after a restart.
    pub(super) fn trim(&mut self) {
        if self.accepted.len() > ACCEPTED_MAX {
            self.accepted.retain(|id, _| self.changed.contains(id));
        }
    }

    /// Deletes the conversations whose secret was wrapped for an encryption key that was destroyed.
    pub(super) fn drop_unreadable(&mut self, local: &mut Local) {
        let keys = local.keys.encryption.iter().map(|pair| pair.key.public().fingerprint());
        let keys: BTreeSet<Fingerprint> = keys.collect();
        let is_readable = |key: &Fingerprint| keys.contains(key);
        self.accepted.retain(|_, accepted| is_readable(&accepted.recipient_key));
        let mut gone = Vec::new();
        for kept in self.kept.values_mut() {
            gone.extend(kept.extract_if(.., |_, kept| !is_readable(&kept.recipient_key)).map(|(id, _)| id));
        }
        self.kept.retain(|_, kept| !kept.is_empty());
        for id in gone {
            local.records.write(Write::IncomingGone(id));
        }
    }

    /// Writes the records that have changed since the last call, except those of passing contacts.
    pub(super) fn write_changes(&mut self, local: &mut Local, contacts: &Contacts) {
        for id in std::mem::take(&mut self.changed) {
            let Some(accepted) = self.accepted.get(&id) else { continue };
            if contacts.get(&accepted.from).is_some_and(|contact| contact.is_kept) {
                let record = accepted.record();
                self.kept.entry(record.from.folded()).or_default().insert(id, Kept::of(&record));
                local.records.write(Write::Incoming(id, record));
            }
        }
    }
}

fn load(local: &mut Local, id: ConversationId) -> Result<Accepted, Complaint> {
    let record = local.records.incoming(id).ok_or(Complaint::UnknownConversation)?;
    let opening = Opening::from_bytes(&record.opening).map_err(|_| Complaint::UnknownConversation)?;
    if local.pinned(&record.from) != Some(opening.sender.fingerprint()) {
        // Its identity key is not trusted any more.
        return Err(Complaint::UnknownConversation);
    }
    Accepted::unwrap(local, &opening, Some(&record))
}
