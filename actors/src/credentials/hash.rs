//! New lines for the file.

use bcrypt::Version;

use super::file::check_name;

/// All that bcrypt takes of a password, in bytes; it would ignore the rest.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// The work of a new hash: some 50 ms, once for each client and thread.
const COST: u32 = 10;

/// Why there is no line for a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The name cannot be in the file, or no client can say it.
    #[error("this cannot be the name of a user: {0}")]
    Name(&'static str),
    /// Nobody means an empty password.
    #[error("the password is empty")]
    Empty,
    /// Bcrypt would take it for a shorter one.
    #[error("the password is {0} bytes long; bcrypt takes at most 72")]
    TooLong(usize),
    /// The end of a password in most implementations, and in no client's request (RFC 7617, section 2).
    #[error("the password has a control character in it")]
    Control,
    /// The system has no randomness, or something as grave.
    #[error("cannot hash the password: {0}")]
    Failed(String),
}

/// Makes the line of a user for the file, without an end of line.
///
/// # Errors
/// [`HashError`]
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
    // What htpasswd writes, so that other programs can read it too.
    Ok(format!("{name}:{}", parts.format_for_version(Version::TwoY)))
}
