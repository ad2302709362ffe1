//! Who may find and fetch a file. PROTOCOL.md, sections 7.2 and 14.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::BadName;
use crate::{PeerName, bounded};

/// The maximum number of names in one audience. With it, a file with all its keywords fits into a frame several times.
pub const AUDIENCE_NAMES_MAX: usize = 1024;

/// In front of each name in a text.
const MARK: char = '@';

/// Who may find and fetch a file, besides its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    #[default]
    Everyone,
    Only(Names),
}

/// At most [`AUDIENCE_NAMES_MAX`] names in lower case, in order, each once. With none, only the owner may see the file.
///
/// A million files can have the same names, so copies share them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names(Arc<[PeerName]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file can be limited to at most {AUDIENCE_NAMES_MAX} names, here are {0}")]
pub struct TooManyNames(pub usize);

/// What is wrong with a text of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAudience {
    #[error("expected @ and the name of a peer, found {0:?}; put one @ in front of each name")]
    NoMark(String),
    #[error("{0:?} is not the name of a peer: {1}")]
    Name(String, BadName),
    #[error(transparent)]
    TooMany(#[from] TooManyNames),
}

impl Audience {
    /// # Errors
    /// [`TooManyNames`].
    pub fn only(names: impl IntoIterator<Item = PeerName>) -> Result<Self, TooManyNames> {
        let mut names: Vec<PeerName> = names.into_iter().map(|name| name.folded()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > AUDIENCE_NAMES_MAX {
            return Err(TooManyNames(names.len()));
        }
        Ok(Self::Only(Names(names.into())))
    }

    /// Nobody but the owner.
    pub fn nobody() -> Self {
        Self::Only(Names(Arc::new([])))
    }

    /// The names, in lower case and in order; `None` for everyone.
    pub fn names(&self) -> Option<&[PeerName]> {
        match self {
            Self::Everyone => None,
            Self::Only(Names(names)) => Some(names),
        }
    }

    pub fn is_everyone(&self) -> bool {
        *self == Self::Everyone
    }

    /// Whether a peer is in it, whatever the case of its name.
    pub fn admits(&self, name: &PeerName) -> bool {
        self.names().is_none_or(|names| names.binary_search(&name.folded()).is_ok())
    }

    /// Those who are in both.
    #[must_use]
    pub fn narrowed(self, other: &Self) -> Self {
        match (&self, other) {
            (_, Self::Everyone) => self,
            (Self::Everyone, other) => other.clone(),
            (Self::Only(Names(names)), other) => {
                let both = names.iter().filter(|name| other.admits(name)).cloned();
                Self::Only(Names(both.collect()))
            }
        }
    }

    /// The names as `keyword.txt` has them: `@ann @ben`. Empty for everyone and for nobody.
    pub fn marked(&self) -> String {
        let names = self.names().unwrap_or_default().iter();
        names.map(|name| format!("{MARK}{name}")).collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for Audience {
    type Err = BadAudience;

    /// Reads names with `@` in front of each and white space between them; at least one.
    fn from_str(text: &str) -> Result<Self, BadAudience> {
        let mut names = Vec::new();
        for word in text.split_whitespace() {
            let name = word.strip_prefix(MARK).ok_or_else(|| BadAudience::NoMark(word.into()))?;
            names.push(name.parse().map_err(|bad| BadAudience::Name(name.into(), bad))?);
        }
        if names.is_empty() {
            return Err(BadAudience::NoMark(String::new()));
        }
        Ok(Self::only(names)?)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names: Vec<PeerName> = bounded::at_most::<AUDIENCE_NAMES_MAX, _, _>(deserializer)?;
        let is_folded = names.iter().all(|name| *name == name.folded());
        // Both ends must have the same bytes for the same names, because lists are compared by digests.
        if is_folded && names.is_sorted_by(|a, b| a < b) {
            Ok(Self(names.into()))
        } else {
            Err(serde::de::Error::custom("names that are not in lower case, in order, and each once"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PeerName {
        text.parse().expect("a good name")
    }

    fn only(names: &[&str]) -> Audience {
        Audience::only(names.iter().map(|text| name(text))).expect("few enough")
    }

    #[test]
    fn names_count_whatever_their_case_and_order() {
        let audience = only(&["ben", "Ann", "BEN"]);
        assert_eq!(audience, only(&["ann", "Ben"]));
        for (asker, is_admitted) in [("ANN", true), ("ben", true), ("carl", false)] {
            assert_eq!(audience.admits(&name(asker)), is_admitted, "{asker}");
            assert!(Audience::Everyone.admits(&name(asker)));
            assert!(!Audience::nobody().admits(&name(asker)));
        }
        let many = |count: usize| Audience::only((0..count).map(|n| name(&format!("n{n}"))));
        assert!(many(AUDIENCE_NAMES_MAX).is_ok());
        assert_eq!(many(AUDIENCE_NAMES_MAX + 1), Err(TooManyNames(AUDIENCE_NAMES_MAX + 1)));
    }

    #[test]
    fn narrowing_leaves_those_who_are_in_both() {
        let (ab, bc) = (only(&["a", "b"]), only(&["b", "c"]));
        assert_eq!(ab.clone().narrowed(&bc), only(&["b"]));
        assert_eq!(ab.clone().narrowed(&Audience::Everyone), ab);
        assert_eq!(Audience::Everyone.narrowed(&ab), ab);
        assert_eq!(ab.narrowed(&only(&["d"])), Audience::nobody());
    }

    #[test]
    fn a_text_of_names_is_read_as_it_is_written() {
        let audience = only(&["Ben", "ann"]);
        assert_eq!(audience.marked(), "@ann @ben");
        assert_eq!("@ann @ben".parse(), Ok(audience.clone()));
        assert_eq!(" @Ben\t@ann @ben ".parse(), Ok(audience));
        for (bad, part) in [
            ("", "expected @"),
            ("ann", "\"ann\""),
            ("@ann, @b", "','"),
            ("@ann @", "1 to 32"),
            ("@a@b", "'@'"),
        ] {
            let error = bad.parse::<Audience>().expect_err(bad).to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn only_one_order_of_names_is_read_from_the_wire() {
        let bytes = |names: &[&str]| postcard::to_stdvec(&(1u8, names)).expect("plain data");
        let read = |bytes: &[u8]| postcard::from_bytes::<Audience>(bytes);
        assert_eq!(read(&bytes(&["ann", "ben"])), Ok(only(&["ann", "ben"])));
        assert_eq!(postcard::to_stdvec(&only(&["ben", "ann"])), Ok(bytes(&["ann", "ben"])));
        assert_eq!(read(&bytes(&[])), Ok(Audience::nobody()));
        assert_eq!(read(&[0]), Ok(Audience::Everyone));
        for bad in [&["ben", "ann"][..], &["ann", "ann"], &["Ann"], &["a b"]] {
            assert!(read(&bytes(bad)).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=AUDIENCE_NAMES_MAX).map(|n| format!("n{n:05}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&bytes(&many)).is_err());
        assert!(read(&bytes(&many[1..])).is_ok());
    }
}
