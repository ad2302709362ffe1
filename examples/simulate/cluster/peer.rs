//! A peer and its session, as far as the Router sees them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

use actors::commands::router::Member;
use actors::commands::session::{Delivery, Route};
use actors::commands::store::Frames;
use wire::PeerName;
use wire::card::{Card, Term};
use wire::frame::{LENGTH_BYTES, frame};
use wire::protocol::{Envelope, Kind, ToPeer, decode_envelope};

use crate::simulation::keys;
use crate::simulation::session::MailboxPort;

/// How many peers there are: as many as the simulation has keys for.
pub(super) const PEERS: usize = 3;

pub(super) static CARDS: LazyLock<Vec<Card>> = LazyLock::new(|| {
    let card = |at: usize| {
        let keys = keys::of(at, &BTreeMap::from([(1, 0)]));
        let term = Term::starting(1, u64::from(u32::MAX), None);
        Card::issue(name(at), &keys.identity, keys.encryption[0].key.public(), term, &mut rand::rng())
    };
    (0..PEERS).map(card).collect()
});

pub(super) fn name(at: usize) -> PeerName {
    ["A", "B", "C"][at].parse().expect("it is a good name")
}

/// What a peer sends to another: a number.
pub(super) fn envelope(from: usize, to: usize, number: u64) -> Frames {
    let (from, to) = (name(from), name(to));
    let (from, to) = (from.as_str(), to.as_str());
    let envelope = Envelope { from, to, kind: Kind::Message, number, sealed: b"sealed" };
    Frames::of(frame(&ToPeer::Envelope(envelope)).into())
}

/// An envelope that a session has given to the Router.
pub(super) struct Sent {
    pub(super) to: usize,
    pub(super) number: u64,
    /// The first outcome has come.
    pub(super) has_outcome: bool,
}

/// The session of a peer.
pub(super) struct Session {
    pub(super) server: usize,
    pub(super) member: Member,
    pub(super) port: Arc<MailboxPort>,
    /// What was taken from the mailbox and is not acknowledged.
    pub(super) untaken: VecDeque<Delivery>,
    /// How many envelopes it has sent.
    pub(super) sent: u64,
    /// How many of them are in the Router, by recipient.
    pub(super) in_router: BTreeMap<usize, u64>,
    /// What each of them was.
    pub(super) sent_to: BTreeMap<u64, Sent>,
    pub(super) routes: BTreeMap<usize, Route>,
}

impl Session {
    pub(super) fn new(server: usize, member: Member, port: Arc<MailboxPort>) -> Self {
        Self {
            server,
            member,
            port,
            untaken: VecDeque::new(),
            sent: 0,
            in_router: BTreeMap::new(),
            sent_to: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

pub(super) struct Peer {
    pub(super) session: Option<Session>,
    /// It has been at one server only.
    pub(super) has_stayed: bool,
    /// The number of the last envelope to each peer.
    pub(super) numbers: BTreeMap<usize, u64>,
    /// What a server has accepted, and what it has stored, by recipient.
    pub(super) accepted: BTreeSet<(usize, u64)>,
    pub(super) stored: BTreeSet<(usize, u64)>,
    /// What has arrived, by sender.
    pub(super) arrived: BTreeMap<usize, BTreeSet<u64>>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            session: None,
            has_stayed: true,
            numbers: BTreeMap::new(),
            accepted: BTreeSet::new(),
            stored: BTreeSet::new(),
            arrived: BTreeMap::new(),
        }
    }
}

impl Peer {
    /// Notes what has come; `has_stayed` says which peers have been at one server only.
    ///
    /// # Errors
    /// It has overtaken an earlier one, although both ends have stayed.
    pub(super) fn receive(&mut self, delivery: &Delivery, has_stayed: [bool; PEERS]) -> Result<(), String> {
        for frame in delivery.frames.iter() {
            let envelope = decode_envelope(&frame[LENGTH_BYTES..]).and_then(Result::ok);
            let envelope = envelope.ok_or("something else than an envelope has arrived")?;
            let from =
                (0..PEERS).find(|at| name(*at).as_str() == envelope.from).ok_or("nobody has sent it")?;
            let arrived = self.arrived.entry(from).or_default();
            let last = arrived.last().copied().unwrap_or_default();
            let is_new = arrived.insert(envelope.number);
            if is_new && self.has_stayed && has_stayed[from] && envelope.number < last {
                return Err(format!("number {} of {} arrived after {last}", envelope.number, envelope.from));
            }
        }
        Ok(())
    }
}
