//! Who owns a name, and where each peer is connected.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::PeerName;
use wire::card::Card;
use wire::protocol::ServerId;

use super::adopted::Adoptions;
use super::copies::Copies;
use super::expired::Expired;
use super::interface::{Effect, Find, Here, Input, Revision};
use super::kept::Kept;
use super::name::Name;
use super::packet::{Body, decode};
use super::published::PublishedShares;
use super::servers::{Ended, Remote, Server};
use super::transfers::Transfers;
use crate::commands::admission::ListChange;
use crate::commands::cluster::{Command, Incarnation, remote_session};
use crate::commands::network::Network;
use crate::commands::router::{JoinRefused, Member, MemberCommand};
use crate::commands::session::SessionId;
use crate::commands::shares::Shares;
use crate::commands::store::MailboxSize;
use crate::config::PeerLimits;
use crate::runtime::{Core, Now, Reply};

/// The revision of a card that the bucket may not have.
const UNCLAIMED: Revision = 0;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often a server says that it is alive.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// A server that was not heard of for this time counts as ended.
pub(super) const ALIVE_TIMEOUT: Duration = Duration::from_secs(6);
/// The presences of a server that was not heard of for this time are removed from the bucket.
const REMOVED_AFTER: Duration = Duration::from_secs(60);
/// The pause before an operation on the bucket that has failed is tried again, and before a peer at another server counts as
/// present again after its envelopes were refused.
pub(super) const RETRY: Duration = Duration::from_millis(250);

pub(super) struct Claim {
    card: Box<Card>,
    reply: Reply<Result<(), JoinRefused>>,
}

/// The cluster's state and decisions.
pub struct Cluster {
    pub(super) me: Incarnation,
    pub(super) names: HashMap<PeerName, Name>,
    pub(super) claims: HashMap<PeerName, Vec<Claim>>,
    pub(super) servers: BTreeMap<Incarnation, Server>,
    /// The name of each presence at another server.
    pub(super) remotes: HashMap<SessionId, PeerName>,
    pub(super) remotes_made: u64,
    pub(super) ended: HashMap<SessionId, Ended>,
    /// Names to look at again, and when.
    pub(super) retries: VecDeque<(Instant, PeerName)>,
    pub(super) newcomers: Shares<Network>,
    pub(super) published: PublishedShares,
    pub(super) copies: Copies,
    pub(super) adoptions: Adoptions,
    pub(super) kept: Kept,
    pub(super) expired: Expired,
    pub(super) transfers: Transfers,
    pub(super) is_connected: bool,
    pub(super) alive_at: Option<Instant>,
    /// When the present connection to NATS was made.
    pub(super) connected_at: Option<Instant>,
    /// When the first connection to NATS was made.
    pub(super) started_at: Option<Instant>,
    pub(super) swept_at: Option<Instant>,
}

impl Core for Cluster {
    type Command = Input;
    type Out = Vec<Effect>;

    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        let instant = now.instant;
        match input {
            Input::Command(Command::Claim { card, network, reply }) => {
                self.claim(now, card, network, reply, out);
            }
            Input::Command(Command::Presence { name, session, is_online, address }) => {
                self.presence(instant, &name, session, is_online.then_some(address), out);
            }
            Input::Command(Command::Deliver { session, delivery }) => self.deliver(session, *delivery),
            Input::Command(Command::Closed { session }) => self.closed(instant, session, out),
            Input::Command(Command::Forwarded { batch, refused }) => {
                self.forwarded(instant, batch, &refused, out);
            }
            Input::Command(Command::Stored(mail)) => {
                self.kept.stored(&mail.name, &mail.sender, mail.frames.amount());
                self.copies.stored(instant, mail, self.is_connected, out);
            }
            Input::Command(Command::Forgotten { name, places, amounts }) => {
                self.kept.forgotten(&name, &amounts);
                self.copies.forgotten(&name, &places, out);
            }
            Input::Command(Command::Taken { session, before }) => self.taken(session, before, out),
            Input::Command(Command::TransferWaits { transfer, end }) => {
                self.transfer_waits(instant, transfer, end, out);
            }
            Input::Mail(input) => self.mail(instant, input, out),
            Input::Command(Command::Keep(keep)) => self.published.keep(*keep, self.is_connected, out),
            Input::Command(Command::Release { name, drops_mail, reply }) => {
                self.release(&name.folded(), drops_mail, reply, out);
            }
            Input::Freed { reply, is_done } => reply.answer(is_done.then_some(true)),
            Input::NoCard { name, revision } => self.released(instant, &name, revision, out),
            Input::Command(Command::EditMembers { edits, reply }) => match self.is_connected {
                true => out.push(Effect::EditMembers { edits, reply }),
                false => reply.answer(None),
            },
            Input::MembersEdited(reply, revisions) => reply.answer(revisions),
            Input::Members(change) => out.push(Effect::Members(change)),
            Input::Share(input) => self.published.input(input, self.is_connected, out),
            // The shell has ended.
            Input::Command(Command::End) => {}
            Input::Card { name, card, revision } => self.learn(instant, &name, &card, revision, out),
            Input::Here { name, here, revision } => self.here(instant, &name, here, revision, out),
            Input::Claimed { name, found } => self.claimed(now, &name, found, out),
            Input::Put { name, here, revision } => self.put(instant, name, here, revision, out),
            Input::Erased(name) => {
                self.names.entry(name.clone()).or_default().local.is_busy = false;
                self.retry(instant, name);
            }
            Input::Appeared { session, member } => self.appeared(instant, session, member, out),
            Input::Packet(bytes) => {
                if let Some(packet) = decode(&bytes) {
                    self.packet(instant, packet, out);
                }
            }
            Input::Connected(is_connected) => self.connected(instant, is_connected, out),
            Input::Tick => {
                self.tick(instant, out);
                self.tick_expired(now, out);
            }
        }
    }
}

