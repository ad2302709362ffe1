//! What the server keeps for each sender: stored mail, and names that nobody has joined under.
//!
//! Both have three limits: for each sender, for each network, and in all. So one sender, or one machine with many
//! names, can only fill its own share.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{AddAssign, SubAssign};

use wire::PeerName;
use wire::protocol::Refusal;

use crate::commands::network::Network;
use crate::commands::store::{Counted, Sender};
use crate::config::{PeerLimits, Quota};

/// What is kept for one sender, one network, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// See [`Amount::cost`](crate::commands::store::Amount::cost).
    pub(super) mail_bytes: u64,
    /// Names that nobody has joined under.
    pub(super) names: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.mail_bytes += other.mail_bytes;
        self.names += other.names;
    }
}

impl SubAssign for Usage {
    fn sub_assign(&mut self, other: Self) {
        // Mail of an older store may be counted for another network than it was accepted from.
        self.mail_bytes = self.mail_bytes.saturating_sub(other.mail_bytes);
        self.names = self.names.saturating_sub(other.names);
    }
}

/// The usage of each sender, each network, and in all. Those without usage have no entry.
#[derive(Debug)]
pub(super) struct Ledger {
    mail: Quota,
    names: Quota,
    all: Usage,
    senders: HashMap<PeerName, Usage>,
    networks: HashMap<Network, Usage>,
    elsewhere: Elsewhere,
}

/// The bytes of mail that the other servers of a cluster keep.
#[derive(Debug, Default)]
struct Elsewhere {
    recipients: HashMap<PeerName, u64>,
    senders: HashMap<PeerName, u64>,
    networks: HashMap<Network, u64>,
}

