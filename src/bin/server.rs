//! `server`: the web site, the messages and the index of files on one port.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command_line: Vec<OsString> = std::env::args_os().collect();
    switchboard::server::run(&command_line)
}
