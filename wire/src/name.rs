//! Names of peers.

use std::str::FromStr;
use std::sync::Arc;

use crate::checked_text::checked_text;

pub const NAME_BYTES_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name has 1 to 32 characters, this one has {0}")]
    Length(usize),
    #[error("a name must not contain {0:?}; allowed are A-Z a-z 0-9 . _ -")]
    Character(char),
}

/// The name of a peer as its owner writes it: 1 to 32 of `A-Z a-z 0-9 . _ -`.
///
/// Names that differ only in case belong to one owner; compare [`PeerName::folded`] to find the owner. Copies share the text, because
/// each result of a search has one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

checked_text!(PeerName);

impl PeerName {
    /// The name in lower case. Two names are the same if these are equal.
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }
}

impl FromStr for PeerName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|&c| !is_allowed(c)) {
            return Err(BadName::Character(bad));
        }
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(BadName::Length(text.len()));
        }
        Ok(Self(text.into()))
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
