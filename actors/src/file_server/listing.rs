//! What stands for a directory without an index file: a list of what is in it, as a page for people or as JSON.
//!
//! Names come from whoever may write below the root and are shown to whoever visits the site, so nothing in a name
//! may become markup, a script, or an address of another site.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wire::escape::Escaped;
use wire::http::percent_encode_path;

const STYLE: &str = include_str!("listing.css");
const SCRIPT: &str = include_str!("listing.js");

/// The page carries its style and script itself; their hashes let these run and nothing else, whatever gets in.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; img-src 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'self'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The pictures in front of names, drawn once and referred to by each row.
const PICTURES: &str = r#"<svg hidden><symbol id="d" viewBox="0 0 16 16"><path d="M1.5 3A1.5 1.5 0 0 1 3 1.5h3l2 2h5A1.5 1.5 0 0 1 14.5 5v7.5A1.5 1.5 0 0 1 13 14H3a1.5 1.5 0 0 1-1.5-1.5z"/></symbol><symbol id="f" viewBox="0 0 16 16"><path d="M3 1.5h6.5L13 5v9.5H3zM9.5 1.5V5H13"/></symbol></svg>"#;

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EntryKind {
    File,
    Directory,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The last part of its path, decoded.
    pub(super) name: String,
    pub(super) kind: EntryKind,
    /// Its size; a directory's means nothing and is not shown.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// The value of the `Content-Security-Policy` field that goes with [`render_html`].
pub(super) fn content_security_policy() -> &'static str {
    &CONTENT_SECURITY_POLICY
}

/// A page that lists `entries`, directories first, then by name.
///
/// `path` is the directory's, decoded, below the root and without slashes at its ends; empty for the root. All links
/// are relative to it, so the page's address has to end with a slash. `is_cut`: whether there are more entries.
pub(super) fn render_html(path: &str, entries: &[Entry], is_cut: bool) -> String {
    let mut page = String::with_capacity(STYLE.len() + SCRIPT.len() + 2048 + entries.len() * 320);
    // Writing into a String cannot fail.
    let _ = write_page(&mut page, path, entries, is_cut);
    page
}

/// The same for programs: `{"path":"/a/","entries":[{"name":..,"kind":..,"bytes":..,"modified":..}],"cut":false}`.
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
        bytes: shown_bytes(entry),
        modified: rfc3339(entry.modified),
    });
    let listing = Listing { path: with_slashes(path), entries: entries.collect(), cut: is_cut };
    // Strings, numbers and booleans under fixed keys always have a JSON form.
    serde_json::to_string(&listing).unwrap_or_default()
}

