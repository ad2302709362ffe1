//! Credentials: who may see a web site, and with which password (RFC 7617, the Basic scheme).
//!
//! The users of a site are in a file as `htpasswd -B` writes it. One thread reads it, reads it again whenever it has
//! changed, and verifies passwords one after the other: bcrypt takes tens of milliseconds by design, and whoever
//! guesses passwords must not get more than one processor for it. Whoever asks keeps what is good in a table of its own and tells
//! the thread that goes on with the connection, until [`CredentialsHandle::generation`] says that the file has changed.

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
use crate::commands::credentials::CredentialsHandle;
use crate::runtime::Running;

/// Why the users of a site cannot be had, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is missing, unreadable or no file.
    #[error(
        "cannot read the users in {}: {cause}; make lines for it with server --hash-password NAME",
        Shown(path)
    )]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Lines that are no users.
    #[error(
        "the users in {} cannot be used: {}; make these lines with server --hash-password NAME",
        Shown(path),
        Joined(lines)
    )]
    Lines {
        /// The file that was asked for.
        path: PathBuf,
        /// All that is wrong in it.
        lines: Vec<BadLine>,
    },
    /// A site that nobody may see is a mistake.
    #[error(
        "nobody is in {}, so nobody could see the site; make a line with server --hash-password NAME",
        Shown(path)
    )]
    Nobody {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// No thread.
    #[error("cannot start a thread for the users of a site: {0}")]
    Thread(std::io::Error),
}

/// Reads the users in a file and starts Credentials.
///
/// # Errors
/// [`StartError`]
pub fn start(path: &Path) -> Result<Running<CredentialsHandle>, StartError> {
    shell::start(path)
}

/// Displays a path on one line.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0.to_string_lossy()).fmt(f)
    }
}

/// Displays bad lines on one line.
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
