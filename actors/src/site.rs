//! What the server is told about a web site.

use std::path::PathBuf;

use wire::http::{MediaType, Status};

/// A web site: a directory, the host names it answers to, and how it is served.
#[derive(Debug, Clone, Default)]
pub struct SiteConfig {
    /// The directory that is served.
    pub root: PathBuf,
    /// The host names of the site in lower case, without port. The first site of a server answers to all others too.
    pub hosts: Vec<String>,
    /// Whether a directory without `index.html` is shown as a list of what is in it.
    pub listing: bool,
    /// Whether names that start with a dot are served.
    pub hidden_files: bool,
    /// Whether `/a` is answered with `a.html` when there is no `a`.
    pub clean_urls: bool,
    /// Whether a path that names nothing is answered with the site's `index.html` (a single-page application).
    pub spa: bool,
    /// Whether files are compressed when no compressed neighbour lies beside them.
    pub compression: bool,
    /// Header fields to add to answers, in order. Of those with the same name the last whose paths fit is sent, and one
    /// named `Cache-Control` replaces the default `no-cache`.
    pub fields: Vec<FieldRule>,
    /// Media types of files, before the built-in table. Of the rules that fit a file the last decides.
    pub media_types: Vec<MediaTypeRule>,
    /// Which other origins may read the site (the CORS protocol of the Fetch standard).
    pub cors: Option<Cors>,
    /// Addresses that have moved; the first that fits decides.
    pub redirects: Vec<RedirectRule>,
    /// Who may see the site; everybody if there is none.
    pub users_file: Option<PathBuf>,
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

/// A rule for a field that the server computes itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sends the field {0} itself")]
pub struct ReservedField(String);

/// A header field for the responses whose path matches.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FieldRule {
    /// Which paths below the root, decoded and without the slash at the start (`assets/app.css`); all if there is none.
    pub paths: Option<globset::GlobMatcher>,
    /// The field's name, a token.
    pub name: String,
    /// The field's value: visible ASCII, spaces and tabs.
    pub value: String,
}

impl FieldRule {
    /// A rule for a field that the server does not compute itself.
    ///
    /// # Errors
    /// [`ReservedField`]
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

/// The media type of the files whose path fits.
#[derive(Debug, Clone)]
pub struct MediaTypeRule {
    /// Which paths below the root, as in [`FieldRule::paths`].
    pub paths: globset::GlobMatcher,
    /// The value of `Content-Type`.
    pub media_type: MediaType,
}

/// Whom the CORS protocol lets read the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// Everybody.
    Any,
    /// These origins (`scheme://host[:port]`), as browsers send them.
    Origins(Vec<String>),
}

/// Where something has moved to.
#[derive(Debug, Clone)]
pub struct RedirectRule {
    /// The path as it is asked for, with its slash at the start; with a `*` at its end everything that starts so.
    pub from: String,
    /// A path or an absolute address; a `*` at its end is replaced by what the one in `from` stood for, without slashes
    /// at its start: `//host` would be another host.
    pub to: String,
    /// 301, 302, 307 or 308.
    pub status: Status,
}
