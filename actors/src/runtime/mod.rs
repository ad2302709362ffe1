//! What every actor is made of: a bounded mailbox, one-shot replies, and a thread that ends with its mailbox.

mod mailbox;
mod reply;
mod thread;

pub use mailbox::{Address, Closed, Mailbox, Unsent, mailbox};
pub use reply::{NoAnswer, Pending, Reply, reply};
pub use thread::{Vital, spawn_vital};
