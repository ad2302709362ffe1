//! Names of shared files.

use std::str::FromStr;
use std::sync::Arc;

use crate::checked_text::checked_text;

/// Longest name with its folders, in bytes. With it, the header of a file message stays below 1,024 bytes.
pub const FILE_NAME_BYTES_MAX: usize = 512;

/// Longest part of a name, in bytes: what file systems have room for.
pub const COMPONENT_BYTES_MAX: usize = 255;

const SEPARATOR: char = '/';

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFileName {
    #[error("a file name is missing")]
    Empty,
    #[error("a file name with its folders has at most 512 bytes, this one has {0}")]
    TooLong(usize),
    #[error("the name of a file or folder has at most 255 bytes, this one has {0}")]
    ComponentTooLong(usize),
    #[error("a shared file's name must not start with a dot")]
    LeadingDot,
    /// A backslash, or a control character.
    #[error("a shared file's name must not contain {0:?}")]
    Character(char),
    /// White space at the start or end, which `keyword.txt` cannot express.
    #[error("a shared file's name must not start or end with white space")]
    Margin,
    /// A `/` at the start or end, or two in a row.
    #[error("a shared file's name must not start or end with `/`, or have two of them in a row")]
    EmptyComponent,
}

/// The name of a shared file: its path below the folder that is shared, such as `lectures/tides.pdf`. `keyword.txt` can express
/// it.
///
/// 1 to 512 bytes: parts of 1 to 255 bytes of UTF-8 with `/` between them. No part has control characters or `\`, a leading
/// dot, or white space at its ends. So it never leads out of a folder if no link is followed. It must be escaped for a
/// terminal: see [`crate::escape`]. Copies share the text, because a list of a million files has each name several times.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Arc<str>);

checked_text!(FileName);

impl FileName {
    /// The folders that the file is in, from the outermost one.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.split().0.into_iter().flat_map(|folders| folders.split(SEPARATOR))
    }

    /// The paths of these folders, from the innermost one: `a/b` and `a` for `a/b/c.txt`.
    pub fn folder_paths(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.split().0, |path| Some(path.rsplit_once(SEPARATOR)?.0))
    }

    /// The name without the folders.
    pub fn base(&self) -> &str {
        self.split().1
    }

    /// The path of the folder, if it is in one, and the name in it.
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once(SEPARATOR) {
            Some((folders, base)) => (Some(folders), base),
            None => (None, &self.0),
        }
    }
}

impl FromStr for FileName {
    type Err = BadFileName;

    fn from_str(text: &str) -> Result<Self, BadFileName> {
        if text.is_empty() {
            return Err(BadFileName::Empty);
        }
        if text.len() > FILE_NAME_BYTES_MAX {
            return Err(BadFileName::TooLong(text.len()));
        }
        text.split(SEPARATOR).try_for_each(check_component)?;
        Ok(Self(text.into()))
    }
}

fn check_component(text: &str) -> Result<(), BadFileName> {
    if text.is_empty() {
        return Err(BadFileName::EmptyComponent);
    }
    if text.len() > COMPONENT_BYTES_MAX {
        return Err(BadFileName::ComponentTooLong(text.len()));
    }
    if text.starts_with('.') {
        return Err(BadFileName::LeadingDot);
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || *c == '\\') {
        return Err(BadFileName::Character(bad));
    }
    if text.trim().len() != text.len() {
        return Err(BadFileName::Margin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_inside_one_folder() {
        let long = "x".repeat(255);
        let deep = format!("{long}/{long}");
        let good =
            ["a.txt", "a,b;\"c\".txt", "two words.txt", "naïve café.md", "a/b.txt", "a b/c/d..", &deep];
        for good in good {
            assert_eq!(good.parse::<FileName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", BadFileName::Empty),
            (".", BadFileName::LeadingDot),
            ("..", BadFileName::LeadingDot),
            (".ssh", BadFileName::LeadingDot),
            ("../a", BadFileName::LeadingDot),
            ("a/../b", BadFileName::LeadingDot),
            ("a/.ssh/b", BadFileName::LeadingDot),
            ("/a", BadFileName::EmptyComponent),
            ("a/", BadFileName::EmptyComponent),
            ("a//b", BadFileName::EmptyComponent),
            ("a\\b", BadFileName::Character('\\')),
            ("a\0b", BadFileName::Character('\0')),
            ("a/c\nb", BadFileName::Character('\n')),
            ("a\u{9b}b", BadFileName::Character('\u{9b}')),
            (" a", BadFileName::Margin),
            ("a ", BadFileName::Margin),
            ("a /b", BadFileName::Margin),
            ("a/ b", BadFileName::Margin),
        ] {
            assert_eq!(bad.parse::<FileName>(), Err(why), "{bad:?}");
        }
        assert_eq!("x".repeat(256).parse::<FileName>(), Err(BadFileName::ComponentTooLong(256)));
        let longest = format!("{deep}/");
        assert_eq!(format!("{longest}y").parse::<FileName>(), Err(BadFileName::TooLong(513)));
    }

    #[test]
    fn a_name_is_folders_and_a_base() {
        let parts = |text: &str| {
            let name: FileName = text.parse().expect("a good name");
            (name.folders().map(str::to_owned).collect::<Vec<_>>().join(">"), name.base().to_owned())
        };
        assert_eq!(parts("a.txt"), (String::new(), "a.txt".to_owned()));
        assert_eq!(parts("a/b c/d.txt"), ("a>b c".to_owned(), "d.txt".to_owned()));
        let deep: FileName = "a/b c/d/e.txt".parse().expect("a good name");
        assert!(deep.folder_paths().eq(["a/b c/d", "a/b c", "a"]));
    }
}
