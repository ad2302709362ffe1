//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::options::Options;

/// Serves a web site, carries messages that only their two ends can read, and knows who shares which file.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    after_help = "Each option is also a key of the file of --config, with _ for -, and a variable of the environment, \
        SWITCHBOARD_NAME_OF_OPTION; what the command line says counts most, then the environment, then the file.\n\n\
        Stop it with Ctrl-C: it finishes what it has begun and exits with 0."
)]
pub struct Arguments {
    /// Read options from a TOML file; server.example.toml shows all of them
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Check the whole configuration, say what would be served, and exit: with 1 if anything is wrong
    #[arg(long)]
    pub check: bool,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<clap_complete::Shell>,
    /// Read a password from standard input, print the line of this user for the file of --users, and exit
    #[arg(long, value_name = "NAME")]
    pub hash_password: Option<String>,
    #[command(flatten)]
    pub(super) options: Options,
}
