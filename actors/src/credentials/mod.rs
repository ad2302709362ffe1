//! Credentials: checks the passwords of a web site (RFC 7617, the Basic scheme).
//!
//! The users of a site are in a file as `htpasswd -B` writes it. One thread reads the file, reads it again when it has
//! changed, and checks passwords one after the other. bcrypt takes tens of milliseconds by design, and clients that guess
//! passwords must not get more than one processor for it. Threads that ask cache valid passwords until the generation in
//! the handle says that the file has changed.

mod core;
mod file;
mod hash;
mod shell;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use wire::escape::Escaped;

pub use self::file::{BadLine, User, parse};
pub use self::hash::{HashError, PASSWORD_BYTES_MAX, hash_line};
pub use self::shell::start;

/// Why the users of a site cannot be loaded, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot read the users file {}: {cause}; make lines for it with server --hash-password NAME",
        Shown(path)
    )]
    Read { path: PathBuf, cause: std::io::Error },
    #[error(
        "the users file {} is invalid: {}; make these lines with server --hash-password NAME",
        Shown(path),
        Joined(lines)
    )]
    Lines { path: PathBuf, lines: Vec<BadLine> },
    /// A file without users, which is probably a mistake because nobody could see the site.
    #[error(
        "nobody is in {}, so nobody could see the site; make a line with server --hash-password NAME",
        Shown(path)
    )]
    Nobody { path: PathBuf },
    #[error("cannot start a thread for the users of a site: {0}")]
    Thread(std::io::Error),
}

struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0.to_string_lossy()).fmt(f)
    }
}

struct Joined<'a>(&'a [BadLine]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}
