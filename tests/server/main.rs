//! The `server` command: password hashing and signals.

mod hash_password;
#[path = "../support/pty.rs"]
mod pty;
mod signals;
