//! What every actor is made of: a bounded mailbox, one-shot replies, and a thread that ends with its mailbox.

mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}
mod bell;
mod mailbox;
mod poll_mailbox;
mod reply;
mod thread;

pub use mailbox::{Address, Closed, Mailbox, Unsent, mailbox};
pub use poll_mailbox::{PollAddress, PollMailbox, poll_mailbox};
pub use reply::{NoAnswer, Pending, Reply, reply};
pub(crate) use thread::isolated;
pub use thread::{Vital, spawn_vital};
