//! The Router's state and decisions.
//!
//! A recipient is *live* if it is connected and none of its mail is on disk or on its way there. Envelopes for a live
//! recipient go directly to its session. All others go to the store, behind the mail that is there already, and the
//! Router fetches from the store in order until the recipient has caught up. So each recipient gets the envelopes of
//! each sender in the order in which they were sent.
//!
//! While a recipient is live, its port may be open: then the sessions of senders deliver to it without the Router. The
//! Router shuts the port before it does anything that makes the recipient no longer live.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::PeerName;
use wire::card::Card;
use wire::protocol::{Outcome, Refusal};

use super::ledger::{Ledger, Usage};
use super::mail::Sweep;
use super::splice::Splices;
use super::table::{Owner, Presence, Table};
use crate::commands::admission::Members;
use crate::commands::cluster::is_remote;
use crate::commands::network::Network;
use crate::commands::peer_counts::{Limit, PeerCounts};
use crate::commands::router::{
    Command, JoinRefused, Joined, Member, MemberCommand, PeerKey, PresencePort, Run,
};
use crate::commands::session::{EndReason, Route, SessionCommand};
use crate::commands::shares::Shares;
use crate::commands::store::{self, Frames, Inventory, Origin, Sender, StorePort};
use crate::config::PeerLimits;
use crate::runtime::{Core, Now, Pending, Reply, reply};

/// The usage that a name counts while nobody has joined under it.
pub(super) const NAME: Usage = Usage { mail_bytes: 0, names: 1 };
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// The maximum number of commands that wait for a session whose mailbox is full. With more, the session is ended.
const OWED_MAX: usize = 32_768;

/// The Router without its thread. `S` sends commands to the store, and `I` reports presence to the Index.
pub struct Router<S, I> {
    pub(super) table: Table,
    pub(super) limits: PeerLimits,
    pub(super) ledger: Ledger,
    /// Bytes that were given to the store and are not confirmed yet.
    pub(super) storing_bytes: u64,
    /// Peers whose mailbox must be fetched when the store has room for the command.
    pub(super) unfetched: Vec<PeerKey>,
    pub(super) sweep: Sweep,
    /// The time of the current command, in seconds since 1970.
    pub(super) unix: u64,
    pub(super) store: S,
    pub(super) counts: Arc<PeerCounts>,
    pub(super) splices: Splices,
    /// New names of each address in an hour.
    newcomers: Shares<Network>,
    /// Conversations that each sender opens in a minute.
    openings: Shares<PeerKey>,
    /// A cluster that makes a copy of all mail can do that now.
    pub(super) keeps_mail: bool,
    pub(super) index: I,
}

impl<S: StorePort, I: PresencePort> Core for Router<S, I> {
    type Command = Command;
    type Out = ();

    fn handle(&mut self, now: Now, command: Command, (): &mut ()) {
        self.unix = now.unix();
        match command {
            Command::Join { session, card, network, token, port, reply } => {
                let answer = self.join(now, &card, network, Presence::new(session, Some(token), port));
                if let Err(JoinRefused::TooManyNames) = answer {
                    self.counts.count(Limit::NewNamesPerHour);
                }
                if let Err(Ok(joined)) = reply.try_answer(answer) {
                    self.join_undone(joined.peer);
                }
            }
            Command::From(member, command) => self.member(now, member, command),
            Command::Learn(card) => self.learn(&card),
            Command::Appear { name, session, port, reply } => reply.answer(self.appear(&name, session, port)),
            Command::KeepsMail(keeps_mail) => self.keeps_mail = keeps_mail,
            Command::Expired { sender, name, count, notice } => self.expired(&sender, &name, count, notice),
            Command::KeptElsewhere(amounts) => self.keeps_elsewhere(amounts),
            Command::Forwarded(envelopes, reply) => self.forwarded(envelopes, reply),
            Command::Who(reply) => reply.answer(self.table.known()),
            Command::Find(name, reply) => reply.answer(self.table.find_known(&name)),
            Command::Expel(members) => self.expel(&members),
            Command::Release { name, drops_mail, reply } => self.release(&name, drops_mail, reply),
            Command::DropMail(name) => self.drop_mail(&name),
            Command::Completed(completion) => self.complete(now, completion),
            Command::Splice { end, reply } => self.splice(now, &end, reply),
            Command::Elsewhere { transfer, offered } => self.splices.elsewhere(&transfer, offered),
            Command::SpliceEnded(session) => self.splice_ended(session),
        }
        let Usage { mail_bytes, names } = self.ledger.all();
        self.counts.mail_bytes.set(mail_bytes);
        self.counts.waiting_names.set(names);
    }
}

