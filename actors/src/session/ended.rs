//! Why a session ends, as its peer is told.

use wire::frame::BadFrame;
use wire::protocol::ErrorCode;

use crate::commands::peer_counts::Limit;
use crate::commands::session::EndReason;

/// The code and the text of the last frame.
pub(super) type Ended = (ErrorCode, String);

/// The one place that turns a bad frame into what goes on the wire.
pub(super) fn blame(bad: BadFrame) -> Ended {
    let code = match bad {
        BadFrame::TooLong { .. } => ErrorCode::TooLong,
        BadFrame::UnknownKind(_) => ErrorCode::UnknownKind,
        BadFrame::Malformed => ErrorCode::Malformed,
    };
    (code, bad.to_string())
}

/// What a peer is told that does not read or acknowledge.
pub(super) fn explain_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::ReadTimeout => "you read what is sent to you too slowly, or not at all (--read-timeout)",
        _ => "you do not acknowledge (Taken) what is sent to you (--taken-timeout)",
    }
}

/// The server has no room for it now.
pub(super) fn busy(detail: &str) -> Ended {
    (ErrorCode::Busy, detail.into())
}

/// The server shuts down.
pub(super) fn server_ends() -> Ended {
    (ErrorCode::ShuttingDown, "the server ends".into())
}

/// Why the Router has ended the session.
pub(super) fn explain(reason: EndReason) -> Ended {
    match reason {
        EndReason::Superseded => {
            (ErrorCode::Superseded, "the same identity has joined from another place".into())
        }
        EndReason::Busy => busy("more waits for you than you take"),
        EndReason::Left => (ErrorCode::ShuttingDown, "the session has ended".into()),
    }
}
