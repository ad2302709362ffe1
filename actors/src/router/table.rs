//! The names that the Router knows: whose they are, who is here, and what waits for them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use wire::PeerName;
use wire::card::Card;
use wire::digest::Fingerprint;
use wire::name::NAME_BYTES_MAX;
use wire::protocol::{KnownPeer, Token};

use crate::commands::network::Network;
use crate::commands::router::{Member, PeerKey};
use crate::commands::session::{SessionCommand, SessionId};
use crate::commands::store::{Ordinal, Sender};

/// Most names in all; each costs about 2 KB of memory.
const PEERS_MAX: usize = 1_000_000;
/// Most peers in the answer to "who".
const KNOWN_MAX: usize = 10_000;

/// Whose a name is.
#[derive(Debug)]
pub(super) enum Owner {
    /// Nobody has joined under it.
    Nobody,
    /// Somebody has, but the stored card is damaged. If the name were free, a stranger could take it and receive the mail.
    Unreadable,
    /// The holder of a key.
    Known {
        /// As it travels.
        card: Bytes,
        fingerprint: Fingerprint,
        /// The card is on the disk; until it is, every join writes it.
        is_written: bool,
    },
}

impl Owner {
    pub(super) fn of(card: &Card, is_written: bool) -> Self {
        let bytes = Bytes::copy_from_slice(card.as_bytes());
        Self::Known { card: bytes, fingerprint: card.fingerprint(), is_written }
    }

    pub(super) fn card(&self) -> Option<&Bytes> {
        match self {
            Self::Known { card, .. } => Some(card),
            Self::Nobody | Self::Unreadable => None,
        }
    }
}

/// A session of a peer that is here.
pub(super) struct Presence<P> {
    pub(super) session: SessionId,
    /// What other connections of the peer prove that they are its with.
    pub(super) token: Token,
    pub(super) port: P,
    /// The mailbox refused a command; nothing more is tried until the session says that it has room.
    pub(super) full: bool,
    /// What could not be put into the mailbox.
    pub(super) owed: VecDeque<SessionCommand>,
    /// All stored before this place has been handed over.
    pub(super) handed: Ordinal,
    /// While a fetch is under way: what had been stored when it was asked for.
    pub(super) fetching: Option<Ordinal>,
    pub(super) watching: Vec<PeerKey>,
}

impl<P> Presence<P> {
    pub(super) fn new(session: SessionId, token: Token, port: P) -> Self {
        let (owed, watching) = (VecDeque::new(), Vec::new());
        Self { session, token, port, full: false, owed, handed: 0, fetching: None, watching }
    }
}

/// What is known of one name.
pub(super) struct Peer<P> {
    /// As its owner writes it.
    name: PeerName,
    pub(super) folded: PeerName,
    owner: Owner,
    presence: Option<Presence<P>>,
    /// Sessions that have left or were superseded and have not yet handed back what was not taken.
    pub(super) parting: u32,
    /// The place of the next envelope.
    pub(super) next: Ordinal,
    /// The place after the last one in the store.
    pub(super) stored_end: Ordinal,
    /// What the mail in the store takes up of a quota; see [`super::ledger::cost`].
    pub(super) mail_bytes: u64,
    /// From where it was last connected.
    pub(super) network: Network,
    /// For whom the Router has noted this name, as long as nobody has joined under it.
    noted_for: Option<Sender>,
    /// Who wants to see the card when it changes.
    pub(super) watchers: Vec<Member>,
}

impl<P> Peer<P> {
    fn new(name: PeerName) -> Self {
        Self {
            folded: name.folded(),
            name,
            owner: Owner::Nobody,
            presence: None,
            parting: 0,
            next: 0,
            stored_end: 0,
            mail_bytes: 0,
            network: Network::UNKNOWN,
            noted_for: None,
            watchers: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &PeerName {
        &self.name
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// As whose its mail is counted.
    pub(super) fn sender(&self) -> Sender {
        Sender { name: self.folded.clone(), network: self.network }
    }

    /// The store has written the card, or has failed to.
    pub(super) fn set_written(&mut self, written: bool) {
        if let Owner::Known { is_written, .. } = &mut self.owner {
            *is_written = written;
        }
    }

    pub(super) fn presence(&mut self) -> Option<&mut Presence<P>> {
        self.presence.as_mut()
    }

    /// The presence, if it is that of this session.
    pub(super) fn present(&mut self, session: SessionId) -> Option<&mut Presence<P>> {
        self.presence().filter(|presence| presence.session == session)
    }

    /// Whether an envelope may go straight to the session.
    pub(super) fn is_live(&self) -> bool {
        self.parting == 0
            && self.presence.as_ref().is_some_and(|p| {
                !p.full && p.owed.is_empty() && p.fetching.is_none() && p.handed >= self.stored_end
            })
    }

    /// The stored envelopes that the peer's session is to be handed next, if it is time to.
    pub(super) fn not_handed(&self) -> Option<(SessionId, Range<Ordinal>)> {
        let presence = self.presence.as_ref()?;
        let is_ready =
            self.parting == 0 && presence.fetching.is_none() && !presence.full && presence.owed.is_empty();
        (is_ready && presence.handed < self.stored_end)
            .then_some((presence.session, presence.handed..self.stored_end))
    }

    fn known(&self) -> Option<KnownPeer> {
        let Owner::Known { fingerprint, .. } = self.owner else { return None };
        Some(KnownPeer { name: self.name.clone(), fingerprint, online: self.presence.is_some() })
    }
}

/// All names.
pub(super) struct Table<P> {
    by_name: HashMap<Box<str>, PeerKey>,
    peers: Vec<Peer<P>>,
    /// Places in `peers` that nobody has any more.
    vacant: Vec<PeerKey>,
    /// Those with a known owner in the order in which they are told: who is here first, then by name. Kept in order all the
    /// time, because putting a million names in order would hold up all messages.
    listed: BTreeSet<(bool, PeerName, PeerKey)>,
    /// The last answer to "who", until something changes: those who ask share it, so that asking costs the Router nothing.
    known: Option<Arc<[KnownPeer]>>,
}

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            peers: Vec::new(),
            vacant: Vec::new(),
            listed: BTreeSet::new(),
            known: None,
        }
    }
}

