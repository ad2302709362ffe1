//! Hostile names, the order, and both forms parsed again.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

fn entry(name: &str, kind: EntryKind, bytes: u64) -> Entry {
    Entry::new(name.as_bytes(), kind, bytes, UNIX_EPOCH + Duration::from_secs(971_186_136))
}

fn file(name: &str) -> Entry {
    entry(name, EntryKind::File, 1536)
}

fn directory(name: &str) -> Entry {
    entry(name, EntryKind::Directory, 0)
}

/// The text between each `before` and the next `after`.
fn all_between<'a>(page: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    page.split(before)
        .skip(1)
        .map(|rest| rest.split_once(after).expect("what is opened is closed").0)
        .collect()
}

fn from_markup(text: &str) -> String {
    text.replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#38;", "&")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
            let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
            bytes.push(u8::from_str_radix(digits, 16).expect("digits are hexadecimal"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("names are UTF-8")
}

/// The targets of the links to entries, as a browser has them after parsing the page.
fn links(page: &str) -> Vec<String> {
    all_between(page, "<a href=\"", "\"")
        .into_iter()
        .filter(|link| !link.starts_with("../"))
        .map(from_markup)
        .collect()
}

#[test]
fn a_name_never_becomes_markup() {
    let name = "<img src=x onerror=\"alert('1')\">&amp;";
    let page = render_html(name, &[file(name), directory(name)], false);
    assert!(!page.contains("<img"), "{page}");
    let shown = "&#60;img src=x onerror=&#34;alert(&#39;1&#39;)&#34;&#62;&#38;amp;";
    assert_eq!(all_between(&page, "<title>", "</title>"), [format!("Index of /{shown}/")]);
    assert_eq!(page.matches(shown).count(), 4, "the title, the breadcrumb and both rows show it");
}

#[test]
fn what_would_mislead_the_reader_is_shown_as_an_escape() {
    let page = render_html("", &[file("annual\u{202e}fdp.exe"), file("a\x1b\nb")], false);
    assert!(page.contains("<bdi>annual\\u{202e}fdp.exe</bdi>"), "{page}");
    assert!(page.contains("<bdi>a\\u{1b}\\nb</bdi>"), "{page}");
    assert!(!page.contains('\u{202e}') && !page.contains('\x1b'));
}

#[test]
fn a_link_stays_on_the_site() {
    let entries = [file("javascript:alert(1)"), file("//evil.example"), file("?x#y"), directory("c:")];
    let page = render_html("", &entries, false);
    for link in links(&page) {
        assert!(link.starts_with("./"), "{link}");
        assert!(!link.contains(['?', '#']), "{link}");
    }
    assert!(links(&page).contains(&"./c:/".to_owned()), "a directory is linked with its slash");
}

#[test]
fn directories_are_first_and_names_are_in_natural_order() {
    let entries =
        [file("img10.png"), file("b"), file("IMG2.png"), directory("z"), file("Ä"), directory("Docs")];
    let page = render_html("", &entries, false);
    let names = all_between(&page, "</svg><a href=\"./", "\"");
    assert_eq!(names, ["Docs/", "z/", "b", "IMG2.png", "img10.png", "%C3%84"]);
}

#[test]
fn the_breadcrumb_leads_to_each_parent() {
    let page = render_html("a/b & c/d", &[], false);
    let heading = all_between(&page, "<h1>", "</h1>")[0];
    assert_eq!(all_between(heading, "<a href=\"", "\""), ["../../../", "../../", "../"]);
    assert_eq!(all_between(heading, "<bdi>", "</bdi>"), ["/", "a", "b &#38; c"]);
    assert!(heading.ends_with("<bdi aria-current=\"page\">d</bdi>"), "{heading}");
    assert!(!render_html("", &[], false).contains("../"), "nothing leads out of the root");
}

#[test]
fn what_is_missing_is_said() {
    assert!(render_html("", &[], false).contains("This directory is empty."));
    let page = render_html("", &[file("a")], true);
    assert!(
        page.contains("more in this directory than is listed here (1)") && !page.contains("is empty"),
        "{page}"
    );
    assert!(!render_html("", &[file("a")], false).contains("There is more"));
}

#[test]
fn sizes_are_readable_and_exact() {
    let shown = |bytes| Entry { bytes, ..file("a") }.size().to_string();
    assert_eq!(shown(0), "0 B");
    assert_eq!(shown(1023), "1023 B");
    assert_eq!(shown(1024), "1.0 KiB");
    assert_eq!(shown(1536), "1.5 KiB");
    assert_eq!(shown(10 * 1024), "10.0 KiB");
    assert_eq!(shown(1024 * 1024), "1.0 MiB");
    assert_eq!(shown(100 * 1024 * 1024), "100.0 MiB");
    assert_eq!(shown(u64::MAX), "16.0 EiB");
    assert!(render_html("", &[file("a")], false).contains("title=\"1536 bytes\">1.5 KiB<"));
}

#[test]
fn the_policy_allows_the_style_and_the_script_of_the_page_and_no_others() {
    let page = render_html("", &[file("a")], false);
    for tag in ["style", "script"] {
        let inline = all_between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
        assert_eq!(inline.len(), 1);
        let hash = BASE64.encode(&Sha256::digest(inline[0].as_bytes()));
        assert!(content_security_policy().contains(&format!("{tag}-src 'sha256-{hash}'")));
    }
    assert!(!content_security_policy().contains("unsafe"));
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "these would need unsafe-inline");
}

#[test]
fn the_json_says_the_same() {
    let json = render_json("a/b", &[file("q\"\u{202e}"), directory("d")], true);
    let listing: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let modified = "2000-10-10T13:55:36Z";
    let expected = serde_json::json!({
        "path": "/a/b/",
        "entries": [
            { "name": "d", "link": "./d/", "kind": "directory", "bytes": 0, "modified": modified },
            { "name": "q\"\u{202e}", "link": "./q%22%E2%80%AE", "kind": "file", "bytes": 1536, "modified": modified },
        ],
        "cut": true,
    });
    assert_eq!(listing, expected);
    assert!(render_json("", &[], false).starts_with("{\"path\":\"/\""));
}

proptest! {
    #[test]
    fn links_resolve_back_to_the_name(name in "[^/\0]{1,40}") {
        let page = render_html("", &[file(&name)], false);
        let links = links(&page);
        prop_assert_eq!(links.len(), 1);
        prop_assert_eq!(percent_decoded(links[0].strip_prefix("./").expect("links are relative")), name.clone());
        let listing: serde_json::Value = serde_json::from_str(&render_json("", &[file(&name)], false)).expect("JSON");
        prop_assert_eq!(listing["entries"][0]["name"].as_str(), Some(name.as_str()));
    }

    #[test]
    fn no_name_changes_the_structure_of_the_page(name in "\\PC{0,10}[<>&\"']{0,4}\\PC{0,10}") {
        let tags = |page: &str| page.matches('<').count();
        let page = render_html(&name.replace('/', ""), &[file(&name)], false);
        let plain = if name.replace('/', "").is_empty() { "" } else { "a" };
        prop_assert_eq!(tags(&page), tags(&render_html(plain, &[file("a")], false)));
    }

    /// Sorting can panic if this is no total order, which would end the server.
    #[test]
    fn the_natural_order_is_an_order(names in prop::array::uniform3("[aAbB0129.Ä中]{0,6}")) {
        let entries = names.map(|name| file(&name));
        let [a, b, c] = entries.each_ref().map(fold);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a.1.name == b.1.name);
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
    }
}
