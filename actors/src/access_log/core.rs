//! Joins consecutive lines, so that a batch of commands is one write.

use crate::commands::access_log::Command;
use crate::runtime::{Core, Now};

/// Has no state. Its output is the input with neighbouring lines joined.
pub(super) struct Lines;

impl Core for Lines {
    type Command = Command;
    type Out = Vec<Command>;

    fn handle(&mut self, _now: Now, command: Command, out: &mut Vec<Command>) {
        match (command, out.last_mut()) {
            (Command::Write(more), Some(Command::Write(lines))) => lines.extend_from_slice(&more),
            (command, _) => out.push(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_up_to_where_the_file_is_opened_anew() {
        let write = |lines: &str| Command::Write(lines.into());
        let mut out = Vec::new();
        for command in [write("1\n"), write("2\n"), Command::Reopen, write("3\n")] {
            Lines.handle(Now::read(), command, &mut out);
        }
        assert_eq!(out, [write("1\n2\n"), Command::Reopen, write("3\n")]);
    }
}
