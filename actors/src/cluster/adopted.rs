//! Mail that other stores keep, and that peers of this server take.
//!
//! Two kinds come this way. Another server hands over what its store keeps for a peer here, and drops it when the peer has taken
//! it. And if a server has ended, the server at which the recipient is reads the copies of its mail from the stream of the cluster
//! in its place. If that server comes back, it delivers its mail too; peers recognise what they have.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::PeerName;
use wire::protocol::ServerId;

use super::core::{ALIVE_TIMEOUT, Cluster, RETRY};
use super::interface::{Effect, Find, MailEffect, MailInput, Parcel, ReadMail, Sequence};
use super::packet::Body;
use crate::commands::cluster::{BatchId, Forwarded, Incarnation};
use crate::commands::session::SessionId;
use crate::commands::store::Frames;

/// The pause before the stream is asked again, if it could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Who drops mail when it was taken.
#[derive(Debug)]
enum Keeper {
    /// The server that has handed it over, for one of its presences.
    Server { server: Incarnation, presence: SessionId, count: u64 },
    /// This server removes the copies of a server that has ended.
    Stream(Vec<Sequence>),
}

impl Keeper {
    /// The messages of the stream that have the mail.
    fn sequences(&self) -> &[Sequence] {
        match self {
            Self::Server { .. } => &[],
            Self::Stream(sequences) => sequences,
        }
    }
}

/// The mail of ended servers for one peer that is here.
#[derive(Debug)]
struct Adoption {
    session: SessionId,
    /// The stores to look into.
    stores: VecDeque<ServerId>,
    /// What was found, in the order of the places.
    parcels: VecDeque<Parcel>,
    is_busy: bool,
    /// No step is made before.
    due: Instant,
    /// The batch that the Router has, and the number after its last envelope.
    routed: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Adoptions {
    /// For each session, what its peer has not taken: the number after the last envelope, and who is told.
    untaken: HashMap<SessionId, VecDeque<(u64, Keeper)>>,
    /// The number of the next such envelope.
    next: u64,
    batches: u64,
    by_name: BTreeMap<PeerName, Adoption>,
    /// Where mail may be.
    to_find: VecDeque<Find>,
    is_finding: bool,
    find_due: Option<Instant>,
    /// When to look for all mail, because servers may have come and ended unseen.
    find_all_at: Option<Instant>,
}

impl Adoptions {
    /// Numbers envelopes that another store keeps.
    pub(super) fn number(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count;
        first
    }

    /// The Router has given a session envelopes that another server keeps; `before` is the number after the last.
    pub(super) fn handed(
        &mut self,
        session: SessionId,
        before: u64,
        (server, presence): (Incarnation, SessionId),
        count: u64,
    ) {
        let keeper = Keeper::Server { server, presence, count };
        self.untaken.entry(session).or_default().push_back((before, keeper));
    }

    /// The copies that a store has for the peer of a session, or none if they could not be read.
    fn listed(
        &mut self,
        now: Instant,
        store: ServerId,
        (name, session): (&PeerName, SessionId),
        found: Option<Vec<Parcel>>,
    ) {
        let Some(adoption) = self.by_name.get_mut(name).filter(|of| of.session == session) else { return };
        adoption.is_busy = false;
        let Some(mut found) = found else {
            adoption.stores.push_front(store);
            adoption.due = now + ASK_AGAIN;
            return;
        };
        // Copies are in the stream until they were taken, so a store that is listed again has those that the peer was given.
        let untaken = self.untaken.get(&session).into_iter().flatten();
        let given: HashSet<Sequence> = untaken.flat_map(|(_, keeper)| keeper.sequences()).copied().collect();
        found.retain(|parcel| parcel.sequences.iter().all(|sequence| !given.contains(sequence)));
        found.sort_by_key(|parcel| parcel.first);
        adoption.parcels = found.into();
    }

    /// Looks for mail of servers that have ended.
    pub(super) fn find(&mut self, find: Find) {
        if !self.to_find.contains(&find) {
            self.to_find.push_back(find);
        }
    }

