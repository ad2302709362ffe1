//! The grammar of values for a web site.

use std::net::Ipv6Addr;

use actors::site::{FieldRule, MediaTypeRule, NotAPagePrefix, PagePrefix, RedirectRule};
use fluent_uri::Uri;
use fluent_uri::component::Authority;
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess};
use wire::http::{MediaType, Status, is_token};

use super::values::{Grammar, Setting};

/// Fields that have an option of their own.
const FIELDS_OF_OPTIONS: [(&str, &str); 5] = [
    ("Cache-Control", "cache-control"),
    ("Access-Control-Allow-Origin", "cors"),
    ("Access-Control-Allow-Methods", "cors"),
    ("Access-Control-Allow-Headers", "cors"),
    ("Access-Control-Max-Age", "cors"),
];
/// Longest label of a host name (RFC 1035, section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A rule of `--header`: `NAME: VALUE` or `PATTERN NAME: VALUE`.
#[derive(Debug, Clone)]
pub(super) struct Header(pub(super) FieldRule);

/// A rule of `--cache-control`: `VALUE` or `PATTERN=VALUE`.
#[derive(Debug, Clone)]
pub(super) struct CacheControl(pub(super) FieldRule);

/// `*`, or an origin as browsers send it: `scheme://host` or `scheme://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(pub(super) String);

/// A host name in lower case, or an address (IPv6 in brackets), without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(pub(super) String);

/// A pattern of paths: `*.css` matches at every depth, `/assets/*.js` directly in there, `/assets/**` everything below.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(GlobMatcher);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        pattern(&text).map(Self)
    }
}

pub(super) fn pattern(text: &str) -> Result<GlobMatcher, String> {
    let bad = |why: &str| format!("{text:?} is not a pattern of paths: {why}");
    if text.is_empty() {
        return Err(bad("it is empty"));
    }
    let anchored = match text.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if text.contains('/') => text.to_owned(),
        None => format!("**/{text}"),
    };
    let glob = GlobBuilder::new(&anchored).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|e| bad(&e.kind().to_string()))
}

/// `paths` and what follows, as one text.
fn with_pattern(paths: Option<&GlobMatcher>, separator: char, rest: &str) -> String {
    paths.map_or_else(|| rest.to_owned(), |paths| format!("{}{separator}{rest}", paths.glob()))
}

impl Grammar for Header {
    const EXPECTED: &str = "a field such as 'X-Robots-Tag: noindex', or a table";

    fn parse(text: &str) -> Result<Self, String> {
        let Some((before, value)) = text.split_once(':') else {
            return Err(format!("{text:?} is not {}", Self::EXPECTED));
        };
        let before = before.trim_start();
        match before.rsplit_once(char::is_whitespace) {
            Some((paths, name)) => Self::new(Some(pattern(paths.trim())?), name, value),
            None => Self::new(None, before, value),
        }
    }

    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Setting<Self>, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            paths: Option<Pattern>,
            name: String,
            value: String,
        }
        let Table { paths, name, value } = Table::deserialize(MapAccessDeserializer::new(table))?;
        let paths = paths.map(|pattern| pattern.0);
        let text = with_pattern(paths.as_ref(), ' ', &format!("{name}: {value}"));
        Self::new(paths, &name, &value).map(|value| Setting { text, value }).map_err(A::Error::custom)
    }
}

impl Header {
    pub(super) fn new(paths: Option<GlobMatcher>, name: &str, value: &str) -> Result<Self, String> {
        if !is_token(name.as_bytes()) {
            return Err(format!("{name:?} is not the name of a header field"));
        }
        if let Some((_, option)) = FIELDS_OF_OPTIONS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            return Err(format!("the field {name} has an option of its own: {option}"));
        }
        field_rule(paths, name, value).map(Self)
    }
}

impl Grammar for CacheControl {
    const EXPECTED: &str = "a value such as 'max-age=60', or a table";

    /// The text before the first `=` is a pattern only if it has a character that no directive has: `max-age=60` has no
    /// pattern.
    fn parse(text: &str) -> Result<Self, String> {
        let (paths, value) = match text.split_once('=') {
            Some((paths, value)) if paths.contains(['*', '?', '[', '{', '/', '.']) => {
                (Some(pattern(paths.trim())?), value)
            }
            _ => (None, text),
        };
        field_rule(paths, "Cache-Control", value).map(Self)
    }

    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Setting<Self>, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            paths: Option<Pattern>,
            value: String,
        }
        let Table { paths, value } = Table::deserialize(MapAccessDeserializer::new(table))?;
        let paths = paths.map(|pattern| pattern.0);
        let text = with_pattern(paths.as_ref(), '=', &value);
        let rule = field_rule(paths, "Cache-Control", &value).map_err(A::Error::custom)?;
        Ok(Setting { text, value: Self(rule) })
    }
}

/// Checks a field value (RFC 9110, section 5.5), which must be without obs-text.
fn field_rule(paths: Option<GlobMatcher>, name: &str, text: &str) -> Result<FieldRule, String> {
    let value = text.trim_matches([' ', '\t']);
    if value.is_empty() {
        return Err(format!("the field {name} has no value"));
    }
    if !value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
        return Err(format!(
            "the value {value:?} of the field {name} is not all visible ASCII, spaces and tabs"
        ));
    }
    FieldRule::new(paths, name, value.to_owned()).map_err(|error| error.to_string())
}

impl Grammar for MediaTypeRule {
    const EXPECTED: &str = "a rule such as '*.go=text/plain'";

