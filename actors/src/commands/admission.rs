//! The commands that Admission takes: whether a key may join, and the changes of the administrator.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::invitation::{InvitationClaim, KnownProof, SECRET_BYTES};
use wire::{Fingerprint, PeerName};

use crate::runtime::{Address, NoAnswer, Reply};

/// How long a caller waits for an answer. The list may have to be written first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: PeerName,
    /// Its key, which it has proved.
    pub fingerprint: Fingerprint,
    /// The keys of which this one is the successor.
    pub predecessors: Vec<Fingerprint>,
    pub claim: Option<Claim>,
}

/// The invitation that a peer claims to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub invitation: InvitationClaim,
    /// What the peer's proof of its key signs.
    pub proof_text: Vec<u8>,
    /// The invitation names another server, so this one has to prove that it knows it.
    pub is_elsewhere: bool,
}

/// Why a peer may not join, or why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error(
        "this server admits only members; ask whoever runs it for an invitation (server invite), or to list your key {0}"
    )]
    NoMember(Fingerprint),
    /// The invitation is not in the list, or has expired.
    #[error(
        "the invitation is used up, expired or not from this server; ask whoever runs it for another one"
    )]
    NoInvitation,
    #[error("you are admitted as {0} only; join with --name {0}")]
    OtherName(PeerName),
    #[error("{0} is not a member")]
    NotMember(PeerName),
    #[error("anybody may join this server; start it with --members FILE to admit members only")]
    Open,
    #[error("the list of members could not be written: {0}")]
    NotWritten(String),
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Somebody who may join.
    Member {
        fingerprint: Fingerprint,
        /// The only name that it may use; `None` allows any name.
        name: Option<PeerName>,
    },
    /// An invitation that nobody has used.
    Invitation {
        secret: [u8; SECRET_BYTES],
        /// When it expires, in seconds since 1970.
        until: u64,
        /// The only name that it admits; `None` allows any name.
        name: Option<PeerName>,
    },
}

impl Claim {
    /// Whether it is a claim to the invitation with this secret.
    pub(crate) fn is_of(&self, secret: &[u8; SECRET_BYTES]) -> bool {
        self.invitation.is_valid(secret, &self.proof_text)
    }
}

impl Entry {
    /// That of an open invitation.
    pub(crate) fn secret(&self) -> Option<&[u8; SECRET_BYTES]> {
        match self {
            Self::Invitation { secret, .. } => Some(secret),
            Self::Member { .. } => None,
        }
    }

    /// The only name that it is for, if that is not this one.
    pub(crate) fn other_name(&self, name: &PeerName) -> Option<&PeerName> {
        let (Self::Member { name: only, .. } | Self::Invitation { name: only, .. }) = self;
        only.as_ref().filter(|only| only.folded() != name.folded())
    }

    /// Whether this is a member with the key, or a member or an invitation for the name only.
    pub(crate) fn is_for(&self, name: &PeerName, key: Option<&Fingerprint>) -> bool {
        let (Self::Member { name: only, .. } | Self::Invitation { name: only, .. }) = self;
        let has_key = matches!(self, Self::Member { fingerprint, .. } if key == Some(fingerprint));
        has_key || only.as_ref().is_some_and(|only| only.folded() == name.folded())
    }
}

/// The keys of all members, and the names that each may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(HashMap<Fingerprint, Vec<Option<PeerName>>>);

impl Members {
    /// Whether the key may use the name.
    pub fn admit(&self, key: &Fingerprint, name: &PeerName) -> bool {
        let mut names = self.0.get(key).into_iter().flatten();
        names.any(|only| only.as_ref().is_none_or(|only| only.folded() == name.folded()))
    }
}

impl<'e> FromIterator<&'e Entry> for Members {
    fn from_iter<I: IntoIterator<Item = &'e Entry>>(entries: I) -> Self {
        let mut members = HashMap::<_, Vec<_>>::new();
        for entry in entries {
            if let Entry::Member { fingerprint, name } = entry {
                members.entry(*fingerprint).or_default().push(name.clone());
            }
        }
        Self(members)
    }
}

/// A change of the list that the servers of a cluster share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListChange {
    /// There is a list, so only members may join.
    Closed,
    /// An entry is there, or was removed. An entry keeps its id while it changes.
    Entry { id: u64, revision: u64, entry: Option<Entry> },
    /// All that was there at the start has been said.
    Known,
}

/// Something to write into the list that the servers of a cluster share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub id: u64,
    /// The revision of the entry that is replaced or removed. None: there must not be another one.
    pub over: Option<u64>,
    /// None removes it.
    pub entry: Option<Entry>,
}

/// The answer to a command that may change the list.
pub type Answer = Result<(), NotAdmitted>;

/// The answer to who wants to join: the proof that this server knows the invitation, if the peer asks for it.
pub type Admitted = Result<Option<KnownProof>, NotAdmitted>;

#[derive(Debug)]
pub enum Command {
    /// Asks whether a peer may join. If its invitation admits it, the invitation is used up.
    Admit(Candidate, Reply<Admitted>),
    Add(Entry, Reply<Answer>),
    /// Removes the lines of a member: those with the key and those with the name, also open invitations.
    Remove {
        name: PeerName,
        /// The key that owns the name, if any.
        fingerprint: Option<Fingerprint>,
        /// Answered once the list is on the disk.
        reply: Reply<Answer>,
    },
    /// Asks whether anybody may join.
    IsOpen(Reply<bool>),
    /// Asks for all members and open invitations. None if anybody may join.
    List(Reply<Option<Vec<Entry>>>),
    /// The list that the servers of a cluster share has changed.
    Learn(ListChange),
}

/// Where commands for Admission are sent.
#[derive(Debug, Clone)]
pub struct AdmissionHandle(pub(crate) Address<Command>);

impl AdmissionHandle {
    /// Sends a command and waits for the answer. A full mailbox is an error at once.
    pub fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Command) -> Result<T, NoAnswer> {
        self.0.ask(ANSWER_TIMEOUT, request)
    }
}
