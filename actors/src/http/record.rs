//! The lines of the access log.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::config::AccessLogFormat;

/// The time in the forms that responses and log lines need, computed once a second.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    second: u64,
    /// The line of the `Date` field (RFC 9110, section 6.6.1).
    pub(super) date_line: String,
    /// `2000-10-10T13:55:36Z` (RFC 3339).
    rfc3339: String,
    /// `10/Oct/2000:13:55:36 +0000`, as in the combined log format.
    combined: String,
}

impl Clock {
    pub(super) fn new(now: SystemTime) -> Self {
        let (date_line, rfc3339, combined) = Default::default();
        let mut clock = Self { second: u64::MAX, date_line, rfc3339, combined };
        clock.set(now);
        clock
    }

    pub(super) fn set(&mut self, now: SystemTime) {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second == self.second {
            return;
        }
        self.second = second;
        // `Tue, 10 Oct 2000 13:55:36 GMT`; every part has a fixed length.
        let date = httpdate::fmt_http_date(now);
        self.combined = format!("{}/{}/{}:{} +0000", &date[5..7], &date[8..11], &date[12..16], &date[17..25]);
        self.date_line = format!("Date: {date}\r\n");
        self.rfc3339 = humantime::format_rfc3339_seconds(now).to_string();
    }
}

/// One request and its response. What the client sent is not escaped.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Record<'a> {
    /// `None` for a Unix socket. In canonical form.
    pub(super) address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: Cow<'a, str>,
    pub(super) version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'a str>,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub(super) referer: Option<&'a [u8]>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub(super) user_agent: Option<&'a [u8]>,
}

#[allow(clippy::ref_option)] // The signature that serde asks for.
fn as_text<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.map(String::from_utf8_lossy).serialize(serializer)
}

impl Record<'_> {
    /// Appends a line without the number of bytes sent, which is known only at the end of the response. Returns the index at
    /// which [`append_bytes`] belongs. Whatever the client sent, it is one line.
    pub(super) fn append_to(&self, lines: &mut Vec<u8>, format: AccessLogFormat, clock: &Clock) -> usize {
        let bytes_at = match format {
            AccessLogFormat::Combined => self.append_combined(lines, clock),
            AccessLogFormat::Json => self.append_json(lines, clock),
        };
        lines.push(b'\n');
        bytes_at
    }

    fn append_combined(&self, lines: &mut Vec<u8>, clock: &Clock) -> usize {
        match self.address {
            // Writing into a Vec cannot fail, here and below.
            Some(address) => drop(write!(lines, "{address}")),
            None => lines.push(b'-'),
        }
        lines.extend_from_slice(b" - ");
        // A space in a name would shift the fields after it.
        push_escaped(lines, self.user.map(str::as_bytes), |byte| byte == b' ');
        let _ = write!(lines, " [{}] \"{} ", clock.combined, self.method);
        push_escaped(lines, Some(self.target.as_bytes()), |_| false);
        let _ = write!(lines, " {}\" {} ", self.version, self.status);
        let bytes_at = lines.len();
        lines.extend_from_slice(b" \"");
        push_escaped(lines, self.referer, |_| false);
        lines.extend_from_slice(b"\" \"");
        push_escaped(lines, self.user_agent, |_| false);
        lines.push(b'"');
        bytes_at
    }

    fn append_json(&self, lines: &mut Vec<u8>, clock: &Clock) -> usize {
        #[derive(Serialize)]
        struct Line<'a> {
            time: &'a str,
            #[serde(flatten)]
            record: &'a Record<'a>,
        }
        // Strings and numbers can always be serialized.
        let _ = serde_json::to_writer(&mut *lines, &Line { time: &clock.rfc3339, record: self });
        // In front of the closing brace.
        lines.len() - 1
    }
}

