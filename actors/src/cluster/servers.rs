//! What is on its way to other servers and from them, and which of them are alive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::PeerName;
use wire::frame::LENGTH_BYTES;
use wire::protocol::{ServerId, decode_envelope};

use super::core::{ALIVE_EVERY, Cluster, RETRY};
use super::interface::{Effect, Find, Here};
use super::link::{Gap, Inbound, Outbound, Outcomes, Ready};
use super::name::Name;
use super::packet::{Body, Handled, Item, Packet};
use crate::commands::cluster::{BatchId, Forwarded, Incarnation, Window};
use crate::commands::router::{Member, MemberCommand};
use crate::commands::session::{Delivery, SessionId};
use crate::commands::store::{Frames, Ordinal};
use crate::runtime::Now;

/// A presence at another server that the Router has been told of.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) session: SessionId,
    pub(super) there: Here,
    /// None until the Router has answered.
    pub(super) member: Option<Member>,
    /// The Router was told that it ends. What is delivered until the Router has ended it is handed back.
    pub(super) is_leaving: bool,
    /// An envelope was refused, so all behind it are handed back.
    pub(super) is_refused: bool,
    /// The deliveries without an outcome, in order.
    pub(super) untaken: VecDeque<Delivery>,
    /// Mail of the store here that was relayed, and that the peer has not taken: how many envelopes of such mail were relayed with
    /// it, and the place after it.
    pub(super) mail: VecDeque<(u64, Ordinal)>,
    mail_relayed: u64,
}

impl Remote {
    pub(super) fn new(session: SessionId, there: Here) -> Self {
        let (untaken, mail) = (VecDeque::new(), VecDeque::new());
        let (is_leaving, is_refused) = (false, false);
        Self { session, there, member: None, is_leaving, is_refused, untaken, mail, mail_relayed: 0 }
    }

    /// Tells the Router a new address at which the peer can be dialled.
    pub(super) fn dial(&mut self, address: Option<SocketAddr>, out: &mut Vec<Effect>) {
        if let (Some(member), Some(address)) = (self.member, address)
            && self.there.address.replace(address) != Some(address)
        {
            out.push(Effect::Tell(member, MemberCommand::Reachable(address)));
        }
    }
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) heard_at: Instant,
    pub(super) is_alive: bool,
    pub(super) store: Option<ServerId>,
    /// What of the batch that the Router has the other server keeps until it is taken.
    handing: Vec<Option<Handing>>,
    pub(super) window: Arc<Window>,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    outcomes: Outcomes,
}

/// A presence that has ended, while its peer has mail of the store here that it may still take. Without it, a peer that reads
/// slowly would get the same mail again and again, because each refused envelope ends the presence.
#[derive(Debug)]
pub(super) struct Ended {
    member: Member,
    there: Here,
    mail: VecDeque<(u64, Ordinal)>,
}

/// An item of a batch whose envelopes the other server keeps until they are taken.
#[derive(Debug)]
struct Handing {
    session: SessionId,
    presence: SessionId,
    count: u64,
    /// The number after the last of them.
    before: u64,
}

impl Cluster {
    pub(super) fn remote(&mut self, session: SessionId) -> Option<&mut Remote> {
        let name = self.names.get_mut(self.remotes.get(&session)?)?;
        name.remote.as_mut().filter(|remote| remote.session == session)
    }

    pub(super) fn deliver(&mut self, session: SessionId, delivery: Delivery) {
        let Some(key) = self.remotes.get(&session) else { return };
        let Some(remote) = self.names.get_mut(key).and_then(|name| name.remote.as_mut()) else { return };
        let server = self.servers.get_mut(&remote.there.server);
        let (to, there, is_leaving) = (key.clone(), remote.there.session, remote.is_leaving);
        let mut server = server.filter(|_| !is_leaving && !remote.is_refused);
        let whole = delivery.cost();
        let parts = by_sender(delivery, key);
        if let (Some(server), false) = (&server, parts.len() == 1) {
            // Each part counts for itself from here on, so the window takes what is more.
            let cost = parts.iter().map(|(_, part)| part.cost()).sum::<u64>();
            server.window.exceed(cost.saturating_sub(whole));
        }
        for (from, part) in parts {
            if let Some(server) = &mut server {
                server.outbound.push(Item {
                    from,
                    to: to.clone(),
                    session: there,
                    presence: session,
                    is_kept: part.is_kept,
                    is_stored: part.is_stored,
                    frames: part.frames.bytes.to_vec(),
                });
            }
            remote.untaken.push_back(part);
        }
    }

