//! The target of a redirection.

use fluent_uri::{Uri, UriRef};
use wire::http::ResponseHead;

use super::request::encode_reference;
use super::{Request, WebClientError};

/// The default port of `http`.
const HTTP_PORT: u16 = 80;

/// The `Location` of a response whose status is a redirection that can be followed (RFC 9110, section 15.4).
pub(super) fn location(head: &ResponseHead) -> Option<String> {
    let location = head.values("location").next()?;
    let can_be_followed = matches!(head.status, 301 | 302 | 303 | 307 | 308);
    can_be_followed.then(|| String::from_utf8_lossy(location).into_owned())
}

/// The request for `location`, which may be relative to the URL of `request` (RFC 3986, section 5). The fragment is dropped,
/// because it is not part of a request.
///
/// # Errors
/// `location` is not a URL, or its scheme is not http.
pub(super) fn follow(request: &Request, status: u16, location: &str) -> Result<Request, WebClientError> {
    let refuse = |why| {
        let what = format!("{} answered {status} and redirects to {location}", request.server());
        WebClientError::refused(what, why)
    };
    let is_no_url =
        || refuse("that is not a URL that webclient can follow; request the file from its server");
    let reference = UriRef::parse(encode_reference(location)).map_err(|_| is_no_url())?;
    let base = Uri::parse(request.url()).map_err(|_| is_no_url())?;
    let uri = reference.resolve_against(&base).map_err(|_| is_no_url())?;
    if !uri.scheme().as_str().eq_ignore_ascii_case("http") {
        return Err(refuse("webclient speaks http only; use another client for that"));
    }
    let authority = uri.authority().ok_or_else(is_no_url)?;
    let port = match authority.port_to_u16() {
        Ok(None) => HTTP_PORT,
        Ok(Some(port)) if port > 0 => port,
        _ => return Err(is_no_url()),
    };
    let mut file = uri.path().as_str().to_owned();
    if let Some(query) = uri.query() {
        file.push('?');
        file.push_str(query.as_str());
    }
    request.redirected(authority.host(), port, &file).map_err(|_| is_no_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_references_as_rfc_3986_does() {
        let request = Request::new("a", 80, "/b/c/d;p?q").expect("this is a host");
        // The examples of its section 5.4 whose result is an http URL.
        for (location, url) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("./g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("HTTP://b.example:81/x?y#z", "http://b.example:81/x?y"),
            ("http://[::1]:81", "http://[::1]:81/"),
            ("/sp ace/ü", "http://a/sp%20ace/%C3%BC"),
            ("/a%20b", "http://a/a%20b"),
        ] {
            let next = follow(&request, 301, location).map(|next| next.url());
            assert_eq!(next.expect(location), url, "{location}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_speak_or_understand() {
        let request = Request::new("a", 80, "/").expect("this is a host");
        for (location, why) in [
            ("https://a/", "speaks http only"),
            ("ftp://a/", "speaks http only"),
            ("mailto:a@b", "speaks http only"),
            ("http://a:99999/", "not a URL"),
            ("http://a:0/", "not a URL"),
            ("http:///x", "not a URL"),
            ("http://a%0d%0ab/", "not a URL"),
            ("http://[zz]/", "not a URL"),
        ] {
            let refused = follow(&request, 301, location).expect_err(location);
            assert!(refused.to_string().contains(why), "{refused}");
            assert_eq!(refused.exit_status(), 1);
        }
    }
}
