//! The list of a directory (placeholder until the real rendering is there).

use std::time::SystemTime;

/// What an entry of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
}

/// A line of a list.
#[derive(Debug, Clone)]
#[allow(dead_code)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: EntryKind,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

pub(super) fn render_html(path: &str, entries: &[Entry]) -> String {
    format!("{path} {entries:?}")
}

pub(super) fn render_json(path: &str, entries: &[Entry]) -> String {
    format!("{path} {entries:?}")
}
