//! When to use the files.

use crate::commands::certificates::Command;
use crate::runtime::{Core, Now};

pub(super) type Digest = [u8; 32];

/// What was seen of the files so far.
#[derive(Debug)]
pub(super) struct Certificates {
    seen: Digest,
    /// Whether what was seen is in use, or was refused.
    is_tried: bool,
    is_asked: bool,
}

impl Certificates {
    /// The files with this digest are in use.
    pub(super) fn new(in_use: Digest) -> Self {
        Self { seen: in_use, is_tried: true, is_asked: false }
    }

    /// Notes a look at the files. Returns whether to read them now: when somebody has asked for it, or when they have changed
    /// and are the same as at the last look. A certificate and its key are two files, which nobody can replace at once.
    pub(super) fn look(&mut self, found: Digest) -> bool {
        let has_settled = found == self.seen;
        if !has_settled {
            self.seen = found;
            self.is_tried = false;
        }
        let is_due = std::mem::take(&mut self.is_asked) || (has_settled && !self.is_tried);
        self.is_tried |= is_due;
        is_due
    }
}

impl Core for Certificates {
    type Command = Command;
    type Out = ();

    fn handle(&mut self, _: Now, Command::Reload: Command, (): &mut ()) {
        self.is_asked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_used_once_when_they_have_settled() {
        let mut certificates = Certificates::new([0; 32]);
        assert!(!certificates.look([0; 32]), "they are in use");
        assert!(!certificates.look([1; 32]), "the key may follow");
        assert!(!certificates.look([2; 32]));
        assert!(certificates.look([2; 32]));
        assert!(!certificates.look([2; 32]), "once, even if they were refused");
    }

    #[test]
    fn files_are_used_at_once_when_somebody_asks() {
        let mut certificates = Certificates::new([0; 32]);
        for digest in [[0; 32], [1; 32]] {
            certificates.handle(Now::read(), Command::Reload, &mut ());
            assert!(certificates.look(digest));
            assert!(!certificates.look(digest));
        }
    }
}
