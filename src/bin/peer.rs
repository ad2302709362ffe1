//! `peer`: writes to other peers, shares files and fetches them.

use std::process::ExitCode;

use clap::Parser;
use switchboard::peer::cli::{self, Arguments};

fn main() -> ExitCode {
    ExitCode::from(cli::run(Arguments::parse()))
}
