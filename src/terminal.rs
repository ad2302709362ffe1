//! How the commands print on standard output.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Whether to use colours: standard output is a terminal, and `NO_COLOR` is not set (no-color.org).
pub fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && io::stdout().is_terminal()
}

/// Writes a line to standard output and flushes it, because that may be a pipe.
///
/// # Errors
/// Standard output cannot be written, or is a pipe that its reader has closed.
pub fn write_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes a line as [`write_line`], for text that nobody misses who has closed the pipe.
///
/// # Errors
/// Standard output cannot be written. A closed pipe is no error.
pub fn print_line(line: &str) -> io::Result<()> {
    match write_line(line) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints a completion script.
pub fn print_completions<C: clap::CommandFactory>(shell: clap_complete::Shell, name: &str) -> ExitCode {
    clap_complete::generate(shell, &mut C::command(), name, &mut io::stdout());
    ExitCode::SUCCESS
}
