//! The Router's state and decisions.
//!
//! A recipient is *live* while nothing of theirs is on disk or on its way there: then envelopes go straight to their
//! session. Otherwise envelopes go to the store behind what is there already, and the Router fetches from it in order
//! until it has caught up. So each recipient sees the envelopes of each sender in the order in which they were sent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use wire::PeerName;
use wire::card::Card;
use wire::digest::Fingerprint;
use wire::name::NAME_BYTES_MAX;
use wire::protocol::{KnownPeer, Outcome, Refusal};

use super::splice::Splices;
use crate::commands::router::{
    Command, JoinRefused, Joined, Member, MemberCommand, PeerKey, PresencePort, Run, TakenStored,
};
use crate::commands::session::{Delivery, EndReason, Port, SessionCommand, SessionId};
use crate::commands::store::{
    self, Completion, Frames, Inventory, MAILBOX_BYTES_MAX, MAILBOX_ENVELOPES_MAX, Mail, Ordinal, Origin,
    StorePort,
};
use crate::runtime::{Core, Now, Pending, Reply, reply};

/// Most names without an owner that mail is kept for or that are waited for: anybody can make such names up.
const STRANGERS_MAX: usize = 10_000;
/// Most bytes in all mailboxes together.
const STORED_BYTES_MAX: u64 = 16 << 30;
/// Most bytes on their way to the store: beyond it the disk is slower than the network, and senders are told `busy`.
const STORING_BYTES_MAX: u64 = 64 << 20;
/// Most names that have an owner; each costs about 2 KB of memory.
const PEERS_MAX: usize = 1_000_000;
/// Most cards that one session watches.
const WATCHING_MAX: usize = 4_096;
/// Most commands that wait for a session whose mailbox is full. A session that lets more come together is ended.
const OWED_MAX: usize = 32_768;
/// Most peers in the answer to "who".
const KNOWN_MAX: usize = 10_000;

struct Owner {
    card: Bytes,
    fingerprint: Fingerprint,
    /// It is on disk; until it is, every join writes it.
    is_written: bool,
}

struct Presence<P> {
    session: SessionId,
    port: P,
    /// The mailbox refused a command; nothing more is tried until the session says that it has room.
    full: bool,
    /// What could not be put into the mailbox.
    owed: VecDeque<SessionCommand>,
    /// All stored before this place has been handed over.
    handed: Ordinal,
    /// While a fetch is under way: what had been stored when it was asked for.
    fetching: Option<Ordinal>,
    watching: Vec<PeerKey>,
}

struct Peer<P> {
    /// As its owner writes it.
    name: PeerName,
    folded: PeerName,
    owner: Option<Owner>,
    /// It has an owner whose card cannot be read: if it were free, a stranger could take it and receive its mail.
    is_reserved: bool,
    presence: Option<Presence<P>>,
    /// Sessions that have left or were superseded and have not yet handed back what was not taken.
    parting: u32,
    /// The place of the next envelope.
    next: Ordinal,
    /// The place after the last one in the store.
    stored_end: Ordinal,
    envelopes: u64,
    bytes: u64,
    /// Who wants to see the card when it changes.
    watchers: Vec<Member>,
}

impl<P> Peer<P> {
    fn new(name: PeerName) -> Self {
        Self {
            folded: name.folded(),
            name,
            owner: None,
            is_reserved: false,
            presence: None,
            parting: 0,
            next: 0,
            stored_end: 0,
            envelopes: 0,
            bytes: 0,
            watchers: Vec::new(),
        }
    }

    fn present(&mut self, session: SessionId) -> Option<&mut Presence<P>> {
        self.presence.as_mut().filter(|p| p.session == session)
    }

    /// Whether an envelope may go straight to the session.
    fn is_live(&self) -> bool {
        self.parting == 0
            && self.presence.as_ref().is_some_and(|p| {
                !p.full && p.owed.is_empty() && p.fetching.is_none() && p.handed >= self.stored_end
            })
    }
}

/// The Router without its thread; `P` is where commands for a session go, `S` the store, `I` the Index.
pub struct Router<P, S, I> {
    names: HashMap<Box<str>, PeerKey>,
    peers: Vec<Peer<P>>,
    strangers: usize,
    /// Places in the table that nobody has any more.
    vacant: Vec<PeerKey>,
    /// Bytes in all mailboxes, and of them those that are not yet known to be on disk.
    stored_bytes: u64,
    storing_bytes: u64,
    splices: Splices,
    /// Whose mailbox is to be fetched as soon as the store has room.
    unfetched: Vec<PeerKey>,
    store: S,
    index: I,
}

