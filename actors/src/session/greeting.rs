//! The first frames of a connection: hello, and then either a join or an end of a transfer.

use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::card::Card;
use wire::frame::{BODY_BYTES_MAX_BEFORE_JOIN, BadFrame, LENGTH_BYTES};
use wire::keys::Purpose;
use wire::protocol::{ErrorCode, ServerId, Side, ToPeer, ToServer, TransferId, join_proof_text};

use super::link::{Link, ReadOutcome};

/// How long a connection has from its first byte until it has said what it wants.
const GREETING_WAIT: Duration = Duration::from_secs(10);
/// How long a peer that is refused has to read why.
const LINGER_WAIT: Duration = Duration::from_secs(1);
/// Most reads of what it still sends meanwhile: one frame of the largest size.
const LINGER_READS_MAX: usize = 256;

/// What a connection turned out to want.
pub(super) enum Wish {
    /// To join, with a card and a proof that both verify.
    Join(Box<Card>),
    /// To be one end of a transfer.
    Splice(TransferId, Side),
    /// Nothing: it was closed, or refused and told why.
    Nothing,
}

/// Greets, and waits for the first frame.
pub(super) fn greet(link: &mut Link, server: ServerId) -> io::Result<Wish> {
    let deadline = Instant::now() + GREETING_WAIT;
    let nonce: [u8; 32] = rand::random();
    link.stream().set_write_timeout(Some(GREETING_WAIT))?;
    link.push_message(&ToPeer::Hello { nonce, server });
    link.flush()?;
    loop {
        match link.first_frame(BODY_BYTES_MAX_BEFORE_JOIN) {
            Ok(Some(body)) => {
                let used = body.len() + LENGTH_BYTES;
                let wish = match ToServer::decode(body) {
                    Ok(message) => answer(&message, &nonce, &server),
                    Err(bad) => Err(blame(bad)),
                };
                link.split(used);
                return wish.or_else(|(code, detail)| refuse(link, code, &detail).map(|()| Wish::Nothing));
            }
            Ok(None) => {}
            Err(bad) => {
                let (code, detail) = blame(bad);
                return refuse(link, code, &detail).map(|()| Wish::Nothing);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return refuse(link, ErrorCode::TimedOut, "nobody joined").map(|()| Wish::Nothing);
        }
        link.stream().set_read_timeout(Some(left))?;
        if link.read()? == ReadOutcome::Closed {
            return Ok(Wish::Nothing);
        }
    }
}

fn answer(message: &ToServer<'_>, nonce: &[u8; 32], server: &ServerId) -> Result<Wish, (ErrorCode, String)> {
    match message {
        ToServer::Join { card, proof } => {
            let card_read = Card::from_bytes(card).map_err(|e| (ErrorCode::BadCard, e.to_string()))?;
            let text = join_proof_text(nonce, server, card);
            match card_read.identity.verify(Purpose::Join, &text, proof) {
                Ok(()) => Ok(Wish::Join(Box::new(card_read))),
                Err(_) => Err((ErrorCode::BadProof, "the proof of the card's key does not verify".into())),
            }
        }
        ToServer::Splice { transfer, side } => Ok(Wish::Splice(*transfer, *side)),
        _ => Err((ErrorCode::OutOfPlace, "join first".into())),
    }
}

/// The one place that turns a bad frame into what goes on the wire.
pub(super) fn blame(bad: BadFrame) -> (ErrorCode, String) {
    let code = match bad {
        BadFrame::TooLong { .. } => ErrorCode::TooLong,
        BadFrame::UnknownKind(_) => ErrorCode::UnknownKind,
        BadFrame::Malformed => ErrorCode::Malformed,
    };
    (code, bad.to_string())
}

/// Says why the connection ends, and sees to it that the peer can read it: closing while unread bytes are here would
/// reset the connection and take the error with it.
pub(super) fn refuse(link: &mut Link, code: ErrorCode, detail: &str) -> io::Result<()> {
    tracing::info!(target: "session", ?code, detail, "refused");
    link.push_message(&ToPeer::Error { code, detail: detail.into() });
    let stream = Arc::clone(link.stream());
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(LINGER_WAIT))?;
    link.flush()?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LINGER_WAIT))?;
    let deadline = Instant::now() + LINGER_WAIT;
    let mut rest = [0; 4096];
    for _ in 0..LINGER_READS_MAX {
        if Instant::now() > deadline || (&*stream).read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}
