//! What a person is told beside the answer itself, on standard error.

use std::fmt::{self, Display};
use std::io::Write;

use wire::escape::Escaped;

/// Takes remarks, and if wanted all that is sent and received. Nothing steers a terminal; that nobody reads it is no error.
pub struct Journal {
    out: Box<dyn Write>,
    is_verbose: bool,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("is_verbose", &self.is_verbose).finish_non_exhaustive()
    }
}

impl Journal {
    /// Writes to `out`; only if `is_verbose` what is sent and received too.
    pub fn new(out: impl Write + 'static, is_verbose: bool) -> Self {
        Self { out: Box::new(out), is_verbose }
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self::new(std::io::sink(), false)
    }

    /// What a person should know though nothing has failed.
    pub fn remark(&mut self, remark: impl Display) {
        self.write("webclient: ", &remark.to_string());
    }

    /// The head of a request.
    pub(super) fn sent(&mut self, head: &[u8]) {
        self.lines("> ", head);
    }

    /// The head of an answer.
    pub(super) fn received(&mut self, head: &[u8]) {
        self.lines("< ", head);
    }

    /// Something about the connection.
    pub(super) fn detail(&mut self, detail: impl Display) {
        if self.is_verbose {
            self.write("* ", &detail.to_string());
        }
    }

    fn lines(&mut self, mark: &str, head: &[u8]) {
        if self.is_verbose {
            for line in String::from_utf8_lossy(head).lines() {
                self.write(mark, line);
            }
        }
    }

    fn write(&mut self, mark: &str, line: &str) {
        // There is nowhere left to say that standard error cannot be written.
        let _ = writeln!(self.out, "{}", format_args!("{mark}{}", Escaped(line)).to_string().trim_end());
    }
}
