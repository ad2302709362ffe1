//! Searches as people type them: words, phrases and conditions. PROTOCOL.md, section 14.1, has the grammar.
//!
//! A [`Search`] is made only by reading a text. It displays as a text that reads as the same search, and travels as that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::NotADigest;
use crate::file_name::BadFileName;
use crate::keyword::BadKeyword;
use crate::name::BadName;
use crate::{Digest, FileName, PeerName};

mod parse;
mod size;
#[cfg(test)]
mod tests;

pub use size::{BadSize, Compare, Size, parse_bytes};

/// The longest text of a search, in bytes: as many keywords of the greatest length as a search may have fit in.
pub const SEARCH_BYTES_MAX: usize = 4096;

/// The maximum number of terms of a search: more than people type, and cheap to answer.
pub const SEARCH_TERMS_MAX: usize = 16;

/// How deep parentheses may be nested. It bounds the recursion of all that reads searches.
pub const SEARCH_DEPTH_MAX: usize = 8;

/// What a file has to be to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(Node);

/// A part of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Term(Term),
    /// Files that all of `wanted`, which is not empty, and none of `excluded` find.
    All {
        wanted: Vec<Node>,
        excluded: Vec<Node>,
    },
    /// Files that one of these finds.
    Any(Vec<Node>),
}

/// One condition. All texts are folded, see [`crate::words::folded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A keyword equal to this text, or in which the words of the text follow each other. The name counts for a file without
    /// keywords.
    Text(Box<str>),
    /// A keyword, or a word of one, that begins with this text. The name counts for a file without keywords.
    Prefix(Box<str>),
    /// The end of the name of the file, without the dot before it.
    Extension(Box<str>),
    Size(Size),
    From(PeerName),
    Content(Digest),
    /// The name of the file as it is.
    File(FileName),
}

/// What is wrong with the text of a search, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct BadSearch {
    /// The character of the text at which the error is, from 1. It is one more than the text has for an error at the end.
    pub column: usize,
    pub reason: Reason,
}

/// Why a text is not a search.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("nothing to search for; type one or more keywords")]
    Empty,
    #[error("a search has at most {SEARCH_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a search has at most {SEARCH_TERMS_MAX} terms")]
    TooManyTerms,
    #[error("parentheses are nested at most {SEARCH_DEPTH_MAX} deep")]
    TooDeep,
    #[error("this parenthesis is not closed; put it in double quotes to search for it")]
    OpenParenthesis,
    #[error("no parenthesis is open here; put it in double quotes to search for it")]
    NoParenthesis,
    #[error("nothing is in these parentheses")]
    EmptyParentheses,
    #[error("a word is missing on one side of this |; put it in double quotes to search for it")]
    NoAlternative,
    #[error("what is excluded cannot be an alternative; exclude several words with -(one|two)")]
    ExcludedAlternative,
    #[error("a - stands directly before the word that it excludes; put it in double quotes to search for it")]
    NothingExcluded,
    #[error("only exclusions: add a word that is wanted")]
    OnlyExclusions,
    #[error("a * stands only at the end of a word; put the word in double quotes to search for it as it is")]
    Star,
    #[error("this double quote is not closed; inside quotes, write \"\" for one double quote")]
    OpenQuote,
    /// Something other than a separator follows a closing quote.
    #[error("put a space after the closing quote, before {0:?}")]
    AfterQuote(char),
    #[error("an extension is missing; for example, write ext:pdf")]
    NoExtension,
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error(transparent)]
    Keyword(#[from] BadKeyword),
    #[error(transparent)]
    FileName(#[from] BadFileName),
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    Digest(#[from] NotADigest),
}

impl Search {
    pub fn root(&self) -> &Node {
        &self.0
    }

    /// A wanted text that looks like a condition, such as `type:pdf`, although there is none of this name.
    pub fn unknown_condition(&self) -> Option<&str> {
        self.0.unknown_condition()
    }

    /// The same search with other texts: `replace` gets each [`Term::Text`] that is wanted, and returns its replacement. `None`
    /// if nothing was replaced, or if a replacement cannot be searched for.
    pub fn with_texts(&self, mut replace: impl FnMut(&str) -> Option<String>) -> Option<Self> {
        let mut root = self.0.clone();
        if !replace_texts(&mut root, &mut replace) {
            return None;
        }
        // Read again, because the vocabulary of an index may have texts that break a limit here.
        Self(root).to_string().parse().ok()
    }
}

fn replace_texts(node: &mut Node, replace: &mut impl FnMut(&str) -> Option<String>) -> bool {
    match node {
        Node::Term(Term::Text(text)) => match replace(text) {
            Some(other) => {
                *text = other.into();
                true
            }
            None => false,
        },
        Node::Term(_) => false,
        Node::All { wanted: nodes, .. } | Node::Any(nodes) => {
            let replaced = nodes.iter_mut().map(|node| replace_texts(node, replace));
            replaced.fold(false, |any, one| any | one)
        }
    }
}

impl FromStr for Search {
    type Err = BadSearch;

    fn from_str(text: &str) -> Result<Self, BadSearch> {
        parse::parse(text).map(Self)
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, Inside::Nothing)
    }
}

/// In what a part stands, which decides whether it needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    All,
    /// Alternatives, or an exclusion.
    Tight,
}