impl Ledger {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            mail: limits.mail_bytes,
            names: limits.waiting_names,
            all: Usage::default(),
            senders: HashMap::new(),
            networks: HashMap::new(),
            elsewhere: Elsewhere::default(),
        }
    }

    /// Notes how much the other servers of the cluster keep.
    pub(super) fn keeps_elsewhere(&mut self, counted: Counted, bytes: u64) {
        let Elsewhere { recipients, senders, networks } = &mut self.elsewhere;
        match counted {
            Counted::Recipient(name) => note(recipients, name, bytes),
            Counted::Sender(name) => note(senders, name, bytes),
            Counted::Network(network) => note(networks, network, bytes),
        }
    }

    /// The bytes that the other servers of the cluster keep for a recipient, by its folded name.
    pub(super) fn for_recipient_elsewhere(&self, name: &PeerName) -> u64 {
        self.elsewhere.recipients.get(name).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> Usage {
        self.all
    }

    /// Checks whether a sender may store this much more mail.
    pub(super) fn admit_mail(&self, sender: &Sender, bytes: u64) -> Result<(), Refusal> {
        let refusals = [Refusal::SenderFull, Refusal::AddressFull, Refusal::ServerFull];
        let Elsewhere { senders, networks, .. } = &self.elsewhere;
        let elsewhere = [senders.get(&sender.name), networks.get(&sender.network)];
        let elsewhere = elsewhere.map(|bytes| bytes.copied().unwrap_or_default());
        self.admit(sender, self.mail, bytes, |usage| usage.mail_bytes, elsewhere, refusals)
    }

    /// Checks whether a sender may use one more name that nobody has joined under.
    pub(super) fn admit_name(&self, sender: &Sender) -> Result<(), Refusal> {
        let refusals = [Refusal::SenderNames, Refusal::AddressNames, Refusal::ServerNames];
        self.admit(sender, self.names, 1, |usage| usage.names, [0, 0], refusals)
    }

    /// The sender's own limit is checked first, because the sender can do most about it.
    fn admit(
        &self,
        sender: &Sender,
        quota: Quota,
        more: u64,
        of: fn(&Usage) -> u64,
        [sender_elsewhere, network_elsewhere]: [u64; 2],
        refusals: [Refusal; 3],
    ) -> Result<(), Refusal> {
        let by_sender = self.senders.get(&sender.name).map_or(0, of) + sender_elsewhere;
        let by_network = self.networks.get(&sender.network).map_or(0, of) + network_elsewhere;
        let used = [by_sender, by_network, of(&self.all)];
        let limits = [quota.per_sender, quota.per_address, quota.in_all];
        let full = used.into_iter().zip(limits).zip(refusals).find(|((used, limit), _)| used + more > *limit);
        full.map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Adds usage without checking the limits.
    pub(super) fn charge(&mut self, sender: &Sender, usage: Usage) {
        self.all += usage;
        *self.senders.entry(sender.name.clone()).or_default() += usage;
        *self.networks.entry(sender.network).or_default() += usage;
    }

    pub(super) fn release(&mut self, sender: &Sender, usage: Usage) {
        self.all -= usage;
        release_one(&mut self.senders, &sender.name, usage);
        release_one(&mut self.networks, &sender.network, usage);
    }
}

fn note<K: Eq + Hash>(amounts: &mut HashMap<K, u64>, key: K, bytes: u64) {
    match bytes {
        0 => _ = amounts.remove(&key),
        _ => _ = amounts.insert(key, bytes),
    }
}

fn release_one<K: Eq + Hash>(usages: &mut HashMap<K, Usage>, key: &K, usage: Usage) {
    if let Some(left) = usages.get_mut(key) {
        *left -= usage;
        if *left == Usage::default() {
            usages.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn sender(name: &str, last: u8) -> Sender {
        let network = Network::of(Ipv4Addr::new(10, 0, 0, last).into());
        Sender { name: name.parse().expect("a good name"), network }
    }

    #[test]
    fn each_of_the_three_limits_holds_and_is_named() {
        let quota = Quota { per_sender: 3, per_address: 5, in_all: 7 };
        let mut ledger = Ledger::new(&PeerLimits { mail_bytes: quota, ..PeerLimits::default() });
        let mail = |bytes| Usage { mail_bytes: bytes, names: 0 };
        let (a, b, far) = (sender("a", 1), sender("b", 1), sender("c", 2));
        assert_eq!(ledger.admit_mail(&a, 4), Err(Refusal::SenderFull));
        assert_eq!(ledger.admit_mail(&a, 3), Ok(()));
        ledger.charge(&a, mail(3));
        assert_eq!(ledger.admit_mail(&a, 1), Err(Refusal::SenderFull));
        assert_eq!(ledger.admit_mail(&b, 3), Err(Refusal::AddressFull));
        ledger.charge(&b, mail(2));
        assert_eq!(ledger.admit_mail(&far, 3), Err(Refusal::ServerFull));
        assert_eq!(ledger.admit_mail(&far, 2), Ok(()));
        ledger.release(&a, mail(3));
        assert_eq!(ledger.admit_mail(&a, 3), Ok(()));
        ledger.release(&b, mail(2));
        assert!(ledger.senders.is_empty() && ledger.networks.is_empty(), "without usage there is no entry");
    }

    #[test]
    fn what_other_servers_keep_of_a_sender_and_an_address_counts_too() {
        let quota = Quota { per_sender: 3, per_address: 5, in_all: 7 };
        let mut ledger = Ledger::new(&PeerLimits { mail_bytes: quota, ..PeerLimits::default() });
        let (a, b) = (sender("a", 1), sender("b", 1));
        ledger.keeps_elsewhere(Counted::Sender(a.name.clone()), 2);
        assert_eq!(ledger.admit_mail(&a, 2), Err(Refusal::SenderFull));
        assert_eq!((ledger.admit_mail(&a, 1), ledger.admit_mail(&b, 3)), (Ok(()), Ok(())));
        ledger.keeps_elsewhere(Counted::Network(a.network), 3);
        assert_eq!(ledger.admit_mail(&b, 3), Err(Refusal::AddressFull));
        // The limit in all is for the disk of this server.
        ledger.keeps_elsewhere(Counted::Recipient(b.name.clone()), 7);
        assert_eq!((ledger.admit_mail(&b, 2), ledger.for_recipient_elsewhere(&b.name)), (Ok(()), 7));
        for counted in [Counted::Sender(a.name.clone()), Counted::Network(a.network)] {
            ledger.keeps_elsewhere(counted, 0);
        }
        assert_eq!(ledger.admit_mail(&a, 3), Ok(()));
        assert!(ledger.elsewhere.senders.is_empty() && ledger.elsewhere.networks.is_empty());
    }
}
