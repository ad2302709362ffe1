//! What goes into the core of a session and what comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;

use wire::card::Card;
use wire::protocol::KnownPeer;
use wire::share::PublishedFile;

use crate::commands::index::{Found, PublishAnswer};
use crate::commands::router::{JoinRefused, MemberCommand, PeerKey, SpliceEnd};
use crate::commands::session::{EndReason, SessionCommand};

/// What a session takes in.
#[derive(Debug)]
pub enum Input {
    /// So many bytes were read into the room of the session's `incoming`.
    Received(usize),
    /// The peer sends nothing more. Said is whether that is because the server ends.
    Closed {
        /// The server ends.
        is_stopping: bool,
    },
    /// The peer has taken some of the session's `outgoing`.
    Written,
    /// The Router's answer to [`Effect::Join`]; none if there was none in time.
    Joined(Option<Result<PeerKey, JoinRefused>>),
    /// Whether the card is on the disk, which has to be known before the peer is welcomed.
    CardWritten(bool),
    /// From the Router.
    Command(SessionCommand),
    /// There is room again in the mailbox after a command was refused.
    HasRoom,
    /// The Router has let go of this session.
    Released(EndReason),
    /// The answer to an [`Effect::Ask`]; none if there was none in time.
    Answered(Option<Answer>),
    /// The call back has been confirmed at an address, or has failed.
    Called(Option<SocketAddr>),
    /// Nothing but time has passed.
    Tick,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// Ask the Router to let the peer in; [`Input::Joined`] and [`Input::CardWritten`] follow.
    Join(Box<Card>),
    /// Tell the Router.
    Tell(MemberCommand),
    /// Ask; [`Input::Answered`] follows before anything else.
    Ask(Question),
    /// Call the peer back on this port; [`Input::Called`] follows some time.
    Call(u16),
    /// The peer has heard this in a call; compare it with what was said.
    Heard([u8; 32]),
    /// This connection is one end of a transfer, and no peer's session.
    Splice(SpliceEnd),
    /// Write what waits, and end the connection. If an error is the last thing, the peer must be able to read it.
    End {
        /// Whether the last thing is an error.
        is_refused: bool,
    },
}

/// What has to be asked of others before the next frame is looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Who is known.
    Who,
    /// Who has which file.
    Search(wire::Query, u32),
    /// Take a part of a share.
    Publish {
        /// Counts from 0.
        part: u32,
        /// Whether the share is complete with it.
        last: bool,
        /// Its files.
        files: Vec<PublishedFile>,
    },
}

/// An answer to a [`Question`] of the same kind.
#[derive(Debug)]
pub enum Answer {
    /// Who is known.
    Known(Arc<[KnownPeer]>),
    /// What was found.
    Found(Found),
    /// What became of the part.
    Published(PublishAnswer),
}