impl<P> Table<P> {
    pub(super) fn peer(&mut self, key: PeerKey) -> &mut Peer<P> {
        &mut self.peers[key.0 as usize]
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = PeerKey> + use<P> {
        (0..u32::try_from(self.peers.len()).expect("there are at most a million peers")).map(PeerKey)
    }

    pub(super) fn find(&self, name: &str) -> Option<PeerKey> {
        let mut folded = [0; NAME_BYTES_MAX];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        self.by_name.get(std::str::from_utf8(folded).ok()?).copied()
    }

    /// The place of a name from the store, without a limit.
    pub(super) fn find_or_insert(&mut self, name: &PeerName) -> PeerKey {
        self.find(name.as_str()).unwrap_or_else(|| self.insert(name.clone()))
    }

    /// The place of a name that somebody joins under; none if there are too many names.
    pub(super) fn find_or_admit(&mut self, name: &PeerName) -> Option<PeerKey> {
        let found = self.find(name.as_str());
        found.or_else(|| (self.by_name.len() < PEERS_MAX).then(|| self.insert(name.clone())))
    }

    /// The place of a name that nobody has joined under, noted for a sender.
    pub(super) fn note(&mut self, name: &PeerName, sender: Sender) -> PeerKey {
        let key = self.find_or_insert(name);
        self.peer(key).noted_for = Some(sender);
        key
    }

    fn insert(&mut self, name: PeerName) -> PeerKey {
        let peer = Peer::new(name);
        let folded = peer.folded.as_str().into();
        let key = if let Some(key) = self.vacant.pop() {
            *self.peer(key) = peer;
            key
        } else {
            self.peers.push(peer);
            PeerKey(u32::try_from(self.peers.len() - 1).expect("there are at most a million peers"))
        };
        self.by_name.insert(folded, key);
        key
    }

    /// Gives a name to an owner, from now on. Returns for whom it was noted.
    pub(super) fn set_owner(&mut self, key: PeerKey, owner: Owner) -> Option<Sender> {
        self.relist(key, |peer| {
            peer.owner = owner;
            peer.noted_for.take()
        })
    }

    /// A peer comes, under its name as it writes it.
    pub(super) fn set_presence(&mut self, key: PeerKey, name: &PeerName, presence: Presence<P>) {
        self.relist(key, |peer| {
            peer.name = name.clone();
            peer.presence = Some(presence);
        });
    }

    /// A peer goes.
    pub(super) fn take_presence(&mut self, key: PeerKey) -> Option<Presence<P>> {
        self.peer(key).presence.as_ref()?;
        self.relist(key, |peer| peer.presence.take())
    }

    /// Changes what the lists depend on.
    fn relist<T>(&mut self, key: PeerKey, change: impl FnOnce(&mut Peer<P>) -> T) -> T {
        let peer = &mut self.peers[key.0 as usize];
        let entry = |peer: &Peer<P>| (peer.presence.is_none(), peer.name.clone(), key);
        if matches!(peer.owner, Owner::Known { .. }) {
            self.listed.remove(&entry(peer));
        }
        let result = change(peer);
        if matches!(peer.owner, Owner::Known { .. }) {
            self.listed.insert(entry(peer));
        }
        self.known = None;
        result
    }

    /// Forgets a name that nobody owns, waits for or has mail for. Returns for whom it was noted.
    pub(super) fn forget_if_unused(&mut self, key: PeerKey) -> Option<Sender> {
        let peer = self.peer(key);
        let is_unused =
            matches!(peer.owner, Owner::Nobody) && peer.watchers.is_empty() && peer.mail_bytes == 0;
        let folded = peer.folded.clone();
        if !is_unused || self.by_name.get(folded.as_str()) != Some(&key) {
            return None;
        }
        self.by_name.remove(folded.as_str());
        self.vacant.push(key);
        self.peer(key).noted_for.take()
    }

    /// Who is known: the first in the order in which they are told.
    pub(super) fn known(&mut self) -> Arc<[KnownPeer]> {
        let (listed, peers) = (&self.listed, &self.peers);
        let list = || {
            let first = listed.iter().take(KNOWN_MAX);
            first.filter_map(|(_, _, key)| peers[key.0 as usize].known()).collect()
        };
        Arc::clone(self.known.get_or_insert_with(list))
    }
}
