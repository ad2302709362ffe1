//! `server --hash-password`: a line for the file of users of a web site.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use actors::credentials::{HashError, hash_line};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use wire::escape::Escaped;
use zeroize::Zeroizing;

/// Most bytes of a line that are read; a password can have far fewer, and the error is to tell how many there are.
const LINE_BYTES_MAX: usize = 4096;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The name or the password is not good.
    #[error("{0}")]
    Hash(#[from] HashError),
    /// Standard input failed.
    #[error("cannot read the password: {0}")]
    Input(#[from] io::Error),
    /// What was typed the second time is something else.
    #[error("these are two different passwords; try again")]
    Different,
    /// What was read is no text.
    #[error("the password is not UTF-8")]
    NotText,
}

/// Reads a password, one line, from standard input, and makes the line of the user `name` for the file. On a terminal
/// it asks for it, twice, and does not show it.
///
/// # Errors
/// [`Error`]
pub(super) fn hash_password(name: &str) -> Result<String, Error> {
    let stdin = io::stdin();
    let line = if stdin.is_terminal() {
        let _hidden = Hidden::start()?;
        let line = ask(&format!("password for {}: ", Escaped(name)))?;
        if line != ask("once more: ")? {
            return Err(Error::Different);
        }
        line
    } else {
        read_line(stdin.lock())?
    };
    let password = str::from_utf8(&line).map_err(|_| Error::NotText)?;
    Ok(hash_line(name, password)?)
}

fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    eprint!("{prompt}");
    io::stderr().flush()?;
    let line = read_line(io::stdin().lock());
    // The end of line that was typed is not shown either.
    eprintln!();
    line
}

/// Reads a line without its end.
fn read_line(input: impl BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    // With all its room from the start, so that no copy is left behind when it grows.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
    input.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(line)
}

/// The terminal at standard input shows nothing of what is typed as long as this exists.
struct Hidden {
    before: Termios,
    signals: Handle,
}

impl Hidden {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        // Whoever stops it here is not to be left with a terminal that shows nothing.
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let restored = before.clone();
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                show(&restored);
                // As shells tell that a signal ended it.
                std::process::exit(128 + signal);
            }
        });
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self { before, signals: handle })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.signals.close();
        show(&self.before);
    }
}

fn show(before: &Termios) {
    // A terminal that is gone shows nothing anyway.
    let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        for (input, expected) in [
            ("pass word\nmore\n", "pass word"),
            ("pass\r\n", "pass"),
            ("pass", "pass"),
            (" pass \n", " pass "),
            ("\n", ""),
            ("", ""),
        ] {
            let line = read_line(input.as_bytes()).expect("memory does not fail");
            assert_eq!(*line, expected.as_bytes(), "{input:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let line = read_line(&vec![b'a'; 1 << 20][..]);
        assert_eq!(line.expect("memory does not fail").len(), LINE_BYTES_MAX);
    }
}
