//! Addresses of files: `http` and `https`.

use fluent_uri::Uri;

/// Whether a connection uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The parts of a URL that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    /// An IPv6 address has brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path and the query.
    pub(super) file: String,
}

impl Url {
    /// The parts of an absolute URL. The fragment is dropped, because it is not part of a request.
    ///
    /// # Errors
    /// The scheme, if it is neither http nor https; none for other mistakes.
    pub(super) fn parse(text: &str) -> Result<Self, Option<String>> {
        let uri = Uri::parse(text).map_err(|_| None)?;
        let scheme = match uri.scheme().as_str().to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(Some(other.to_owned())),
        };
        let authority = uri.authority().ok_or(None)?;
        let port = match authority.port_to_u16() {
            Ok(None) => scheme.default_port(),
            Ok(Some(port)) if port > 0 => port,
            _ => return Err(None),
        };
        let mut file = uri.path().as_str().to_owned();
        if let Some(query) = uri.query() {
            file.push('?');
            file.push_str(query.as_str());
        }
        Ok(Self { scheme, host: authority.host().to_owned(), port, file })
    }
}
