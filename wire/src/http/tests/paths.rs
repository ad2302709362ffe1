//! Paths: what they are decoded to, and that none leads elsewhere.

use proptest::prelude::*;

use super::super::*;

#[test]
fn no_path_leads_out_of_the_site() {
    for (path, decoded, is_directory) in [
        ("/", "", true),
        ("/a/b.html", "a/b.html", false),
        ("/a//b/", "a/b", true),
        ("//evil.example/x/", "evil.example/x", true),
        ("/a%20b/%C3%BC%25.txt", "a b/ü%.txt", false),
        ("/a..b/c.", "a..b/c.", false),
    ] {
        let path = SitePath::decode(path).expect("the path is good");
        assert_eq!((path.as_str(), path.is_directory()), (decoded, is_directory));
    }
    for (path, why) in [
        ("/..", BadPath::Dots),
        ("/a/../b", BadPath::Dots),
        ("/%2e%2E/b", BadPath::Dots),
        ("/.%2e", BadPath::Dots),
        ("/./a", BadPath::Dots),
        ("/.git/config", BadPath::Hidden),
        ("/a/%2egit", BadPath::Hidden),
        ("/a%2fb", BadPath::Hidden),
        ("/..%2fb", BadPath::Hidden),
        ("/a%00", BadPath::Text),
        ("/a%0Ab", BadPath::Text),
        ("/%ff", BadPath::Text),
        ("/%", BadPath::Escape),
        ("/%4", BadPath::Escape),
        ("/%zz", BadPath::Escape),
        ("/%+4", BadPath::Escape),
    ] {
        assert_eq!(SitePath::decode(path), Err(why), "{path}");
    }
    // Decoded once: what is still escaped then is a name.
    let once = SitePath::decode("/%252e%252e/x").expect("the path is good");
    assert_eq!(once.as_str(), "%2e%2e/x");
}

#[test]
fn hidden_names_are_served_only_when_asked_for() {
    for path in ["/.well-known/x", "/a/%2egit", "/...", "/..a"] {
        assert_eq!(SitePath::decode(path), Err(BadPath::Hidden), "{path}");
        assert!(SitePath::decode_with(path, true).is_ok(), "{path}");
        assert_eq!(SitePath::decode_with(path, false), SitePath::decode(path), "{path}");
    }
    for (path, why) in [
        ("/..", BadPath::Dots),
        ("/.", BadPath::Dots),
        ("/%2e%2e/x", BadPath::Dots),
        ("/a%2f..%2fb", BadPath::Hidden),
        ("/..%2fb", BadPath::Hidden),
        ("/.a%00", BadPath::Text),
        ("/.%", BadPath::Escape),
    ] {
        assert_eq!(SitePath::decode_with(path, true), Err(why), "{path}");
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
    ] {
        let Ok(path) = SitePath::decode(path) else {
            assert_eq!(location, "");
            continue;
        };
        assert_eq!(path.directory_location(), location);
    }
}

proptest! {
    #[test]
    fn a_decoded_path_has_only_harmless_components(
        path in "(/|%2e|%2F|%00|\\.|[a-z]|%41|%c3%bc){0,20}",
        serves_hidden in any::<bool>(),
    ) {
        if let Ok(path) = SitePath::decode_with(&path, serves_hidden) {
            for component in path.as_str().split('/').filter(|_| !path.as_str().is_empty()) {
                prop_assert!(!component.is_empty() && component != "." && component != "..");
                prop_assert!(serves_hidden || !component.starts_with('.'));
            }
            prop_assert!(!path.as_str().contains('\0'));
            let location = path.directory_location();
            prop_assert!(location.starts_with('/') && !location.starts_with("//"));
            let again = SitePath::decode_with(&location, serves_hidden).expect("what was decoded can be encoded");
            prop_assert_eq!(again.as_str(), path.as_str());
        }
    }
}