    /// Looks for the mail of all servers that have ended, once it is known who is alive. While this server did not hear others, one
    /// that it takes for ended may have come back, stored mail, and ended for good. No join and no end of a server that is seen
    /// here would lead to this mail.
    pub(super) fn find_unseen(&mut self, now: Instant) {
        self.find_all_at = Some(now + ALIVE_TIMEOUT);
    }
}

impl Cluster {
    /// A peer here has taken mail that other stores keep.
    pub(super) fn taken(&mut self, session: SessionId, before: u64, out: &mut Vec<Effect>) {
        let Some(untaken) = self.adoptions.untaken.get_mut(&session) else { return };
        let mut told: BTreeMap<(Incarnation, SessionId), u64> = BTreeMap::new();
        while let Some((_, keeper)) = untaken.pop_front_if(|(end, _)| *end <= before) {
            match keeper {
                Keeper::Server { server, presence, count } => {
                    *told.entry((server, presence)).or_default() += count;
                }
                Keeper::Stream(sequences) => out.push(Effect::Mail(MailEffect::Remove(sequences))),
            }
        }
        if !told.is_empty() {
            // The other server learns first that it was relayed. If it learnt that last, it would not know what was taken.
            self.say_outcomes(None, out);
        }
        for ((at, presence), count) in told {
            let Some(server) = self.servers.get_mut(&at) else { continue };
            let count = server.inbound.taken(session, presence, count);
            self.say(Some(at), Body::Taken { presence, count }, out);
        }
    }

    /// A session here has ended.
    pub(super) fn session_ended(&mut self, name: &PeerName, session: SessionId) {
        self.adoptions.untaken.remove(&session);
        if self.adoptions.by_name.get(name).is_some_and(|adoption| adoption.session == session) {
            self.adoptions.by_name.remove(name);
        }
    }

    pub(super) fn mail(&mut self, now: Instant, input: MailInput, out: &mut Vec<Effect>) {
        let is_connected = self.is_connected;
        match input {
            MailInput::Copied { number, sequences } => {
                self.copies.copied(now, number, sequences, is_connected, out);
            }
            MailInput::Removed => {}
            MailInput::Dropped(name) => self.copies.dropped(&name, out),
            MailInput::Found(found) => self.found(now, found, out),
            MailInput::FoundOld(found) => self.found_old(now, found, out),
            MailInput::Listed { store, of: None, found } => {
                debug_assert_eq!(store, self.copies.store, "of others the mail of one peer is listed");
                self.copies.listed(now, found, is_connected, out);
            }
            MailInput::Listed { store, of: Some((name, session)), found } => {
                let found = found.map(|found| found.into_iter().map(|(_, parcel)| parcel).collect());
                self.adoptions.listed(now, store, (&name, session), found);
                self.adopt(now, &name, out);
            }
            MailInput::Read { name, session, mail } => self.read(now, &name, session, mail, out),
        }
    }

    pub(super) fn tick_adoptions(&mut self, now: Instant, out: &mut Vec<Effect>) {
        // Who is alive is known only a while after this server has connected.
        let is_known = self.connected_at.is_some_and(|at| at + ALIVE_TIMEOUT <= now);
        if !self.is_connected || !is_known {
            return;
        }
        let adoptions = &mut self.adoptions;
        if adoptions.find_all_at.take_if(|at| *at <= now).is_some() {
            adoptions.find(Find::All);
        }
        if !adoptions.is_finding
            && adoptions.find_due.is_none_or(|due| due <= now)
            && let Some(find) = adoptions.to_find.front()
        {
            adoptions.is_finding = true;
            out.push(Effect::Mail(MailEffect::Find(find.clone())));
        }
        let due = adoptions.by_name.iter().filter(|(_, adoption)| adoption.due <= now);
        let names: Vec<PeerName> = due.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.adopt(now, &name, out);
        }
    }

