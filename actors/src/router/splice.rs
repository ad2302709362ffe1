//! File transfers through the server. The two connections of a transfer meet here. Only members may use them, and their
//! number is limited for each member and address, because each needs a session thread and a socket.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use wire::protocol::{Side, Token, TransferId};

use super::core::Router;
use crate::commands::cluster::{Offered, WaitingEnd};
use crate::commands::network::Network;
use crate::commands::pace::Pace;
use crate::commands::router::{Partner, PeerKey, PresencePort, SPLICE_WAIT, SpliceEnd, SpliceRefused};
use crate::commands::session::SessionId;
use crate::commands::store::StorePort;
use crate::config::Quota;
use crate::runtime::{self, Now, Reply};

struct Waiting {
    session: SessionId,
    side: Side,
    /// The secret of a guest that may be the other end.
    guest: Option<Token>,
    reply: Reply<Partner>,
    since: Instant,
}

/// One end of a transfer, from its arrival to the end of the transfer.
struct Open {
    member: PeerKey,
    network: Network,
    transfer: TransferId,
    /// The session of the other end, if this end's session copies the bytes in both directions.
    carries: Option<SessionId>,
}

/// A member with open ends.
struct Member {
    ends: u64,
    pace: Arc<Pace>,
}

/// All ends of transfers.
pub(super) struct Splices {
    quota: Quota,
    rate: u64,
    waiting: HashMap<TransferId, Waiting>,
    open: HashMap<SessionId, Open>,
    members: HashMap<PeerKey, Member>,
    networks: HashMap<Network, u64>,
}

impl Splices {
    /// `quota` limits the number of ends, and `rate` is how many bytes a second each member may send.
    pub(super) fn new(quota: Quota, rate: u64) -> Self {
        let (waiting, open, members) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { quota, rate, waiting, open, members, networks: HashMap::new() }
    }

    /// Registers an end. Answers both ends if the other one waits already; otherwise this end waits.
    pub(super) fn meet(&mut self, now: Instant, member: PeerKey, end: &SpliceEnd, reply: Reply<Partner>) {
        let is_there = |first: &Waiting| first.side == end.side && now - first.since < SPLICE_WAIT;
        let refused = if self.waiting.get(&end.transfer).is_some_and(is_there) {
            Some(SpliceRefused::Occupied)
        } else {
            self.full(member, end.network)
        };
        if let Some(refused) = refused {
            return reply.answer(Partner::Refused(refused));
        }
        self.enter(now, member, end);
        let first = self.waiting.remove(&end.transfer).filter(|first| first.side != end.side);
        let Some(first) = first else { return self.wait(now, end, reply) };
        let sender = if end.side == Side::Sender { Some(member) } else { self.member_of(first.session) };
        let pace = sender.and_then(|sender| self.members.get(&sender)).map(|member| Arc::clone(&member.pace));
        // The first end may have given up. Then it is not in the table, and does not take the answer either.
        let pace = pace.unwrap_or_else(|| Arc::new(Pace::new(self.rate, now)));
        let (gives, comes) = runtime::reply();
        match first.reply.try_answer(Partner::Comes(comes, pace)) {
            Ok(()) => {
                if let Some(carrier) = self.open.get_mut(&first.session) {
                    carrier.carries = Some(end.session);
                }
                reply.answer(Partner::Carries(gives));
            }
            // The first end has given up, so this one waits instead.
            Err(_) => self.wait(now, end, reply),
        }
    }

    /// The sending end waits at another server, so this one's receiving end goes there.
    pub(super) fn elsewhere(&mut self, transfer: &TransferId, offered: Option<Offered>) {
        let is_receiver = |end: &Waiting| end.side == Side::Receiver;
        if self.waiting.get(transfer).is_some_and(is_receiver)
            && let Some(end) = self.waiting.remove(transfer)
        {
            let refused = Partner::Refused(SpliceRefused::NotAdvertised);
            end.reply.answer(offered.map_or(refused, Partner::Elsewhere));
        }
    }