fn write_page(page: &mut String, path: &str, entries: &[Entry], is_cut: bool) -> fmt::Result {
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Index of {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{PICTURES}\n",
        Text(&with_slashes(path))
    )?;
    write_breadcrumb(page, path)?;
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\" aria-sort=\"ascending\">Name</th>\
         <th scope=\"col\" class=\"size\">Size</th>\
         <th scope=\"col\">Modified<span class=\"minute\"> (UTC)</span></th></tr></thead>\n",
    );
    if !path.is_empty() {
        page.push_str(
            "<tbody><tr class=\"folder\"><th scope=\"row\"><svg aria-hidden=\"true\"><use href=\"#d\"/></svg>\
             <a href=\"../\">..</a></th><td></td><td></td></tr></tbody>\n",
        );
    }
    page.push_str("<tbody>\n");
    for entry in in_order(entries) {
        write_row(page, entry)?;
    }
    page.push_str("</tbody>\n</table>\n");
    if entries.is_empty() {
        page.push_str("<p>This directory is empty.</p>\n");
    }
    if is_cut {
        writeln!(page, "<p>There is more in this directory than is listed here ({}).</p>", entries.len())?;
    }
    write!(page, "<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

/// The path as links to each directory on the way.
fn write_breadcrumb(page: &mut String, path: &str) -> fmt::Result {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    page.push_str("<h1>Index of ");
    write_crumb(page, parts.len(), "/")?;
    for (n, part) in parts.iter().enumerate() {
        let up = parts.len() - n - 1;
        if n > 0 {
            page.push_str("<span>/</span>");
        }
        write_crumb(page, up, part)?;
    }
    page.push_str("</h1>\n");
    Ok(())
}

fn write_crumb(page: &mut String, up: usize, name: &str) -> fmt::Result {
    let name = Text(name);
    match up {
        0 => write!(page, "<bdi aria-current=\"page\">{name}</bdi>"),
        _ => write!(page, "<a href=\"{}\"><bdi>{name}</bdi></a>", "../".repeat(up)),
    }
}

fn write_row(page: &mut String, entry: &Entry) -> fmt::Result {
    let (class, picture, slash) = match entry.kind {
        EntryKind::Directory => ("folder", 'd', "/"),
        EntryKind::File => ("file", 'f', ""),
    };
    // `./` keeps a name with a colon from being taken for a scheme.
    let link = format!("./{}{slash}", percent_encode_path(&entry.name));
    let time = rfc3339(entry.modified);
    // `2000-10-10T13:55:36Z`: the day, and the hour and minute.
    let (day, minute) = (&time[..10], &time[11..16]);
    let seconds = entry.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    write!(
        page,
        "<tr class=\"{class}\"><th scope=\"row\"><svg aria-hidden=\"true\"><use href=\"#{picture}\"/></svg>\
         <a href=\"{}\"><bdi>{}</bdi>{slash}</a></th>",
        Markup(&link),
        Text(&entry.name)
    )?;
    match entry.kind {
        EntryKind::Directory => page.push_str("<td class=\"size\" data-value=\"0\">–</td>"),
        EntryKind::File => write!(
            page,
            "<td class=\"size\" data-value=\"{0}\" title=\"{0} bytes\">{1}</td>",
            entry.bytes,
            Size(entry.bytes)
        )?,
    }
    writeln!(
        page,
        "<td data-value=\"{seconds}\"><time datetime=\"{time}\" title=\"{time}\">{day}<span class=\"minute\"> {minute}</span></time></td></tr>"
    )
}

/// A time in RFC 3339. Files carry any time that somebody gave them: what lies outside the years 1970 to 9999, for which
/// there is no room, is moved to their edge.
fn rfc3339(time: SystemTime) -> String {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

fn with_slashes(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { format!("/{path}/") }
}

fn shown_bytes(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::Directory => 0,
        EntryKind::File => entry.bytes,
    }
}

fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| {
        let is_file = |entry: &Entry| entry.kind == EntryKind::File;
        is_file(a).cmp(&is_file(b)).then_with(|| natural_order(&a.name, &b.name))
    });
    sorted
}

/// Compares as people do: without regard to case, and numbers by their value, so that `img2` is before `img10`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (folded(a), folded(b));
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (take_number(&mut left), take_number(&mut right));
                x.len().cmp(&y.len()).then_with(|| x.cmp(&y))
            }
            (None, None) => break,
            _ => left.next().cmp(&right.next()),
        };
        if order.is_ne() {
            return order;
        }
    }
    // What differs only in case or in zeros at the front of a number still has one order.
    a.cmp(b)
}

fn folded(name: &str) -> std::iter::Peekable<impl Iterator<Item = char>> {
    name.chars().flat_map(char::to_lowercase).peekable()
}

/// Takes the digits at the front, without zeros in front of them: a longer one is then a larger number.
fn take_number(chars: &mut std::iter::Peekable<impl Iterator<Item = char>>) -> String {
    while chars.next_if_eq(&'0').is_some() {}
    std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect()
}

/// Displays a text of others in HTML: what could mislead the reader is shown as an escape, and nothing is markup.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(MarkupWriter(f), "{}", Escaped(self.0))
    }
}

/// Displays a text in HTML, also between quotes, without any of it being markup.
struct Markup<'a>(&'a str);

impl fmt::Display for Markup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MarkupWriter(f).write_str(self.0)
    }
}

struct MarkupWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for MarkupWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Displays a size as people read it: `0 B`, `999 B`, `1.5 KiB`, `12 MiB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // In tenths of the unit, rounded to the nearest; 128 bits hold ten times any size.
        let mut tenths = (u128::from(self.0) * 10 + 512) / 1024;
        let mut unit = 0;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths = (tenths + 512) / 1024;
            unit += 1;
        }
        match tenths {
            0..100 => write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
            _ => write!(f, "{} {}", (tenths + 5) / 10, UNITS[unit]),
        }
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
