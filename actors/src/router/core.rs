//! The Router's state and decisions.
//!
//! A recipient is *live* while nothing of theirs is on disk or on its way there: then envelopes go straight to their
//! session. Otherwise envelopes go to the store behind what is there already, and the Router fetches from it in order
//! until it has caught up. So each recipient sees the envelopes of each sender in the order in which they were sent.

use std::net::SocketAddr;
use std::sync::Arc;

use wire::PeerName;
use wire::card::Card;
use wire::protocol::{KnownPeer, Outcome, Refusal};

use super::splice::Splices;
use super::table::{Owner, Presence, Table};
use crate::commands::router::{
    Command, JoinRefused, Joined, Member, MemberCommand, PeerKey, PresencePort, Run, TakenStored,
};
use crate::commands::session::{Delivery, EndReason, Port, SessionCommand, SessionId};
use crate::commands::store::{
    self, Completion, Frames, Inventory, MAILBOX_BYTES_MAX, MAILBOX_ENVELOPES_MAX, Mail, Ordinal, Origin,
    StorePort,
};
use crate::runtime::{Core, Now, Pending, Reply, reply};

/// Most bytes in all mailboxes together.
const STORED_BYTES_MAX: u64 = 16 << 30;
/// Most bytes on their way to the store: beyond it the disk is slower than the network, and senders are told `busy`.
const STORING_BYTES_MAX: u64 = 64 << 20;
/// Most cards that one session watches.
const WATCHING_MAX: usize = 4_096;
/// Most commands that wait for a session whose mailbox is full. A session that lets more come together is ended.
const OWED_MAX: usize = 32_768;

