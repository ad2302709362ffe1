//! `server --hash-password`: a line for the users file of a web site.

use std::io::{self, BufRead, ErrorKind, IsTerminal as _};

use actors::credentials::{HashError, hash_line};
use wire::escape::Escaped;
use zeroize::Zeroizing;

use crate::terminal;

/// Longest line that is read, in bytes. It is longer than any valid password, so that the error can name the length.
const LINE_BYTES_MAX: usize = 4096;

/// Why the line cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Hash(#[from] HashError),
    #[error("cannot read the password: {0}")]
    Input(#[from] io::Error),
    #[error("the two passwords differ; try again")]
    Different,
    #[error("the password is not UTF-8")]
    NotText,
    /// Ctrl-C at the prompt.
    #[error("interrupted")]
    Interrupted,
}

/// Reads a password, one line, from standard input, and makes the line of the user `name`. On a terminal it asks twice and
/// does not show what is typed.
pub(super) fn hash_password(name: &str) -> Result<String, Error> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let line = read_line(stdin.lock())?;
        let password = str::from_utf8(&line).map_err(|_| Error::NotText)?;
        return Ok(hash_line(name, password)?);
    }
    let password = ask(&format!("password for {}: ", Escaped(name)))?;
    if *password != *ask("once more: ")? {
        return Err(Error::Different);
    }
    Ok(hash_line(name, &password)?)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Error> {
    terminal::ask_secret(prompt).map_err(|error| match error.kind() {
        ErrorKind::Interrupted => Error::Interrupted,
        ErrorKind::InvalidData => Error::NotText,
        _ => error.into(),
    })
}

/// Reads a line, without its line ending.
fn read_line(input: impl BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    // The full capacity from the start: growing would leave a copy of the password in memory.
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
