//! Where in the file a value is, for mistakes that show only when all options are known, or on the disk.

use std::collections::HashMap;
use std::fmt::Display;

use super::options::Origins;

/// A value of an option: the `[[site]]` that it is in, if it is in one, its key, and its number in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub(super) Option<usize>, pub(super) &'static str, pub(super) usize);

impl At {
    /// The first or only value of an option that is not in a `[[site]]`.
    pub(super) fn key(key: &'static str) -> Self {
        Self(None, key, 0)
    }
}

/// The places of the values in the file, as `FILE:LINE:COLUMN`.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<(Option<usize>, String), Vec<String>>);

impl Places {
    pub(super) fn set(&mut self, site: Option<usize>, key: &str, values: Vec<String>) {
        self.0.insert((site, key.to_owned()), values);
    }

    fn of(&self, At(site, key, number): At) -> Option<&str> {
        self.0.get(&(site, key.to_owned()))?.get(number).map(String::as_str)
    }
}

/// Takes what is wrong with options.
pub(super) struct Report<'a> {
    pub(super) origins: &'a Origins,
    pub(super) places: &'a Places,
    pub(super) problems: &'a mut Vec<String>,
}

impl Report<'_> {
    /// Adds what is wrong with a value, with its place if it is from the file.
    pub(super) fn add(&mut self, at: At, what: impl Display) {
        let At(site, key, _) = at;
        let is_from_file = site.is_some() || self.origins.of(key) == Origins::FILE;
        match self.places.of(at).filter(|_| is_from_file) {
            Some(place) => self.problems.push(format!("{place}: {what}")),
            None => self.problems.push(what.to_string()),
        }
    }
}