    /// A pattern cannot have an `=` here, a media type can.
    fn parse(text: &str) -> Result<Self, String> {
        let (paths, media_type) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not {}", Self::EXPECTED))?;
        let parsed: Result<MediaType, _> = media_type.trim().parse();
        let media_type = parsed.map_err(|e| format!("{media_type:?} is not a media type: {e}"))?;
        Ok(Self { paths: pattern(paths.trim())?, media_type })
    }
}

impl Grammar for PagePrefix {
    const EXPECTED: &str = "a path such as /switchboard/";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NotAPagePrefix| error.to_string())
    }
}

impl Grammar for Origin {
    const EXPECTED: &str = "an origin such as https://example.org, or *";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let bad = || format!("{text:?} is not {}", Self::EXPECTED);
        let uri = Uri::parse(text).map_err(|_| bad())?;
        let scheme = uri.scheme().as_str().to_ascii_lowercase();
        let (host, port) = host_and_port(uri.authority().ok_or_else(bad)?)?;
        let port = match (port, &*scheme) {
            (None, _) | (Some(80), "http") | (Some(443), "https") => String::new(),
            (Some(port), _) => format!(":{port}"),
        };
        let sent = format!("{scheme}://{}{port}", host.0);
        if text != sent {
            return Err(format!("{text:?} is not an origin; browsers send {sent:?}"));
        }
        Ok(Self(sent))
    }
}

impl Grammar for Host {
    const EXPECTED: &str = "a host name";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            && let Ok(address) = inside.parse::<Ipv6Addr>()
        {
            // In the canonical form, which browsers send.
            return Ok(Self(format!("[{address}]")));
        }
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !text.split('.').all(is_label) {
            return Err(format!(
                "{text:?} is not a host name: letters, digits and hyphens between dots, without port; xn--... for other \
                 letters; an IPv6 address in brackets"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn host_and_port(authority: Authority<'_>) -> Result<(Host, Option<u16>), String> {
    if authority.has_userinfo() {
        return Err("a user name has no effect here; leave it out".to_owned());
    }
    let port = authority.port_to_u16().map_err(|_| "the port is not a number up to 65535".to_owned())?;
    Ok((Host::parse(authority.host())?, port))
}

impl Grammar for RedirectRule {
    const EXPECTED: &str = "a redirect such as '/old /new 301', or a table";

    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        match parts[..] {
            [from, to] => redirect(from, to, Status::MovedPermanently),
            [from, to, status] => redirect(from, to, redirect_status(status)?),
            _ => Err(format!("{text:?} is not {}", Self::EXPECTED)),
        }
    }

    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Setting<Self>, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            from: String,
            to: String,
            status: Option<RedirectStatus>,
        }
        let Table { from, to, status } = Table::deserialize(MapAccessDeserializer::new(table))?;
        let status = status.map_or(Status::MovedPermanently, |status| status.0);
        let value = redirect(&from, &to, status).map_err(A::Error::custom)?;
        Ok(Setting { text: format!("{from} {to} {}", status.code()), value })
    }
}

#[derive(Deserialize)]
#[serde(try_from = "u16")]
struct RedirectStatus(Status);

impl TryFrom<u16> for RedirectStatus {
    type Error = String;

    fn try_from(code: u16) -> Result<Self, String> {
        redirect_status(&code.to_string()).map(Self)
    }
}

fn redirect_status(text: &str) -> Result<Status, String> {
    match text {
        "301" => Ok(Status::MovedPermanently),
        "302" => Ok(Status::Found),
        "307" => Ok(Status::TemporaryRedirect),
        "308" => Ok(Status::PermanentRedirect),
        _ => Err(format!("{text} is not the status of a redirect: 301, 302, 307 or 308")),
    }
}

fn redirect(from: &str, to: &str, status: Status) -> Result<RedirectRule, String> {
    let bad = |why: &str| Err(format!("the redirect from {from:?} to {to:?} {why}"));
    let (from_start, from_star) = split_star(from);
    let (to_start, to_star) = split_star(to);
    if !from.starts_with('/') {
        return bad("does not start from a path with a slash at its start");
    }
    if !from.bytes().chain(to.bytes()).all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        // Browsers treat a backslash as a slash, so `/\host` would lead to another host.
        return bad("has characters that are not in an address; write them with %");
    }
    if from.contains(['?', '#']) {
        return bad("starts from more than a path");
    }
    if from_start.contains('*') || to_start.contains('*') {
        return bad("has a * that is not at an end");
    }
    if to_star && !from_star {
        return bad("has a * at its target that stands for nothing");
    }
    if let Some((scheme @ ("http" | "https"), rest)) = to_start.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let origin = Uri::parse(&to_start[..scheme.len() + "://".len() + authority.len()]);
        if !origin.is_ok_and(|origin| origin.authority().is_some_and(|a| host_and_port(a).is_ok())) {
            return bad("leads to an address without a proper host");
        }
        if to_star && rest == authority {
            // The rest of the path could otherwise extend the name of the host.
            return bad("needs a slash between the host and the *");
        }
    } else if !to.starts_with('/') || to.starts_with("//") {
        return bad("leads neither to a path with one slash at its start nor to http:// or https://");
    } else {
        let target = to_start.split(['?', '#']).next().unwrap_or_default();
        if target == from_start && !from_star || from_star && target.starts_with(from_start) {
            return bad("leads to itself");
        }
    }
    Ok(RedirectRule { from: from.to_owned(), to: to.to_owned(), status })
}

fn split_star(text: &str) -> (&str, bool) {
    text.strip_suffix('*').map_or((text, false), |start| (start, true))
}
