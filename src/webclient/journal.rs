//! Messages to the user on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use wire::escape::Escaped;

/// Prints remarks, and with `--verbose` also what is sent and received. Control characters are escaped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Journal {
    pub(super) is_verbose: bool,
}

impl Journal {
    /// Something that the user should know although nothing has failed.
    pub(super) fn remark(self, remark: impl Display) {
        write("webclient: ", &remark.to_string());
    }

    pub(super) fn sent(self, head: &[u8]) {
        self.lines("> ", head);
    }

    pub(super) fn received(self, head: &[u8]) {
        self.lines("< ", head);
    }

    /// A detail of the connection, for `--verbose`.
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
