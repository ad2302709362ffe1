//! Content negotiation and credentials.

use data_encoding::BASE64;
use proptest::prelude::*;

use super::super::*;

fn lines(name: &str, values: &str) -> String {
    values.split(" | ").map(|value| format!("{name}: {value}\r\n")).collect()
}

fn accepted(values: &str) -> AcceptedCodings {
    AcceptedCodings::parse(Fields::checked(lines("Accept-Encoding", values).as_bytes()))
}

#[test]
fn chooses_the_coding_with_the_greatest_weight() {
    use Coding::{Brotli, Gzip, Zstd};
    for (values, available, chosen) in [
        ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip][..], Some(Brotli)),
        ("gzip, deflate, br, zstd", &[Gzip, Zstd], Some(Zstd)),
        ("gzip, deflate, br, zstd", &[Gzip], Some(Gzip)),
        ("gzip, deflate, br, zstd", &[], None),
        ("gzip;q=0.9, br;q=0.8", &[Brotli, Gzip], Some(Gzip)),
        ("gzip;q=0.9, br;q=0.8", &[Brotli], Some(Brotli)),
        ("gzip;q=0.801, br;q=0.8", &[Brotli, Gzip], Some(Gzip)),
        ("gzip;q=0.25, br;q=0.3", &[Brotli, Gzip], Some(Brotli)),
        ("gzip;q=0., br;q=0.0", &[Brotli, Gzip], None),
        ("br;q=0.001", &[Brotli], Some(Brotli)),
        ("br;q=0", &[Brotli], None),
        ("br;q=0.000, gzip;q=1.000", &[Brotli, Gzip], Some(Gzip)),
        ("BR ; Q=1", &[Brotli], Some(Brotli)),
        ("x-gzip", &[Gzip], Some(Gzip)),
        ("X-GZip;q=0", &[Gzip], None),
        ("gzip | br", &[Brotli], Some(Brotli)),
        (",, br ,", &[Brotli], Some(Brotli)),
        // Separators inside a quoted string.
        ("gzip;x=\",br,\"", &[Brotli], None),
        ("gzip;x=\"\\\", br\", zstd", &[Brotli, Zstd], Some(Zstd)),
        ("gzip;x=\";q=0\"", &[Gzip], Some(Gzip)),
        ("gzip;;q=0;", &[Gzip], None),
        ("deflate, compress, gzippy", &[Brotli, Zstd, Gzip], None),
        // `*` stands for the codings that are not named.
        ("*", &[Zstd, Gzip], Some(Zstd)),
        ("br;q=0, *", &[Brotli, Gzip], Some(Gzip)),
        ("gzip, *;q=0.5", &[Brotli, Gzip], Some(Gzip)),
        ("gzip, *;q=0", &[Brotli], None),
        // Identity.
        ("identity", &[Brotli], None),
        ("identity, gzip", &[Gzip], Some(Gzip)),
        ("identity;q=0.5, gzip;q=0.4", &[Gzip], None),
        ("identity;q=0.5, gzip;q=0.4, br;q=0.6", &[Gzip, Brotli], Some(Brotli)),
        ("identity;q=0.5, *;q=0.4", &[Gzip], None),
        ("identity;q=0.5, gzip;q=0.5", &[Gzip], Some(Gzip)),
        ("identity;q=0, gzip;q=0.1", &[Gzip], Some(Gzip)),
        // If nothing is acceptable, identity is sent nevertheless.
        ("identity;q=0", &[Gzip], None),
        ("*;q=0", &[Gzip], None),
        ("", &[Gzip], None),
    ] {
        assert_eq!(accepted(values).choose(|coding| available.contains(&coding)), chosen, "{values}");
    }
    assert_eq!(AcceptedCodings::parse(Fields::checked(b"Accept: gzip\r\n")).choose(|_| true), None);
}

#[test]
fn skips_malformed_codings() {
    for bad in
        ["gzip;q=", "gzip;q=2", "gzip;q=1.001", "gzip;q=0.1234", "gzip;q=.5", "gzip;q=-1", "gzip;q=a", ";q=1"]
    {
        assert_eq!(accepted(bad).choose(|_| true), None, "{bad}");
        let beside_a_good_one = accepted(&format!("{bad},, br;q=0.1"));
        assert_eq!(beside_a_good_one.choose(|_| true), Some(Coding::Brotli), "{bad}");
    }
}

#[test]
fn asks_only_for_codings_that_are_wanted_and_the_best_first() {
    let asked = std::cell::RefCell::new(Vec::new());
    let chosen = accepted("gzip, br;q=0.5, zstd;q=0").choose(|coding| {
        asked.borrow_mut().push(coding);
        coding == Coding::Brotli
    });
    assert_eq!(chosen, Some(Coding::Brotli));
    assert_eq!(asked.into_inner(), [Coding::Gzip, Coding::Brotli]);
}