/// What a server has on its disk when it starts.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// The identity of its store.
    pub store: ServerId,
    /// They count while the bucket cannot be asked.
    pub cards: Vec<Card>,
    pub mailboxes: Vec<MailboxSize>,
}

impl Cluster {
    pub fn new(me: Incarnation, limits: &PeerLimits, on_disk: OnDisk) -> Self {
        let OnDisk { store, cards, mailboxes } = on_disk;
        let owned = |card: Card| {
            (card.name.folded(), Name { owner: Some((Box::new(card), UNCLAIMED)), ..Name::default() })
        };
        let mut kept = Kept::new(limits);
        for MailboxSize { name, amounts, .. } in &mailboxes {
            amounts.iter().for_each(|(sender, amount)| kept.stored(name, sender, *amount));
        }
        let mailboxes: HashSet<PeerName> = mailboxes.into_iter().map(|mailbox| mailbox.name).collect();
        Self {
            me,
            names: cards.into_iter().map(owned).collect(),
            claims: HashMap::new(),
            servers: BTreeMap::new(),
            remotes: HashMap::new(),
            remotes_made: 0,
            ended: HashMap::new(),
            retries: VecDeque::new(),
            published: PublishedShares::default(),
            copies: Copies::new(store, mailboxes),
            adoptions: Adoptions::default(),
            kept,
            expired: Expired::new(limits),
            transfers: Transfers::default(),
            newcomers: Shares::new(limits.new_names_per_hour, HOUR),
            is_connected: false,
            alive_at: None,
            connected_at: None,
            started_at: None,
            swept_at: None,
        }
    }

    /// Whether there is a connection to NATS, the number of other servers, and that of the peers at them.
    pub(super) fn counts(&self) -> (bool, usize, usize) {
        let alive = self.servers.values().filter(|server| server.is_alive).count();
        (self.is_connected, alive, self.remotes.len())
    }

    fn connected(&mut self, now: Instant, is_connected: bool, out: &mut Vec<Effect>) {
        self.is_connected = is_connected;
        self.alive_at = None;
        // Nobody was heard of while there was no connection.
        self.swept_at = Some(now);
        self.connected_at = is_connected.then_some(now);
        let is_first = is_connected && self.started_at.is_none();
        if is_first {
            self.started_at = Some(now);
        } else if is_connected {
            self.adoptions.find_unseen(now);
            self.say(None, Body::Missed, out);
            self.say_all_kept(None, out);
        }
        self.claim_unclaimed(out);
        self.tick(now, out);
        out.push(Effect::KeepsMail(is_connected));
        if is_first {
            out.push(Effect::Members(ListChange::Known));
        }
    }

