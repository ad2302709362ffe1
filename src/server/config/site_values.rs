//! The grammar of values for a web site, as one text or in parts. Errors are texts for whoever has written the value.

use std::net::Ipv6Addr;

use actors::site::{FieldRule, MediaTypeRule, RedirectRule};
use globset::{GlobBuilder, GlobMatcher};
use wire::http::{MediaType, Status, is_token};

/// Fields that have an option of their own.
const FIELDS_OF_OPTIONS: [(&str, &str); 5] = [
    ("Cache-Control", "cache-control"),
    ("Access-Control-Allow-Origin", "cors"),
    ("Access-Control-Allow-Methods", "cors"),
    ("Access-Control-Allow-Headers", "cors"),
    ("Access-Control-Max-Age", "cors"),
];
/// RFC 1035, section 2.3.4, as text.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A pattern of paths: `*.css` matches at every depth, `/assets/*.js` directly in there, `/assets/**` everything below.
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

/// `NAME: VALUE` or `PATTERN NAME: VALUE`.
pub(super) fn header(text: &str) -> Result<FieldRule, String> {
    let Some((before, value)) = text.split_once(':') else {
        return Err(format!("{text:?} is not a field such as 'X-Robots-Tag: noindex'"));
    };
    let before = before.trim_start();
    match before.rsplit_once(char::is_whitespace) {
        Some((paths, name)) => header_from(Some(pattern(paths.trim())?), name, value),
        None => header_from(None, before, value),
    }
}

/// [`header`] in parts.
pub(super) fn header_from(paths: Option<GlobMatcher>, name: &str, value: &str) -> Result<FieldRule, String> {
    if !is_token(name.as_bytes()) {
        return Err(format!("{name:?} is not the name of a header field"));
    }
    if let Some((_, option)) = FIELDS_OF_OPTIONS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
        return Err(format!("the field {name} has an option of its own: {option}"));
    }
    FieldRule::new(paths, name, field_value(name, value)?).map_err(|error| error.to_string())
}

/// `VALUE` or `PATTERN=VALUE`. The text before the first `=` is a pattern only if it has a character that no directive has:
/// `max-age=60` has no pattern.
pub(super) fn cache_control(text: &str) -> Result<FieldRule, String> {
    match text.split_once('=') {
        Some((paths, value)) if paths.contains(['*', '?', '[', '{', '/', '.']) => {
            cache_control_from(Some(pattern(paths.trim())?), value)
        }
        _ => cache_control_from(None, text),
    }
}

/// [`cache_control`] in parts.
pub(super) fn cache_control_from(paths: Option<GlobMatcher>, value: &str) -> Result<FieldRule, String> {
    let name = "Cache-Control";
    FieldRule::new(paths, name, field_value(name, value)?).map_err(|error| error.to_string())
}

/// `PATTERN=TYPE`. A pattern cannot have an `=` here, a media type can.
pub(super) fn media_type(text: &str) -> Result<MediaTypeRule, String> {
    let (paths, media_type) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not a rule such as '*.go=text/plain'"))?;
    let parsed: Result<MediaType, _> = media_type.trim().parse();
    let media_type = parsed.map_err(|e| format!("{media_type:?} is not a media type: {e}"))?;
    Ok(MediaTypeRule { paths: pattern(paths.trim())?, media_type })
}

/// A field value (RFC 9110, section 5.5) without obs-text.
fn field_value(name: &str, text: &str) -> Result<String, String> {
    let value = text.trim_matches([' ', '\t']);
    if value.is_empty() {
        return Err(format!("the field {name} has no value"));
    }
    if !value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
        return Err(format!(
            "the value {value:?} of the field {name} is not all visible ASCII, spaces and tabs"
        ));
    }
    Ok(value.to_owned())
}

/// `*`, or an origin as browsers send it: `scheme://host` or `scheme://host:port`, without a slash at the end.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("{text:?} is not an origin: {why}");
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, authority) =
        text.split_once("://").ok_or_else(|| bad("it is like https://example.org, or *"))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(bad("its scheme is not one in lower case"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(bad("nothing comes after the host and its port, not even a slash"));
    }
    let (name, port) = split_port(authority);
    host(name).map_err(|e| bad(&e.to_string()))?;
    match port {
        Some("80") if scheme == "http" => Err(bad("browsers leave out :80")),
        Some("443") if scheme == "https" => Err(bad("browsers leave out :443")),
        Some(port) if !is_port(port) => Err(bad("its port is not a number up to 65535")),
        _ => Ok(text.to_owned()),
    }
}

/// A host name in lower case, or an address (IPv6 in brackets), without port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("{text:?} is not a host name: {why}");
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inside.parse::<Ipv6Addr>() {
            // In the canonical form, which browsers send.
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(bad("what is in brackets is not an IPv6 address")),
        };
    }
    if text.contains(':') {
        return Err(bad("leave out the port, and put an IPv6 address in brackets"));
    }
    if !text.is_ascii() {
        return Err(bad("write it in ASCII (xn--...)"));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(bad(&format!("write it in lower case, {}", text.to_ascii_lowercase())));
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > HOST_BYTES_MAX || !text.split('.').all(is_label) {
        return Err(bad("it is letters, digits and hyphens between dots"));
    }
    Ok(text.to_owned())
}

/// `FROM TO [STATUS]`.
pub(super) fn redirect(text: &str) -> Result<RedirectRule, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts[..] {
        [from, to] => redirect_from(from, to, None),
        [from, to, status] => redirect_from(from, to, Some(redirect_status(status)?)),
        _ => Err(format!("{text:?} is not a redirect such as '/old /new 301'")),
    }
}

pub(super) fn redirect_status(text: &str) -> Result<Status, String> {
    match text {
        "301" => Ok(Status::MovedPermanently),
        "302" => Ok(Status::Found),
        "307" => Ok(Status::TemporaryRedirect),
        "308" => Ok(Status::PermanentRedirect),
        _ => Err(format!("{text} is not the status of a redirect: 301, 302, 307 or 308")),
    }
}

/// [`redirect`] in parts; permanent unless there is a status.
pub(super) fn redirect_from(from: &str, to: &str, status: Option<Status>) -> Result<RedirectRule, String> {
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
    if let Some(authority) = to.strip_prefix("http://").or_else(|| to.strip_prefix("https://")) {
        let end = authority.find(['/', '?', '#']);
        let (name, port) = split_port(&authority[..end.unwrap_or(authority.len())]);
        let name = name.trim_end_matches('*');
        if host(&name.to_ascii_lowercase()).is_err()
            || port.is_some_and(|p| !is_port(p.trim_end_matches('*')))
        {
            return bad("leads to an address without a proper host");
        }
        if to_star && end.is_none() {
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
    let status = status.unwrap_or(Status::MovedPermanently);
    Ok(RedirectRule { from: from.to_owned(), to: to.to_owned(), status })
}

fn split_star(text: &str) -> (&str, bool) {
    text.strip_suffix('*').map_or((text, false), |start| (start, true))
}

/// Host and port of an authority; the port follows the last colon outside of brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
