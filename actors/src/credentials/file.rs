//! The users file: `NAME:HASH` on each line, as `htpasswd -B` writes it, with comments and empty lines.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;

use wire::escape::Escaped;

/// The limit of `htpasswd`.
const NAME_BYTES_MAX: usize = 255;

/// Valid costs. bcrypt defines none below 4. 14 takes about a second, and one password is checked at a time.
pub(super) const COSTS: RangeInclusive<u32> = 4..=14;

/// A user and the hash of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub(super) name: String,
    /// Valid for bcrypt.
    pub(super) hash: String,
    pub(super) cost: u32,
}

impl User {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash: that of a weak password can be cracked.
        f.debug_struct("User").field("name", &self.name).field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// A line that is invalid. Never contains the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadLine {
    pub line: usize,
    pub reason: String,
}

/// Parses a users file. It may have no users.
///
/// # Errors
/// All invalid lines.
pub fn parse(text: &str) -> Result<Vec<User>, Vec<BadLine>> {
    let mut users = Vec::new();
    let mut bad = Vec::new();
    let mut lines_by_name = HashMap::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let user = user(text).and_then(|user| match lines_by_name.insert(user.name.clone(), line) {
            Some(first) => Err(format!("{} is already on line {first}", Escaped(&user.name))),
            None => Ok(user),
        });
        match user {
            Ok(user) => users.push(user),
            Err(reason) => bad.push(BadLine { line, reason }),
        }
    }
    if bad.is_empty() { Ok(users) } else { Err(bad) }
}

fn user(line: &str) -> Result<User, String> {
    let (name, hash) = line.split_once(':').ok_or("it is not NAME:HASH")?;
    check_name(name)?;
    let hash = hash.trim_end();
    let cost = cost(hash)?;
    Ok(User { name: name.to_owned(), hash: hash.to_owned(), cost })
}

/// Whether a name can be in the file and in a request (RFC 7617, section 2).
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("the name is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Err("the name is longer than 255 bytes")
    } else if name.contains(':') {
        Err("the name has a colon in it")
    } else if name.contains(char::is_control) {
        Err("the name has a control character in it")
    } else if name.starts_with('#') || name.trim() != name {
        Err("the name begins with #, or begins or ends with a space")
    } else {
        Ok(())
    }
}

fn cost(hash: &str) -> Result<u32, String> {
    if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
        return Err(format!("{}; only bcrypt is taken, as htpasswd -B makes it", kind(hash)));
    }
    let broken = "the bcrypt hash is damaged";
    let cost = hash.get(4..6).filter(|cost| cost.bytes().all(|b| b.is_ascii_digit())).ok_or(broken)?;
    let cost = cost.parse().map_err(|_| broken)?;
    hash.parse::<bcrypt::HashParts>().map_err(|_| broken)?;
    if !COSTS.contains(&cost) {
        return Err(format!("the cost {cost} of the hash is not from {} to {}", COSTS.start(), COSTS.end()));
    }
    Ok(cost)
}

/// What kind a hash that is not accepted seems to be.
fn kind(hash: &str) -> &'static str {
    const KINDS: [(&str, &str); 16] = [
        ("$apr1$", "the hash is Apache's MD5 (apr1)"),
        ("$1$", "the hash is MD5 crypt"),
        ("$5$", "the hash is SHA-256 crypt"),
        ("$6$", "the hash is SHA-512 crypt"),
        ("$y$", "the hash is yescrypt"),
        ("$gy$", "the hash is gost-yescrypt"),
        ("$7$", "the hash is scrypt"),
        ("$argon2", "the hash is Argon2"),
        ("$pbkdf2", "the hash is PBKDF2"),
        ("$2x$", "the hash is bcrypt of the flawed kind 2x"),
        ("$2$", "the hash is bcrypt of the old kind 2"),
        ("{SHA}", "the hash is SHA-1"),
        ("{SSHA}", "the hash is salted SHA-1"),
        ("{PLAIN}", "the password is not hashed"),
        ("$", "the hash is of an unknown kind"),
        ("{", "the hash is of an unknown kind"),
    ];
    let is_crypt = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    match KINDS.iter().find(|(prefix, _)| hash.starts_with(prefix)) {
        Some((_, kind)) => kind,
        None if hash.is_empty() => "there is no hash",
        None if hash.len() == 13 && hash.bytes().all(is_crypt) => "the hash seems to be DES crypt",
        None => "the password seems not to be hashed",
    }
}