    fn claim(
        &mut self,
        now: Now,
        card: Box<Card>,
        network: Network,
        reply: Reply<Result<(), JoinRefused>>,
        out: &mut Vec<Effect>,
    ) {
        let name = card.name.folded();
        let owner = self.names.get(&name).and_then(|name| name.owner.as_ref());
        if let Some((owner, revision)) =
            owner.filter(|(_, revision)| *revision != UNCLAIMED || !self.is_connected)
        {
            if !card.is_of(&owner.fingerprint()) {
                return reply.answer(Err(JoinRefused::NameTaken));
            }
            if card.replaces(owner, now.unix()) && self.is_connected {
                let card = Bytes::copy_from_slice(card.as_bytes());
                out.push(Effect::Update { name, card, revision: *revision });
            }
            return reply.answer(Ok(()));
        }
        if !self.is_connected {
            return reply.answer(Err(JoinRefused::NoCluster));
        }
        // What this server has on its disk is new only for the others.
        if owner.is_none() {
            if !self.newcomers.admit(now.instant, network, 1) {
                return reply.answer(Err(JoinRefused::TooManyNames));
            }
            // An address has one share at all servers.
            self.say(None, Body::Newcomer { network }, out);
        }
        let waiting = self.claims.entry(name.clone()).or_default();
        if waiting.is_empty() {
            out.push(Effect::Create { name, card: Bytes::copy_from_slice(card.as_bytes()) });
        }
        waiting.push(Claim { card, reply });
    }

    /// Claims the names under which peers have joined while the bucket could not be asked.
    fn claim_unclaimed(&self, out: &mut Vec<Effect>) {
        let joined = self.names.iter().filter(|(_, name)| self.is_connected && name.local.session.is_some());
        let cards = joined.filter_map(|(key, name)| Some((key, name.owner.as_ref()?)));
        out.extend(cards.filter(|(_, (_, revision))| *revision == UNCLAIMED).map(|(key, (card, _))| {
            Effect::Create { name: key.clone(), card: Bytes::copy_from_slice(card.as_bytes()) }
        }));
    }

    fn claimed(
        &mut self,
        now: Now,
        name: &PeerName,
        found: Option<(Bytes, Revision)>,
        out: &mut Vec<Effect>,
    ) {
        if let Some((card, revision)) = found {
            self.learn(now.instant, name, &card, revision, out);
        }
        let owner = self.names.get(name).and_then(|name| name.owner.as_ref());
        for Claim { card, reply } in self.claims.remove(name).unwrap_or_default() {
            reply.answer(match owner {
                Some((owner, _)) if card.is_of(&owner.fingerprint()) => Ok(()),
                Some(_) => Err(JoinRefused::NameTaken),
                None => Err(JoinRefused::NoCluster),
            });
        }
    }

    fn learn(
        &mut self,
        now: Instant,
        name: &PeerName,
        card: &[u8],
        revision: Revision,
        out: &mut Vec<Effect>,
    ) {
        let known = self.names.entry(name.clone()).or_default();
        if known.owner.as_ref().is_some_and(|(_, newest)| *newest >= revision) {
            return;
        }
        match Card::from_bytes(card) {
            Ok(card) if card.name.folded() == *name => {
                out.push(Effect::Learn(Box::new(card.clone())));
                known.owner = Some((Box::new(card), revision));
                self.look(now, name, out);
            }
            Ok(_) | Err(_) => tracing::error!(target: "cluster", %name, "the card in the bucket is damaged"),
        }
    }

    /// A peer has joined here and can be dialled at `online`, if that is known, or its session has ended.
    fn presence(
        &mut self,
        now: Instant,
        name: &PeerName,
        session: SessionId,
        online: Option<Option<SocketAddr>>,
        out: &mut Vec<Effect>,
    ) {
        let name = name.folded();
        let local = &mut self.names.entry(name.clone()).or_default().local;
        if online.is_some() && local.session != Some(session) {
            self.adoptions.find(Find::For(name.clone()));
        }
        match online {
            Some(address) => (local.session, local.address) = (Some(session), address),
            None if local.session == Some(session) => (local.session, local.address) = (None, None),
            None => {}
        }
        if online.is_none() {
            self.servers.values_mut().for_each(|server| server.inbound.forget(session));
            self.session_ended(&name, session);
        }
        self.look(now, &name, out);
    }

    fn here(
        &mut self,
        now: Instant,
        name: &PeerName,
        here: Option<Here>,
        revision: Revision,
        out: &mut Vec<Effect>,
    ) {
        let known = self.names.entry(name.clone()).or_default();
        if known.changed < revision {
            known.changed = revision;
            known.here = here.map(|here| (here, revision));
            self.look(now, name, out);
        }
    }

    fn put(
        &mut self,
        now: Instant,
        name: PeerName,
        here: Here,
        revision: Option<Revision>,
        out: &mut Vec<Effect>,
    ) {
        let local = &mut self.names.entry(name.clone()).or_default().local;
        local.is_busy = false;
        match revision {
            Some(revision) => {
                local.written = Some((here, revision));
                self.look(now, &name, out);
            }
            None => self.retry(now, name),
        }
    }