    /// What the other servers of a cluster may know of an end that waits.
    fn waiting(&self, transfer: &TransferId) -> Option<WaitingEnd> {
        let waiting = self.waiting.get(transfer)?;
        match waiting.side {
            Side::Sender => Some(WaitingEnd::Sender { guest: waiting.guest? }),
            Side::Receiver => Some(WaitingEnd::Receiver),
        }
    }

    /// The end that waits for this one, if this one is its guest.
    fn host(&self, guest: &SpliceEnd) -> Option<&Open> {
        let waiting = self.waiting.get(&guest.transfer)?;
        let is_guest = guest.side == Side::Receiver && waiting.guest == Some(guest.token);
        self.open.get(&waiting.session).filter(|_| is_guest)
    }

    /// Removes the end of a session, and the other end if the session copied its bytes.
    pub(super) fn end(&mut self, session: SessionId) {
        let Some(Open { member, network, transfer, carries }) = self.open.remove(&session) else { return };
        if self.waiting.get(&transfer).is_some_and(|waiting| waiting.session == session) {
            self.waiting.remove(&transfer);
        }
        if let Some(of_member) = self.members.get_mut(&member) {
            of_member.ends -= 1;
            if of_member.ends == 0 {
                self.members.remove(&member);
            }
        }
        leave(&mut self.networks, &network);
        if let Some(other) = carries {
            self.end(other);
        }
    }

    fn full(&self, member: PeerKey, network: Network) -> Option<SpliceRefused> {
        if self.members.get(&member).is_some_and(|member| member.ends >= self.quota.per_sender) {
            return Some(SpliceRefused::MemberFull);
        }
        if self.networks.get(&network).is_some_and(|ends| *ends >= self.quota.per_address) {
            return Some(SpliceRefused::AddressFull);
        }
        (self.open.len() as u64 >= self.quota.in_all).then_some(SpliceRefused::ServerFull)
    }

    fn enter(&mut self, now: Instant, member: PeerKey, end: &SpliceEnd) {
        let SpliceEnd { session, network, transfer, .. } = *end;
        self.open.insert(session, Open { member, network, transfer, carries: None });
        let rate = self.rate;
        let of_member = self.members.entry(member);
        of_member.or_insert_with(|| Member { ends: 0, pace: Arc::new(Pace::new(rate, now)) }).ends += 1;
        *self.networks.entry(network).or_default() += 1;
    }

    fn member_of(&self, session: SessionId) -> Option<PeerKey> {
        self.open.get(&session).map(|open| open.member)
    }

    fn wait(&mut self, now: Instant, end: &SpliceEnd, reply: Reply<Partner>) {
        let SpliceEnd { session, side, guest, .. } = *end;
        let waiting = Waiting { session, side, guest, reply, since: now };
        self.waiting.insert(end.transfer, waiting);
    }
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl<S: StorePort, I: PresencePort> Router<S, I> {
    /// Admits an end of a transfer, if its member is connected to this server. A guest counts as an end of the member that waits
    /// for it, because its own member is counted at its own server.
    pub(super) fn splice(&mut self, now: Now, end: &SpliceEnd, reply: Reply<Partner>) {
        let member = self.table.find(end.member.as_str());
        let is_member =
            |key: &PeerKey| self.table.peer(*key).presence().is_some_and(|p| p.token == Some(end.token));
        if let Some(member) = member.filter(is_member) {
            self.splices.meet(now.instant, member, end, reply);
        } else if let Some(&Open { member, network, .. }) = self.splices.host(end) {
            let end = SpliceEnd { network, ..end.clone() };
            self.splices.meet(now.instant, member, &end, reply);
        } else {
            return reply.answer(Partner::Refused(SpliceRefused::NoMember));
        }
        self.index.transfer_waits(end.transfer, self.splices.waiting(&end.transfer));
    }

    /// The end of a session has given up, or the transfer whose bytes it copied has ended.
    pub(super) fn splice_ended(&mut self, session: SessionId) {
        let transfer = self.splices.open.get(&session).map(|open| open.transfer);
        self.splices.end(session);
        if let Some(transfer) = transfer {
            self.index.transfer_waits(transfer, self.splices.waiting(&transfer));
        }
    }
}
