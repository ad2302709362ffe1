//! Deciding whether a body is text that can be shown on a terminal.

use wire::http::ResponseHead;

/// What the head of a response says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text if it is valid UTF-8.
    Utf8,
    /// Text in another or an unknown charset; invalid bytes are replaced.
    AnyText,
    /// Images, audio, compressed data and the like.
    Binary,
}

impl Kind {
    /// Decides by `Content-Type` and `Content-Encoding`. `application/octet-stream` or no type means unknown, so the bytes
    /// decide.
    pub(super) fn of(head: &ResponseHead) -> Self {
        let value = head.values("content-type").next().unwrap_or_default();
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        let (media_type, parameters) = value.split_once(';').unwrap_or((&value, ""));
        let (top_level, subtype) = media_type.trim().split_once('/').unwrap_or_default();
        let is_xml = subtype.ends_with("+xml");
        if !codings(head).is_empty() || matches!(top_level, "image" | "audio" | "video" | "font") && !is_xml {
            return Self::Binary;
        }
        // A range may start or end in the middle of a character.
        let is_part = head.status == 206;
        let is_other_charset =
            parameters.split(';').filter_map(|p| p.trim().strip_prefix("charset=")).any(|c| {
                let charset = c.trim_matches('"');
                !matches!(charset, "utf-8" | "us-ascii")
            });
        if is_part || top_level == "text" && is_other_charset { Self::AnyText } else { Self::Utf8 }
    }

    /// Whether `bytes` can be shown. If they are UTF-8, they must end with a complete character.
    pub(super) fn is_text(self, bytes: &[u8]) -> bool {
        match self {
            Self::Binary => false,
            _ if bytes.contains(&0) => false,
            Self::AnyText => true,
            Self::Utf8 => std::str::from_utf8(bytes).is_ok(),
        }
    }
}

/// The content codings of the body in the order of application; empty for none.
pub(super) fn codings(head: &ResponseHead) -> String {
    let values =
        head.values("content-encoding").map(|value| String::from_utf8_lossy(value).to_ascii_lowercase());
    let values: Vec<String> = values.filter(|coding| !coding.is_empty() && coding != "identity").collect();
    values.join(", ")
}

/// Media type and length of the body, for messages.
pub(super) fn describe(head: &ResponseHead, announced_bytes: Option<u64>) -> String {
    let media_type = head.values("content-type").next().map(String::from_utf8_lossy);
    let media_type = media_type.unwrap_or("of no declared type".into());
    match announced_bytes {
        Some(bytes) => format!("{media_type}, {bytes} bytes"),
        None => format!("{media_type}, of unknown length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, lines: &str) -> Kind {
        let head = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let head = wire::http::parse_response(head.as_bytes()).expect("this is a head");
        Kind::of(&head.expect("it is whole"))
    }

    #[test]
    fn believes_the_server_where_it_can_know() {
        for (content_type, expected) in [
            ("image/png", Kind::Binary),
            ("Video/MP4; codecs=x", Kind::Binary),
            ("image/svg+xml", Kind::Utf8),
            ("text/html", Kind::Utf8),
            ("text/html; Charset=\"UTF-8\"", Kind::Utf8),
            ("text/html; charset=iso-8859-1", Kind::AnyText),
            ("application/octet-stream", Kind::Utf8),
            ("nonsense", Kind::Utf8),
        ] {
            assert_eq!(kind(200, &format!("Content-Type: {content_type}\r\n")), expected, "{content_type}");
        }
        assert_eq!(kind(200, ""), Kind::Utf8);
        assert_eq!(kind(206, "Content-Type: text/plain\r\n"), Kind::AnyText);
        assert_eq!(kind(206, "Content-Type: image/png\r\n"), Kind::Binary);
        assert_eq!(kind(200, "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n"), Kind::Binary);
    }

    #[test]
    fn looks_at_the_bytes_where_it_cannot() {
        for (bytes, utf8, any_text) in [
            (&b"gr\xc3\xbcn\n"[..], true, true),
            (b"gr\xfcn", false, true),
            (b"a\0b", false, false),
            (b"", true, true),
        ] {
            assert_eq!(
                (Kind::Utf8.is_text(bytes), Kind::AnyText.is_text(bytes)),
                (utf8, any_text),
                "{bytes:?}"
            );
            assert!(!Kind::Binary.is_text(bytes));
        }
    }
}
