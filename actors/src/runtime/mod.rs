//! The runtime of actors: core and shell, mailboxes, one-shot replies, and threads that end with their handle.

mod actor;
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
    pub(super) use std::thread::yield_now;
}
mod bell;
mod lease;
mod mailbox;
mod poll_mailbox;
mod reply;
mod write_lease;

pub use actor::{Core, Now, Running, Shell, start};
pub(crate) use actor::{isolated, spawn_vital};
pub use lease::{Lease, Use};
pub use mailbox::{Address, Answers, Closed, Mailbox, Unsent, mailbox};
pub(crate) use poll_mailbox::PollWaker;
pub use poll_mailbox::{PollAddress, PollMailbox, poll_mailbox};
pub use reply::{NoAnswer, Pending, Reply, reply};
pub(crate) use write_lease::{WriteLease, Writing};