    pub(super) fn retry(&mut self, now: Instant, name: PeerName) {
        self.retries.push_back((now + RETRY, name));
    }

    /// Makes the bucket say what is true of this server, and the Router know where the peer is.
    pub(super) fn look(&mut self, now: Instant, key: &PeerName, out: &mut Vec<Effect>) {
        let Some(name) = self.names.get_mut(key) else { return };
        out.extend(name.begin_write(self.me, key));
        let wanted = name.wanted(now, self.me);
        let wanted = wanted.filter(|there| self.servers.get(&there.server).is_some_and(|s| s.is_alive));
        match &mut name.remote {
            Some(remote) if remote.is_leaving => {}
            Some(remote) if wanted.is_some_and(|there| there.is_join_of(&remote.there)) => {
                remote.dial(wanted.and_then(|there| there.address), out);
            }
            Some(remote) => {
                if let Some(member) = remote.member {
                    remote.is_leaving = true;
                    out.push(Effect::Tell(member, MemberCommand::Leave));
                }
            }
            None => {
                if let Some(there) = wanted
                    && let Some(server) = self.servers.get(&there.server)
                    && let Some((card, _)) = &name.owner
                {
                    self.remotes_made += 1;
                    let session = remote_session(self.remotes_made);
                    self.remotes.insert(session, key.clone());
                    let (window, spelled) = (Arc::clone(&server.window), card.name.clone());
                    name.remote = Some(Remote::new(session, there));
                    out.push(Effect::Appear { name: spelled, session, window });
                }
            }
        }
    }

    fn appeared(&mut self, now: Instant, session: SessionId, member: Option<Member>, out: &mut Vec<Effect>) {
        let Some(key) = self.remotes.get(&session).cloned() else { return };
        let name = self.names.entry(key.clone()).or_default();
        match (member, &mut name.remote) {
            (Some(_), Some(remote)) => {
                remote.member = member;
                let address = remote.there.address.take();
                remote.dial(address, out);
            }
            _ => {
                name.remote = None;
                name.paused_until = Some(now + RETRY);
                self.remotes.remove(&session);
                self.retry(now, key);
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.alive_at.is_none_or(|at| at + ALIVE_EVERY <= now) {
            self.alive_at = Some(now);
            self.say(None, Body::Alive { store: self.copies.store }, out);
        }
        let silent = self.servers.iter().filter(|(_, server)| server.is_alive);
        let silent: Vec<_> =
            silent.filter(|(_, server)| server.heard_at + ALIVE_TIMEOUT <= now).map(|(at, _)| *at).collect();
        for at in silent {
            self.set_alive(now, at, false, out);
        }
        let overdue = self.servers.iter().filter(|(_, server)| server.outbound.is_overdue(now));
        let overdue: Vec<_> = overdue.map(|(at, _)| *at).collect();
        for at in overdue {
            self.end_epoch(now, at, out);
        }
        self.copies.tick(now, self.is_connected, out);
        self.tick_adoptions(now, out);
        self.tick_transfers(now, out);
        while let Some((at, _)) = self.retries.front()
            && *at <= now
            && let Some((_, name)) = self.retries.pop_front()
        {
            self.look(now, &name, out);
        }
        if self.is_connected && self.swept_at.is_some_and(|swept_at| swept_at + REMOVED_AFTER <= now) {
            self.swept_at = Some(now);
            self.sweep(now, out);
        }
    }

    /// Removes the presences of servers that are gone for good.
    fn sweep(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let is_kept = |server: &Server| server.is_alive || server.heard_at + REMOVED_AFTER > now;
        let gone: Vec<_> =
            self.servers.extract_if(.., |_, server| !is_kept(server)).map(|(at, _)| at).collect();
        gone.into_iter().for_each(|at| self.forget_kept(at, out));
        let is_gone = |here: &Here| here.server != self.me && !self.servers.contains_key(&here.server);
        for key in self.names_at(is_gone) {
            if let Some((here, revision)) = self.names.get(&key).and_then(|name| name.here)
                && is_gone(&here)
            {
                out.push(Effect::Erase { name: key, revision });
            }
        }
    }

    /// The last packets of this server.
    pub fn end(&mut self, out: &mut Vec<Effect>) {
        self.say_outcomes(None, out);
        self.say(None, Body::Ends, out);
    }
}
