//! The `server` command: password hashing and signals.

mod hash_password;
#[path = "../support/prompt.rs"]
mod prompt;
#[path = "../support/pty.rs"]
mod pty;
mod signals;
