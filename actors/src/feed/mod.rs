//! The feed: shows who is connected and what passes through the server, live, to whoever watches.
//!
//! Sessions tell it of peers that come and go, and, while anybody watches, of each envelope. They do not wait for it: what its
//! mailbox has no room for is only counted. Nor does it wait for a viewer: one that does not read in time is dropped.

mod core;
mod shell;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::commands::feed::FeedHandle;
use crate::config::FlowAccess;
use crate::runtime::{Running, mailbox, start as start_actor};
use core::Feed;
use shell::Viewers;

/// How many commands can wait. More envelopes than this between two batches are only counted.
const MAILBOX_COMMANDS: usize = 4096;

pub(crate) fn start(shown_to: FlowAccess) -> io::Result<Running<FeedHandle>> {
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let lost = Arc::<AtomicU64>::default();
    let handle = FeedHandle::new(address.clone(), Arc::clone(&lost), shown_to);
    start_actor("feed", (address, mailbox), handle, Feed::default(), Viewers::new(lost))
}