impl Node {
    fn unknown_condition(&self) -> Option<&str> {
        match self {
            Self::Term(Term::Text(text)) => {
                let (name, value) = text.split_once(':')?;
                let is_name = !name.is_empty() && name.chars().all(char::is_alphabetic);
                // Those of addresses and paths are no conditions: `https://a`, `std::fs`.
                (is_name && !value.is_empty() && !value.starts_with([':', '/'])).then_some(text)
            }
            Self::Term(_) => None,
            Self::All { wanted: nodes, .. } | Self::Any(nodes) => {
                nodes.iter().find_map(Self::unknown_condition)
            }
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, inside: Inside) -> fmt::Result {
        let needs_parentheses = match self {
            Self::Term(_) => false,
            Self::All { .. } => inside != Inside::Nothing,
            Self::Any(_) => inside == Inside::Tight,
        };
        if needs_parentheses {
            f.write_str("(")?;
        }
        match self {
            Self::Term(term) => write!(f, "{term}")?,
            Self::All { wanted, excluded } => {
                for (n, node) in wanted.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { " " })?;
                    node.write(f, Inside::All)?;
                }
                for node in excluded {
                    f.write_str(" -")?;
                    node.write(f, Inside::Tight)?;
                }
            }
            Self::Any(nodes) => {
                for (n, node) in nodes.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { "|" })?;
                    node.write(f, Inside::Tight)?;
                }
            }
        }
        f.write_str(if needs_parentheses { ")" } else { "" })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if is_bare(text) => f.write_str(text),
            Self::Text(text) => quoted("", text, f),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Extension(extension) if is_bare(extension) => write!(f, "ext:{extension}"),
            Self::Extension(extension) => quoted("ext:", extension, f),
            Self::Size(size) => write!(f, "{size}"),
            Self::From(name) => write!(f, "from:{name}"),
            Self::Content(digest) => write!(f, "sha256:{digest}"),
            // Without quotes, the rest of the search would belong to the name.
            Self::File(name) => quoted("file:", name.as_str(), f),
        }
    }
}

/// Whether a text means itself without quotes, wherever it stands.
fn is_bare(text: &str) -> bool {
    let means_something = |c: char| c.is_whitespace() || ",|()*\":<>=".contains(c);
    !text.starts_with('-') && !text.contains(means_something)
}

fn quoted(before: &str, text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{before}\"{}\"", text.replace('"', "\"\""))
}

impl Serialize for Search {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Search {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
