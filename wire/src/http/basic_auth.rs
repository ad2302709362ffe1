//! The Basic authentication scheme (RFC 7617).

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::fields::Fields;

/// The maximum length of the encoded name and password in bytes: more than a person types, and cheap to hash.
const ENCODED_BYTES_MAX: usize = 1024;

/// A name and a password that a client has sent.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The name, which can be empty.
    pub user: String,
    pub password: Zeroizing<String>,
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Reads the `Authorization` field of a request (RFC 7617, section 2). `None` if the field is missing, repeated, too long or of
/// another scheme, or if it is not padded Base64 of a UTF-8 text with a colon and without control characters.
pub fn basic_credentials(fields: Fields<'_>) -> Option<BasicCredentials> {
    let mut values = fields.values("authorization");
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let encoded = rest.trim_ascii_start();
    if encoded.len() > ENCODED_BYTES_MAX {
        return None;
    }
    let mut decoded = Zeroizing::new(vec![0; BASE64.decode_len(encoded.len()).ok()?]);
    let bytes = BASE64.decode_mut(encoded, &mut decoded).ok()?;
    let text = std::str::from_utf8(&decoded[..bytes]).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let (user, password) = text.split_once(':')?;
    Some(BasicCredentials { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
}