impl<P: Port, S: StorePort, I: PresencePort> Core for Router<P, S, I> {
    type Command = Command<P>;
    type Out = ();

    fn handle(&mut self, now: Now, command: Command<P>, (): &mut ()) {
        match command {
            Command::Join { session, card, port, reply } => {
                let answer = self.join(session, &card, port);
                if let Err(Ok(joined)) = reply.try_answer(answer) {
                    self.join_undone(joined.peer);
                }
            }
            Command::From(member, command) => self.from_member(member, command),
            Command::Who(reply) => self.who(reply),
            Command::Completed(completion) => self.complete(completion),
            Command::Splice { transfer, side, stream, reply } => {
                self.splices.meet(now.instant, transfer, side, stream, reply);
            }
        }
    }
}

impl<P: Port, S: StorePort, I: PresencePort> Router<P, S, I> {
    /// A router that knows what is on disk.
    pub fn new(inventory: Inventory, store: S, index: I) -> Self {
        let mut router = Self {
            names: HashMap::new(),
            peers: Vec::new(),
            strangers: 0,
            vacant: Vec::new(),
            stored_bytes: 0,
            storing_bytes: 0,
            splices: Splices::default(),
            unfetched: Vec::new(),
            store,
            index,
        };
        for (name, bytes) in inventory.cards {
            match Card::from_bytes(&bytes) {
                Ok(card) => {
                    let key = router.insert(card.name.clone());
                    router.peer(key).owner = Some(Owner { is_written: true, ..Owner::of(&card) });
                }
                Err(error) => {
                    tracing::error!(
                        target: "router", %name, %error,
                        "the stored card is damaged, so the owner is unknown: nobody can join under this name, and \
                         its mail is kept, until store.redb is put back from a backup"
                    );
                    let key = router.insert(name);
                    router.peer(key).is_reserved = true;
                }
            }
        }
        for size in inventory.mailboxes {
            let key = router.find(size.name.as_str()).unwrap_or_else(|| router.insert(size.name));
            router.stored_bytes += size.bytes;
            let peer = router.peer(key);
            (peer.envelopes, peer.bytes, peer.next, peer.stored_end) =
                (size.envelopes, size.bytes, size.end, size.end);
        }
        router.strangers = router.peers.iter().filter(|p| p.owner.is_none() && !p.is_reserved).count();
        router
    }

    fn from_member(&mut self, member: Member, command: MemberCommand) {
        match command {
            MemberCommand::Route(runs) => self.route(member, runs),
            MemberCommand::Drained => self.drained(member),
            MemberCommand::Taken(taken) => self.taken(member, taken),
            MemberCommand::Lookup(name) => self.lookup(member, name),
            MemberCommand::Reachable(address) => self.reachable(member, address),
            MemberCommand::Leave => self.leave(member),
            MemberCommand::HandBack(untaken) => self.hand_back(member, untaken),
        }
    }

