//! Queries for exact keywords, a name of a file, or a content. What people type is a [`crate::search::Search`].

use serde::{Deserialize, Deserializer, Serialize};

use crate::pattern::Pattern;
use crate::{Digest, FileName, Keyword, PeerName, bounded};

/// The maximum number of keywords in one query: more than people type, and cheap to answer.
pub const TERMS_MAX: usize = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    #[error("a query has at least one keyword")]
    Empty,
    #[error("a query has at most {TERMS_MAX} keywords")]
    TooManyTerms,
}

/// The keywords of a query: 1 to [`TERMS_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Keywords(Vec<Keyword>);

impl Keywords {
    pub fn as_slice(&self) -> &[Keyword] {
        &self.0
    }
}

impl TryFrom<Vec<Keyword>> for Keywords {
    type Error = BadQuery;

    fn try_from(keywords: Vec<Keyword>) -> Result<Self, BadQuery> {
        match keywords.len() {
            0 => Err(BadQuery::Empty),
            1..=TERMS_MAX => Ok(Self(keywords)),
            _ => Err(BadQuery::TooManyTerms),
        }
    }
}

impl<'de> Deserialize<'de> for Keywords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded::at_most::<TERMS_MAX, _, _>(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// A query for exactly this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Files that have all of these keywords, compared without case.
    Keywords(Keywords),
    File(FileName),
    /// Files whose content has this SHA-256 digest.
    Digest(Digest),
    /// Files of one peer whose names a pattern describes, in the order of their names.
    Names {
        from: PeerName,
        pattern: Pattern,
        /// Only those after this name, if there is one. All are counted nevertheless.
        after: Option<FileName>,
    },
    /// Of each peer one of its files whose names a pattern describes.
    Holders {
        pattern: Pattern,
    },
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decoding_is_bounded() {
        let words = |count: usize| vec!["x".parse::<Keyword>().expect("a good keyword"); count];
        for (count, fits) in [(0, false), (1, true), (TERMS_MAX, true), (TERMS_MAX + 1, false)] {
            // The first variant of the enum, then the sequence, as a hostile peer may write it.
            let bytes = postcard::to_stdvec(&(0u8, words(count))).expect("plain data");
            assert_eq!(postcard::from_bytes::<Query>(&bytes).is_ok(), fits, "{count}");
        }
        // A length of 2^32 in five bytes, with nothing behind it.
        let claims = [0u8, 0x80, 0x80, 0x80, 0x80, 0x10];
        assert!(postcard::from_bytes::<Query>(&claims).is_err());
    }

    fn queries() -> impl Strategy<Value = Query> {
        let word = "[^\\p{Cc}]{1,20}".prop_filter_map("a keyword", |w| w.parse::<Keyword>().ok());
        let name = "[^\\p{Cc}/\\\\]{1,20}".prop_filter_map("a file name", |n| n.parse().ok());
        prop_oneof![
            vec(word, 1..=TERMS_MAX).prop_map(|words| Query::Keywords(words.try_into().expect("few enough"))),
            name.clone().prop_map(Query::File),
            (name, "[a-z]{0,5}\\*{1,2}").prop_map(|(after, pattern)| Query::Names {
                from: "A".parse().expect("a good name"),
                pattern: pattern.parse().expect("a good pattern"),
                after: Some(after),
            }),
            any::<[u8; 32]>().prop_map(|bytes| Query::Digest(Digest(bytes))),
            "[a-z]{0,5}\\*{1,2}"
                .prop_map(|pattern| Query::Holders { pattern: pattern.parse().expect("a good pattern") }),
        ]
    }

    proptest! {
        #[test]
        fn a_query_survives_the_wire(query in queries()) {
            let bytes = postcard::to_stdvec(&query).expect("a query is plain data");
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(query));
        }

        #[test]
        fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
            let _ = postcard::from_bytes::<Query>(&bytes);
        }
    }
}
