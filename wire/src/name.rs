//! The names of peers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a peer, in bytes, which are also its characters.
pub const NAME_BYTES_MAX: usize = 32;

/// Why a text is not the name of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing, or more than [`NAME_BYTES_MAX`] bytes.
    #[error("a name has 1 to 32 characters, this one has {0}")]
    Length(usize),
    /// A character outside `A-Z a-z 0-9 . _ -`.
    #[error("a name is made of A-Z a-z 0-9 . _ - and {0:?} is none of them")]
    Character(char),
}

/// The name of a peer: 1 to 32 of `A-Z a-z 0-9 . _ -`.
///
/// Names that differ only in case have one owner, see [`PeerName::folded`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(Box<str>);

impl PeerName {
    /// The name as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in lower case: what is compared to find the owner.
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }
}

impl FromStr for PeerName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(BadName::Character(bad));
        }
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(BadName::Length(text.len()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for PeerName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_alphabet_and_nothing_else() {
        for good in ["A", "a.b_c-D9", ".", &"x".repeat(32)] {
            assert_eq!(good.parse::<PeerName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("".parse::<PeerName>(), Err(BadName::Length(0)));
        assert_eq!("x".repeat(33).parse::<PeerName>(), Err(BadName::Length(33)));
        for (bad, character) in [("a b", ' '), ("a/b", '/'), ("é", 'é'), ("a\n", '\n')] {
            assert_eq!(bad.parse::<PeerName>(), Err(BadName::Character(character)));
        }
    }

    #[test]
    fn one_owner_whatever_the_case() {
        let upper: PeerName = "Alice".parse().expect("a good name");
        let lower: PeerName = "aLICE".parse().expect("a good name");
        assert_ne!(upper, lower);
        assert_eq!(upper.folded(), lower.folded());
    }
}