    /// Takes note of what the store has done.
    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Put { name, origin, count, bytes, stored } => {
                self.storing_bytes = self.storing_bytes.saturating_sub(bytes);
                if !stored && let Some(key) = self.find(name.as_str()) {
                    self.account(key, count, bytes);
                    self.forget_stranger(key);
                }
                let outcome = if stored { Outcome::Stored } else { Outcome::Refused(Refusal::Busy) };
                let sender = Member { peer: origin.peer, session: origin.session };
                self.tell(sender, SessionCommand::Routed { first: origin.first, count, outcome });
            }
            Completion::Fetched { peer, session, found } => self.fetched(peer, session, found),
            Completion::Card { peer, written } => {
                if let Some(owner) = &mut self.peer(peer).owner {
                    owner.is_written = written;
                }
            }
        }
    }

    /// Tries again what the Index or the store had no room for. False if some of it still has none.
    pub fn catch_up(&mut self) -> bool {
        for key in std::mem::take(&mut self.unfetched) {
            self.fetch(key);
        }
        self.index.catch_up() && self.unfetched.is_empty()
    }

    fn peer(&mut self, key: PeerKey) -> &mut Peer<P> {
        &mut self.peers[key.0 as usize]
    }

    fn find(&self, name: &str) -> Option<PeerKey> {
        let mut folded = [0; NAME_BYTES_MAX];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        self.names.get(std::str::from_utf8(folded).ok()?).copied()
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
        self.names.insert(folded, key);
        key
    }

    /// The peer of a name that somebody else uses; names nobody has joined under are bounded.
    fn find_or_note(&mut self, name: &PeerName) -> Option<PeerKey> {
        if let Some(key) = self.find(name.as_str()) {
            return Some(key);
        }
        if self.strangers >= STRANGERS_MAX {
            return None;
        }
        self.strangers += 1;
        Some(self.insert(name.clone()))
    }

    /// Forgets a name that nobody owns, waits for or has mail for.
    fn forget_stranger(&mut self, key: PeerKey) {
        let peer = self.peer(key);
        let is_stranger = peer.owner.is_none() && !peer.is_reserved;
        let is_unused = is_stranger && peer.watchers.is_empty() && peer.envelopes == 0;
        let folded = peer.folded.clone();
        if is_unused && self.names.get(folded.as_str()) == Some(&key) {
            self.names.remove(folded.as_str());
            self.strangers -= 1;
            self.vacant.push(key);
        }
    }

    fn join(&mut self, session: SessionId, card: &Card, port: P) -> Result<Joined, JoinRefused> {
        let key = match self.find(card.name.as_str()) {
            Some(key) => key,
            None if self.names.len() >= PEERS_MAX => return Err(JoinRefused::Busy),
            None => {
                self.strangers += 1;
                self.insert(card.name.clone())
            }
        };
        if self.peer(key).is_reserved {
            return Err(JoinRefused::NameTaken);
        }
        let known = self.peer(key).owner.as_ref();
        if known.is_some_and(|owner| owner.fingerprint != card.fingerprint()) {
            return Err(JoinRefused::NameTaken);
        }
        let is_first = known.is_none();
        let is_new = known.is_none_or(|owner| owner.card != card.as_bytes() || !owner.is_written);
        let written = match is_new.then(|| self.keep_card(key, card)) {
            None => None,
            Some(Ok(written)) => Some(written),
            Some(Err(refused)) => {
                self.forget_stranger(key);
                return Err(refused);
            }
        };
        if is_first {
            self.strangers -= 1;
        }
        self.end_presence(key, EndReason::Superseded);
        let peer = self.peer(key);
        peer.name = card.name.clone();
        peer.presence = Some(Presence {
            session,
            port,
            full: false,
            owed: VecDeque::new(),
            handed: 0,
            fetching: None,
            watching: Vec::new(),
        });
        self.index.presence(&card.name, true, None);
        if is_new {
            self.show_card(key);
        }
        self.fetch(key);
        Ok(Joined { peer: key, written })
    }

    /// Whoever joined has given up waiting, so its session will not part either.
    fn join_undone(&mut self, key: PeerKey) {
        self.end_presence(key, EndReason::Left);
        let peer = self.peer(key);
        peer.parting = peer.parting.saturating_sub(1);
    }

    fn keep_card(&mut self, key: PeerKey, card: &Card) -> Result<Pending<()>, JoinRefused> {
        let (reply, written) = reply();
        let name = card.name.folded();
        let put = store::Command::PutCard { peer: key, name, card: card.as_bytes().to_vec(), reply };
        self.store.offer(put).map_err(|_| JoinRefused::Busy)?;
        self.peer(key).owner = Some(Owner::of(card));
        Ok(written)
    }

    fn show_card(&mut self, key: PeerKey) {
        let peer = self.peer(key);
        let Some(owner) = &peer.owner else { return };
        let (card, watchers) = (owner.card.clone(), peer.watchers.clone());
        for watcher in watchers {
            self.tell(watcher, SessionCommand::Card(card.clone()));
        }
    }

    fn route(&mut self, from: Member, runs: Vec<Run>) {
        // What becomes of runs that follow one another is usually the same: said once.
        let mut said: Option<(u64, u64, Outcome)> = None;
        for run in runs {
            let (first, count) = (run.first, run.frames.count());
            let outcome = self.route_run(from, run);
            match (&mut said, outcome) {
                (Some((start, many, before)), Some(outcome))
                    if *before == outcome && *start + *many == first =>
                {
                    *many += count;
                }
                (_, Some(outcome)) => {
                    if let Some((first, count, outcome)) = said.replace((first, count, outcome)) {
                        self.tell(from, SessionCommand::Routed { first, count, outcome });
                    }
                }
                (_, None) => {}
            }
        }
        if let Some((first, count, outcome)) = said {
            self.tell(from, SessionCommand::Routed { first, count, outcome });
        }
    }

    /// Hands a run on and says what became of it; `None` when that is known only once the store has written it.
    fn route_run(&mut self, from: Member, run: Run) -> Option<Outcome> {
        let Some(key) = self.find_or_note(&run.to) else {
            return Some(Outcome::Refused(Refusal::MailboxFull));
        };
        let peer = self.peer(key);
        let origin = Origin { peer: from.peer, session: from.session, first: run.first };
        let mut frames = run.frames;
        let first = peer.next;
        if peer.is_live() {
            let count = frames.count();
            let delivery = Delivery { first, is_stored: false, is_kept: run.kept, origin, frames };
            let presence = peer.presence.as_mut().expect("a live peer is present");
            match presence.port.offer(SessionCommand::Deliver(delivery)) {
                Ok(()) => {
                    peer.next += count;
                    return Some(Outcome::Relayed);
                }
                Err(SessionCommand::Deliver(delivery)) => {
                    presence.full = true;
                    frames = delivery.frames;
                }
                Err(_) => unreachable!("a port hands back what it was offered"),
            }
        }
        if !run.kept {
            let refusal = if peer.presence.is_some() { Refusal::Busy } else { Refusal::Absent };
            self.forget_stranger(key);
            return Some(Outcome::Refused(refusal));
        }
        let refused = self.put(key, first, frames, origin).err();
        if refused.is_some() {
            self.forget_stranger(key);
        }
        refused.map(Outcome::Refused)
    }

    fn put(&mut self, key: PeerKey, first: Ordinal, frames: Frames, origin: Origin) -> Result<(), Refusal> {
        let (count, bytes) = (frames.count(), frames.bytes.len() as u64);
        let peer = self.peer(key);
        if peer.envelopes + count > MAILBOX_ENVELOPES_MAX || peer.bytes + bytes > MAILBOX_BYTES_MAX {
            return Err(Refusal::MailboxFull);
        }
        if self.stored_bytes + bytes > STORED_BYTES_MAX {
            return Err(Refusal::MailboxFull);
        }
        if self.storing_bytes + bytes > STORING_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        let peer = self.peer(key);
        let put = store::Command::Put { name: peer.folded.clone(), first, frames, origin };
        self.store.offer(put).map_err(|_| Refusal::Busy)?;
        self.stored(key, first, count, bytes);
        self.fetch(key);
        Ok(())
    }

    fn stored(&mut self, key: PeerKey, first: Ordinal, count: u64, bytes: u64) {
        self.stored_bytes += bytes;
        self.storing_bytes += bytes;
        let peer = self.peer(key);
        peer.envelopes += count;
        peer.bytes += bytes;
        peer.next = peer.next.max(first + count);
        peer.stored_end = peer.stored_end.max(first + count);
    }

    /// Takes envelopes off the account of a mailbox.
    fn account(&mut self, key: PeerKey, envelopes: u64, bytes: u64) {
        // What was handed over twice is counted once.
        let bytes = bytes.min(self.peer(key).bytes);
        self.stored_bytes = self.stored_bytes.saturating_sub(bytes);
        let peer = self.peer(key);
        peer.envelopes = peer.envelopes.saturating_sub(envelopes);
        peer.bytes = peer.bytes.saturating_sub(bytes);
    }

    /// Asks the store for what a present peer has not been handed yet, if it is time to.
    fn fetch(&mut self, key: PeerKey) {
        let peer = &mut self.peers[key.0 as usize];
        let Some(presence) = peer.presence.as_mut() else {
            return;
        };
        let is_ready =
            peer.parting == 0 && presence.fetching.is_none() && !presence.full && presence.owed.is_empty();
        if !is_ready || presence.handed >= peer.stored_end {
            return;
        }
        let fetch = store::Command::Fetch {
            name: peer.folded.clone(),
            peer: key,
            session: presence.session,
            places: presence.handed..peer.stored_end,
        };
        match self.store.offer(fetch) {
            Ok(()) => presence.fetching = Some(peer.stored_end),
            // The store is busy: tried again by `catch_up`.
            Err(_) => self.unfetched.push(key),
        }
    }

    fn fetched(&mut self, key: PeerKey, session: SessionId, found: Option<(Mail, Option<Ordinal>)>) {
        let Some(presence) = self.peer(key).present(session) else {
            return;
        };
        let Some(end) = presence.fetching.take() else {
            return;
        };
        let Some((mail, next)) = found else {
            // It stays on disk. The peer joins again, and then it is tried again.
            return self.end_presence(key, EndReason::Busy);
        };
        presence.handed = next.unwrap_or(end);
        for (first, frames) in mail {
            let origin = Origin { peer: key, session, first: 0 };
            let delivery = Delivery { first, is_stored: true, is_kept: true, origin, frames };
            self.tell(Member { peer: key, session }, SessionCommand::Deliver(delivery));
        }
        self.fetch(key);
    }

    /// Puts a command into a session's mailbox, or keeps it until there is room.
    fn tell(&mut self, member: Member, command: SessionCommand) {
        let Some(presence) = self.peer(member.peer).present(member.session) else {
            return;
        };
        if presence.full || !presence.owed.is_empty() {
            presence.owed.push_back(command);
        } else if let Err(command) = presence.port.offer(command) {
            presence.full = true;
            presence.owed.push_back(command);
        }
        if presence.owed.len() > OWED_MAX {
            self.end_presence(member.peer, EndReason::Busy);
        }
    }

    fn drained(&mut self, member: Member) {
        let Some(presence) = self.peer(member.peer).present(member.session) else {
            return;
        };
        presence.full = false;
        while let Some(command) = presence.owed.pop_front() {
            if let Err(command) = presence.port.offer(command) {
                presence.full = true;
                presence.owed.push_front(command);
                return;
            }
        }
        self.fetch(member.peer);
    }

    fn taken(&mut self, by: Member, TakenStored { before, envelopes, bytes }: TakenStored) {
        self.account(by.peer, envelopes, bytes);
        let name = self.peer(by.peer).folded.clone();
        if self.store.offer(store::Command::Forget { name, before }).is_err() {
            // They are dropped with the next that are taken, or handed over once more and recognised by the recipient.
            tracing::debug!(target: "router", "the store is busy; taken mail is dropped later");
        }
    }

    fn leave(&mut self, member: Member) {
        if self.peer(member.peer).present(member.session).is_some() {
            self.end_presence(member.peer, EndReason::Left);
        }
    }

    /// Ends all presences: the server ends.
    pub fn end(&mut self) {
        for at in 0..self.peers.len() {
            let key = PeerKey(u32::try_from(at).expect("there are at most a million peers"));
            self.end_presence(key, EndReason::Left);
        }
    }

    /// Closes a session's port. What is in its mailbox, and what is owed to it, comes back or is in the store.
    fn end_presence(&mut self, key: PeerKey, reason: EndReason) {
        let peer = self.peer(key);
        let Some(presence) = peer.presence.take() else {
            return;
        };
        peer.parting += 1;
        let session = presence.session;
        presence.port.close(reason);
        let name = peer.name.clone();
        for watched in presence.watching {
            self.peer(watched).watchers.retain(|w| w.session != session);
            self.forget_stranger(watched);
        }
        self.index.presence(&name, false, None);
    }

    fn hand_back(&mut self, from: Member, untaken: Vec<Delivery>) {
        for delivery in untaken.into_iter().filter(|d| d.is_kept && !d.is_stored) {
            let Delivery { first, frames, origin, .. } = delivery;
            let (count, bytes) = (frames.count(), frames.bytes.len() as u64);
            let name = self.peer(from.peer).folded.clone();
            // These were accepted, so they are not refused for want of room.
            self.store.send(store::Command::Put { name, first, frames, origin });
            self.stored(from.peer, first, count, bytes);
        }
        let peer = self.peer(from.peer);
        peer.parting = peer.parting.saturating_sub(1);
        self.fetch(from.peer);
    }

    fn lookup(&mut self, by: Member, name: PeerName) {
        let Some(key) = self.find_or_note(&name) else {
            return self.tell(by, SessionCommand::Unknown(name));
        };
        let answer = match &self.peer(key).owner {
            Some(owner) => SessionCommand::Card(owner.card.clone()),
            None => SessionCommand::Unknown(name),
        };
        if let Some(presence) = self.peer(by.peer).present(by.session)
            && presence.watching.len() < WATCHING_MAX
            && !presence.watching.contains(&key)
        {
            presence.watching.push(key);
            self.peer(key).watchers.push(by);
        }
        self.tell(by, answer);
    }

    fn reachable(&mut self, member: Member, address: SocketAddr) {
        let peer = self.peer(member.peer);
        if peer.present(member.session).is_some() {
            let name = peer.name.clone();
            self.index.presence(&name, true, Some(address));
        }
    }

    fn who(&mut self, reply: Reply<Vec<KnownPeer>>) {
        let mut known: Vec<KnownPeer> = self
            .peers
            .iter()
            .filter_map(|peer| {
                let fingerprint = peer.owner.as_ref()?.fingerprint;
                Some(KnownPeer { name: peer.name.clone(), fingerprint, online: peer.presence.is_some() })
            })
            .collect();
        known.sort_by(|a, b| (!a.online, &a.name).cmp(&(!b.online, &b.name)));
        known.truncate(KNOWN_MAX);
        reply.answer(known);
    }
}

impl Owner {
    fn of(card: &Card) -> Self {
        Self {
            card: Bytes::copy_from_slice(card.as_bytes()),
            fingerprint: card.fingerprint(),
            is_written: false,
        }
    }
}
