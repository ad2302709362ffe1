//! The listing of a directory without an index file: a page for people (`templates/listing.html`), or JSON for programs.
//!
//! Whoever may write below the root chooses the names, and every visitor of the site sees them. So a name must never
//! become markup, a script, or an address on another site.

use std::cmp::Ordering;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use askama::Template;
use bytesize::ByteSize;
use data_encoding::BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wire::escape::Escaped;
use wire::http::percent_encode_path;

const STYLE: &str = include_str!("../../templates/listing.css");
const SCRIPT: &str = include_str!("../../templates/listing.js");
/// About as many bytes as the markup of one row has, and of all that is not style, script or rows.
const ROW_BYTES: usize = 320;
const FRAME_BYTES: usize = 2048;

/// Style and script are inside the page. The policy names their hashes, so that the browser runs these and nothing else,
/// even if a name should become markup.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'self'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EntryKind {
    File,
    Directory,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The last segment of its path, decoded.
    pub(super) name: String,
    pub(super) kind: EntryKind,
    /// The size of a file; that of a directory means nothing and is not shown.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

impl Entry {
    fn shown_name(&self) -> Escaped<'_> {
        Escaped(&self.name)
    }

    /// Relative to the directory. Without `./` a browser would take a name with a colon for a scheme.
    fn link(&self) -> String {
        let slash = if self.kind == EntryKind::Directory { "/" } else { "" };
        format!("./{}{slash}", percent_encode_path(&self.name))
    }

    fn size(&self) -> impl std::fmt::Display {
        ByteSize(self.bytes).display().iec()
    }

    /// `2000-10-10T13:55:36Z` (RFC 3339). A file may carry any time; one outside of the years 1970 to 9999, for which this
    /// form has no room, is moved to the nearest in them.
    fn modified_rfc3339(&self) -> String {
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        humantime::format_rfc3339_seconds(self.modified.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
    }

    /// Seconds since 1970, for the script that sorts the rows.
    fn modified_seconds(&self) -> u64 {
        self.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// What the template is filled with. It escapes all values for HTML, except for style and script.
#[derive(Template)]
#[template(path = "listing.html")]
struct Page<'a> {
    style: &'static str,
    script: &'static str,
    path: Escaped<'a>,
    crumbs: Vec<Crumb<'a>>,
    is_root: bool,
    entries: Vec<&'a Entry>,
    is_cut: bool,
}

/// One directory of the path in the heading.
struct Crumb<'a> {
    name: Escaped<'a>,
    /// Relative to the listed directory; empty for that itself.
    link: String,
    /// Whether a slash stands before it; the root is one itself.
    has_separator: bool,
}

/// The value of the `Content-Security-Policy` field that goes with [`render_html`].
pub(super) fn content_security_policy() -> &'static str {
    &CONTENT_SECURITY_POLICY
}

/// A page that lists `entries`, directories first, then by name.
///
/// `path` is that of the directory below the root, decoded, without slashes at its ends, and empty for the root. All links
/// are relative to the directory, so the address of the page has to end with a slash. `is_cut` says that the directory has
/// more entries than these.
pub(super) fn render_html(path: &str, entries: &[Entry], is_cut: bool) -> String {
    let path_with_slashes = with_slashes(path);
    let page = Page {
        style: STYLE,
        script: SCRIPT,
        path: Escaped(&path_with_slashes),
        crumbs: crumbs(path),
        is_root: path.is_empty(),
        entries: in_order(entries),
        is_cut,
    };
    let mut html =
        String::with_capacity(STYLE.len() + SCRIPT.len() + FRAME_BYTES + entries.len() * ROW_BYTES);
    // Only the writer could fail, and a String takes everything.
    let _ = page.render_into(&mut html);
    html
}

/// The same as JSON: `{"path":"/a/","entries":[{"name":..,"kind":..,"bytes":..,"modified":..}],"cut":false}`.
pub(super) fn render_json(path: &str, entries: &[Entry], is_cut: bool) -> String {
    #[derive(Serialize)]
    struct Listing<'a> {
        path: String,
        entries: Vec<Item<'a>>,
        cut: bool,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        name: &'a str,
        kind: EntryKind,
        bytes: u64,
        modified: String,
    }
    let entries = in_order(entries).into_iter().map(|entry| Item {
        name: &entry.name,
        kind: entry.kind,
        bytes: if entry.kind == EntryKind::File { entry.bytes } else { 0 },
        modified: entry.modified_rfc3339(),
    });
    let listing = Listing { path: with_slashes(path), entries: entries.collect(), cut: is_cut };
    // Strings, numbers and booleans under fixed keys always have a JSON form.
    serde_json::to_string(&listing).unwrap_or_default()
}

/// The root and each directory below it that leads to `path`.
fn crumbs(path: &str) -> Vec<Crumb<'_>> {
    let names = path.split('/').filter(|name| !name.is_empty());
    let depth = names.clone().count();
    let crumb = |(above, name)| Crumb {
        name: Escaped(name),
        link: "../".repeat(depth - above),
        has_separator: above > 1,
    };
    std::iter::once("/").chain(names).enumerate().map(crumb).collect()
}

fn with_slashes(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { format!("/{path}/") }
}

fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_cached_key(|entry| Rank::of(entry));
    sorted
}

/// What a listing is sorted by: directories first, then names as people order them, without regard to case and with
/// numbers by their value, so that `img2` comes before `IMG10`.
#[derive(PartialEq, Eq)]
struct Rank<'a> {
    is_file: bool,
    folded: String,
    name: &'a str,
}

impl<'a> Rank<'a> {
    fn of(entry: &'a Entry) -> Self {
        let name = &entry.name;
        Self { is_file: entry.kind == EntryKind::File, folded: name.to_lowercase(), name }
    }
}

impl Ord for Rank<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = || alphanumeric_sort::compare_str(&self.folded, &other.folded);
        // Names that differ only in case still have one order.
        self.is_file.cmp(&other.is_file).then_with(by_name).then_with(|| self.name.cmp(other.name))
    }
}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
