//! Conversations. The opener draws a key and seals messages and signals under it for the acceptor. The other direction
//! is a conversation of its own. PROTOCOL.md, section 10.

mod opening;
mod seal;

pub use opening::{BadOpening, Opening};
pub use seal::{Incoming, OpenedMessage, Outgoing, Refused, SealedMessage, TEXT_BYTES_MAX, sealed_parts};

use crate::digest::Digest;

/// Identifies a message for its recipient; drawn at random when it is queued.
///
/// Its number is not enough: a sender whose directory was restored from a copy gives numbers a second time. The text is not
/// either, because the same text may well be written twice.
pub type MessageId = [u8; 16];

/// The SHA-256 digest of the signed body of the conversation's opening.
pub type ConversationId = Digest;

#[cfg(test)]
mod tests;