/// Appends how many bytes of the body were sent, and in JSON whether the response was cut off.
pub(super) fn append_bytes(lines: &mut Vec<u8>, format: AccessLogFormat, bytes: u64, is_cut: bool) {
    // Writing into a Vec cannot fail.
    let _ = match format {
        AccessLogFormat::Combined => write!(lines, "{bytes}"),
        AccessLogFormat::Json if is_cut => write!(lines, ",\"bytes\":{bytes},\"cut\":true"),
        AccessLogFormat::Json => write!(lines, ",\"bytes\":{bytes}"),
    };
}

/// Appends text with quotation marks, backslashes and all but printable ASCII as `\xHH`; a hyphen for no text.
fn push_escaped(lines: &mut Vec<u8>, text: Option<&[u8]>, also: impl Fn(u8) -> bool) {
    for &byte in text.filter(|text| !text.is_empty()).unwrap_or(b"-") {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') && !also(byte) {
            lines.push(byte);
        } else {
            let _ = write!(lines, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn clock() -> Clock {
        // Tue, 10 Oct 2000 13:55:36 GMT.
        Clock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136))
    }

    fn record() -> Record<'static> {
        Record {
            address: Some([192, 0, 2, 7].into()),
            user: Some("frank"),
            method: "GET",
            target: "/a.gif?x=1".into(),
            version: "HTTP/1.1",
            host: Some("example.org"),
            status: 200,
            referer: Some(b"http://example.org/\"start\""),
            user_agent: None,
        }
    }

    fn line(record: &Record<'_>, format: AccessLogFormat) -> String {
        let mut line = Vec::new();
        let bytes_at = record.append_to(&mut line, format, &clock());
        let rest = line.split_off(bytes_at);
        append_bytes(&mut line, format, 2326, false);
        line.extend_from_slice(&rest);
        String::from_utf8(line).expect("a line is text")
    }

    #[test]
    fn the_combined_format_is_that_of_other_servers() {
        assert_eq!(
            line(&record(), AccessLogFormat::Combined),
            "192.0.2.7 - frank [10/Oct/2000:13:55:36 +0000] \"GET /a.gif?x=1 HTTP/1.1\" 200 2326 \
             \"http://example.org/\\x22start\\x22\" \"-\"\n"
        );
        let forged = Record { user_agent: Some(b"a\\\" \x1b\xff\\x22"), ..record() };
        assert!(line(&forged, AccessLogFormat::Combined).ends_with(" \"a\\x5C\\x22 \\x1B\\xFF\\x5Cx22\"\n"));
        let unix = Record { address: None, user: Some("a b"), ..record() };
        assert!(line(&unix, AccessLogFormat::Combined).starts_with("- - a\\x20b [10"));
    }

    #[test]
    fn json_says_the_same() {
        let value = |record: &Record<'_>| -> serde_json::Value {
            serde_json::from_str(&line(record, AccessLogFormat::Json)).expect("it is JSON")
        };
        let expected = serde_json::json!({
            "time": "2000-10-10T13:55:36Z",
            "address": "192.0.2.7",
            "user": "frank",
            "method": "GET",
            "target": "/a.gif?x=1",
            "version": "HTTP/1.1",
            "host": "example.org",
            "status": 200,
            "referer": "http://example.org/\"start\"",
            "bytes": 2326,
        });
        assert_eq!(value(&record()), expected);
        let no_text = Record { user_agent: Some(b"a\xff"), ..record() };
        assert_eq!(value(&no_text)["user_agent"], "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_one_line(target: String, agent: Vec<u8>, user: String) {
            let record = Record { target: target.into(), user_agent: Some(&agent), user: Some(&user), ..record() };
            let combined = line(&record, AccessLogFormat::Combined);
            prop_assert_eq!(combined.matches('\n').count(), 1);
            prop_assert_eq!(combined.matches('"').count(), 6);
            let json = line(&record, AccessLogFormat::Json);
            prop_assert_eq!(json.matches('\n').count(), 1);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        }
    }
}
