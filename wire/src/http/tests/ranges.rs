//! Range requests (RFC 9110, section 14), also compared with a model that marks each byte.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn validators() -> Validators {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
    Validators { tag: EntityTag::of_file(1, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, 1), modified }
}

fn wanted(lines: &str, length: u64) -> Wanted {
    wanted_of(lines, false, length)
}

fn wanted_of(lines: &str, is_negotiated: bool, length: u64) -> Wanted {
    let lines = lines.replace("TAG", validators().tag.as_str()).replace("MODIFIED", MODIFIED);
    let lines: String = lines.split(" | ").map(|line| format!("{line}\r\n")).collect();
    wanted_parts(Fields::checked(lines.as_bytes()), &validators(), is_negotiated, length)
}

fn parts(expected: &[(u64, u64)]) -> Wanted {
    Wanted::Parts(expected.iter().map(|&(first, last)| Part { first, last }).collect())
}

#[test]
fn reads_each_form_of_a_range() {
    for (ranges, expected) in [
        ("bytes=0-0", (0, 0)),
        ("bytes=0-499", (0, 499)),
        ("bytes=500-999", (500, 999)),
        ("BYTES=500-", (500, 999)),
        ("bytes=-500", (500, 999)),
        ("bytes=-1", (999, 999)),
        ("bytes=0-", (0, 999)),
        ("bytes=-1000", (0, 999)),
        ("bytes=-1001", (0, 999)),
        ("bytes=990-1000", (990, 999)),
        ("bytes=990-99999999999999999999999", (990, 999)),
        // 2^64 + 995
        ("bytes=990-18446744073709552611", (990, 999)),
        ("bytes=-99999999999999999999999", (0, 999)),
        ("bytes=007-0000000000000000000000000008", (7, 8)),
        ("bytes= ,, 5-6 ,", (5, 6)),
        ("bytes=1000-,5-6", (5, 6)),
        ("bytes=5-6,-0", (5, 6)),
    ] {
        assert_eq!(wanted(&format!("Range: {ranges}"), 1000), parts(&[expected]), "{ranges}");
    }
}

#[test]
fn ignores_what_is_no_range_of_bytes() {
    for lines in [
        "Accept: */*",
        "Range: ",
        "Range: bytes",
        "Range: bytes=",
        "Range: bytes=,",
        "Range: bytes=-",
        "Range: bytes=5",
        "Range: bytes=9-5",
        "Range: bytes=5-6,9-5",
        "Range: bytes=5-6,x",
        "Range: bytes=5-6;7-8",
        "Range: bytes=5 - 6",
        "Range: bytes=+5-6",
        "Range: bytes=0x5-6",
        "Range: bytes=5-6-7",
        "Range: bytes=--5",
        "Range: bytes =5-6",
        "Range: bytes:5-6",
        "Range: bytes 5-6",
        "Range: 5-6",
        "Range: lines=5-6",
        "Range: bytes=\u{b2}-\u{b3}",
        "Range: bytes=5-6 | Range: bytes=5-6",
        "If-Range: TAG",
    ] {
        assert_eq!(wanted(lines, 1000), Wanted::Whole, "{lines}");
    }
}

#[test]
fn knows_what_is_not_there() {
    for (ranges, length) in [
        ("bytes=1000-", 1000),
        ("bytes=1000-1001", 1000),
        ("bytes=-0", 1000),
        ("bytes=-0,1000-", 1000),
        ("bytes=18446744073709551616-", 1000),
        ("bytes=18446744073709551615-", u64::MAX),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-0", 0),
    ] {
        assert_eq!(
            wanted(&format!("Range: {ranges}"), length),
            Wanted::Unsatisfiable,
            "{ranges} of {length}"
        );
    }
    // A suffix of an empty representation is satisfiable.
    assert_eq!(wanted("Range: bytes=-5", 0), Wanted::Whole);
    assert_eq!(wanted("Range: bytes=0-", u64::MAX), parts(&[(0, u64::MAX - 1)]));
}

