//! The limits of the Index, and that a refusal leaves nothing behind.

use super::super::core::KEEPS_IN_FLIGHT_MAX;
use super::super::staging::Staging;
use super::*;
use crate::commands::index::PublishRefused;
use crate::commands::index::{HITS_BYTES_MAX, HITS_MAX, SHARE_PAIRS_MAX, SHARE_TEXT_BYTES_MAX};
use crate::config::Quota;
use wire::share::FILE_KEYWORDS_MAX;

/// A file with as many keywords as a file may have.
fn with_most_keywords(name: &str, keyword_bytes: usize) -> ListedFile {
    let mut file = file(name, &[]);
    file.file.keywords = (0..FILE_KEYWORDS_MAX)
        .map(|n| format!("{n:0keyword_bytes$}").parse().expect("a good keyword"))
        .collect();
    file
}

#[test]
fn parts_come_in_order() {
    let mut core = Core::default();
    let wrong = |expected, got| Err(PublishRefused::OutOfOrder { expected, got });
    assert_eq!(answered(&mut core, "A", 1, true, Vec::new()), wrong(0, 1));
    let one = Ok(Published { files: 1, pairs: 0 });
    assert_eq!(answered(&mut core, "A", 0, false, vec![file("x", &[])]), one);
    assert_eq!(answered(&mut core, "A", 2, true, Vec::new()), wrong(1, 2));
    assert_eq!(answered(&mut core, "A", 1, true, Vec::new()), wrong(0, 1), "refusing forgets");
    assert_eq!(answered(&mut core, "A", 0, false, vec![file("x", &[])]), one);
    assert_eq!(answered(&mut core, "A", 0, false, vec![file("x", &[])]), one, "part 0 starts again");
    tell(&mut core, gone("A"));
    assert_eq!(answered(&mut core, "A", 1, true, Vec::new()), wrong(0, 1), "a new connection starts again");
    assert!(core.is_empty());
}

#[test]
fn a_file_is_in_a_share_once() {
    let mut core = Core::default();
    publish(&mut core, "A", vec![file("old", &["k"])]);
    let twice = vec![file("x", &["k"]), file("y", &[]), file("x", &["l"])];
    let name = "x".parse().expect("a good name");
    assert_eq!(answered(&mut core, "A", 0, true, twice), Err(PublishRefused::Repeated(name)));
    assert_eq!(names(&search(&mut core, &keywords(&["k"]), 9, FAR)), [("A", "old")]);
    publish(&mut core, "A", Vec::new());
    assert!(core.is_empty());
}

#[test]
fn pairs_and_keywords_of_a_share_are_bounded() {
    let mut core = Core::default();
    let mut too_many = with_most_keywords("x", 8);
    too_many.file.keywords.push("one more".parse().expect("a good keyword"));
    let refused = Err(PublishRefused::TooManyKeywords(too_many.file.name.clone()));
    assert_eq!(answered(&mut core, "A", 0, true, vec![too_many]), refused);

    let full = SHARE_PAIRS_MAX / FILE_KEYWORDS_MAX as u64;
    for n in 0..full {
        let part = u32::try_from(n).expect("few parts");
        let files = vec![with_most_keywords(&format!("f{n}"), 4)];
        assert!(answered(&mut core, "A", part, false, files).is_ok());
    }
    let part = u32::try_from(full).expect("few parts");
    let one_more = vec![with_most_keywords("last", 4)];
    assert_eq!(answered(&mut core, "A", part, true, one_more), Err(PublishRefused::TooManyPairs));
    assert!(core.is_empty());
}

#[test]
fn the_text_of_a_share_is_bounded() {
    let mut core = Core::default();
    let widest = with_most_keywords("widest", 128);
    let mut refused = None;
    for part in 0..u32::MAX {
        let name = format!("{part:0255}").parse().expect("a good name");
        let mut named = widest.clone();
        named.file.name = name;
        let files = vec![named];
        if let Err(reason) = answered(&mut core, "A", part, false, files) {
            refused = Some((part, reason));
            break;
        }
    }
    let (part, reason) = refused.expect("a share has an end");
    assert_eq!(reason, PublishRefused::TooMuchText);
    let keywords_bytes = FILE_KEYWORDS_MAX as u64 * (128 + ", ".len() + 255 + ";\n".len()) as u64;
    assert!(u64::from(part) * keywords_bytes <= SHARE_TEXT_BYTES_MAX);
    assert!(u64::from(part + 2) * keywords_bytes > SHARE_TEXT_BYTES_MAX);
    assert!(core.is_empty());
}

/// The memory of shares of one part each.
fn held_by(shares: &[Vec<ListedFile>]) -> u64 {
    let mut staging = Staging::default();
    for (n, files) in shares.iter().enumerate() {
        assert!(staging.add(&peer(&format!("p{n}")), 0, files.clone()).is_ok());
    }
    staging.held_bytes()
}

#[test]
fn the_largest_incomplete_share_is_dropped_for_others() {
    let small = || vec![file("x", &["k"])];
    let large = || vec![file("x", &["k", "l"])];
    let mut staging = Staging::with_room(held_by(&[small(), large()]));
    assert!(staging.add(&peer("small"), 0, small()).is_ok());
    assert!(staging.add(&peer("large"), 0, large()).is_ok());
    assert!(staging.add(&peer("new"), 0, small()).is_ok());
    assert_eq!(staging.held_bytes(), held_by(&[small(), small()]));
    assert!(
        staging.finish(&peer("small"), network(1)).is_ok_and(|(share, _, _)| share.files == small()),
        "it stays"
    );
    let start_again = PublishRefused::OutOfOrder { expected: 0, got: 1 };
    assert_eq!(staging.add(&peer("large"), 1, small()), Err(start_again));
    // A later part may need room too.
    let mut staging = Staging::with_room(held_by(&[small(), small()]));
    assert!(staging.add(&peer("a"), 0, small()).is_ok());
    assert!(staging.add(&peer("b"), 0, small()).is_ok());
    assert!(staging.add(&peer("A"), 1, vec![file("y", &["k"])]).is_ok());
    assert!(staging.add(&peer("b"), 1, small()).is_err(), "it was dropped");
}