    /// Ends a presence at another server: its envelopes without an outcome go back to the Router.
    pub(super) fn leave(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        let Some(remote) = self.remote(session) else { return };
        let server = remote.there.server;
        if let Some(member) = remote.member
            && !remote.is_leaving
        {
            remote.is_leaving = true;
            out.push(Effect::Tell(member, MemberCommand::Leave));
        }
        if let Some(server) = self.servers.get_mut(&server) {
            server.outbound.forget(session);
        }
    }

    /// The Router has ended a presence at another server.
    pub(super) fn closed(&mut self, now: Instant, session: SessionId, out: &mut Vec<Effect>) {
        let Some(key) = self.remotes.remove(&session) else { return };
        let Some(name) = self.names.get_mut(&key) else { return };
        let Some(remote) = name.remote.take() else { return };
        if let Some(server) = self.servers.get_mut(&remote.there.server) {
            server.outbound.forget(session);
            server.window.release(remote.untaken.iter().map(Delivery::cost).sum());
        }
        if let Some(member) = remote.member {
            self.ended
                .retain(|_, ended| ended.member.peer != member.peer || ended.there.is_join_of(&remote.there));
            if !remote.mail.is_empty() {
                let ended = Ended { member, there: remote.there, mail: remote.mail };
                self.ended.insert(session, ended);
            }
            out.push(Effect::Tell(member, MemberCommand::HandBack(remote.untaken.into())));
        }
        if !remote.is_leaving || remote.is_refused {
            name.paused_until = Some(now + RETRY);
            self.retry(now, key);
        } else {
            self.look(now, &key, out);
        }
    }

    pub(super) fn packet(&mut self, now: Instant, packet: Packet<'_>, out: &mut Vec<Effect>) {
        let Packet { from, body } = packet;
        if from == self.me {
            return;
        }
        let server = self.servers.entry(from).or_insert_with(|| Server {
            heard_at: now,
            is_alive: false,
            store: None,
            handing: Vec::new(),
            window: Arc::default(),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            outcomes: Outcomes::default(),
        });
        server.heard_at = now;
        if matches!(body, Body::Ends) {
            return self.set_alive(now, from, false, out);
        }
        if !server.is_alive {
            self.set_alive(now, from, true, out);
            // So that it need not wait for the next regular one.
            self.say(Some(from), Body::Alive { store: self.copies.store }, out);
            self.say_all_kept(Some(from), out);
        }
        let Some(server) = self.servers.get_mut(&from) else { return };
        match body {
            Body::Alive { store } => {
                server.store = Some(store);
                let is_earlier_run =
                    |at: &Incarnation, other: &Server| *at != from && other.store == Some(store);
                let runs = self.servers.iter().filter(|(at, other)| is_earlier_run(at, other));
                for at in runs.map(|(at, _)| *at).collect::<Vec<_>>() {
                    self.forget_kept(at, out);
                }
            }
            Body::Ends => {}
            Body::Kept { is_all, amounts } => self.learn_kept(from, is_all, amounts, out),
            Body::Missed => self.say_all_kept(Some(from), out),
            // It counts, also if this server would not have admitted it.
            Body::Newcomer { network } => _ = self.newcomers.admit(now, network, 1),
            Body::DropMail { name } => out.push(Effect::DropMail(name)),
            Body::Wanted { transfer } => self.wanted(from, transfer, out),
            Body::Offered { transfer, offered } => self.offered(transfer, offered, out),
            Body::Taken { presence, count } => self.mail_taken(presence, count, out),
            Body::Part { epoch, number, is_last, handled, bytes } => {
                server.inbound.part(epoch, number, is_last, bytes);
                self.handled(now, from, handled, out);
                self.forward(now, from, out);
            }
            Body::Done(handled) => self.handled(now, from, handled, out),
        }
    }

    /// Takes the outcomes of batches to a server.
    fn handled(&mut self, now: Instant, from: Incarnation, handled: Vec<Handled>, out: &mut Vec<Effect>) {
        for Handled { epoch, number, refused } in handled {
            let Some(server) = self.servers.get_mut(&from) else { return };
            match server.outbound.done(epoch, number) {
                Ok(Some(presences)) => self.done(&presences, &refused, out),
                Ok(None) => {}
                Err(Gap) => self.end_epoch(now, from, out),
            }
        }
    }