impl<S: StorePort, I: PresencePort> Router<S, I> {
    /// Creates a Router with the names, cards and mailboxes that are on disk.
    pub fn new(limits: PeerLimits, inventory: Inventory, store: S, index: I) -> Self {
        let splices = Splices::new(limits.transfers, limits.transfer_rate);
        let newcomers = Shares::new(limits.new_names_per_hour, HOUR);
        let openings = Shares::new(limits.openings_per_minute, MINUTE);
        let mut router = Self {
            table: Table::default(),
            ledger: Ledger::new(&limits),
            limits,
            storing_bytes: 0,
            unfetched: Vec::new(),
            sweep: Sweep::default(),
            unix: 0,
            store,
            counts: Arc::default(),
            splices,
            newcomers,
            openings,
            keeps_mail: true,
            index,
        };
        for (name, bytes) in inventory.cards {
            match Card::from_bytes(&bytes) {
                Ok(card) => {
                    let key = router.table.find_or_insert(&card.name);
                    router.table.set_owner(key, Owner::of(&card, true));
                }
                Err(error) => {
                    tracing::error!(
                        target: "router", %name, %error,
                        "the stored card is damaged, so the owner is unknown: nobody can join under this name, and \
                         its mail is kept, until store.redb is put back from a backup"
                    );
                    let key = router.table.find_or_insert(&name);
                    router.table.set_owner(key, Owner::Unreadable);
                }
            }
        }
        for mailbox in inventory.mailboxes {
            router.restore(mailbox);
        }
        router
    }

    /// The counters for the metrics.
    pub fn counts(&self) -> &Arc<PeerCounts> {
        &self.counts
    }

    fn member(&mut self, now: Now, member: Member, command: MemberCommand) {
        match command {
            MemberCommand::Route(runs) => self.route(now, member, runs),
            MemberCommand::Drained => self.drained(member),
            MemberCommand::Taken(taken) => self.taken(member, taken),
            MemberCommand::TakenElsewhere(before) => self.index.taken_elsewhere(member.session, before),
            MemberCommand::Lookup(name) => self.lookup(member, name),
            MemberCommand::Ping { id, names } => self.ping(member, id, names),
            MemberCommand::Reachable(address) => self.reachable(member, address),
            MemberCommand::Leave => self.leave(member),
            MemberCommand::HandBack(untaken) => self.hand_back(member, untaken),
        }
    }

    /// Retries what the mailboxes of the Index and the store had no room for. Returns false if some of it must be
    /// retried again.
    pub fn catch_up(&mut self) -> bool {
        for key in std::mem::take(&mut self.unfetched) {
            self.fetch(key);
        }
        self.index.catch_up() && self.unfetched.is_empty()
    }

    fn join(
        &mut self,
        now: Now,
        card: &Card,
        network: Network,
        presence: Presence,
    ) -> Result<Joined, JoinRefused> {
        let key = self.table.find_or_admit(&card.name).ok_or(JoinRefused::Busy)?;
        let is_new = match self.table.peer(key).owner() {
            Owner::Nobody if !self.newcomers.admit(now.instant, network, 1) => {
                self.forget_if_unused(key);
                return Err(JoinRefused::TooManyNames);
            }
            Owner::Nobody => true,
            Owner::Unreadable => return Err(JoinRefused::NameTaken),
            Owner::Known { fingerprint, .. } if !card.is_of(fingerprint) => {
                return Err(JoinRefused::NameTaken);
            }
            Owner::Known { card: known, is_written, .. } => known != card.as_bytes() || !is_written,
        };
        // The join of a process that has crashed can arrive after that of the process that has replaced it. A join at another
        // server has no place in the order of the sessions here; it is earlier if the cluster has not ended this one.
        let newer = self.table.peer(key).presence().map(|presence| presence.session);
        if newer.is_some_and(|newer| !is_remote(newer) && newer > presence.session) {
            return Err(JoinRefused::Superseded);
        }
        let written = match is_new.then(|| self.keep_card(key, card)) {
            None => None,
            Some(Ok(written)) => Some(written),
            Some(Err(refused)) => {
                self.forget_if_unused(key);
                return Err(refused);
            }
        };
        self.table.peer(key).network = network;
        self.set_presence(key, &card.name, presence);
        if is_new {
            self.show_card(key);
        }
        self.fetch(key);
        Ok(Joined { peer: key, written })
    }

    pub(super) fn set_presence(&mut self, key: PeerKey, name: &PeerName, presence: Presence) {
        self.end_presence(key, EndReason::Superseded);
        let session = presence.session;
        self.table.set_presence(key, name, presence);
        self.index.presence(name, session, true, None);
    }

