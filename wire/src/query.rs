//! Search queries: what people type, and what travels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::NotADigest;
use crate::file_name::BadFileName;
use crate::keyword::BadKeyword;
use crate::{Digest, FileName, Keyword, bounded};

/// The maximum number of keywords in one query: more than people type, and cheap to answer.
pub const TERMS_MAX: usize = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    #[error("nothing to search for: type one or more keywords")]
    Empty,
    #[error("a search has at most 16 terms")]
    TooManyTerms,
    #[error("a double quote is not closed")]
    OpenQuote,
    /// Something other than a separator follows a closing quote.
    #[error("put a space or a comma after the closing quote before {0:?}")]
    AfterQuote(char),
    #[error("{0}")]
    Keyword(#[from] BadKeyword),
    #[error("{0}")]
    FileName(#[from] BadFileName),
    #[error("{0}")]
    Digest(#[from] NotADigest),
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

/// A search query. It is displayed as a person would type it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Files that have all of these keywords, compared without case.
    Keywords(Keywords),
    File(FileName),
    /// Files whose content has this SHA-256 digest.
    Digest(Digest),
}

impl FromStr for Query {
    type Err = BadQuery;

    /// Reads what people type after `search`: keywords separated by white space or commas. A keyword with spaces stands in
    /// double quotes, in which `""` is one double quote. `file:` and the rest of the text is a query for a file name,
    /// `sha256:HEX` one for a content. In quotes both are keywords.
    fn from_str(text: &str) -> Result<Self, BadQuery> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("file:") {
            return Ok(Self::File(name.trim().parse()?));
        }
        if let Some(digits) = text.strip_prefix("sha256:") {
            return Ok(Self::Digest(digits.parse()?));
        }
        let mut rest = text;
        let mut keywords = Vec::new();
        loop {
            rest = rest.trim_start_matches(separates);
            if rest.is_empty() {
                return Ok(Self::Keywords(keywords.try_into()?));
            }
            if keywords.len() == TERMS_MAX {
                return Err(BadQuery::TooManyTerms);
            }
            let (term, after) = match rest.strip_prefix('"') {
                Some(quoted) => take_quoted(quoted)?,
                None => {
                    let (term, after) = rest.split_at(rest.find(separates).unwrap_or(rest.len()));
                    (term.to_owned(), after)
                }
            };
            keywords.push(term.parse()?);
            rest = after;
        }
    }
}

fn separates(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Reads a term up to its closing quote. Returns the term and what follows the quote.
fn take_quoted(text: &str) -> Result<(String, &str), BadQuery> {
    let mut term = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or(BadQuery::OpenQuote)?;
        term.push_str(part);
        match after.chars().next() {
            Some('"') => {
                term.push('"');
                rest = &after[1..];
            }
            Some(c) if !separates(c) => return Err(BadQuery::AfterQuote(c)),
            _ => return Ok((term, after)),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file:{name}"),
            Self::Digest(digest) => write!(f, "sha256:{digest}"),
            Self::Keywords(keywords) => {
                for (n, keyword) in keywords.as_slice().iter().enumerate() {
                    let space = if n == 0 { "" } else { " " };
                    let word = keyword.as_str();
                    if word.contains([' ', '"', ':', ',']) {
                        write!(f, "{space}\"{}\"", word.replace('"', "\"\""))?;
                    } else {
                        write!(f, "{space}{word}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn keywords(words: &[&str]) -> Query {
        let words: Vec<Keyword> = words.iter().map(|w| w.parse().expect("a good keyword")).collect();
        Query::Keywords(words.try_into().expect("few enough"))
    }

    #[test]
    fn reads_what_people_type() {
        for (typed, meant) in [
            ("sea", keywords(&["sea"])),
            (" sea,tide , Moon  x ", keywords(&["sea", "tide", "Moon", "x"])),
            ("\"high  water\" sea", keywords(&["high water", "sea"])),
            ("sea,\"a \"\"b\"\"\",5\"disk", keywords(&["sea", "a \"b\"", "5\"disk"])),
            ("\"file:x\"", keywords(&["file:x"])),
        ] {
            assert_eq!(typed.parse(), Ok(meant), "{typed}");
        }
        let name = "two words.txt".parse().expect("a good name");
        assert_eq!("file: two words.txt".parse(), Ok(Query::File(name)));
        let digest = Digest::of(b"abc");
        assert_eq!(format!("sha256:{digest}").parse(), Ok(Query::Digest(digest)));
    }

    #[test]
    fn says_what_is_wrong() {
        let seventeen = vec!["x"; 17].join(" ");
        for (typed, why) in [
            ("", BadQuery::Empty),
            (" , ,", BadQuery::Empty),
            (seventeen.as_str(), BadQuery::TooManyTerms),
            ("sea \"high water", BadQuery::OpenQuote),
            ("\"sea\"x", BadQuery::AfterQuote('x')),
            ("\"\"", BadQuery::Keyword(BadKeyword::Empty)),
            ("\" \"", BadQuery::Keyword(BadKeyword::Empty)),
            ("a\u{feff}b", BadQuery::Keyword(BadKeyword::Character('\u{feff}'))),
            ("file:../x", BadQuery::FileName(BadFileName::LeadingDot)),
        ] {
            assert_eq!(typed.parse::<Query>(), Err(why), "{typed}");
        }
        assert!(matches!("sha256:12".parse::<Query>(), Err(BadQuery::Digest(_))));
        assert!(vec!["x"; 16].join(",").parse::<Query>().is_ok());
    }

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
            name.prop_map(Query::File),
            any::<[u8; 32]>().prop_map(|bytes| Query::Digest(Digest(bytes))),
        ]
    }

    proptest! {
        #[test]
        fn a_query_survives_typing_and_the_wire(query in queries()) {
            prop_assert_eq!(query.to_string().parse(), Ok(query.clone()));
            let bytes = postcard::to_stdvec(&query).expect("a query is plain data");
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(query));
        }

        #[test]
        fn any_text_and_any_bytes_are_answered(typed in any::<String>(), bytes in vec(any::<u8>(), 0..200)) {
            let _ = typed.parse::<Query>();
            let _ = postcard::from_bytes::<Query>(&bytes);
        }
    }
}
