//! The `peer` command on a terminal.

#[path = "../support/pty.rs"]
mod pty;
mod secrets;
