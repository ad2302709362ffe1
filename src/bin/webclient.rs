//! `webclient`: fetches a file from a web server and prints or saves it.

use std::process::ExitCode;

use clap::Parser;
use switchboard::webclient::{self, Arguments};

fn main() -> ExitCode {
    webclient::run(Arguments::parse())
}