#[test]
fn joins_what_is_near_and_keeps_the_order_of_the_rest() {
    for (ranges, expected) in [
        ("bytes=0-9,500-509", &[(0, 9), (500, 509)][..]),
        ("bytes=500-509,0-9", &[(500, 509), (0, 9)]),
        ("bytes=-10,0-9", &[(990, 999), (0, 9)]),
        // Ranges that overlap, touch, or have a gap of 79 or of 80 bytes.
        ("bytes=0-9,5-20", &[(0, 20)]),
        ("bytes=5-20,0-9", &[(0, 20)]),
        ("bytes=0-9,10-20", &[(0, 20)]),
        ("bytes=0-9,89-99", &[(0, 99)]),
        ("bytes=0-9,90-99", &[(0, 9), (90, 99)]),
        ("bytes=90-99,0-9", &[(90, 99), (0, 9)]),
        ("bytes=0-99,20-30", &[(0, 99)]),
        ("bytes=0-,0-,0-", &[(0, 999)]),
        // A range that connects two earlier ones takes the place of the first.
        ("bytes=400-409,0-9,600-609,5-405", &[(0, 409), (600, 609)]),
        ("bytes=0-9,400-409,800-809,5-795", &[(0, 809)]),
    ] {
        assert_eq!(wanted(&format!("Range: {ranges}"), 1000), parts(expected), "{ranges}");
    }
}

#[test]
fn sixteen_ranges_are_read_and_seventeen_are_not() {
    let ranges = |count: u64| {
        let ranges: Vec<_> = (0..count).map(|at| format!("{0}-{0}", at * 100)).collect();
        wanted(&format!("Range: bytes={}", ranges.join(",")), 10_000)
    };
    assert!(matches!(ranges(16), Wanted::Parts(parts) if parts.len() == 16));
    assert_eq!(ranges(17), Wanted::Whole);
}

#[test]
fn if_range_needs_the_very_state() {
    for (state, counts) in [
        ("TAG", true),
        ("MODIFIED", true),
        ("Sunday, 06-Nov-94 08:49:37 GMT", true),
        ("W/TAG", false),
        ("\"x\"", false),
        ("*", false),
        ("TAG, TAG", false),
        ("TAG | If-Range: TAG", false),
        ("", false),
        ("junk", false),
        // The date must be equal.
        ("Sun, 06 Nov 1994 08:49:36 GMT", false),
        ("Sun, 06 Nov 1994 08:49:38 GMT", false),
    ] {
        let expected = if counts { parts(&[(5, 6)]) } else { Wanted::Whole };
        assert_eq!(wanted(&format!("Range: bytes=5-6 | If-Range: {state}"), 1000), expected, "{state}");
    }
    assert_eq!(wanted("Range: bytes=5000- | If-Range: \"x\"", 1000), Wanted::Whole);
    assert_eq!(wanted_of("Range: bytes=5-6 | If-Range: MODIFIED", true, 1000), Wanted::Whole);
    assert_eq!(wanted_of("Range: bytes=5-6 | If-Range: TAG", true, 1000), parts(&[(5, 6)]));
    assert_eq!(wanted("Range: bytes=5000- | If-Range: TAG", 1000), Wanted::Unsatisfiable);
}

#[test]
fn content_ranges_are_written_as_they_are_read() {
    assert_eq!(Part { first: 0, last: 4 }.content_range(10).to_string(), "bytes 0-4/10");
    assert_eq!(unsatisfied_content_range(10).to_string(), "bytes */10");
}

#[test]
fn several_parts_are_framed_as_multipart() {
    let content: Vec<u8> = (b'a'..=b'z').collect();
    let parts = [Part { first: 20, last: 25 }, Part { first: 0, last: 0 }];
    let multipart = Multipart::new(&parts, "text/plain", 26, "B0");
    assert_eq!(multipart.content_type(), "multipart/byteranges; boundary=B0");
    let sent = sent_by(&multipart, &content);
    let expected = "--B0\r\nContent-Type: text/plain\r\nContent-Range: bytes 20-25/26\r\n\r\nuvwxyz\
        \r\n--B0\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/26\r\n\r\na\r\n--B0--\r\n";
    assert_eq!(String::from_utf8_lossy(&sent), expected);
    assert_eq!(multipart.content_length(), expected.len() as u64);
}

