//! The version of a file that a response carries.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::http::ResponseHead;

/// `Last-Modified` is a strong validator only if `Date` is this much later: a file can change twice within a second, and the
/// two times may come from different clocks (RFC 9110, section 8.8.2.2).
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// A strong validator as the server has sent it: a strong entity tag or the time of the last change (RFC 9110, section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Version(String);

impl Version {
    /// None if the response has no validator or only a weak one.
    pub(super) fn of(head: &ResponseHead) -> Option<Self> {
        if let Some(tag) = single(head, "etag") {
            // If there is an entity tag, even a weak one, the time must not be used (RFC 9110, section 13.1.5).
            return is_strong_tag(tag).then(|| Self(tag.to_owned()));
        }
        let (modified, date) = (single(head, "last-modified")?, single(head, "date")?);
        let modified_at = httpdate::parse_http_date(modified).ok()?;
        let age = httpdate::parse_http_date(date).ok()?.duration_since(modified_at).ok()?;
        (age >= CLOCK_TOLERANCE).then(|| Self(modified.to_owned()))
    }

    /// The value for `If-Range`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the response carries another validator.
    pub(super) fn is_contradicted_by(&self, head: &ResponseHead) -> bool {
        let name = if is_strong_tag(&self.0) { "etag" } else { "last-modified" };
        head.values(name).any(|value| value != self.0.as_bytes())
    }
}

impl TryFrom<String> for Version {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_version = is_strong_tag(&text) || httpdate::parse_http_date(&text).is_ok();
        // The date parser accepts surrounding text, and a control character could end the line of the field.
        let is_line = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if is_version && is_line { Ok(Self(text)) } else { Err("neither a strong entity tag nor a time") }
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// The value of a field that occurs once and is ASCII.
fn single<'h>(head: &'h ResponseHead, name: &str) -> Option<&'h str> {
    let mut values = head.values(name);
    match (values.next(), values.next()) {
        (Some(value), None) if value.is_ascii() => std::str::from_utf8(value).ok(),
        _ => None,
    }
}

fn is_strong_tag(text: &str) -> bool {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inside.is_some_and(|inside| inside.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> ResponseHead {
        let head = format!("HTTP/1.1 200 x\r\n{}\r\n\r\n", lines.join("\r\n"));
        wire::http::parse_response(head.as_bytes()).expect("this is a head").expect("it is whole")
    }

    const MODIFIED: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Date: Sun, 06 Nov 1994 08:50:37 GMT";

    #[test]
    fn knows_what_stands_for_one_version_only() {
        let of = |lines: &[&str]| Version::of(&head(lines)).map(String::from);
        assert_eq!(of(&["ETag: \"a\"", MODIFIED, LATER]), Some("\"a\"".to_owned()));
        assert_eq!(of(&[MODIFIED, LATER]), Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
        for lines in [
            &["X: y"][..],
            &["ETag: W/\"a\"", MODIFIED, LATER],
            &["ETag: a", MODIFIED, LATER],
            &["ETag: \"a\"", "ETag: \"b\""],
            &["ETag: \"a\"b\""],
            &[MODIFIED],
            &[MODIFIED, "Date: Sun, 06 Nov 1994 08:50:36 GMT"],
            &["Last-Modified: yesterday", LATER],
        ] {
            assert_eq!(of(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn sees_another_version() {
        let tag = Version("\"a\"".to_owned());
        let time = Version("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
        assert!(!tag.is_contradicted_by(&head(&["ETag: \"a\""])));
        assert!(!tag.is_contradicted_by(&head(&["X: y"])));
        assert!(tag.is_contradicted_by(&head(&["ETag: \"b\""])));
        assert!(tag.is_contradicted_by(&head(&["ETag: W/\"a\""])));
        assert!(!time.is_contradicted_by(&head(&[MODIFIED, "ETag: \"b\""])));
        assert!(time.is_contradicted_by(&head(&["Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT"])));
    }

    #[test]
    fn what_was_kept_on_disk_is_checked_like_what_a_server_says() {
        for text in ["", "a", "W/\"a\"", "\"a\r\nX: y\"", "\"a b\"", "Sun, 06 Nov 1994 08:49:37 GMT\r\nX: y"]
        {
            assert!(Version::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