    /// Undoes a join whose session has stopped waiting for the answer. That session sends neither `Leave` nor
    /// `HandBack`, so nothing may wait for them.
    fn join_undone(&mut self, key: PeerKey) {
        self.end_presence(key, EndReason::Left);
        let peer = self.table.peer(key);
        peer.parting = peer.parting.saturating_sub(1);
    }

    fn keep_card(&mut self, key: PeerKey, card: &Card) -> Result<Pending<()>, JoinRefused> {
        let (reply, written) = reply();
        let name = card.name.folded();
        let put = store::Command::PutCard { peer: key, name, card: card.as_bytes().to_vec(), reply };
        self.store.offer(put).map_err(|_| JoinRefused::Busy)?;
        let noted_for = self.table.set_owner(key, Owner::of(card, false));
        self.release_name(noted_for);
        Ok(written)
    }

    fn expel(&mut self, members: &Members) {
        for key in self.table.keys() {
            let peer = self.table.peer(key);
            let is_member = match peer.owner() {
                Owner::Known { fingerprint, .. } => members.admit(fingerprint, peer.name()),
                Owner::Nobody | Owner::Unreadable => false,
            };
            if !is_member {
                self.end_presence(key, EndReason::Expelled);
            }
        }
    }

    /// Takes a name from its owner. Those who have its card keep it, and see another key when somebody else joins under the
    /// name.
    fn release(&mut self, name: &PeerName, drops_mail: bool, reply: Reply<bool>) {
        let owned = self.table.find(name.as_str());
        let owned = owned.filter(|key| !matches!(self.table.peer(*key).owner(), Owner::Nobody));
        let Some(key) = owned else { return reply.answer(false) };
        self.end_presence(key, EndReason::NameReleased);
        let folded = self.table.peer(key).folded.clone();
        if drops_mail {
            self.drop_mail(&folded);
        }
        self.store.send(store::Command::DropCard { name: folded, reply });
        let noted_for = self.table.set_owner(key, Owner::Nobody);
        self.release_name(noted_for);
        self.forget_if_unused(key);
    }

    /// Finds the entry of a name, or makes one that is charged to the peer `by`, unless a limit is reached.
    fn find_or_note(&mut self, name: &PeerName, by: PeerKey) -> Result<PeerKey, Refusal> {
        if let Some(key) = self.table.find(name.as_str()) {
            return Ok(key);
        }
        let sender = self.table.peer(by).sender();
        self.ledger.admit_name(&sender)?;
        self.ledger.charge(&sender, NAME);
        Ok(self.table.note(name, sender))
    }

    pub(super) fn forget_if_unused(&mut self, key: PeerKey) {
        let noted_for = self.table.forget_if_unused(key);
        self.release_name(noted_for);
    }

    pub(super) fn release_name(&mut self, noted_for: Option<Sender>) {
        if let Some(sender) = noted_for {
            self.ledger.release(&sender, NAME);
        }
    }

    pub(super) fn show_card(&mut self, key: PeerKey) {
        let peer = self.table.peer(key);
        let Some(card) = peer.owner().card().cloned() else { return };
        let watchers = peer.watchers.clone();
        for watcher in watchers {
            self.tell(watcher, SessionCommand::Card(card.clone()));
        }
    }