fn sent_by(multipart: &Multipart, content: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for (head, part) in multipart.parts() {
        let [first, last] = [part.first, part.last].map(|at| usize::try_from(at).expect("the test is small"));
        sent.extend_from_slice(head);
        sent.extend_from_slice(&content[first..=last]);
    }
    sent.extend_from_slice(multipart.end());
    sent
}

/// Whether the byte at an offset is in a range. Arguments: offset, the two numbers of the range, and the length.
type IsIn = fn(u64, u64, u64, u64) -> bool;

/// A range as text, its model, and its two numbers.
type Spec = (String, IsIn, u64, u64);

fn spec() -> impl Strategy<Value = Spec> {
    let end = 0..700_u64;
    prop_oneof![
        (end.clone(), end.clone()).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            let is_in: IsIn = |at, a, b, _| (a..=b).contains(&at);
            (format!("{a}-{b}"), is_in, a, b)
        }),
        end.clone().prop_map(|a| {
            let is_in: IsIn = |at, a, _, _| at >= a;
            (format!("{a}-"), is_in, a, 0)
        }),
        end.prop_map(|a| {
            let is_in: IsIn = |at, a, _, length| at + a >= length;
            (format!("-{a}"), is_in, a, 0)
        }),
    ]
}

/// Also marks gaps of less than 80 bytes between marked bytes.
fn fill_small_gaps(bytes: &mut [bool]) {
    let marked: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at]).collect();
    for pair in marked.windows(2) {
        if pair[1] - pair[0] <= 80 {
            bytes[pair[0]..pair[1]].fill(true);
        }
    }
}

proptest! {
    #[test]
    fn parts_are_the_bytes_that_were_asked_for(specs in proptest::collection::vec(spec(), 1..8), length in 1..600_u64) {
        let text: Vec<_> = specs.iter().map(|spec| spec.0.as_str()).collect();
        let asked = |at| specs.iter().any(|&(_, is_in, a, b)| is_in(at, a, b, length));
        let mut model: Vec<bool> = (0..length).map(asked).collect();
        fill_small_gaps(&mut model);
        match wanted(&format!("Range: bytes={}", text.join(", ")), length) {
            Wanted::Whole => prop_assert!(false, "the ranges are well formed"),
            Wanted::Unsatisfiable => prop_assert!(!model.contains(&true)),
            Wanted::Parts(parts) => {
                let mut covered = vec![0; model.len()];
                for part in &parts {
                    for at in part.first..=part.last {
                        covered[usize::try_from(at).expect("the test is small")] += 1;
                    }
                }
                let expected: Vec<_> = model.iter().map(|&is_in| i32::from(is_in)).collect();
                prop_assert_eq!(covered, expected);
                let multipart = Multipart::new(&parts, "a/b", length, "x");
                let sent = sent_by(&multipart, &vec![b'.'; model.len()]);
                prop_assert_eq!(multipart.content_length(), sent.len() as u64);
            }
        }
    }

    #[test]
    fn no_range_leads_out_of_the_content(
        set in "(bytes=)?([0-9]{0,21}-[0-9]{0,21},? ?){0,6}[ -~]{0,3}",
        length in prop_oneof![0..100_u64, any::<u64>(), Just(u64::MAX)],
    ) {
        if let Wanted::Parts(parts) = wanted(&format!("Range: {set}"), length) {
            prop_assert!(!parts.is_empty());
            let mut sum = 0_u64;
            for part in &parts {
                prop_assert!(part.first <= part.last && part.last < length);
                sum = sum.checked_add(part.bytes()).expect("no byte is there twice");
            }
            prop_assert!(sum <= length);
            prop_assert!(Multipart::new(&parts, "a/b", length, "x").content_length() >= sum);
        }
    }
}
