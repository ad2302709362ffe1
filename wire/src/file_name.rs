//! Names of shared files.

use std::str::FromStr;

use crate::checked_text::checked_text;

pub const FILE_NAME_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFileName {
    #[error("a file name is missing")]
    Empty,
    #[error("a file name has at most 255 bytes, this one has {0}")]
    TooLong(usize),
    #[error("a shared file's name must not start with a dot")]
    LeadingDot,
    /// A separator of paths, or a control character.
    #[error("a shared file's name must not contain {0:?}")]
    Character(char),
    /// White space at the start or end, which `keyword.txt` cannot express.
    #[error("a shared file's name must not start or end with white space")]
    Margin,
}

/// The name of a shared file: a single path component that `keyword.txt` can express.
///
/// 1 to 255 bytes of UTF-8 without control characters, `/` and `\`, without a leading dot, and without white
/// space at its ends. It is safe to use in a directory, but must be escaped for a terminal: see [`crate::escape`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<str>);

checked_text!(FileName);

impl FromStr for FileName {
    type Err = BadFileName;

    fn from_str(text: &str) -> Result<Self, BadFileName> {
        if text.is_empty() {
            return Err(BadFileName::Empty);
        }
        if text.len() > FILE_NAME_BYTES_MAX {
            return Err(BadFileName::TooLong(text.len()));
        }
        if text.starts_with('.') {
            return Err(BadFileName::LeadingDot);
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || matches!(c, '/' | '\\')) {
            return Err(BadFileName::Character(bad));
        }
        if text.trim().len() != text.len() {
            return Err(BadFileName::Margin);
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_inside_one_folder() {
        for good in ["a.txt", "a,b;\"c\".txt", "two words.txt", "naïve café.md", &"x".repeat(255)] {
            assert_eq!(good.parse::<FileName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", BadFileName::Empty),
            (".", BadFileName::LeadingDot),
            ("..", BadFileName::LeadingDot),
            (".ssh", BadFileName::LeadingDot),
            ("a/b", BadFileName::Character('/')),
            ("a\\b", BadFileName::Character('\\')),
            ("a\0b", BadFileName::Character('\0')),
            ("a\nb", BadFileName::Character('\n')),
            ("a\u{9b}b", BadFileName::Character('\u{9b}')),
            (" a", BadFileName::Margin),
            ("a ", BadFileName::Margin),
        ] {
            assert_eq!(bad.parse::<FileName>(), Err(why), "{bad:?}");
        }
        assert_eq!("x".repeat(256).parse::<FileName>(), Err(BadFileName::TooLong(256)));
    }
}
