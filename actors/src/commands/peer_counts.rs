//! Counters of the metrics: what the server stores for peers, and how often peers reach limits.

use wire::protocol::Refusal;

use crate::metrics::Count;

/// A limit that a peer can reach. Its name in the metrics is that of the option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    MailBytes,
    MailBytesPerAddress,
    MailBytesPerSender,
    MailBytesPerRecipient,
    MailRate,
    WaitingNames,
    WaitingNamesPerAddress,
    WaitingNamesPerSender,
    WatchedNames,
    ReadTimeout,
    TakenTimeout,
    SessionMemory,
    IndexPairs,
    IndexPairsPerAddress,
    IndexPairsPerPeer,
    NewNamesPerHour,
    OpeningsPerMinute,
    Transfers,
    TransfersPerAddress,
    TransfersPerPeer,
    TransferRate,
}

impl Limit {
    /// All of them, with their options.
    const ALL: [(Self, &'static str); 21] = [
        (Self::MailBytes, "mail-bytes"),
        (Self::MailBytesPerAddress, "mail-bytes-per-address"),
        (Self::MailBytesPerSender, "mail-bytes-per-sender"),
        (Self::MailBytesPerRecipient, "mail-bytes-per-recipient"),
        (Self::MailRate, "mail-rate"),
        (Self::WaitingNames, "waiting-names"),
        (Self::WaitingNamesPerAddress, "waiting-names-per-address"),
        (Self::WaitingNamesPerSender, "waiting-names-per-sender"),
        (Self::WatchedNames, "watched-names"),
        (Self::ReadTimeout, "read-timeout"),
        (Self::TakenTimeout, "taken-timeout"),
        (Self::SessionMemory, "session-memory"),
        (Self::IndexPairs, "index-pairs"),
        (Self::IndexPairsPerAddress, "index-pairs-per-address"),
        (Self::IndexPairsPerPeer, "index-pairs-per-peer"),
        (Self::NewNamesPerHour, "new-names-per-hour"),
        (Self::OpeningsPerMinute, "openings-per-minute"),
        (Self::Transfers, "transfers"),
        (Self::TransfersPerAddress, "transfers-per-address"),
        (Self::TransfersPerPeer, "transfers-per-peer"),
        (Self::TransferRate, "transfer-rate"),
    ];

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
    reached: [Count; Limit::ALL.len()],
    /// Envelopes that were dropped because they were not acknowledged in time.
    pub(crate) expired: Count,
    /// What stored mail counts against its limit now, in bytes.
    pub(crate) mail_bytes: Count,
    /// Names that nobody has joined under and that have mail or are watched now.
    pub(crate) waiting_names: Count,
}

impl PeerCounts {
    /// How often each limit was reached, by option.
    pub(crate) fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Limit::ALL.iter().zip(&self.reached).map(|((_, option), count)| (*option, count.get()))
    }

    pub(crate) fn count(&self, limit: Limit) {
        let place = Limit::ALL.iter().position(|(other, _)| *other == limit);
        self.reached[place.expect("all limits are in the list")].add(1);
    }
}
