//! What a person is told beside the response itself, on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use wire::escape::Escaped;

/// Prints remarks on standard error, and if wanted all that is sent and received. Everything is escaped that could control a
/// terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Journal {
    /// Whether to print what is sent and received.
    pub is_verbose: bool,
}

impl Journal {
    /// What a person should know though nothing has failed.
    pub fn remark(self, remark: impl Display) {
        write("webclient: ", &remark.to_string());
    }

    /// The head of a request.
    pub(super) fn sent(self, head: &[u8]) {
        self.lines("> ", head);
    }

    /// The head of a response.
    pub(super) fn received(self, head: &[u8]) {
        self.lines("< ", head);
    }

    /// Something about the connection.
    pub(super) fn detail(self, detail: impl Display) {
        if self.is_verbose {
            write("* ", &detail.to_string());
        }
    }

    fn lines(self, mark: &str, head: &[u8]) {
        if self.is_verbose {
            String::from_utf8_lossy(head).lines().for_each(|line| write(mark, line));
        }
    }
}

fn write(mark: &str, line: &str) {
    // There is nowhere left to report that standard error cannot be written.
    let _ = writeln!(io::stderr(), "{}", format!("{mark}{}", Escaped(line)).trim_end());
}
