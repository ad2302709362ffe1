//! Makes lines for the users file.

use bcrypt::Version;

use super::file::check_name;

/// Longest password in bytes: bcrypt ignores what follows.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// The cost of new hashes. A check takes some 50 ms, once for each client and thread.
const COST: u32 = 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error("this cannot be the name of a user: {0}")]
    Name(&'static str),
    /// An empty password is almost certainly a mistake, so it is refused.
    #[error("the password is empty")]
    Empty,
    #[error("the password is {0} bytes long; bcrypt takes at most 72")]
    TooLong(usize),
    /// Most implementations of bcrypt end the password at a NUL, and no client can send control characters (RFC 7617,
    /// section 2).
    #[error("the password has a control character in it")]
    Control,
    /// The system has no randomness, or a similar error.
    #[error("cannot hash the password: {0}")]
    Failed(String),
}

/// Makes the line of a user, without the end of line.
pub fn hash_line(name: &str, password: &str) -> Result<String, HashError> {
    check_name(name).map_err(HashError::Name)?;
    if password.is_empty() {
        return Err(HashError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(HashError::TooLong(password.len()));
    }
    if password.contains(char::is_control) {
        return Err(HashError::Control);
    }
    let parts = bcrypt::hash_with_result(password, COST).map_err(|e| HashError::Failed(e.to_string()))?;
    // The version that htpasswd writes, for other programs.
    Ok(format!("{name}:{}", parts.format_for_version(Version::TwoY)))
}
