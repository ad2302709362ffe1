//! Conversations: one side opens, the other accepts, and then messages and signals go sealed from the opener to the
//! acceptor. The other direction is a conversation of its own. PROTOCOL.md, section "Conversations".

mod opening;
mod seal;

pub use opening::{BadOpening, Opening};
pub use seal::{Incoming, OpenedMessage, Outgoing, Refused, SealedMessage, TEXT_BYTES_MAX, sealed_parts};

use crate::digest::Digest;

/// Names a conversation: the SHA-256 digest of the signed body of its opening.
pub type ConversationId = Digest;

#[cfg(test)]
mod tests;
