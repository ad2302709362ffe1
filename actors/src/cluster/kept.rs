//! How much mail the servers keep: for each recipient, of each sender, and of each network. So the limits hold for the cluster as a
//! whole, wherever the senders are connected.
//!
//! A server says its amounts in steps, each a 64th of the limit, whenever one has changed by a step. So most mailboxes are never spoken of,
//! and all servers together exceed a limit by at most a step each. No server waits for another one to store mail.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::PeerName;

use super::core::Cluster;
use super::interface::Effect;
use super::packet::Body;
use crate::commands::cluster::Incarnation;
use crate::commands::store::{Amount, Counted, Sender};
use crate::config::PeerLimits;

/// How many steps a limit has.
const STEPS: u64 = 64;
/// The maximum number of amounts in a packet: less than 64 KiB.
const AMOUNTS_MAX: usize = 1024;

/// What this server keeps for somebody.
#[derive(Debug, Default)]
struct Here {
    bytes: u64,
    /// The steps that the other servers were told.
    said: u64,
}

#[derive(Debug)]
pub(super) struct Kept {
    /// The size of a step in bytes, for recipients, senders and networks.
    steps: [u64; 3],
    here: HashMap<Counted, Here>,
    unsaid: BTreeSet<Counted>,
    /// What other servers have said, in steps.
    elsewhere: BTreeMap<Incarnation, HashMap<Counted, u64>>,
}

impl Kept {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        let limits =
            [limits.mail_bytes_per_recipient, limits.mail_bytes.per_sender, limits.mail_bytes.per_address];
        let steps = limits.map(|limit| (limit / STEPS).max(1));
        Self { steps, here: HashMap::new(), unsaid: BTreeSet::new(), elsewhere: BTreeMap::new() }
    }

    fn step(&self, counted: &Counted) -> u64 {
        let [recipient, sender, network] = self.steps;
        match counted {
            Counted::Recipient(_) => recipient,
            Counted::Sender(_) => sender,
            Counted::Network(_) => network,
        }
    }

    /// The store has written mail.
    pub(super) fn stored(&mut self, name: &PeerName, sender: &Sender, amount: Amount) {
        for counted in counted(name, sender) {
            self.change(counted, |bytes| bytes + amount.cost());
        }
    }

    /// The store has dropped mail.
    pub(super) fn forgotten(&mut self, name: &PeerName, amounts: &[(Sender, Amount)]) {
        for (sender, amount) in amounts {
            for counted in counted(name, sender) {
                self.change(counted, |bytes| bytes.saturating_sub(amount.cost()));
            }
        }
    }

    fn change(&mut self, counted: Counted, change: impl FnOnce(u64) -> u64) {
        let step = self.step(&counted);
        let here = self.here.entry(counted.clone()).or_default();
        here.bytes = change(here.bytes);
        let steps = here.bytes / step;
        // Down only behind a whole step, so that an amount that goes up and down a little is not spoken of each time.
        let is_news = steps > here.said || here.bytes + step <= here.said * step;
        match is_news {
            true => _ = self.unsaid.insert(counted),
            false if here.bytes == 0 && here.said == 0 => _ = self.here.remove(&counted),
            false => {}
        }
    }

    /// What the other servers have to be told.
    fn news(&mut self) -> Vec<(Counted, u64)> {
        let mut news = Vec::new();
        for counted in std::mem::take(&mut self.unsaid) {
            let step = self.step(&counted);
            let Some(here) = self.here.get_mut(&counted) else { continue };
            let steps = here.bytes / step;
            if std::mem::replace(&mut here.said, steps) != steps {
                news.push((counted.clone(), steps));
            }
            if here.bytes == 0 {
                self.here.remove(&counted);
            }
        }
        news
    }

    /// All that the other servers were told.
    fn said(&self) -> Vec<(Counted, u64)> {
        let said = self.here.iter().filter(|(_, here)| here.said > 0);
        let mut said: Vec<(Counted, u64)> = said.map(|(of, here)| (of.clone(), here.said)).collect();
        // So that a seed of the simulation always leads to the same run.
        said.sort_unstable();
        said
    }

    /// Another server has said what it keeps. `is_all`: nothing that it has said before holds. Returns what the Router has to know.
    fn learn(
        &mut self,
        from: Incarnation,
        is_all: bool,
        amounts: Vec<(Counted, u64)>,
    ) -> Vec<(Counted, u64)> {
        let mut changed: BTreeSet<Counted> = amounts.iter().map(|(counted, _)| counted.clone()).collect();
        let known = self.elsewhere.entry(from).or_default();
        if is_all {
            changed.extend(known.drain().map(|(counted, _)| counted));
        }
        for (counted, steps) in amounts {
            match steps {
                0 => _ = known.remove(&counted),
                _ => _ = known.insert(counted, steps),
            }
        }
        self.sums(changed)
    }

    /// Forgets what a server has said.
    fn forget(&mut self, at: Incarnation) -> Vec<(Counted, u64)> {
        let gone = self.elsewhere.remove(&at).unwrap_or_default();
        self.sums(gone.into_keys().collect())
    }

    /// The bytes that all other servers keep.
    fn sums(&self, of: BTreeSet<Counted>) -> Vec<(Counted, u64)> {
        let sum = |counted: &Counted| {
            let steps: u64 = self.elsewhere.values().filter_map(|of| of.get(counted)).sum();
            steps.saturating_mul(self.step(counted))
        };
        of.into_iter().map(|counted| (counted.clone(), sum(&counted))).collect()
    }
}

fn counted(name: &PeerName, sender: &Sender) -> [Counted; 3] {
    let Sender { name: from, network } = sender;
    [Counted::Recipient(name.clone()), Counted::Sender(from.clone()), Counted::Network(*network)]
}

impl Cluster {
    /// Tells the other servers how much this one keeps, where that has changed.
    pub(super) fn say_kept(&mut self, out: &mut Vec<Effect>) {
        if self.is_connected {
            for amounts in self.kept.news().chunks(AMOUNTS_MAX) {
                self.say(None, Body::Kept { is_all: false, amounts: amounts.to_vec() }, out);
            }
        }
    }

    /// Tells a server, or all, the whole of that, because it has just been heard of, or may have missed something.
    pub(super) fn say_all_kept(&self, to: Option<Incarnation>, out: &mut Vec<Effect>) {
        let said = self.kept.said();
        let mut parts = said.chunks(AMOUNTS_MAX);
        let first = parts.next().unwrap_or_default();
        for (part, is_all) in std::iter::once((first, true)).chain(parts.map(|part| (part, false))) {
            self.say(to, Body::Kept { is_all, amounts: part.to_vec() }, out);
        }
    }

    pub(super) fn learn_kept(
        &mut self,
        from: Incarnation,
        is_all: bool,
        amounts: Vec<(Counted, u64)>,
        out: &mut Vec<Effect>,
    ) {
        let sums = self.kept.learn(from, is_all, amounts);
        tell_router(sums, out);
    }

    /// A server is gone, or runs again as another one, which says what it keeps.
    pub(super) fn forget_kept(&mut self, at: Incarnation, out: &mut Vec<Effect>) {
        let sums = self.kept.forget(at);
        tell_router(sums, out);
    }
}

fn tell_router(sums: Vec<(Counted, u64)>, out: &mut Vec<Effect>) {
    if !sums.is_empty() {
        out.push(Effect::KeptElsewhere(sums));
    }
}