#[test]
fn shares_that_wait_for_the_disk_are_not_dropped() {
    let small = || vec![file("x", &["k"])];
    let mut staging = Staging::with_room(held_by(&[small(), small()]));
    assert!(staging.add(&peer("a"), 0, small()).is_ok());
    let (_, _, held) = staging.finish(&peer("A"), network(1)).expect("it is complete");
    assert!(staging.add(&peer("b"), 0, small()).is_ok());
    assert_eq!(staging.add(&peer("c"), 0, vec![file("x", &["k", "l"])]), Err(PublishRefused::Busy));
    assert!(staging.add(&peer("B"), 0, small()).is_ok(), "starting again frees what was there");
    assert_eq!(
        staging.add(&peer("b"), 1, small()),
        Err(PublishRefused::Busy),
        "alone it is too much as well"
    );
    staging.release(held);
    assert_eq!(staging.held_bytes(), 0, "a refused share uses no memory");
}

#[test]
fn a_name_is_held_once_however_many_keywords_it_has() {
    let name = "n".repeat(200);
    let one = held_by(&[vec![file(&name, &["a"])]]);
    let three = held_by(&[vec![file(&name, &["a", "b", "c"])]]);
    assert!(three - one < 2 * 200, "{one}, {three}");
    assert!(three - one >= 2 * 48, "{one}, {three}");
}

#[test]
fn the_whole_index_the_peers_of_an_address_and_each_peer_are_bounded() {
    let quota = Quota { per_sender: 3, per_address: 4, in_all: 6 };
    let mut core = Core::new(quota);
    let files = |count: usize| ["w", "x", "y", "z"][..count].iter().map(|name| file(name, &[])).collect();
    let pairs = |count: usize| vec![file("x", &["1", "2", "3", "4"][..count])];
    let mut from = |name: &str, address: u8, files: Vec<ListedFile>| {
        let (reply, pending) = reply();
        let (peer, network) = (peer(name), network(address));
        let command = Command::Publish { peer, network, part: 0, last: true, files, reply };
        let mut keeps = Vec::new();
        core.handle(Now::read(), command, &mut keeps);
        keeps.into_iter().for_each(|keep| keep.reply.answer(Ok(keep.published)));
        pending.wait(std::time::Duration::ZERO).expect("it is answered at once").err()
    };
    for too_many in [files(4), pairs(4)] {
        assert_eq!(from("A", 1, too_many), Some(PublishRefused::PeerFull));
    }
    assert_eq!(from("A", 1, files(3)), None);
    assert_eq!(from("A", 1, pairs(3)), None, "it replaces what was there");
    assert_eq!(from("B", 1, pairs(2)), Some(PublishRefused::AddressFull));
    assert_eq!(from("B", 1, pairs(1)), None);
    assert_eq!(from("C", 2, pairs(3)), Some(PublishRefused::IndexFull));
    assert_eq!(from("C", 2, pairs(2)), None);
    assert_eq!(from("A", 2, pairs(3)), Some(PublishRefused::AddressFull), "a refusal changes nothing");
    assert_eq!(from("A", 1, Vec::new()), None);
    assert_eq!(from("C", 2, pairs(3)), None, "there is room again");
    for (name, address) in [("B", 1), ("C", 2)] {
        assert_eq!(from(name, address, Vec::new()), None);
    }
    // The shares wait for a disk that does not exist.
    assert!(core.holds_nothing());
}

#[test]
fn a_slow_disk_refuses_publishers_and_not_searches() {
    let mut core = Core::default();
    let mut held = Vec::new();
    for n in 0..KEEPS_IN_FLIGHT_MAX {
        match publish_part(&mut core, &format!("p{n}"), 0, true, vec![file("x", &["k"])]) {
            Outcome::ToKeep(keep, _) => held.push(keep.held),
            Outcome::Answered(answer) => panic!("there is a place for {n}: {answer:?}"),
        }
    }
    let late = vec![file("x", &["k"])];
    assert_eq!(answered(&mut core, "late", 0, true, late.clone()), Err(PublishRefused::Busy));
    let found = search(&mut core, &keywords(&["k"]), 1, FAR);
    assert_eq!(found.total, KEEPS_IN_FLIGHT_MAX as u64);
    kept(&mut core, held.pop().expect("many are held"));
    publish(&mut core, "late", late);
}

#[test]
fn an_answer_fits_into_a_frame() {
    let mut core = Core::default();
    let many = (0..HITS_MAX + 1).map(|n| file(&format!("{n}"), &["k"])).collect();
    publish(&mut core, "A", many);
    let found = search(&mut core, &keywords(&["k"]), u32::MAX, FAR);
    assert_eq!((found.hits.len(), found.total), (1000, 1001));

    let large = (0..20).map(|n| with_most_keywords(&format!("{n}"), 128)).collect();
    publish(&mut core, "A", large);
    let all = keywords(&[&format!("{:0128}", 1)]);
    let found = search(&mut core, &all, u32::MAX, FAR);
    assert_eq!(found.total, 20);
    assert!(!found.hits.is_empty());
    let bytes = postcard::to_stdvec(&found.hits).expect("hits are plain data");
    assert!(bytes.len() <= HITS_BYTES_MAX, "{}", bytes.len());
}
