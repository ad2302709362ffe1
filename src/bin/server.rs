//! `server`: the web site, the messages and the index of files on one port.

use std::process::ExitCode;

use clap::Parser;
use switchboard::server::{self, Arguments};

fn main() -> ExitCode {
    server::run(Arguments::parse())
}
