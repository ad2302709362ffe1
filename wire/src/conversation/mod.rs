//! Conversations. The opener draws a key and seals messages and signals under it for the acceptor. The other direction
//! is a conversation of its own. PROTOCOL.md, section 10.

mod opening;
mod seal;

pub use opening::{BadOpening, Opening};
pub use seal::{Incoming, OpenedMessage, Outgoing, Refused, SealedMessage, TEXT_BYTES_MAX, sealed_parts};

use crate::digest::Digest;

/// The SHA-256 digest of the signed body of the conversation's opening.
pub type ConversationId = Digest;

#[cfg(test)]
mod tests;
