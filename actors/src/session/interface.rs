//! The inputs and effects of a session's core.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use wire::card::Card;
use wire::invitation::KnownProof;
use wire::protocol::KnownPeer;
use wire::share::{Difference, ListedFile};

use crate::commands::admission::Claim;
use crate::commands::index::{Page, PublishAnswer};
use crate::commands::router::{JoinRefused, MemberCommand, PeerKey, SpliceEnd};
use crate::commands::session::{Delivery, EndReason, SessionCommand};

#[derive(Debug)]
pub enum Input {
    /// This many bytes were read into the room of the session's `incoming`.
    Received(usize),
    /// The peer has closed its sending side.
    Closed {
        /// Whether the server shuts down, which closes that side too.
        is_stopping: bool,
    },
    /// Some bytes of the session's `outgoing` were written.
    Written,
    /// Admission knows the invitation of the peer, which asks for a proof of that. Comes before [`Input::Joined`].
    Invited(KnownProof),
    /// The Router's answer to [`Effect::Join`]; `None` if it did not answer in time.
    Joined(Option<Result<PeerKey, JoinRefused>>),
    /// Whether the card is on disk. The peer is welcomed only then.
    CardWritten(bool),
    Command(SessionCommand),
    /// The session of the sender has written this many bytes of the delivery to the connection. Until the next input, nobody
    /// else writes to it.
    Delivered(Box<Delivery>, usize),
    /// The mailbox has room again after a command was refused.
    HasRoom,
    Released(EndReason),
    /// The answer to an [`Effect::Ask`]; `None` if there was none in time.
    Answered(Option<Answer>),
    /// The result of [`Effect::Call`]: the address at which the peer was reached, or `None`.
    Called(Option<SocketAddr>),
    Tick,
}

/// What the shell has to do. What is rare and large is boxed, because each session keeps room for some.
#[derive(Debug)]
pub enum Effect {
    /// Ask Admission, if there is one, and then the Router to accept the peer; [`Input::Joined`] and
    /// [`Input::CardWritten`] follow.
    Join(Box<Card>, Option<Box<Claim>>),
    Tell(MemberCommand),
    /// Ask another actor; [`Input::Answered`] follows before any other input.
    Ask(Question),
    /// Call the peer back on this port; [`Input::Called`] follows later.
    Call(u16),
    /// The peer repeats this challenge; compare it with the one that was sent.
    Heard([u8; 32]),
    /// This connection is one end of a transfer.
    Splice(Box<SpliceEnd>),
    /// Write the remaining output and close the connection. If it ends with an error, give the peer time to read it.
    End {
        is_refused: bool,
    },
}

/// A question to another actor. The next frame is handled after its answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    Who,
    /// Find files; with the peer's id for the question, because the Index makes the answer that the peer gets.
    Search(u32, SearchFor),
    Publish {
        /// Counts from 0.
        part: u32,
        /// Whether the share is complete with it.
        last: bool,
        files: Vec<ListedFile>,
    },
    /// Publish what has changed. The answer is that to [`Question::Publish`].
    Change(Difference),
}

/// What files to find.
#[derive(Debug, PartialEq, Eq)]
pub enum SearchFor {
    /// The maximum number of hits follows.
    Query(wire::Query, u32),
    /// As people type it.
    Text(wire::Search, Page),
}

/// An answer to a [`Question`] of the same kind.
#[derive(Debug)]
pub enum Answer {
    Known(Arc<[KnownPeer]>),
    Found(Encoded),
    Published(PublishAnswer),
}

/// An answer as the peer gets it.
#[derive(Debug)]
pub struct Encoded {
    pub(crate) frame: Bytes,
    /// How many of its bytes the Index has written to the connection itself.
    pub(crate) written: usize,
}