    /// Gives the Router the next batch of a server. One of which everything was refused before is not its concern.
    pub(super) fn forward(&mut self, now: Instant, from: Incarnation, out: &mut Vec<Effect>) {
        while let Some(server) = self.servers.get_mut(&from)
            && let Some(Ready { epoch, number, items }) = server.inbound.ready()
        {
            let (mut forwarded, mut handing) = (Vec::new(), Vec::new());
            for item in items {
                let frames = Frames::of(item.frames.into());
                let (session, presence, count) = (item.session, item.presence, frames.count());
                let stored = item.is_stored.then(|| self.adoptions.number(count));
                handing.push(stored.map(|first| Handing { session, presence, count, before: first + count }));
                let (from, to, is_kept) = (item.from, item.to, item.is_kept);
                forwarded.push(Forwarded { from, to, session, is_kept, stored, frames });
            }
            server.handing = handing;
            if !forwarded.is_empty() {
                out.push(Effect::Forward(BatchId { server: from, epoch, number }, forwarded));
                return;
            }
            self.relayed(now, from, &[]);
        }
    }

    /// The Router has handled a batch.
    pub(super) fn forwarded(&mut self, now: Instant, batch: BatchId, refused: &[u32], out: &mut Vec<Effect>) {
        if batch.server == self.me {
            return self.adopted(now, batch.number, !refused.is_empty(), out);
        }
        self.relayed(now, batch.server, refused);
        self.forward(now, batch.server, out);
    }

    /// A batch was handled. `refused` has places in what the Router was given of it.
    fn relayed(&mut self, now: Instant, from: Incarnation, refused: &[u32]) {
        let Some(server) = self.servers.get_mut(&from) else { return };
        for (place, handing) in (0..).zip(std::mem::take(&mut server.handing)) {
            if let Some(Handing { session, presence, count, before }) = handing
                && !refused.contains(&place)
            {
                self.adoptions.handed(session, before, (from, presence), count);
            }
        }
        if let Some(handled) = server.inbound.routed(refused) {
            server.outcomes.push(now, handled);
        }
    }

    /// The outcome of a batch to another server: `presences` has the presence of each item.
    pub(super) fn done(&mut self, presences: &[SessionId], refused: &[u32], out: &mut Vec<Effect>) {
        for (place, session) in (0..).zip(presences) {
            if refused.contains(&place) {
                if let Some(remote) = self.remote(*session) {
                    remote.is_refused = true;
                }
                self.leave(*session, out);
                continue;
            }
            let Some(remote) = self.remote(*session).filter(|remote| !remote.is_refused) else { continue };
            let server = remote.there.server;
            let Some(delivery) = remote.untaken.pop_front() else { continue };
            if delivery.is_stored {
                let count = delivery.frames.count();
                remote.mail_relayed += count;
                remote.mail.push_back((remote.mail_relayed, delivery.first + count));
            }
            if let Some(server) = self.servers.get(&server) {
                server.window.release(delivery.cost());
            }
        }
    }

    /// A peer at another server has taken mail that the store here keeps.
    fn mail_taken(&mut self, presence: SessionId, count: u64, out: &mut Vec<Effect>) {
        let (member, mail) = match self.ended.get_mut(&presence) {
            Some(ended) => (Some(ended.member), &mut ended.mail),
            None => match self.remote(presence) {
                Some(remote) => (remote.member, &mut remote.mail),
                None => return,
            },
        };
        let mut before = None;
        while let Some((_, place)) = mail.pop_front_if(|(relayed, _)| *relayed <= count) {
            before = Some(place);
        }
        if mail.is_empty() {
            self.ended.remove(&presence);
        }
        if let (Some(member), Some(before)) = (member, before) {
            out.push(Effect::Tell(member, MemberCommand::Taken(before)));
        }
    }

    pub(super) fn end_epoch(&mut self, now: Instant, at: Incarnation, out: &mut Vec<Effect>) {
        tracing::warn!(target: "cluster", server = at.0, "batches or their outcomes were lost; they are sent again");
        if let Some(server) = self.servers.get_mut(&at) {
            server.outbound.end_epoch();
        }
        let of_server = self.names.values_mut().filter_map(|name| {
            let remote = name.remote.as_mut().filter(|remote| remote.there.server == at)?;
            name.paused_until = Some(now + RETRY);
            remote.is_refused = true;
            Some(remote.session)
        });
        let mut sessions: Vec<SessionId> = of_server.collect();
        sessions.sort_unstable();
        for session in sessions {
            self.leave(session, out);
        }
    }

