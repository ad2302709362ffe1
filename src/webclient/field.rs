//! Header fields that the user adds to a request.

use std::str::FromStr;

use wire::http::is_token;

/// Fields that frame the message or control the connection. If the user changed one, client and server could disagree on
/// where the message ends, and the client understands only responses to plain requests.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that are sent to another origin after a redirection. Others may be secret (`Authorization`, `Cookie`,
/// `X-Api-Key`) or apply only to the first server (`Host`).
const HARMLESS: [&str; 7] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "pragma",
    "user-agent",
];

/// A valid header field (RFC 9110, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').unwrap_or_default();
        if !is_token(name.as_bytes()) {
            return Err(
                "a header field is NAME: VALUE, its name of letters, digits and !#$%&'*+-.^_`|~ only"
                    .to_owned(),
            );
        }
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err("the value of a header field is one line without control characters".to_owned());
        }
        let field = Self { name: name.to_owned(), value: value.to_owned() };
        if field.is_one_of(&FRAMING) {
            return Err(format!("{name} controls the connection, which is up to webclient; leave it out"));
        }
        if field.is_one_of(&["range", "if-range"]) {
            return Err(format!("{name} is sent by --range and --resume; use one of them"));
        }
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
        if field.is_called("host") && (value.is_empty() || !value.bytes().all(is_host_byte)) {
            return Err("the value of Host is one name or address, with or without a port".to_owned());
        }
        Ok(field)
    }
}

impl Field {
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it may be sent to another origin than that of the first request.
    pub(super) fn may_travel(&self) -> bool {
        self.is_one_of(&HARMLESS)
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is_called(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_can_be_sent() {
        for (text, name, value) in [
            ("X-A: b", "X-A", "b"),
            ("x:b:c", "x", "b:c"),
            ("X-Empty:", "X-Empty", ""),
            ("X-Wide: \t grüße\tda ", "X-Wide", "grüße\tda"),
            ("Host: [::1]:80", "Host", "[::1]:80"),
        ] {
            let field: Field = text.parse().expect(text);
            assert_eq!((&*field.name, &*field.value), (name, value));
        }
    }

    #[track_caller]
    fn refuses(text: &str, words: &str) {
        let message = text.parse::<Field>().expect_err(text);
        assert!(message.contains(words), "{text:?}: {message}");
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        for text in ["", "X-A", ": b", "X A: b", "X-A : b", " X-A: b", "X\r\nY: b", "Ü: b"] {
            refuses(text, "a header field is NAME: VALUE");
        }
        for text in ["X: a\r\nY: b", "X: a\nY: b", "X: a\r", "X: \0", "X: \u{7f}", "X: \u{85}"] {
            refuses(text, "one line without control characters");
        }
        for name in ["Content-Length", "transfer-encoding", "CONNECTION", "Upgrade", "TE", "Expect"] {
            refuses(&format!("{name}: 5"), &format!("{name} controls the connection"));
        }
        refuses("Range: bytes=0-", "Range is sent by --range");
        for text in ["Host:", "Host: a b", "Host: a/b", "Host: u@a"] {
            refuses(text, "the value of Host");
        }
    }

    #[test]
    fn secrets_stay_where_they_were_meant_for() {
        for (text, travels) in [
            ("accept: a", true),
            ("User-Agent: a", true),
            ("Authorization: Basic a", false),
            ("Cookie: a", false),
            ("X-Api-Key: a", false),
            ("Host: a", false),
        ] {
            assert_eq!(text.parse::<Field>().map(|field| field.may_travel()), Ok(travels), "{text}");
        }
    }
}
