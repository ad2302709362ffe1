//! Conditional requests (RFC 9110, section 13).

use std::time::{Duration, SystemTime};

use super::super::*;

/// The second in which the representation was modified. Like that of a file, its time has a fraction.
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn modified() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500)
}

fn validators() -> Validators {
    Validators {
        tag: EntityTag::of_file(1, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, 1),
        modified: modified(),
    }
}

/// Evaluates header lines, in which `TAG` and the names of the dates stand for the values above.
fn answer(lines: &str) -> Condition {
    evaluate(Fields::checked(filled_in(lines).as_bytes()), Some(&validators()))
}

fn filled_in(lines: &str) -> String {
    let lines = lines.replace("TAG", validators().tag.as_str());
    let lines = lines.replace("BEFORE", BEFORE).replace("AFTER", AFTER).replace("MODIFIED", MODIFIED);
    lines.split(" | ").map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn all_that_tells_two_files_apart_is_in_the_tag() {
    let later = modified() + Duration::from_nanos(1);
    let tag = EntityTag::of_file(1, modified(), modified(), 1);
    assert_eq!(tag, EntityTag::of_file(1, modified(), modified(), 1));
    for other in [
        EntityTag::of_file(2, modified(), modified(), 1),
        EntityTag::of_file(1, later, modified(), 1),
        EntityTag::of_file(1, modified(), later, 1),
        EntityTag::of_file(1, modified(), modified(), 2),
        tag.for_coding(Coding::Gzip),
        tag.for_coded(Coding::Gzip, 0),
    ] {
        assert_ne!(tag, other);
    }
}

#[test]
fn each_coding_has_a_strong_tag_of_its_own() {
    let plain = validators().tag;
    let tags = Coding::ALL.map(|coding| plain.for_coding(coding));
    assert_eq!(tags[2].as_str(), "\"1-0-0-1-gzip\"");
    assert_eq!(plain.for_coded(Coding::Gzip, 0xab).as_str(), "\"1-0-0-1-gzip-ab\"");
    for (index, tag) in tags.iter().enumerate() {
        assert!(tag.as_str().starts_with('"') && tag.as_str().ends_with('"'));
        assert!(tags[index + 1..].iter().all(|other| other != tag));
        let lines = format!("If-None-Match: {tag}\r\n");
        assert_eq!(evaluate(Fields::checked(lines.as_bytes()), Some(&validators())), Condition::Proceed);
    }
}

#[test]
fn if_none_match_compares_weakly() {
    for list in [
        "TAG",
        "W/TAG",
        "*",
        " * ",
        "\"x\", TAG",
        "\"x,y\" ,, W/TAG",
        "TAG, junk",
        "\"\",TAG",
        ",TAG",
        " , ,\t,W/TAG,",
        "\"a\\\",TAG",
    ] {
        assert_eq!(answer(&format!("If-None-Match: {list}")), Condition::NotModified, "{list}");
    }
    for list in [
        "",
        ",",
        "abc",
        "\"1-0-0\"",
        "\"1-0-0-1",
        "w/TAG",
        "junk, TAG",
        ",junk,TAG",
        "\"x\" TAG",
        "*, TAG",
        ",*",
        "\"*\"",
        "W/ TAG",
    ] {
        assert_eq!(answer(&format!("If-None-Match: {list}")), Condition::Proceed, "{list}");
    }
    assert_eq!(answer("If-None-Match: \"x\" | If-None-Match: TAG"), Condition::NotModified);
    assert_eq!(answer("If-None-Match: \"x\" | If-None-Match: \"y\""), Condition::Proceed);
}

#[test]
fn if_match_compares_strongly() {
    for list in ["TAG", "*", "\"x\", TAG", "W/TAG, TAG", "W/\"x\",,\tTAG", ",TAG", ", , TAG,"] {
        assert_eq!(answer(&format!("If-Match: {list}")), Condition::Proceed, "{list}");
    }
    for list in ["", ",", "W/TAG", "w/TAG", ",W/TAG", "\"x\"", "junk", "junk, TAG", "\"x\", W/TAG"] {
        assert_eq!(answer(&format!("If-Match: {list}")), Condition::Failed, "{list}");
    }
    assert_eq!(answer("If-Match: \"x\" | If-Match: TAG"), Condition::Proceed);
}

#[test]
fn dates_count_to_the_second_and_in_all_three_formats() {
    for date in ["MODIFIED", "AFTER", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(answer(&format!("If-Modified-Since: {date}")), Condition::NotModified, "{date}");
        assert_eq!(answer(&format!("If-Unmodified-Since: {date}")), Condition::Proceed, "{date}");
    }
    for date in ["BEFORE", "Sunday, 06-Nov-94 08:49:36 GMT", "Sun Nov  6 08:49:36 1994"] {
        assert_eq!(answer(&format!("If-Modified-Since: {date}")), Condition::Proceed, "{date}");
        assert_eq!(answer(&format!("If-Unmodified-Since: {date}")), Condition::Failed, "{date}");
    }
}

#[test]
fn what_is_not_one_date_is_ignored() {
    for date in [
        "",
        "yesterday",
        "784111777",
        "1994-11-06T08:49:37Z",
        "MODIFIED, MODIFIED",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "\u{fc}",
    ] {
        assert_eq!(answer(&format!("If-Modified-Since: {date}")), Condition::Proceed, "{date}");
    }
    for date in ["", "yesterday", "BEFORE, BEFORE", "Sun, 06 Nov 1994 25:49:36 GMT"] {
        assert_eq!(answer(&format!("If-Unmodified-Since: {date}")), Condition::Proceed, "{date}");
    }
    assert_eq!(answer("If-Modified-Since: AFTER | If-Modified-Since: AFTER"), Condition::Proceed);
    assert_eq!(answer("If-Unmodified-Since: BEFORE | If-Unmodified-Since: BEFORE"), Condition::Proceed);
}

#[test]
fn the_order_is_that_of_the_rfc() {
    for (lines, condition) in [
        ("Accept: */*", Condition::Proceed),
        // A tag takes precedence over a date.
        ("If-Match: TAG | If-Unmodified-Since: BEFORE", Condition::Proceed),
        ("If-Match: \"x\" | If-Unmodified-Since: AFTER", Condition::Failed),
        ("If-None-Match: \"x\" | If-Modified-Since: AFTER", Condition::Proceed),
        ("If-None-Match: TAG | If-Modified-Since: BEFORE", Condition::NotModified),
        ("If-None-Match: junk | If-Modified-Since: AFTER", Condition::Proceed),
        // If-Match and If-Unmodified-Since take precedence, regardless of the order of the fields.
        ("If-None-Match: TAG | If-Match: \"x\"", Condition::Failed),
        ("If-Match: TAG | If-None-Match: TAG", Condition::NotModified),
        ("If-Match: * | If-None-Match: \"x\"", Condition::Proceed),
        ("If-Modified-Since: AFTER | If-Unmodified-Since: BEFORE", Condition::Failed),
        ("If-Unmodified-Since: AFTER | If-Modified-Since: AFTER", Condition::NotModified),
        ("If-Unmodified-Since: AFTER | If-Modified-Since: BEFORE", Condition::Proceed),
        ("If-Unmodified-Since: AFTER | If-None-Match: TAG", Condition::NotModified),
        ("If-Match: TAG | If-Modified-Since: AFTER", Condition::NotModified),
    ] {
        assert_eq!(answer(lines), condition, "{lines}");
    }
}

#[test]
fn where_nothing_is_only_if_match_fails() {
    for (lines, condition) in [
        ("If-Match: *", Condition::Failed),
        ("If-Match: TAG", Condition::Failed),
        ("If-None-Match: *", Condition::Proceed),
        ("If-None-Match: TAG", Condition::Proceed),
        ("If-Modified-Since: AFTER", Condition::Proceed),
        ("If-Unmodified-Since: BEFORE", Condition::Proceed),
    ] {
        let found = evaluate(Fields::checked(filled_in(lines).as_bytes()), None);
        assert_eq!(found, condition, "{lines}");
    }
}

#[test]
fn a_file_from_before_1970_is_taken_for_one_of_that_second() {
    let modified = SystemTime::UNIX_EPOCH - Duration::from_secs(1_000);
    let old = Validators { modified, ..validators() };
    let lines = b"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    assert_eq!(evaluate(Fields::checked(lines), Some(&old)), Condition::NotModified);
}
