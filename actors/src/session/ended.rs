//! The reasons for which a session ends, as errors for its peer.

use wire::PeerName;
use wire::frame::BadFrame;
use wire::protocol::ErrorCode;

use crate::commands::admission::NotAdmitted;
use crate::commands::peer_counts::Limit;
use crate::commands::router::JoinRefused;
use crate::commands::session::EndReason;

/// The code and the text of the error frame.
pub(super) type Ended = (ErrorCode, String);

/// The error for a bad frame.
pub(super) fn blame(bad: BadFrame) -> Ended {
    let code = match bad {
        BadFrame::TooLong { .. } => ErrorCode::TooLong,
        BadFrame::UnknownKind(_) => ErrorCode::UnknownKind,
        BadFrame::Malformed => ErrorCode::Malformed,
    };
    (code, bad.to_string())
}

/// The text for a peer that does not read or acknowledge in time.
pub(super) fn explain_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::ReadTimeout => "you read what is sent to you too slowly, or not at all (--read-timeout)",
        _ => "you do not acknowledge (Taken) what is sent to you (--taken-timeout)",
    }
}

/// The error for a proof in `Join` that does not verify. With TLS it can be a proof for another connection.
pub(super) fn explain_bad_proof(is_bound: bool) -> Ended {
    let detail = if is_bound {
        "the proof of the card's key does not verify for this TLS connection; somebody between you and the server may have \
         ended your TLS connection and made another one"
    } else {
        "the proof of the card's key does not verify"
    };
    (ErrorCode::BadProof, detail.into())
}

/// The error for a lack of resources.
pub(super) fn busy(detail: &str) -> Ended {
    (ErrorCode::Busy, detail.into())
}

/// The error for a shutdown of the server.
pub(super) fn server_ends() -> Ended {
    (ErrorCode::ShuttingDown, "the server shuts down".into())
}

/// The error for a session that the Router has ended.
pub(super) fn explain(reason: EndReason) -> Ended {
    match reason {
        EndReason::Superseded => {
            (ErrorCode::Superseded, "the same identity has joined from another place".into())
        }
        EndReason::Busy => busy("too much is waiting for you; read and acknowledge faster"),
        EndReason::Expelled => (
            ErrorCode::NotAdmitted,
            "the administrator has removed you from the members of this server".into(),
        ),
        EndReason::NameReleased => (
            ErrorCode::NameTaken,
            "the administrator of this server has released your name; join again if it is still yours".into(),
        ),
        EndReason::Left => (ErrorCode::ShuttingDown, "the session has ended".into()),
    }
}

/// The error for a peer that may not join.
pub(super) fn explain_refusal(refused: &JoinRefused, name: &PeerName) -> Ended {
    match refused {
        JoinRefused::NameTaken => (
            ErrorCode::NameTaken,
            format!("the name {name} belongs to another key here; choose another with --name"),
        ),
        JoinRefused::NotAdmitted(refused @ NotAdmitted::NotWritten(_)) => busy(&refused.to_string()),
        JoinRefused::NotAdmitted(refused) => (ErrorCode::NotAdmitted, refused.to_string()),
        JoinRefused::Superseded => explain(EndReason::Superseded),
        // A peer that is refused as Busy tries again, and says so itself.
        JoinRefused::TooManyNames => busy(
            "as many new names have joined from your address as the server allows in an hour (--new-names-per-hour)",
        ),
        JoinRefused::NoCluster => busy(&format!(
            "the server does not reach its cluster (NATS), so it does not know whether the name {name} is free"
        )),
        JoinRefused::Busy => busy("the server cannot accept peers now"),
    }
}
