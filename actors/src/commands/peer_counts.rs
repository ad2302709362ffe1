//! Counters of the metrics: what the server stores for peers, and how often peers reach limits.

use wire::protocol::Refusal;

use crate::metrics::Count;

/// Defines the limits, each with the option that sets it.
macro_rules! limits {
    ($($limit:ident = $option:literal,)*) => {
        /// A limit that a peer can reach. Its name in the metrics is that of the option.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Limit {
            $($limit,)*
        }

        /// In the order of the limits.
        const OPTIONS: [&str; [$($option),*].len()] = [$($option),*];
    };
}

limits! {
    MailBytes = "mail-bytes",
    MailBytesPerAddress = "mail-bytes-per-address",
    MailBytesPerSender = "mail-bytes-per-sender",
    MailBytesPerRecipient = "mail-bytes-per-recipient",
    MailRate = "mail-rate",
    WaitingNames = "waiting-names",
    WaitingNamesPerAddress = "waiting-names-per-address",
    WaitingNamesPerSender = "waiting-names-per-sender",
    WatchedNames = "watched-names",
    ReadTimeout = "read-timeout",
    TakenTimeout = "taken-timeout",
    SessionMemory = "session-memory",
    IndexPairs = "index-pairs",
    IndexPairsPerAddress = "index-pairs-per-address",
    IndexPairsPerPeer = "index-pairs-per-peer",
    NewNamesPerHour = "new-names-per-hour",
    OpeningsPerMinute = "openings-per-minute",
    Transfers = "transfers",
    TransfersPerAddress = "transfers-per-address",
    TransfersPerPeer = "transfers-per-peer",
    TransferRate = "transfer-rate",
}

impl Limit {
    /// The limit that a refusal is about; `None` if the server is busy or the recipient absent.
    pub fn of(refusal: Refusal) -> Option<Self> {
        Some(match refusal {
            Refusal::Busy | Refusal::Absent => return None,
            Refusal::MailboxFull => Self::MailBytesPerRecipient,
            Refusal::SenderFull => Self::MailBytesPerSender,
            Refusal::AddressFull => Self::MailBytesPerAddress,
            Refusal::ServerFull => Self::MailBytes,
            Refusal::SenderNames => Self::WaitingNamesPerSender,
            Refusal::AddressNames => Self::WaitingNamesPerAddress,
            Refusal::ServerNames => Self::WaitingNames,
            Refusal::Watching => Self::WatchedNames,
            Refusal::SenderOpenings => Self::OpeningsPerMinute,
        })
    }
}

/// Totals since the start, and current amounts. The Router and the sessions update them; the metrics read them.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// In the order of the limits.
    reached: [Count; OPTIONS.len()],
    /// Envelopes that were dropped because they were not acknowledged in time.
    pub(crate) expired: Count,
    /// What stored mail counts against its limit now, in bytes.
    pub(crate) mail_bytes: Count,
    /// Names that nobody has joined under and that have mail or are watched now.
    pub(crate) waiting_names: Count,
    /// 1 while there is a connection to NATS.
    pub(crate) cluster_connected: Count,
    /// The other servers of the cluster that are alive.
    pub(crate) cluster_servers: Count,
    /// The peers that are connected to them.
    pub(crate) cluster_peers: Count,
}

impl PeerCounts {
    /// How often each limit was reached, by option.
    pub(crate) fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OPTIONS.into_iter().zip(self.reached.iter().map(Count::get))
    }

    pub(crate) fn count(&self, limit: Limit) {
        self.reached[limit as usize].add(1);
    }
}
