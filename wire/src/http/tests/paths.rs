//! Paths: their decoding, and that none leads out of the root.

use proptest::prelude::*;

use super::super::*;

fn decoded(path: &str) -> Result<(Vec<u8>, bool), BadPath> {
    SitePath::decode(path, false).map(|path| (path.as_bytes().to_vec(), path.is_directory()))
}

#[test]
fn no_path_leads_out_of_the_site() {
    for (path, relative, is_directory) in [
        ("/", &b""[..], true),
        ("/a/b.html", b"a/b.html", false),
        ("/a//b/", b"a/b", true),
        ("//evil.example/x/", b"evil.example/x", true),
        ("/a%20b/%C3%BC%25.txt", "a b/ü%.txt".as_bytes(), false),
        ("/ü.txt", "ü.txt".as_bytes(), false),
        ("/a..b/c.", b"a..b/c.", false),
        ("/caf%E9", b"caf\xe9", false),
        ("/%c0%ae%c0%ae/x", b"\xc0\xae\xc0\xae/x", false),
        // A path is decoded once. What is still escaped then is a name.
        ("/%252e%252e/x", b"%2e%2e/x", false),
    ] {
        assert_eq!(decoded(path), Ok((relative.to_vec(), is_directory)), "{path}");
    }
    for (path, why) in [
        ("/.git/config", BadPath::Hidden),
        ("/a/%2egit", BadPath::Hidden),
        ("/a%2fb", BadPath::Hidden),
        ("/..%2fb", BadPath::Hidden),
        ("/a%00", BadPath::Control),
        ("/a%0Ab", BadPath::Control),
        ("/%c2%85", BadPath::Control),
        ("/\u{85}", BadPath::Control),
        ("/%ff%7f", BadPath::Control),
        ("/%", BadPath::Escape),
        ("/%4", BadPath::Escape),
        ("/%zz", BadPath::Escape),
        ("/%+4", BadPath::Escape),
        ("/%%41", BadPath::Escape),
        ("/%u0041", BadPath::Escape),
        ("/a%zz/..", BadPath::Escape),
    ] {
        assert_eq!(decoded(path), Err(why), "{path}");
    }
}

#[test]
fn dot_segments_are_resolved_and_never_lead_above_the_root() {
    for (path, relative, is_directory) in [
        ("/.", "", true),
        ("/./a", "a", false),
        ("/a/.", "a", true),
        ("/a/..", "", true),
        ("/a/../b", "b", false),
        ("/a/b/../../c/./d", "c/d", false),
        ("/a//../b", "b", false),
        ("/a/%2e%2E/b", "b", false),
        ("/a/.%2e/b/", "b", true),
        // A component that `..` removes can have any name.
        ("/.git/../b", "b", false),
    ] {
        assert_eq!(decoded(path), Ok((relative.into(), is_directory)), "{path}");
    }
    for path in
        ["/..", "/../", "/./..", "/%2e%2E/b", "/.%2e", "/a/../..", "/a/../../a", "//..", "/a/..//../a"]
    {
        assert_eq!(decoded(path), Err(BadPath::Above), "{path}");
        assert_eq!(SitePath::decode(path, true), Err(BadPath::Above), "{path}");
    }
}

#[test]
fn hidden_names_are_served_only_when_asked_for() {
    for path in ["/a/%2egit", "/...", "/..a", "/.well-knownx", "/a/.well-known/b", "/.well-known/.htaccess"] {
        assert_eq!(decoded(path), Err(BadPath::Hidden), "{path}");
        assert!(SitePath::decode(path, true).is_ok(), "{path}");
    }
    for path in ["/.well-known/x", "/.well-known", "/a/../%2ewell-known/x"] {
        assert!(decoded(path).is_ok(), "{path}");
    }
    for (path, why) in [
        ("/a%2f..%2fb", BadPath::Hidden),
        ("/..%2fb", BadPath::Hidden),
        ("/.a%00", BadPath::Control),
        ("/.%", BadPath::Escape),
    ] {
        assert_eq!(SitePath::decode(path, true), Err(why), "{path}");
    }
}

#[test]
fn a_location_is_never_another_host() {
    for (path, location) in [
        ("/dir", "/dir/"),
        ("//evil.example", "/evil.example/"),
        ("/a%0", ""),
        ("/%5Cevil%20x", "/%5Cevil%20x/"),
        ("/a%3Fb%23c%25", "/a%3Fb%23c%25/"),
        ("/é", "/%C3%A9/"),
        ("/%e9/", "/%E9/"),
        ("/a/..", "/"),
    ] {
        let Ok(path) = SitePath::decode(path, false) else {
            assert_eq!(location, "");
            continue;
        };
        assert_eq!(path.directory_location(), location);
    }
}

#[test]
fn a_location_has_ascii_only() {
    assert_eq!(percent_encode_non_ascii("/a%20b?c=%zz"), "/a%20b?c=%zz");
    assert_eq!(percent_encode_non_ascii("/é%20?ü"), "/%C3%A9%20?%C3%BC");
}

proptest! {
    #[test]
    fn a_decoded_path_has_only_harmless_components(
        path in "(/|%2e|%2F|%00|\\.|[a-z]|%41|%c3%bc|ü|%ff|\\.\\./){0,20}",
        serves_hidden in any::<bool>(),
    ) {
        if let Ok(path) = SitePath::decode(&path, serves_hidden) {
            let components = path.as_bytes().split(|byte| *byte == b'/');
            for component in components.filter(|_| !path.as_bytes().is_empty()) {
                prop_assert!(!matches!(component, b"" | b"." | b".."));
                prop_assert!(serves_hidden || !component.starts_with(b"."));
            }
            prop_assert!(!path.as_bytes().contains(&0));
            let location = path.directory_location();
            prop_assert!(location.starts_with('/') && !location.starts_with("//") && location.is_ascii());
            let again = SitePath::decode(&location, serves_hidden).expect("what was decoded can be encoded");
            prop_assert_eq!(again.as_bytes(), path.as_bytes());
        }
    }
}