/// The Router without its thread; `P` is where commands for a session go, `S` the store, `I` the Index.
pub struct Router<P, S, I> {
    table: Table<P>,
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
            Command::From(member, command) => self.member(member, command),
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
            table: Table::default(),
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
        for size in inventory.mailboxes {
            let key = router.table.find_or_insert(&size.name);
            router.stored_bytes += size.bytes;
            let peer = router.table.peer(key);
            (peer.envelopes, peer.bytes, peer.next, peer.stored_end) =
                (size.envelopes, size.bytes, size.end, size.end);
        }
        router
    }

    fn member(&mut self, member: Member, command: MemberCommand) {
        match command {
            MemberCommand::Route(runs) => self.route(member, runs),
            MemberCommand::Drained => self.drained(member),
            MemberCommand::Taken(taken) => self.taken(member, taken),
            MemberCommand::Lookup(name) => self.lookup(member, name),
            MemberCommand::Ping { id, names } => self.ping(member, id, names),
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
                if !stored && let Some(key) = self.table.find(name.as_str()) {
                    self.account(key, count, bytes);
                    self.table.forget_if_unused(key);
                }
                let outcome = if stored { Outcome::Stored } else { Outcome::Refused(Refusal::Busy) };
                let sender = Member { peer: origin.peer, session: origin.session };
                self.tell(sender, SessionCommand::Routed { first: origin.first, count, outcome });
            }
            Completion::Fetched { peer, session, found } => self.fetched(peer, session, found),
            Completion::Card { peer, written } => {
                self.table.peer(peer).set_written(written);
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

    fn join(&mut self, session: SessionId, card: &Card, port: P) -> Result<Joined, JoinRefused> {
        let key = self.table.find_or_admit(&card.name).ok_or(JoinRefused::Busy)?;
        let is_new = match self.table.peer(key).owner() {
            Owner::Nobody => true,
            Owner::Unreadable => return Err(JoinRefused::NameTaken),
            Owner::Known { fingerprint, .. } if *fingerprint != card.fingerprint() => {
                return Err(JoinRefused::NameTaken);
            }
            Owner::Known { card: known, is_written, .. } => known != card.as_bytes() || !is_written,
        };
        let written = match is_new.then(|| self.keep_card(key, card)) {
            None => None,
            Some(Ok(written)) => Some(written),
            Some(Err(refused)) => {
                self.table.forget_if_unused(key);
                return Err(refused);
            }
        };
        self.end_presence(key, EndReason::Superseded);
        self.table.set_presence(key, &card.name, Presence::new(session, port));
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
        let peer = self.table.peer(key);
        peer.parting = peer.parting.saturating_sub(1);
    }

    fn keep_card(&mut self, key: PeerKey, card: &Card) -> Result<Pending<()>, JoinRefused> {
        let (reply, written) = reply();
        let name = card.name.folded();
        let put = store::Command::PutCard { peer: key, name, card: card.as_bytes().to_vec(), reply };
        self.store.offer(put).map_err(|_| JoinRefused::Busy)?;
        self.table.set_owner(key, Owner::of(card, false));
        Ok(written)
    }

    fn show_card(&mut self, key: PeerKey) {
        let peer = self.table.peer(key);
        let Some(card) = peer.owner().card().cloned() else { return };
        let watchers = peer.watchers.clone();
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
        let Some(key) = self.table.find_or_note(&run.to) else {
            return Some(Outcome::Refused(Refusal::MailboxFull));
        };
        let peer = self.table.peer(key);
        let origin = Origin { peer: from.peer, session: from.session, first: run.first };
        let mut frames = run.frames;
        let first = peer.next;
        if peer.is_live() {
            let count = frames.count();
            let delivery = Delivery { first, is_stored: false, is_kept: run.kept, origin, frames };
            let presence = peer.presence().expect("a live peer is present");
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
            let refusal = if peer.presence().is_some() { Refusal::Busy } else { Refusal::Absent };
            self.table.forget_if_unused(key);
            return Some(Outcome::Refused(refusal));
        }
        let refused = self.put(key, first, frames, origin).err();
        if refused.is_some() {
            self.table.forget_if_unused(key);
        }
        refused.map(Outcome::Refused)
    }

    fn put(&mut self, key: PeerKey, first: Ordinal, frames: Frames, origin: Origin) -> Result<(), Refusal> {
        let (count, bytes) = (frames.count(), frames.bytes.len() as u64);
        let peer = self.table.peer(key);
        if peer.envelopes + count > MAILBOX_ENVELOPES_MAX || peer.bytes + bytes > MAILBOX_BYTES_MAX {
            return Err(Refusal::MailboxFull);
        }
        if self.stored_bytes + bytes > STORED_BYTES_MAX {
            return Err(Refusal::MailboxFull);
        }
        if self.storing_bytes + bytes > STORING_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        let peer = self.table.peer(key);
        let put = store::Command::Put { name: peer.folded.clone(), first, frames, origin };
        self.store.offer(put).map_err(|_| Refusal::Busy)?;
        self.stored(key, first, count, bytes);
        self.fetch(key);
        Ok(())
    }

    fn stored(&mut self, key: PeerKey, first: Ordinal, count: u64, bytes: u64) {
        self.stored_bytes += bytes;
        self.storing_bytes += bytes;
        let peer = self.table.peer(key);
        peer.envelopes += count;
        peer.bytes += bytes;
        peer.next = peer.next.max(first + count);
        peer.stored_end = peer.stored_end.max(first + count);
    }

    /// Takes envelopes off the account of a mailbox.
    fn account(&mut self, key: PeerKey, envelopes: u64, bytes: u64) {
        // What was handed over twice is counted once.
        let bytes = bytes.min(self.table.peer(key).bytes);
        self.stored_bytes = self.stored_bytes.saturating_sub(bytes);
        let peer = self.table.peer(key);
        peer.envelopes = peer.envelopes.saturating_sub(envelopes);
        peer.bytes = peer.bytes.saturating_sub(bytes);
    }

    /// Asks the store for what a present peer has not been handed yet, if it is time to.
    fn fetch(&mut self, key: PeerKey) {
        let peer = self.table.peer(key);
        let Some((session, places)) = peer.not_handed() else { return };
        let end = places.end;
        let name = peer.folded.clone();
        let asked = self.store.offer(store::Command::Fetch { name, peer: key, session, places });
        match (asked, self.table.peer(key).presence()) {
            (Ok(()), Some(presence)) => presence.fetching = Some(end),
            // The store is busy: tried again by `catch_up`.
            _ => self.unfetched.push(key),
        }
    }

    fn fetched(&mut self, key: PeerKey, session: SessionId, found: Option<(Mail, Option<Ordinal>)>) {
        let Some(presence) = self.table.peer(key).present(session) else {
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
        let Some(presence) = self.table.peer(member.peer).present(member.session) else {
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
        let Some(presence) = self.table.peer(member.peer).present(member.session) else {
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
        let name = self.table.peer(by.peer).folded.clone();
        if self.store.offer(store::Command::Forget { name, before }).is_err() {
            // They are dropped with the next that are taken, or handed over once more and recognised by the recipient.
            tracing::debug!(target: "router", "the store is busy; taken mail is dropped later");
        }
    }

    fn leave(&mut self, member: Member) {
        if self.table.peer(member.peer).present(member.session).is_some() {
            self.end_presence(member.peer, EndReason::Left);
        }
    }

    /// Ends all presences: the server ends.
    pub fn end(&mut self) {
        for key in self.table.keys() {
            self.end_presence(key, EndReason::Left);
        }
    }

    /// Closes a session's port. What is in its mailbox, and what is owed to it, comes back or is in the store.
    fn end_presence(&mut self, key: PeerKey, reason: EndReason) {
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
            self.table.forget_if_unused(watched);
        }
        self.index.presence(&name, false, None);
    }

    fn hand_back(&mut self, from: Member, untaken: Vec<Delivery>) {
        for delivery in untaken.into_iter().filter(|d| d.is_kept && !d.is_stored) {
            let Delivery { first, frames, origin, .. } = delivery;
            let (count, bytes) = (frames.count(), frames.bytes.len() as u64);
            let name = self.table.peer(from.peer).folded.clone();
            // These were accepted, so they are not refused for want of room.
            self.store.send(store::Command::Put { name, first, frames, origin });
            self.stored(from.peer, first, count, bytes);
        }
        let peer = self.table.peer(from.peer);
        peer.parting = peer.parting.saturating_sub(1);
        self.fetch(from.peer);
    }

    fn lookup(&mut self, by: Member, name: PeerName) {
        let Some(key) = self.table.find_or_note(&name) else {
            return self.tell(by, SessionCommand::Unknown(name));
        };
        let answer = match self.table.peer(key).owner().card() {
            Some(card) => SessionCommand::Card(card.clone()),
            None => SessionCommand::Unknown(name),
        };
        if let Some(presence) = self.table.peer(by.peer).present(by.session)
            && presence.watching.len() < WATCHING_MAX
            && !presence.watching.contains(&key)
        {
            presence.watching.push(key);
            self.table.peer(key).watchers.push(by);
        }
        self.tell(by, answer);
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
            self.index.presence(&name, true, Some(address));
        }
    }

    fn who(&mut self, reply: Reply<Arc<[KnownPeer]>>) {
        reply.answer(self.table.known());
    }
}
