//! What a site says of its files in header fields, beside what the files themselves say.

use std::borrow::Cow;
use std::sync::Arc;

use wire::http::{Status, content_type};

use crate::site::SiteConfig;

/// Clients may keep a copy but ask each time whether it is still good, which costs us one 304.
const CACHING: &str = "Cache-Control: no-cache\r\n";

/// Browsers take a file for what it is said to be, and never for a script because it looks like one.
const SNIFFING: &str = "X-Content-Type-Options: nosniff\r\n";

/// After a 503 clients come back after a moment (RFC 9110, section 10.2.3).
const RETRYING: &str = "Retry-After: 1\r\n";

/// What frames an answer or is made for each file anew: a rule of the site that sets it would make answers unreadable.
const OURS: [&str; 9] = [
    "Accept-Ranges",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Date",
    "ETag",
    "Last-Modified",
    "Transfer-Encoding",
];

/// The fields of one resource that do not depend on its coding; each line with its CRLF.
#[derive(Debug)]
pub(super) struct Said<'s> {
    pub(super) content_type: Cow<'s, str>,
    /// What caches need, also in a 304: `Cache-Control`, `Expires`.
    pub(super) caching: String,
    /// What holds for errors too: `X-Content-Type-Options`, `Vary`, and what the site adds.
    pub(super) policy: String,
}

/// The rules of a site.
#[derive(Debug)]
pub(super) struct FieldRules(Arc<SiteConfig>);

impl FieldRules {
    pub(super) fn new(site: Arc<SiteConfig>) -> Self {
        for rule in &site.fields {
            if OURS.iter().any(|name| name.eq_ignore_ascii_case(&rule.name)) {
                tracing::warn!(target: "file_server", name = rule.name, "the server sets this field itself; the rule is ignored");
            }
        }
        Self(site)
    }

    /// What is said of the file at `path` below the root. A field that can only have one meaning is said by the last
    /// rule that fits; others are all said. How long a page is good is not said of a page that stands for an error.
    pub(super) fn said(&self, path: &str, status: Status) -> Said<'_> {
        let mut content_type = content_type(path);
        let mut caching = Cow::Borrowed(CACHING);
        let mut expires = None;
        let mut sniffing = Cow::Borrowed(SNIFFING);
        let mut others = String::new();
        let fitting = |rule: &&crate::site::FieldRule| {
            rule.paths.as_ref().is_none_or(|paths| paths.is_match(path))
                && !OURS.iter().any(|name| name.eq_ignore_ascii_case(&rule.name))
        };
        for rule in self.0.fields.iter().filter(fitting) {
            let line = || format!("{}: {}\r\n", rule.name, rule.value);
            match rule.name.to_ascii_lowercase().as_str() {
                "cache-control" if status == Status::Ok => caching = line().into(),
                "expires" if status == Status::Ok => expires = Some(line()),
                "cache-control" | "expires" => {}
                "content-type" if status == Status::Ok => content_type = rule.value.as_str().into(),
                "content-type" => {}
                "x-content-type-options" => sniffing = line().into(),
                _ => others.push_str(&line()),
            }
        }
        let mut caching = caching.into_owned();
        caching.push_str(&expires.unwrap_or_default());
        let is_said = |name: &str| {
            self.0.fields.iter().filter(fitting).any(|rule| rule.name.eq_ignore_ascii_case(name))
        };
        if status == Status::ServiceUnavailable && !is_said("Retry-After") {
            others.push_str(RETRYING);
        }
        Said { content_type, caching, policy: sniffing.into_owned() + &others }
    }
}

impl Said<'_> {
    /// Adds that answers differ by a field of the request (RFC 9110, section 12.5.5).
    pub(super) fn varies_by(&mut self, name: &str) {
        self.policy.push_str("Vary: ");
        self.policy.push_str(name);
        self.policy.push_str("\r\n");
    }
}
