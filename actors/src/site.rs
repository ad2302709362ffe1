//! The configuration of a web site.

use std::path::PathBuf;
use std::str::FromStr;

use wire::http::{MediaType, Status};

#[derive(Debug, Clone, Default)]
pub struct SiteConfig {
    pub root: PathBuf,
    /// Host names in lower case, without port. The first site of a server also answers for all other names.
    pub hosts: Vec<String>,
    /// Whether a directory without `index.html` is served as a list.
    pub listing: bool,
    /// Whether names that start with a dot are served.
    pub hidden_files: bool,
    /// Whether `/a` is answered with `a.html` if there is no `a`.
    pub clean_urls: bool,
    /// Whether a missing path is answered with `index.html` of the root (single-page application).
    pub spa: bool,
    /// Whether files are compressed if there is no compressed file beside them.
    pub compression: bool,
    /// Header fields to add, in order. Of rules with the same name the last that matches decides. One named
    /// `Cache-Control` replaces the default `no-cache`.
    pub fields: Vec<FieldRule>,
    /// Media types of files, which take precedence over the built-in table. The last rule that matches decides.
    pub media_types: Vec<MediaTypeRule>,
    /// Which other origins may read the site (CORS, Fetch standard).
    pub cors: Option<Cors>,
    /// Redirections. The first rule that matches decides.
    pub redirects: Vec<RedirectRule>,
    /// The users who may see the site; everybody if there is none.
    pub users_file: Option<PathBuf>,
    /// Where the page for peers in a browser is served, if it is.
    pub page: Option<PagePrefix>,
}

/// The path below which the page for peers in a browser is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePrefix(String);

impl Default for PagePrefix {
    fn default() -> Self {
        Self("switchboard".to_owned())
    }
}

impl PagePrefix {
    /// The path without a slash at either end; empty for the root of the site.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path for the page: write /, or /NAME/ of letters, digits, -, _ and . (not first)")]
pub struct NotAPagePrefix(String);

impl FromStr for PagePrefix {
    type Err = NotAPagePrefix;

    /// Reads `/` or `/NAME/`, or several names. They have only characters that need no escapes in an address.
    fn from_str(text: &str) -> Result<Self, NotAPagePrefix> {
        let is_name = |name: &str| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_good)
        };
        if text == "/" {
            return Ok(Self(String::new()));
        }
        let inside = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let inside = inside.filter(|inside| inside.split('/').all(is_name));
        inside.map(|inside| Self(inside.to_owned())).ok_or_else(|| NotAPagePrefix(text.to_owned()))
    }
}

/// Fields that the server computes for each response. A rule that sets one would make responses wrong or unreadable.
const RESERVED_FIELDS: [&str; 19] = [
    "Accept-Ranges",
    "Allow",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Keep-Alive",
    "Last-Modified",
    "Location",
    "Retry-After",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Vary",
    "WWW-Authenticate",
    "X-Content-Type-Options",
];

/// A rule for a field that the server computes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sends the field {0} itself")]
pub struct ReservedField(String);

/// A header field for the responses to matching paths.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FieldRule {
    /// Matches paths below the root, decoded and without the slash at the start (`assets/app.css`). `None` matches all.
    pub paths: Option<globset::GlobMatcher>,
    /// The name of the field, a token.
    pub name: String,
    /// The value: visible ASCII, spaces and tabs.
    pub value: String,
}

impl FieldRule {
    pub fn new(
        paths: Option<globset::GlobMatcher>,
        name: &str,
        value: String,
    ) -> Result<Self, ReservedField> {
        if RESERVED_FIELDS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(ReservedField(name.to_owned()));
        }
        Ok(Self { paths, name: name.to_owned(), value })
    }
}

/// The media type of files with matching paths.
#[derive(Debug, Clone)]
pub struct MediaTypeRule {
    pub paths: globset::GlobMatcher,
    pub media_type: MediaType,
}

/// Which origins may read the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    Any,
    /// These (`scheme://host[:port]`), as browsers send them.
    Origins(Vec<String>),
}

#[derive(Debug, Clone)]
pub struct RedirectRule {
    /// The path with its slash at the start, not decoded. With a `*` at the end, all paths that start so.
    pub from: String,
    /// A path or an absolute address. A `*` at the end is replaced by what the `*` in `from` matched, without slashes at
    /// its start, because `//host` would be another host.
    pub to: String,
    pub status: Status,
}
