//! Header fields that a person adds to a request.

use std::str::FromStr;

use wire::http::is_token;

/// Fields that say where a message ends or what becomes of the connection. Both ends would disagree on that if a person
/// changed one of them, and the client itself reads answers to a plain request only.
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

/// Fields that go along to another server. Any other may hold a secret (`Authorization`, `Cookie`, `X-Api-Key`), or
/// mean something to the first server only (`Host`).
const HARMLESS: [&str; 7] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "pragma",
    "user-agent",
];

/// Why a text is no header field that can be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// There is no colon behind a name.
    #[error("a header field is NAME: VALUE, its name of letters, digits and !#$%&'*+-.^_`|~ only")]
    Name,
    /// A line break or another control character is in the value.
    #[error("the value of a header field is one line without control characters")]
    Value,
    /// It would break the framing of the message.
    #[error("{0} says how the connection is used, which webclient decides itself; leave it out")]
    Framing(String),
    /// There are options for it.
    #[error("{0} is sent by --range and --resume; use one of them")]
    Range(String),
    /// It is no host.
    #[error("the value of Host is one name or address, with a port or without")]
    Host,
    /// No server takes two.
    #[error("a request has one Host; leave the others out")]
    HostTwice,
}

/// A header field that can be sent as it is (RFC 9110, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: String,
    value: String,
}

impl FromStr for Field {
    type Err = BadField;

    fn from_str(text: &str) -> Result<Self, BadField> {
        let (name, value) = text.split_once(':').ok_or(BadField::Name)?;
        if !is_token(name.as_bytes()) {
            return Err(BadField::Name);
        }
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(BadField::Value);
        }
        let field = Self { name: name.to_owned(), value: value.to_owned() };
        if field.is_one_of(&FRAMING) {
            return Err(BadField::Framing(field.name));
        }
        if field.is_one_of(&["range", "if-range"]) {
            return Err(BadField::Range(field.name));
        }
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
        if field.is_called("host") && (value.is_empty() || !value.bytes().all(is_host_byte)) {
            return Err(BadField::Host);
        }
        Ok(field)
    }
}

impl Field {
    /// The name as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value without white space around it.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether this is the field `name`, whatever the case.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether another server than the one that it was given for may see it.
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
            assert_eq!((field.name(), field.value()), (name, value));
        }
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        for text in ["", "X-A", ": b", "X A: b", "X-A : b", " X-A: b", "X\r\nY: b", "Ü: b"] {
            assert_eq!(text.parse::<Field>(), Err(BadField::Name), "{text:?}");
        }
        for text in ["X: a\r\nY: b", "X: a\nY: b", "X: a\r", "X: \0", "X: \u{7f}", "X: \u{85}"] {
            assert_eq!(text.parse::<Field>(), Err(BadField::Value), "{text:?}");
        }
        for name in ["Content-Length", "transfer-encoding", "CONNECTION", "Upgrade", "TE", "Expect"] {
            let refused = format!("{name}: 5").parse::<Field>();
            assert_eq!(refused, Err(BadField::Framing(name.to_owned())));
        }
        assert_eq!("Range: bytes=0-".parse::<Field>(), Err(BadField::Range("Range".to_owned())));
        for text in ["Host:", "Host: a b", "Host: a/b", "Host: u@a"] {
            assert_eq!(text.parse::<Field>(), Err(BadField::Host), "{text:?}");
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
