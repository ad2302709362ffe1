//! Peers that come, write, read and go.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use actors::cluster::Input;
use actors::commands::cluster::Command as ClusterCommand;
use actors::commands::network::Network;
use actors::commands::router::{Command, Member, MemberCommand, Run};
use actors::commands::session::{Delivery, Route, SessionCommand};
use actors::commands::store::Origin;
use actors::runtime::reply;
use rand::RngExt as _;
use wire::protocol::{Outcome, Refusal};

use super::SERVERS;
use super::peer::{CARDS, PEERS, Peer, Sent, Session, envelope, name};
use super::world::{Event, World};
use crate::simulation::session::MailboxPort;

impl World {
    /// A peer comes to a server and asks for its name.
    pub(super) fn claim(&mut self, peer: usize, at: usize) {
        let is_lost = |at: usize| self.servers[at].is_lost;
        let at = if is_lost(at) { (at + 1) % SERVERS } else { at };
        let (reply, pending) = reply();
        let (card, network) = (Box::new(CARDS[peer].clone()), Network::UNKNOWN);
        self.claims[peer] = Some((at, pending));
        self.cluster_takes(at, Input::Command(ClusterCommand::Claim { card, network, reply }));
    }

    /// Joins when the name is claimed, or asks again.
    fn join(&mut self, peer: usize) {
        let Some((at, pending)) = self.claims[peer].take() else { return };
        match pending.wait(Duration::ZERO) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let wait = Duration::from_millis(200);
                self.schedule.after(wait, Event::Joins(peer, at));
                return;
            }
            Err(_) => {
                self.claims[peer] = Some((at, pending));
                return;
            }
        }
        self.sessions += 1;
        let (id, port) = (self.sessions, Arc::<MailboxPort>::default());
        let (reply, joined) = reply();
        let (card, network) = (Box::new(CARDS[peer].clone()), Network::UNKNOWN);
        let command = Command::Join { session: id, card, network, token: [0; 32], port: port.clone(), reply };
        self.router_takes(at, command);
        match joined.wait(Duration::ZERO).expect("the Router answers at once") {
            Ok(joined) => {
                self.trace(|| format!("{} joins server {at} as {id}", name(peer)));
                let member = Member { peer: joined.peer, session: id };
                self.peers[peer].session = Some(Session::new(at, member, port));
            }
            Err(refused) => self.failure = Some(format!("{} cannot join: {refused:?}", name(peer))),
        }
    }

    /// A peer ends its session, and goes to the server `to`.
    pub(super) fn leave(&mut self, peer: usize, to: usize) {
        let Some(session) = &self.peers[peer].session else { return };
        self.trace(|| format!("{} goes to server {to}", name(peer)));
        let (at, member) = (session.server, session.member);
        self.peers[peer].has_stayed &= at == to;
        self.router_takes(at, Command::From(member, MemberCommand::Leave));
        self.end_session(peer);
        let wait = self.within(1000);
        self.schedule.after(wait, Event::Joins(peer, to));
    }

    /// The Router has closed a session: it hands back what its peer has not taken.
    pub(super) fn end_session(&mut self, peer: usize) {
        let Some(session) = self.peers[peer].session.take() else { return };
        let mut rest: Vec<_> = session.untaken.into();
        while let Some(command) = session.port.next() {
            if let SessionCommand::Deliver(delivery) = command {
                rest.push(*delivery);
            }
        }
        self.router_takes(session.server, Command::From(session.member, MemberCommand::HandBack(rest)));
    }

    pub(super) fn send(&mut self, peer: usize, to: usize) {
        let wants_route = self.dice.random_bool(0.5);
        let Peer { session: Some(session), numbers, accepted, .. } = &mut self.peers[peer] else { return };
        let number = numbers.entry(to).or_default();
        *number += 1;
        let (frames, first) = (envelope(peer, to, *number), session.sent);
        session.sent += 1;
        let (at, member) = (session.server, session.member);
        let is_routed = session.in_router.get(&to).is_none_or(|count| *count == 0)
            && session.routes.get(&to).and_then(Route::port).is_some_and(|port| {
                let origin = Origin { peer: member.peer, session: member.session, first };
                port.deliver(frames.clone(), true, origin).is_ok()
            });
        if is_routed {
            accepted.insert((to, *number));
            return self.settle(at);
        }
        *session.in_router.entry(to).or_default() += 1;
        session.sent_to.insert(first, Sent { to, number: *number, has_outcome: false });
        let run = Run { to: name(to), kept: true, first, openings: 0, wants_route, frames };
        self.router_takes(at, Command::From(member, MemberCommand::Route(vec![run])));
    }

    /// The session of a peer reads its mailbox, and its peer acknowledges some of what it got.
    pub(super) fn take(&mut self, peer: usize) {
        let wait = self.within(20);
        self.schedule.after(wait, Event::Takes(peer));
        self.join(peer);
        let has_stayed = [0, 1, 2].map(|at: usize| self.peers[at].has_stayed);
        while let Some(command) = self.peers[peer].session.as_ref().and_then(|session| session.port.next()) {
            self.hear(peer, command, has_stayed);
        }
        let Some(session) = &mut self.peers[peer].session else { return };
        let (at, member) = (session.server, session.member);
        if session.port.closed().is_some() {
            self.trace(|| format!("the session of {} at server {at} was ended", name(peer)));
            self.end_session(peer);
            let (wait, to) = (self.within(1000), self.dice.random_range(0..SERVERS));
            self.peers[peer].has_stayed &= at == to;
            return self.schedule.after(wait, Event::Joins(peer, to));
        }
        let mut commands = Vec::new();
        if session.port.take_was_full() {
            commands.push(MemberCommand::Drained);
        }
        if self.dice.random_bool(0.7) {
            let elsewhere = session.untaken.iter().filter_map(Delivery::elsewhere_before).max();
            let here = |delivery: &&Delivery| delivery.is_stored && delivery.elsewhere_before().is_none();
            let stored = session.untaken.iter().filter(here);
            let taken = stored.map(|delivery| delivery.first + delivery.frames.count()).max();
            session.untaken.clear();
            commands.extend(taken.map(MemberCommand::Taken));
            commands.extend(elsewhere.map(MemberCommand::TakenElsewhere));
        }
        for command in commands {
            self.router_takes(at, Command::From(member, command));
        }
    }

    fn routed(&mut self, peer: usize, numbers: Range<u64>, outcome: Outcome) {
        let sender = &mut self.peers[peer];
        let Some(session) = &mut sender.session else { return };
        for number in numbers {
            let Some(Sent { to, number, has_outcome }) = session.sent_to.get_mut(&number) else { continue };
            let (to, number) = (*to, *number);
            if !std::mem::replace(has_outcome, true)
                && let Some(waiting) = session.in_router.get_mut(&to)
            {
                *waiting -= 1;
            }
            match outcome {
                // The server is cut off. This one could come with a later `Routed` too, as what was relayed is stored.
                Outcome::Refused(Refusal::Busy) => _ = sender.accepted.remove(&(to, number)),
                Outcome::Refused(Refusal::MailboxFull) if self.has_small_mailboxes => {
                    sender.accepted.remove(&(to, number));
                }
                Outcome::Refused(refusal) => {
                    self.failure = Some(format!("an envelope of {} is refused: {refusal:?}", name(peer)));
                }
                Outcome::Stored => _ = sender.stored.insert((to, number)),
                Outcome::Relayed => _ = sender.accepted.insert((to, number)),
            }
        }
    }

    fn hear(&mut self, peer: usize, command: SessionCommand, has_stayed: [bool; PEERS]) {
        let receiver = &mut self.peers[peer];
        match command {
            SessionCommand::Deliver(delivery) => {
                if let Err(failure) = receiver.receive(&delivery, has_stayed) {
                    self.failure = Some(format!("at {}: {failure}", name(peer)));
                } else if let Some(session) = &mut receiver.session {
                    session.untaken.push_back(*delivery);
                }
            }
            SessionCommand::Routed { first, count, outcome } => {
                self.routed(peer, first..first + count, outcome);
            }
            SessionCommand::Route(route) => {
                let (to, route) = *route;
                if let Some(session) = &mut receiver.session
                    && let Some(to) = (0..PEERS).find(|at| name(*at) == to)
                {
                    session.routes.insert(to, route);
                }
            }
            other => self.failure = Some(format!("nobody has asked for {other:?}")),
        }
    }
}
