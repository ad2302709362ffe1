//! What is to be done with a batch of commands: lines that follow one another are written together.

use crate::commands::access_log::Command;
use crate::runtime::{Core, Now};

/// What the shell has to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write these lines.
    Write(Vec<u8>),
    /// Open the file anew.
    Reopen,
}

/// Gathers lines. It keeps nothing between batches.
pub(super) struct Lines;

impl Core for Lines {
    type Command = Command;
    type Out = Vec<Step>;

    fn handle(&mut self, _now: Now, command: Command, out: &mut Vec<Step>) {
        match (command, out.last_mut()) {
            (Command::Write(more), Some(Step::Write(lines))) => lines.extend_from_slice(&more),
            (Command::Write(lines), _) => out.push(Step::Write(lines)),
            (Command::Reopen, _) => out.push(Step::Reopen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_up_to_where_the_file_is_opened_anew() {
        let mut out = Vec::new();
        let commands = [
            Command::Write(b"1\n".to_vec()),
            Command::Write(b"2\n".to_vec()),
            Command::Reopen,
            Command::Write(b"3\n".to_vec()),
        ];
        for command in commands {
            Lines.handle(Now::read(), command, &mut out);
        }
        assert_eq!(out, [Step::Write(b"1\n2\n".to_vec()), Step::Reopen, Step::Write(b"3\n".to_vec())]);
    }
}