    pub(super) fn set_alive(&mut self, now: Instant, at: Incarnation, is_alive: bool, out: &mut Vec<Effect>) {
        let Some(server) = self.servers.get_mut(&at) else { return };
        if server.is_alive == is_alive {
            return;
        }
        server.is_alive = is_alive;
        if is_alive && server.store.is_some() {
            // Perhaps this server was cut off, and has heard nothing of others either.
            self.adoptions.find_unseen(now);
        }
        if !is_alive {
            server.outbound.end_epoch();
            self.ended.retain(|_, ended| ended.there.server != at);
            self.adoptions.find(server.store.map_or(Find::All, Find::Of));
        }
        // Those that were there before this server are no news, and its first line says where it listens.
        if self.started_at.is_some_and(|started_at| started_at + ALIVE_EVERY <= now) {
            tracing::info!(target: "cluster", server = at.0, is_alive, "another server of the cluster");
        }
        for key in self.names_at(|here| here.server == at) {
            self.look(now, &key, out);
        }
    }

    /// The names with a presence there. They are sorted, so that a seed of the simulation always leads to the same run.
    pub(super) fn names_at(&self, is_there: impl Fn(&Here) -> bool) -> Vec<PeerName> {
        let at = |name: &Name| {
            name.here.as_ref().is_some_and(|(here, _)| is_there(here))
                || name.remote.as_ref().is_some_and(|remote| is_there(&remote.there))
        };
        let there = self.names.iter().filter(|(_, name)| at(name));
        let mut names: Vec<PeerName> = there.map(|(key, _)| key.clone()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn say(&self, to: Option<Incarnation>, body: Body<'_>, out: &mut Vec<Effect>) {
        out.push(Effect::Send { to, packet: Packet { from: self.me, body }.encode() });
    }

    /// Says the outcomes that are due until a time; without one, all.
    pub(super) fn say_outcomes(&mut self, until: Option<Instant>, out: &mut Vec<Effect>) {
        for (at, server) in &mut self.servers {
            if server.outcomes.due().is_some_and(|due| until.is_none_or(|until| due <= until)) {
                let packet = Packet { from: self.me, body: Body::Done(server.outcomes.take()) };
                out.push(Effect::Send { to: Some(*at), packet: packet.encode() });
            }
        }
    }

    /// When [`Self::settle`] has to be called again, if nothing happens before.
    pub fn due(&self) -> Option<Instant> {
        self.servers.values().filter_map(|server| server.outcomes.due()).min()
    }

    /// Puts what waits for other servers into batches, and tells the Router which peers have room again. Called after each
    /// batch of inputs.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut drained = Vec::new();
        for (at, server) in &mut self.servers {
            while let Some(parts) = server.outbound.next_batch(now.instant) {
                for (left, part) in (0..parts.len()).rev().zip(&parts) {
                    let body = server.outbound.part(left, server.outcomes.take(), part);
                    let packet = Packet { from: self.me, body }.encode();
                    out.push(Effect::Send { to: Some(*at), packet });
                }
            }
            if server.window.has_room_again() {
                drained.push(*at);
            }
        }
        self.say_outcomes(Some(now.instant), out);
        self.say_kept(out);
        for at in drained {
            let at_server = self.names.values().filter_map(|name| name.remote.as_ref());
            let members = at_server.filter(|remote| remote.there.server == at).filter_map(|r| r.member);
            out.extend(members.map(|member| Effect::Tell(member, MemberCommand::Drained)));
        }
    }
}

/// Splits a delivery where the sender changes. Mail from the store has envelopes of several senders.
fn by_sender(delivery: Delivery, recipient: &PeerName) -> Vec<(PeerName, Delivery)> {
    let mut senders: Vec<(PeerName, u64)> = Vec::new();
    for frame in delivery.frames.iter() {
        let envelope = frame.get(LENGTH_BYTES..).and_then(decode_envelope).and_then(Result::ok);
        let from = envelope.map(|envelope| envelope.from);
        match (senders.last_mut(), from) {
            (Some((last, count)), from) if from.is_none_or(|from| last.as_str() == from) => *count += 1,
            (_, from) => {
                // A session has checked the name, so there is one; the recipient is liable for mail of nobody.
                let from = from.and_then(|from| from.parse().ok()).unwrap_or_else(|| recipient.clone());
                senders.push((from, 1));
            }
        }
    }
    let Some((last, _)) = senders.pop() else { return vec![(recipient.clone(), delivery)] };
    let mut rest = delivery;
    let mut parts = Vec::with_capacity(senders.len() + 1);
    for (from, count) in senders {
        let (head, tail) = rest.split_at(count);
        parts.push((from, head));
        rest = tail;
    }
    parts.push((last, rest));
    parts
}
