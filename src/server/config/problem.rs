//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use wire::escape::Escaped;

/// Why a text is not a value of its option, in words for whoever has written it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadValue(String);

impl BadValue {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file, at a line and column that count characters from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In the environment, in this variable.
    Variable(String),
    /// Nowhere in particular: it follows from several things together.
    Whole,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { place: Place::Whole, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { path, line, column } => {
                write!(f, "{}:{line}:{column}: ", Escaped(&path.to_string_lossy()))?;
            }
            Place::Variable(name) => write!(f, "{name}: ")?,
            Place::Whole => {}
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
