//! The `peer` command on a terminal.

use std::path::Path;
use std::process::{Command, Stdio};

#[path = "../support/prompt.rs"]
mod prompt;
#[path = "../support/pty.rs"]
mod pty;
mod secrets;
mod verify;

/// The command for a peer at whose server nobody listens.
fn peer(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    command.args(["--server", "127.0.0.1:1", "--dir"]).arg(dir).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
