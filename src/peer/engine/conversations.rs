//! The conversations that other peers have opened with this one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use wire::conversation::{ConversationId, Incoming, Opening};
use wire::signal::Complaint;
use wire::{Digest, Fingerprint, PeerName};

use super::contact::same_name;
use super::local::Local;
use crate::peer::records::{IncomingRecord, Write};

/// The maximum number of conversations in memory. Each takes about 3 KB.
const ACCEPTED_MAX: usize = 2_048;

/// A conversation that another peer has opened and this one has accepted.
pub(super) struct Accepted {
    pub(super) from: PeerName,
    opening: Vec<u8>,
    /// The encryption key of this peer for which the secret was wrapped.
    recipient_key: Fingerprint,
    /// All messages with smaller numbers have a receipt, according to the sender.
    pub(super) first_number: u64,
    pub(super) incoming: Incoming,
}

impl Accepted {
    /// Unwraps the secret of a conversation. `resume` is the number of its messages that have arrived before, and the
    /// running hash over them.
    fn unwrap(
        local: &mut Local,
        opening: &Opening,
        resume: Option<(u64, Digest)>,
    ) -> Result<Self, Complaint> {
        let Some(key) = local.keys.by_fingerprint(&opening.recipient_key) else {
            return Err(Complaint::KeyDestroyed);
        };
        let incoming =
            Incoming::accept(opening, key, resume, &mut local.rng).map_err(|_| Complaint::NotAuthentic)?;
        Ok(Self {
            from: opening.sender.name.clone(),
            opening: opening.as_bytes().to_vec(),
            recipient_key: opening.recipient_key,
            first_number: opening.first_number,
            incoming,
        })
    }

    /// The number of messages that have arrived, and the running hash over them.
    pub(super) fn received(&self) -> (u64, Digest) {
        (self.incoming.messages_opened(), self.incoming.running_hash())
    }
}

/// The accepted conversations that this process has used. The others are on disk.
#[derive(Default)]
pub(super) struct Conversations {
    accepted: HashMap<ConversationId, Accepted>,
    changed: BTreeSet<ConversationId>,
}

impl Conversations {
    /// Whether a conversation was accepted before and can still be opened.
    ///
    /// `key` is the encryption key for which its secret was wrapped.
    pub(super) fn knows(&self, local: &mut Local, id: ConversationId, key: Fingerprint) -> bool {
        self.accepted.contains_key(&id)
            || local.keys.by_fingerprint(&key).is_some() && local.records.incoming(id).is_some()
    }

    /// Accepts a new conversation.
    pub(super) fn accept(&mut self, local: &mut Local, opening: &Opening) -> Result<(), Complaint> {
        let accepted = Accepted::unwrap(local, opening, None)?;
        self.accepted.insert(opening.id, accepted);
        self.changed.insert(opening.id);
        Ok(())
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

    /// Notes that another message of the conversation has arrived.
    pub(super) fn changed(&mut self, id: ConversationId) {
        self.changed.insert(id);
    }

    pub(super) fn received(&self, id: ConversationId) -> Option<(u64, Digest)> {
        self.accepted.get(&id).map(Accepted::received)
    }

    /// Forgets the conversations of a peer whose identity key has changed. The records on disk stay, and are not used
    /// while they show another key than the pinned one.
    pub(super) fn forget(&mut self, from: &PeerName) {
        self.accepted.retain(|_, accepted| !same_name(&accepted.from, from));
    }

    /// Drops conversations from memory if there are too many, which happens if peers open one for each message. One
    /// that is used again is read from disk, as after a restart.
    pub(super) fn trim(&mut self) {
        if self.accepted.len() > ACCEPTED_MAX {
            self.accepted.retain(|id, _| self.changed.contains(id));
        }
    }

    /// Forgets the conversations whose secret was wrapped for a destroyed encryption key, as a restart would.
    pub(super) fn key_destroyed(&mut self, key: &Fingerprint) {
        self.accepted.retain(|id, accepted| accepted.recipient_key != *key || self.changed.contains(id));
    }

    /// The records that have changed since the last call.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = Write> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.filter_map(|id| {
            let accepted = self.accepted.get(&id)?;
            let (count, running_hash) = accepted.received();
            let (from, opening) = (accepted.from.clone(), accepted.opening.clone());
            Some(Write::Incoming(id, IncomingRecord { from, opening, count, running_hash }))
        })
    }
}

/// Reads a conversation from disk.
fn load(local: &mut Local, id: ConversationId) -> Result<Accepted, Complaint> {
    let record = local.records.incoming(id).ok_or(Complaint::UnknownConversation)?;
    let opening = Opening::from_bytes(&record.opening).map_err(|_| Complaint::UnknownConversation)?;
    if !local.is_pinned(&record.from, &opening.sender.fingerprint()) {
        // Its identity key is not trusted any more.
        return Err(Complaint::UnknownConversation);
    }
    Accepted::unwrap(local, &opening, Some((record.count, record.running_hash)))
}
