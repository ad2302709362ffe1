//! The list of a directory without an index file: a page for people (`templates/listing.html`), or JSON for programs.
//!
//! Whoever can write below the root chooses the names, and every visitor sees them. So a name must never become markup, a
//! script, or an address on another site.

use std::cmp::Ordering;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use askama::Template;
use bytesize::ByteSize;
use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use wire::escape::Escaped;
use wire::http::percent_encode_path;

const STYLE: &str = include_str!("../../templates/listing.css");
const SCRIPT: &str = include_str!("../../templates/listing.js");
/// Estimated bytes of the markup of one row, and of everything except style, script and rows.
const ROW_BYTES: usize = 320;
const FRAME_BYTES: usize = 2048;

/// Style and script are inline. The policy has their hashes, so the browser runs nothing else, even if a name became
/// markup.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// The last segment of its path, decoded. Bytes that are not UTF-8 are replaced (U+FFFD).
    pub(super) name: String,
    /// A reference to it, relative to the directory.
    link: String,
    pub(super) kind: EntryKind,
    /// The size of a file; 0 for a directory, whose size has no meaning.
    pub(super) bytes: u64,
    #[serde(serialize_with = "as_rfc3339")]
    pub(super) modified: SystemTime,
}

fn as_rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// `2000-10-10T13:55:36Z` (RFC 3339). A time outside of the years 1970 to 9999, which this form cannot express, is moved to
/// the nearest one inside.
fn rfc3339(time: SystemTime) -> String {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

impl Entry {
    pub(super) fn new(name: &[u8], kind: EntryKind, bytes: u64, modified: SystemTime) -> Self {
        let slash = if kind == EntryKind::Directory { "/" } else { "" };
        // The `./` keeps a name with a colon from being read as a scheme.
        let link = format!("./{}{slash}", percent_encode_path(name));
        Self { name: String::from_utf8_lossy(name).into_owned(), link, kind, bytes, modified }
    }

    fn shown_name(&self) -> Escaped<'_> {
        Escaped(&self.name)
    }

    fn size(&self) -> impl std::fmt::Display {
        ByteSize(self.bytes).display().iec()
    }

    fn modified_rfc3339(&self) -> String {
        rfc3339(self.modified)
    }

    /// Seconds since 1970, for the script that sorts the rows.
    fn modified_seconds(&self) -> u64 {
        self.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// The values of the template, which escapes all except style and script.
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
    /// Whether a slash precedes it. The root is itself a slash.
    has_separator: bool,
}

/// The value of `Content-Security-Policy` for [`render_html`].
pub(super) fn content_security_policy() -> &'static str {
    &CONTENT_SECURITY_POLICY
}

/// A page that lists `entries`, directories first, then by name.
///
/// `path` is the decoded path below the root, without slashes at its ends; empty for the root. Links are relative, so the
/// address of the page must end with a slash. `is_cut`: the directory has more entries than these.
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
    // Writing into a String cannot fail.
    let _ = page.render_into(&mut html);
    html
}

/// The same as JSON: `{"path":"/a/","entries":[{"name":..,"link":..,"kind":..,"bytes":..,"modified":..}],"cut":false}`.
pub(super) fn render_json(path: &str, entries: &[Entry], is_cut: bool) -> String {
    #[derive(Serialize)]
    struct Listing<'a> {
        path: String,
        entries: Vec<&'a Entry>,
        cut: bool,
    }
    let listing = Listing { path: with_slashes(path), entries: in_order(entries), cut: is_cut };
    // Strings, numbers and booleans can always be serialized.
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
    let mut folded: Vec<Folded<'_>> = entries.iter().map(fold).collect();
    folded.sort_by(compare);
    folded.into_iter().map(|(_, entry)| entry).collect()
}

/// An entry with its name in lower case.
type Folded<'a> = (String, &'a Entry);

fn fold(entry: &Entry) -> Folded<'_> {
    (entry.name.to_lowercase(), entry)
}

/// Directories first, then by name as people order them: without regard to case, and numbers by their value, so that `img2`
/// comes before `IMG10`. Names that differ only in case or in bytes that are not UTF-8 are ordered too.
fn compare((a_folded, a): &Folded<'_>, (b_folded, b): &Folded<'_>) -> Ordering {
    let by_kind = (a.kind == EntryKind::File).cmp(&(b.kind == EntryKind::File));
    let by_name = || alphanumeric_sort::compare_str(a_folded, b_folded);
    by_kind.then_with(by_name).then_with(|| a.name.cmp(&b.name)).then_with(|| a.link.cmp(&b.link))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
