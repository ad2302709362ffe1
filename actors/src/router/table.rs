//! The table of names: their owners, who is connected, and what waits for them.

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
use crate::commands::session::{Port, SessionCommand, SessionId};
use crate::commands::store::{Ordinal, Sender};

/// No new name can be joined under while the table has this many. Each costs about 2 KB of memory.
const PEERS_MAX: usize = 1_000_000;
/// The maximum number of peers in the answer to `Who`.
const KNOWN_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) enum Owner {
    /// Nobody has joined under it.
    Nobody,
    /// Somebody has, but the stored card is damaged. If the name were free, a stranger could take it and receive the mail.
    Unreadable,
    Known {
        /// Its encoded form.
        card: Bytes,
        fingerprint: Fingerprint,
        /// Whether the card is on disk. Until it is, each join writes it.
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

pub(super) struct Presence {
    pub(super) session: SessionId,
    /// Other connections of the peer send this to prove whose they are; none if the peer is connected to another server.
    pub(super) token: Option<Token>,
    pub(super) port: Arc<dyn Port>,
    /// The port is open, so the next place is the port's and not [`Peer::next`].
    is_open: bool,
    /// The mailbox refused a command. Nothing more is sent until the session reports that it has room (`Drained`).
    pub(super) full: bool,
    /// Commands that the mailbox had no room for. There are none unless it is full.
    pub(super) owed: VecDeque<SessionCommand>,
    /// All stored mail before this place has been given to the session.
    pub(super) handed: Ordinal,
    /// The end of the places that are being fetched; `None` if no fetch is under way.
    pub(super) fetching: Option<Ordinal>,
    pub(super) watching: Vec<PeerKey>,
}

impl Presence {
    pub(super) fn new(session: SessionId, token: Option<Token>, port: Arc<dyn Port>) -> Self {
        let (owed, watching) = (VecDeque::new(), Vec::new());
        Self { session, token, port, is_open: false, full: false, owed, handed: 0, fetching: None, watching }
    }
}

/// One name.
pub(super) struct Peer {
    /// As its owner spells it.
    name: PeerName,
    pub(super) folded: PeerName,
    owner: Owner,
    presence: Option<Presence>,
    /// How many sessions of this name have ended and have not handed back their unacknowledged envelopes yet.
    pub(super) parting: u32,
    /// The place of the next envelope, unless the port is open: then the port has it.
    pub(super) next: Ordinal,
    /// The place after the last one in the store.
    pub(super) stored_end: Ordinal,
    /// What its stored mail counts against a quota; see [`Amount::cost`](crate::commands::store::Amount::cost).
    pub(super) mail_bytes: u64,
    /// The network of its latest connection.
    pub(super) network: Network,
    /// The sender to whom this name is charged while nobody has joined under it.
    noted_for: Option<Sender>,
    /// The sessions that get each new card of this peer.
    pub(super) watchers: Vec<Member>,
}

impl Peer {
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

    /// As the sender of mail.
    pub(super) fn sender(&self) -> Sender {
        Sender { name: self.folded.clone(), network: self.network }
    }

    /// Notes whether the store has written the card.
    pub(super) fn set_written(&mut self, written: bool) {
        if let Owner::Known { is_written, .. } = &mut self.owner {
            *is_written = written;
        }
    }

    pub(super) fn presence(&mut self) -> Option<&mut Presence> {
        self.presence.as_mut()
    }

    /// The presence, if it is that of this session.
    pub(super) fn present(&mut self, session: SessionId) -> Option<&mut Presence> {
        self.presence().filter(|presence| presence.session == session)
    }

    /// Whether an envelope may go directly to the session.
    pub(super) fn is_live(&self) -> bool {
        self.parting == 0
            && self
                .presence
                .as_ref()
                .is_some_and(|p| !p.full && p.fetching.is_none() && p.handed >= self.stored_end)
    }

    /// The places of the stored mail that the session gets next. `None` if there are none, or the session cannot take
    /// them now.
    pub(super) fn not_handed(&self) -> Option<(SessionId, Range<Ordinal>)> {
        let presence = self.presence.as_ref()?;
        let is_ready = self.parting == 0 && presence.fetching.is_none() && !presence.full;
        (is_ready && presence.handed < self.stored_end)
            .then_some((presence.session, presence.handed..self.stored_end))
    }

    /// Whether the sessions of senders reach it.
    pub(super) fn is_open(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.is_open)
    }

    /// Opens the port of a live peer.
    pub(super) fn open(&mut self) -> Option<&Arc<dyn Port>> {
        let (next, is_live) = (self.next, self.is_live());
        let presence = self.presence.as_mut().filter(|_| is_live)?;
        if !presence.is_open {
            presence.port.lease().grant(next);
            presence.is_open = true;
        }
        Some(&presence.port)
    }

    /// The mailbox has refused a command.
    pub(super) fn set_full(&mut self) {
        if let Some(presence) = &mut self.presence {
            presence.full = true;
        }
        self.shut();
    }

    /// Shuts the port, because the peer is no longer live. From then on, no session of a sender reaches it.
    pub(super) fn shut(&mut self) {
        if let Some(presence) = self.presence.as_mut().filter(|presence| presence.is_open) {
            presence.is_open = false;
            self.next = presence.port.lease().revoke();
        }
    }

    fn known(&self) -> Option<KnownPeer> {
        let Owner::Known { fingerprint, .. } = self.owner else { return None };
        Some(KnownPeer { name: self.name.clone(), fingerprint, online: self.presence.is_some() })
    }
}

#[derive(Default)]
pub(super) struct Table {
    by_name: HashMap<Box<str>, PeerKey>,
    peers: Vec<Peer>,
    /// Unused places in `peers`.
    vacant: Vec<PeerKey>,
    /// The names with a known owner, in the order of the answer to `Who`: connected ones first, then by name. The order
    /// is maintained all the time, because sorting a million names would delay all messages.
    listed: BTreeSet<(bool, PeerName, PeerKey)>,
    /// The last answer to `Who`, until something changes. All askers share it, so that asking often does not load the
    /// Router.
    known: Option<Arc<[KnownPeer]>>,
}

impl Table {
    pub(super) fn peer(&mut self, key: PeerKey) -> &mut Peer {
        &mut self.peers[key.0 as usize]
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = PeerKey> + use<> {
        (0..u32::try_from(self.peers.len()).expect("there are at most a million peers")).map(PeerKey)
    }

    pub(super) fn find(&self, name: &str) -> Option<PeerKey> {
        let mut folded = [0; NAME_BYTES_MAX];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        self.by_name.get(std::str::from_utf8(folded).ok()?).copied()
    }

    /// Finds the entry of a name, or makes one without a limit.
    pub(super) fn find_or_insert(&mut self, name: &PeerName) -> PeerKey {
        self.find(name.as_str()).unwrap_or_else(|| self.insert(name.clone()))
    }

    /// Finds the entry of a name that somebody joins under, or makes one. `None` if there are too many names.
    pub(super) fn find_or_admit(&mut self, name: &PeerName) -> Option<PeerKey> {
        let found = self.find(name.as_str());
        found.or_else(|| (self.by_name.len() < PEERS_MAX).then(|| self.insert(name.clone())))
    }

    /// Makes an entry for a name that nobody has joined under, charged to `sender`.
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

    /// Sets the owner of a name. Returns the sender to whom the name was charged.
    pub(super) fn set_owner(&mut self, key: PeerKey, owner: Owner) -> Option<Sender> {
        self.relist(key, |peer| {
            peer.owner = owner;
            peer.noted_for.take()
        })
    }

    /// Notes how the owner of a name spells it. The name of a mailbox is folded.
    pub(super) fn spell(&mut self, key: PeerKey, name: &PeerName) {
        if self.peer(key).name != *name {
            self.relist(key, |peer| peer.name = name.clone());
        }
    }

    /// Notes that a peer has joined, with the spelling of its name.
    pub(super) fn set_presence(&mut self, key: PeerKey, name: &PeerName, presence: Presence) {
        self.relist(key, |peer| {
            peer.name = name.clone();
            peer.presence = Some(presence);
        });
    }

    pub(super) fn take_presence(&mut self, key: PeerKey) -> Option<Presence> {
        self.peer(key).presence.as_ref()?;
        self.relist(key, |peer| peer.presence.take())
    }

    /// Makes a change that affects `listed` and the cached answer to `Who`.
    fn relist<T>(&mut self, key: PeerKey, change: impl FnOnce(&mut Peer) -> T) -> T {
        let peer = &mut self.peers[key.0 as usize];
        let entry = |peer: &Peer| (peer.presence.is_none(), peer.name.clone(), key);
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

    /// Removes a name that nobody owns, watches or has mail for. Returns the sender to whom it was charged.
    pub(super) fn forget_if_unused(&mut self, key: PeerKey) -> Option<Sender> {
        let peer = self.peer(key);
        let is_unused = matches!(peer.owner, Owner::Nobody)
            && peer.watchers.is_empty()
            && peer.mail_bytes == 0
            // A session of the last owner still hands back what was not taken.
            && peer.parting == 0;
        let folded = peer.folded.clone();
        if !is_unused || self.by_name.get(folded.as_str()) != Some(&key) {
            return None;
        }
        self.by_name.remove(folded.as_str());
        self.vacant.push(key);
        self.peer(key).noted_for.take()
    }

    pub(super) fn find_known(&self, name: &PeerName) -> Option<KnownPeer> {
        self.peers[self.find(name.as_str())?.0 as usize].known()
    }

    /// The answer to `Who`: the first [`KNOWN_MAX`] names.
    pub(super) fn known(&mut self) -> Arc<[KnownPeer]> {
        let (listed, peers) = (&self.listed, &self.peers);
        let list = || {
            let first = listed.iter().take(KNOWN_MAX);
            first.filter_map(|(_, _, key)| peers[key.0 as usize].known()).collect()
        };
        Arc::clone(self.known.get_or_insert_with(list))
    }
}
