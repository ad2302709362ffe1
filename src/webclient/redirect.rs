//! The target of a redirection.

use fluent_uri::{Uri, UriRef};
use wire::http::ResponseHead;

use super::request::encode_reference;
use super::{Request, Scheme, Url, WebClientError};

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
/// `location` is not a URL, its scheme is neither http nor https, or it leads from https to http.
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
    let url = Url::parse(uri.as_str()).map_err(|scheme| match scheme {
        Some(_) => refuse("webclient speaks http and https only; use another client for that"),
        None => is_no_url(),
    })?;
    if request.scheme == Scheme::Https && url.scheme == Scheme::Http {
        return Err(refuse(
            "that connection would not be encrypted; request the http:// address if it may be so",
        ));
    }
    request.redirected(&url).map_err(|_| is_no_url())
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
            ("https://a/x", "https://a/x"),
            ("https://a:80/x", "https://a:80/x"),
            ("http://[::1]:81", "http://[::1]:81/"),
            ("/sp ace/ü", "http://a/sp%20ace/%C3%BC"),
            ("/a%20b", "http://a/a%20b"),
        ] {
            let next = follow(&request, 301, location).map(|next| next.url());
            assert_eq!(next.expect(location), url, "{location}");
        }
    }

    #[test]
    fn stays_encrypted() {
        let url = Url::parse("https://a/b/c").expect("it is a URL");
        let request = Request::of_url(&url).expect("it has a host");
        assert_eq!(follow(&request, 301, "d").expect("it is relative").url(), "https://a/b/d");
        assert_eq!(follow(&request, 301, "//g:8443").expect("it has a host").url(), "https://g:8443/");
        let refused = follow(&request, 301, "http://a/b/d").expect_err("it is not encrypted");
        assert!(refused.to_string().contains("would not be encrypted"), "{refused}");
    }

    #[test]
    fn refuses_what_it_cannot_speak_or_understand() {
        let request = Request::new("a", 80, "/").expect("this is a host");
        for (location, why) in [
            ("ftp://a/", "speaks http and https only"),
            ("mailto:a@b", "speaks http and https only"),
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