    fn route(&mut self, now: Now, from: Member, runs: Vec<Run>) {
        // Consecutive runs usually have the same outcome, so they are reported together.
        let mut said: Option<(u64, u64, Outcome)> = None;
        for run in runs {
            let (first, count) = (run.first, run.frames.count());
            let outcome = self.route_run(now, from, run);
            if let Some(Outcome::Refused(refusal)) = outcome {
                Limit::of(refusal).into_iter().for_each(|limit| self.counts.count(limit));
            }
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

    /// Relays or stores a run and returns the outcome. `None` means that the store reports the outcome later.
    fn route_run(&mut self, now: Now, from: Member, run: Run) -> Option<Outcome> {
        if run.openings > 0 && !self.openings.admit(now.instant, from.peer, run.openings) {
            return Some(Outcome::Refused(Refusal::SenderOpenings));
        }
        let key = match self.find_or_note(&run.to, from.peer) {
            Ok(key) => key,
            Err(refusal) => return Some(Outcome::Refused(refusal)),
        };
        let origin = Origin { peer: from.peer, session: from.session, first: run.first };
        let frames = match self.relay(key, run.frames, run.kept, origin) {
            Ok(()) => {
                if run.wants_route
                    && let Some(presence) = self.table.peer(key).presence()
                {
                    let route = Route::to(&presence.port);
                    self.tell(from, SessionCommand::Route(Box::new((run.to, route))));
                }
                return Some(Outcome::Relayed);
            }
            Err(frames) => frames,
        };
        let stored = if run.kept {
            self.put(key, frames, origin)
        } else {
            let is_here = self.table.peer(key).presence().is_some();
            Err(if is_here { Refusal::Busy } else { Refusal::Absent })
        };
        let refusal = stored.err()?;
        self.forget_if_unused(key);
        Some(Outcome::Refused(refusal))
    }

    /// Gives envelopes to the session of their recipient. Returns them if the recipient is not live or its mailbox is
    /// full.
    pub(super) fn relay(
        &mut self,
        key: PeerKey,
        frames: Frames,
        is_kept: bool,
        origin: Origin,
    ) -> Result<(), Frames> {
        let peer = self.table.peer(key);
        let Some(port) = peer.open() else { return Err(frames) };
        port.deliver(frames, is_kept, origin).inspect_err(|_| peer.set_full())
    }

    /// Puts a command into a session's mailbox. If the mailbox is full, keeps the command until there is room.
    pub(super) fn tell(&mut self, member: Member, command: SessionCommand) {
        let peer = self.table.peer(member.peer);
        let Some(presence) = peer.present(member.session) else {
            return;
        };
        let refused = if presence.full { Err(command) } else { presence.port.offer(command) };
        if let Err(command) = refused {
            presence.owed.push_back(command);
            let is_over = presence.owed.len() > OWED_MAX;
            peer.set_full();
            if is_over {
                self.end_presence(member.peer, EndReason::Busy);
            }
        }
    }

    fn drained(&mut self, member: Member) {
        let peer = self.table.peer(member.peer);
        let Some(presence) = peer.present(member.session) else {
            return;
        };
        presence.full = false;
        while let Some(command) = presence.owed.pop_front() {
            if let Err(command) = presence.port.offer(command) {
                presence.owed.push_front(command);
                return peer.set_full();
            }
        }
        self.fetch(member.peer);
    }

    fn leave(&mut self, member: Member) {
        if self.table.peer(member.peer).present(member.session).is_some() {
            self.end_presence(member.peer, EndReason::Left);
        }
    }

    /// Ends the sessions of all peers, because the server shuts down.
    pub fn end(&mut self) {
        for key in self.table.keys() {
            self.end_presence(key, EndReason::Left);
        }
    }

    /// Closes a session's port. No mail is lost: the session hands back the envelopes in its mailbox, and what could
    /// not be put into the mailbox is in the store.
    pub(super) fn end_presence(&mut self, key: PeerKey, reason: EndReason) {
        self.table.peer(key).shut();
        let Some(presence) = self.table.take_presence(key) else {
            return;
        };
        let peer = self.table.peer(key);
        peer.parting += 1;
        let session = presence.session;
        presence.port.close(reason);
        let name = peer.name().clone();
        for watched in presence.watching {
            self.table.peer(watched).watchers.retain(|w| w.session != session);
            self.forget_if_unused(watched);
        }
        self.index.presence(&name, session, false, None);
    }

    fn lookup(&mut self, by: Member, name: PeerName) {
        let key = match self.find_or_note(&name, by.peer) {
            Ok(key) => key,
            Err(limit) => return self.unwatched(by, name, limit),
        };
        let card = self.table.peer(key).owner().card().cloned();
        let is_watched = self.watch(by, key);
        match card {
            Some(card) => self.tell(by, SessionCommand::Card(card)),
            None if is_watched => self.tell(by, SessionCommand::Unknown(name.clone())),
            None => {}
        }
        if !is_watched {
            self.unwatched(by, name, Refusal::Watching);
            self.forget_if_unused(key);
        }
    }

    fn unwatched(&mut self, by: Member, name: PeerName, reason: Refusal) {
        Limit::of(reason).into_iter().for_each(|limit| self.counts.count(limit));
        self.tell(by, SessionCommand::Unwatched(name, reason));
    }

    /// Subscribes a session to new cards of a peer. Returns false if it watches the maximum number of peers.
    fn watch(&mut self, by: Member, key: PeerKey) -> bool {
        let watched_names = self.limits.watched_names;
        let Some(presence) = self.table.peer(by.peer).present(by.session) else { return true };
        if presence.watching.contains(&key) {
            return true;
        }
        let has_room = presence.watching.len() < watched_names;
        if has_room {
            presence.watching.push(key);
            self.table.peer(key).watchers.push(by);
        }
        has_room
    }

    fn ping(&mut self, by: Member, id: u32, mut present: Vec<PeerName>) {
        present.retain(|name| {
            self.table.find(name.as_str()).is_some_and(|key| self.table.peer(key).presence().is_some())
        });
        self.tell(by, SessionCommand::Pong { id, present });
    }

    fn reachable(&mut self, member: Member, address: SocketAddr) {
        let peer = self.table.peer(member.peer);
        if peer.present(member.session).is_some() {
            let name = peer.name().clone();
            self.index.presence(&name, member.session, true, Some(address));
        }
    }
}