    /// The answer to the first of the questions where mail is.
    fn found(&mut self, now: Instant, found: Option<Vec<(ServerId, PeerName)>>, out: &mut Vec<Effect>) {
        self.adoptions.is_finding = false;
        let Some(found) = found else {
            self.adoptions.find_due = Some(now + ASK_AGAIN);
            // A question that always fails does not hold up the others.
            self.adoptions.to_find.rotate_left(1);
            return;
        };
        self.adoptions.to_find.pop_front();
        for (store, name) in found {
            let of_alive = self.servers.values().filter(|server| server.is_alive);
            let session = self.names.get(&name).and_then(|name| name.local.session);
            if store == self.copies.store || of_alive.map(|server| server.store).any(|of| of == Some(store)) {
                continue;
            }
            let Some(session) = session else { continue };
            tracing::info!(target: "cluster", to = %name, "a server that has ended has mail; this one delivers its copies");
            let adoption = self.adoptions.by_name.entry(name.clone()).or_insert_with(|| Adoption {
                session,
                stores: VecDeque::new(),
                parcels: VecDeque::new(),
                is_busy: false,
                due: now,
                routed: None,
            });
            if !adoption.stores.contains(&store) {
                adoption.stores.push_back(store);
            }
            self.adopt(now, &name, out);
        }
    }

    /// Makes the next step for one peer.
    fn adopt(&mut self, now: Instant, name: &PeerName, out: &mut Vec<Effect>) {
        let Some(adoption) = self.adoptions.by_name.get_mut(name) else { return };
        if adoption.is_busy || adoption.due > now {
            return;
        }
        if let Some(parcel) = adoption.parcels.front() {
            adoption.is_busy = true;
            let (sequences, session) = (parcel.sequences.clone(), adoption.session);
            out.push(Effect::Mail(MailEffect::Read { name: name.clone(), session, sequences }));
        } else if let Some(store) = adoption.stores.pop_front() {
            adoption.is_busy = true;
            let of = Some((name.clone(), adoption.session));
            out.push(Effect::Mail(MailEffect::List { store, of }));
        } else {
            self.adoptions.by_name.remove(name);
        }
    }

    /// Gives the Router the mail that was read for a session.
    fn read(
        &mut self,
        now: Instant,
        name: &PeerName,
        session: SessionId,
        mail: ReadMail,
        out: &mut Vec<Effect>,
    ) {
        let adoptions = &mut self.adoptions;
        let Some(adoption) = adoptions.by_name.get_mut(name).filter(|of| of.session == session) else {
            return;
        };
        match mail {
            ReadMail::Found(bytes) => {
                adoptions.batches += 1;
                let batch = BatchId { server: self.me, epoch: 0, number: adoptions.batches };
                out.push(Effect::Forward(batch, vec![adopted(name, session, bytes, &mut adoptions.next)]));
                adoption.routed = Some((adoptions.batches, adoptions.next));
            }
            ReadMail::Gone => {
                adoption.is_busy = false;
                adoption.parcels.pop_front();
                self.adopt(now, name, out);
            }
            ReadMail::Failed => (adoption.is_busy, adoption.due) = (false, now + ASK_AGAIN),
        }
    }

    /// The Router has handled adopted mail.
    pub(super) fn adopted(&mut self, now: Instant, number: u64, is_refused: bool, out: &mut Vec<Effect>) {
        let adoptions = &mut self.adoptions;
        let mut by_name = adoptions.by_name.iter_mut();
        let is_of = |adoption: &Adoption| adoption.routed.is_some_and(|(of, _)| of == number);
        let Some((name, adoption)) = by_name.find(|(_, adoption)| is_of(adoption)) else { return };
        let before = adoption.routed.take().map_or(0, |(_, before)| before);
        adoption.is_busy = false;
        if is_refused {
            // The peer has older mail here, or reads slowly.
            adoption.due = now + RETRY;
        } else if let Some(parcel) = adoption.parcels.pop_front() {
            let untaken = adoptions.untaken.entry(adoption.session).or_default();
            untaken.push_back((before, Keeper::Stream(parcel.sequences)));
        }
        let name = name.clone();
        self.adopt(now, &name, out);
    }
}

fn adopted(name: &PeerName, session: SessionId, bytes: Bytes, next: &mut u64) -> Forwarded {
    let (frames, first) = (Frames::of(bytes), *next);
    *next += frames.count();
    // Nothing of it is handed back, so nobody is liable for it.
    Forwarded { from: name.clone(), to: name.clone(), session, is_kept: true, stored: Some(first), frames }
}
