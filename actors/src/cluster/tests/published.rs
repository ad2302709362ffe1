//! Shares, and their parts in the bucket.

use wire::Digest;
use wire::share::PublishedFile;

use super::*;
use crate::commands::index::{Held, Keep, PublishAnswer, PublishRefused, Published, Share};

fn share(owner: &str, words: usize) -> Share {
    let file = |n: usize| PublishedFile {
        name: format!("file {n}.txt").parse().expect("a good name"),
        bytes: 3,
        sha256: Digest::of(b"abc"),
        keywords: vec!["sea".parse().expect("a good keyword")],
    };
    let files = (0..words).map(file).collect();
    Share { owner: name(owner), network: Network::UNKNOWN, files }
}

fn keep(bench: &mut Bench, share: Share) -> Pending<PublishAnswer> {
    let (reply, pending) = reply();
    let published = Published { files: share.files.len() as u64, pairs: 0 };
    let keep = Keep { share, published, held: Held(7), reply };
    bench.take(Input::Command(Command::Keep(Box::new(keep))));
    pending
}

/// The parts that are to be written.
fn written(bench: &mut Bench) -> Option<Vec<Bytes>> {
    let mut effects = std::mem::take(&mut bench.effects).into_iter();
    effects.find_map(|effect| if let Effect::PutShare { parts, .. } = effect { Some(parts) } else { None })
}

fn see(bench: &mut Bench, owner: &str, number: usize, parts: &[Bytes]) -> Option<Box<Share>> {
    bench.effects.clear();
    let (number, value) = (u32::try_from(number).expect("few"), parts[number].clone());
    bench.take(Input::SharePart { name: name(owner), number, value });
    bench
        .effects
        .drain(..)
        .find_map(|effect| if let Effect::Share(share) = effect { Some(share) } else { None })
}

#[test]
fn a_share_is_cut_into_parts_and_learned_when_all_are_there() {
    let (mut here, mut there) = (Bench::new(), Bench::new());
    let publisher = keep(&mut here, share("A", 6000));
    let large = written(&mut here).expect("it is written");
    assert!(large.len() > 1 && large.iter().all(|part| part.len() < 512 << 10), "{}", large.len());
    assert_eq!(publisher.wait(Duration::ZERO), Err(NoAnswer::TimedOut), "it is not in the bucket yet");
    here.take(Input::ShareKept(true));
    assert_eq!(publisher.wait(Duration::ZERO), Ok(Ok(Published { files: 6000, pairs: 0 })));
    assert!(here.effects.iter().any(|effect| matches!(effect, Effect::Release(Held(7)))));

    let last = large.len() - 1;
    for number in (1..=last).rev() {
        assert_eq!(see(&mut there, "a", number, &large), None);
    }
    assert_eq!(see(&mut there, "a", 0, &large), Some(Box::new(share("A", 6000))));
    assert_eq!(see(&mut there, "a", 0, &large), None, "the Index has it");
    // The parts of two publications are never put together.
    keep(&mut here, share("A", 6001));
    let larger = written(&mut here).expect("it is written");
    assert_eq!(larger.len(), large.len());
    for number in 0..last {
        assert_eq!(see(&mut there, "a", number, &larger), None);
    }
    assert_eq!(see(&mut there, "a", last, &large), None);
    assert_eq!(see(&mut there, "a", last, &larger), None);
    for number in 0..last {
        assert_eq!(see(&mut there, "a", number, &larger).is_some(), number + 1 == last);
    }
    // Somebody has written the share of another peer under this name.
    assert_eq!(see(&mut there, "b", 0, &[large[0].clone()]), None);
    (1..=last).for_each(|number| assert_eq!(see(&mut there, "b", number, &large), None));
}

#[test]
fn shares_are_written_one_at_a_time_and_only_if_they_have_changed() {
    let mut bench = Bench::new();
    let first = keep(&mut bench, share("A", 1));
    let parts = written(&mut bench).expect("it is written");
    let second = keep(&mut bench, share("A", 2));
    assert_eq!(written(&mut bench), None, "it must become the last one in the bucket");
    bench.take(Input::ShareKept(true));
    assert!(written(&mut bench).is_some());
    bench.take(Input::ShareKept(false));
    assert_eq!(first.wait(Duration::ZERO), Ok(Ok(Published { files: 1, pairs: 0 })));
    assert!(matches!(second.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));

    see(&mut bench, "a", 0, &parts);
    let again = keep(&mut bench, share("A", 1));
    assert_eq!(written(&mut bench), None, "the bucket has it");
    assert_eq!(again.wait(Duration::ZERO), Ok(Ok(Published { files: 1, pairs: 0 })));
    bench.take(Input::Connected(false));
    let lost = keep(&mut bench, share("A", 3));
    assert!(matches!(lost.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))), "a peer tries again");
    assert_eq!(written(&mut bench), None);
}