#[test]
fn json_is_for_who_asks_for_it() {
    for (values, json) in [
        ("application/json", true),
        ("Application/JSON;charset=utf-8", true),
        ("application/*", true),
        ("application/json, text/plain, */*", true),
        ("application/json, text/html;q=0.9", true),
        ("text/html;q=0.9 | application/json", true),
        ("text/html;q=0, */*", true),
        ("*/*, text/html;q=0.5", true),
        ("", false),
        ("*/*", false),
        ("text/html", false),
        ("text/html, application/json", false),
        ("application/json, text/html", false),
        ("application/json;q=0.8, text/*", false),
        ("application/json;q=0.5, */*;q=0.8", false),
        ("application/json;q=0", false),
        ("application/json;q=0, text/html;q=0", false),
        ("application/json;q=x", false),
        (", ,application/json,", true),
        ("application/json;x=\"a,b;q=0\"", true),
        ("text/plain;x=\", application/json, \"", false),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", false),
        ("application/jsonx", false),
    ] {
        assert_eq!(prefers_json(Fields::checked(lines("Accept", values).as_bytes())), json, "{values}");
    }
    assert!(!prefers_json(Fields::checked(b"X: application/json\r\n")));
}

fn credentials(values: &str) -> Option<(String, String)> {
    let lines = lines("Authorization", values);
    let found = basic_credentials(Fields::checked(lines.as_bytes()))?;
    Some((found.user, found.password.to_string()))
}

#[test]
fn reads_names_and_passwords() {
    for (text, user, password) in [
        ("Aladdin:open sesame", "Aladdin", "open sesame"),
        ("a:b:c", "a", "b:c"),
        ("a:", "a", ""),
        (":b", "", "b"),
        ("J\u{fc}rgen:pa\u{df}\u{20ac}", "J\u{fc}rgen", "pa\u{df}\u{20ac}"),
    ] {
        let encoded = BASE64.encode(text.as_bytes());
        for scheme in ["Basic ", "basic ", "BASIC   "] {
            let found = credentials(&format!("{scheme}{encoded}"));
            assert_eq!(found, Some((user.to_owned(), password.to_owned())), "{text}");
        }
    }
    // The example of RFC 7617, section 2.
    assert!(credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").is_some());
}

#[test]
fn refuses_what_is_no_name_and_password() {
    let encoded = |bytes: &[u8]| format!("Basic {}", BASE64.encode(bytes));
    let good = encoded(b"a:b");
    for value in [
        "",
        "Basic",
        "Basic ",
        "BasicYTpi",
        "Bearer YTpi",
        "Basic YTpi YTpi",
        "Basic YTpi,",
        "Basic YTo",
        "Basic YTp=",
        "Basic Y*pi",
        &encoded(b"no colon"),
        &encoded(b"a:\xff"),
        &encoded(b"a:b\n"),
        &encoded(b"a\0:b"),
        &encoded(b"a:\x7f"),
        &encoded("a:\u{85}".as_bytes()),
        &format!("{good} | {good}"),
    ] {
        assert_eq!(credentials(value), None, "{value}");
    }
    let of_length = |bytes: usize| credentials(&encoded(format!("a:{}", "b".repeat(bytes - 2)).as_bytes()));
    assert!(of_length(768).is_some());
    assert!(of_length(769).is_none());
    assert_eq!(basic_credentials(Fields::checked(b"X-Authorization: Basic YTpi\r\n")), None);
}

#[test]
fn a_password_is_not_shown() {
    let found = basic_credentials(Fields::checked(b"Authorization: Basic YW5uYTpzZWNyZXQ=\r\n"));
    let shown = format!("{found:?}");
    assert!(shown.contains("anna") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #[test]
    fn a_coding_is_sent_only_if_it_is_accepted(
        list in proptest::collection::vec(("(br|gzip|zstd|identity|\\*)", 0..=10_u16), 0..6),
        available in any::<[bool; 3]>(),
    ) {
        let text: Vec<_> = list
            .iter()
            .map(|(name, tenths)| format!("{name};q={}.{}", tenths / 10, tenths % 10))
            .collect();
        let weight = |name: &str| list.iter().filter(|item| item.0 == name).map(|item| item.1).max();
        let weight_of = |coding: Coding| weight(coding.name()).or(weight("*")).unwrap_or(0);
        let is_available = |coding| available[Coding::ALL.iter().position(|&other| other == coding).unwrap_or(0)];
        let identity = weight("identity").unwrap_or(0);
        let could_be = |&coding: &Coding| is_available(coding) && weight_of(coding) > 0 && weight_of(coding) >= identity;
        match accepted(&text.join(", ")).choose(is_available) {
            None => prop_assert!(!Coding::ALL.iter().any(could_be)),
            Some(chosen) => {
                prop_assert!(could_be(&chosen));
                for better in Coding::ALL.iter().copied().filter(|&coding| is_available(coding)) {
                    prop_assert!(weight_of(better) <= weight_of(chosen));
                }
            }
        }
    }

    #[test]
    fn no_field_makes_a_reader_panic(value in "[ -~\\x80-\\xff]{0,60}") {
        for name in ["Accept", "Accept-Encoding", "Authorization", "If-Match", "If-None-Match", "If-Range",
            "If-Modified-Since", "Range"]
        {
            let lines = format!("{name}: {value}\r\n");
            let fields = Fields::checked(lines.as_bytes());
            let _ = (prefers_json(fields), AcceptedCodings::parse(fields), basic_credentials(fields));
            let _ = evaluate(fields, None);
        }
    }
}
