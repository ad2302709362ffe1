//! Shares, and their parts in the bucket.

use wire::Digest;
use wire::share::{Difference, ListDigest, ListedFile, PublishedFile};

use super::*;
use crate::cluster::interface::ShareInput;
use crate::commands::index::{Change, Held, Keep, Kept, PublishAnswer, PublishRefused, Published, Share};

fn share(owner: &str, words: usize) -> Share {
    let file = |n: usize| {
        let name = format!("file {n}.txt").parse().expect("a good name");
        let keywords = vec!["sea".parse().expect("a good keyword")];
        ListedFile::from(PublishedFile { name, bytes: 3, sha256: Digest::of(b"abc"), keywords })
    };
    let files = (0..words).map(file).collect();
    Share { owner: name(owner), network: Network::UNKNOWN, files }
}

fn keep(bench: &mut Bench, share: Share) -> Pending<PublishAnswer> {
    let published = Published { files: share.files.len() as u64, pairs: 0 };
    keep_what(bench, Kept::Share(share), published)
}

fn keep_what(bench: &mut Bench, what: Kept, published: Published) -> Pending<PublishAnswer> {
    let (reply, pending) = reply();
    let keep = Keep { what, published, held: Held(7), reply };
    bench.take(Input::Command(Command::Keep(Box::new(keep))));
    pending
}

/// The parts that are to be written.
fn written(bench: &mut Bench) -> Option<Vec<Bytes>> {
    let mut effects = std::mem::take(&mut bench.effects).into_iter();
    let parts = effects.find_map(|effect| match effect {
        Effect::PutShare { parts, .. } => Some(parts),
        _ => None,
    });
    Some(parts?.into_iter().map(|(part, _)| part).collect())
}

fn see(bench: &mut Bench, owner: &str, number: usize, parts: &[Bytes]) -> Option<Box<Share>> {
    bench.effects.clear();
    let (number, value) = (u32::try_from(number).expect("few"), parts[number].clone());
    bench.take(Input::Share(ShareInput::Part { name: name(owner), number, value, revision: 1 }));
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
    here.take(Input::Share(ShareInput::Kept(Some(vec![1]))));
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
    bench.take(Input::Share(ShareInput::Kept(Some(vec![1]))));
    assert!(written(&mut bench).is_some());
    bench.take(Input::Share(ShareInput::Kept(None)));
    assert_eq!(first.wait(Duration::ZERO), Ok(Ok(Published { files: 1, pairs: 0 })));
    assert!(matches!(second.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));

    see(&mut bench, "a", 0, &parts);
    let _unsure = keep(&mut bench, share("A", 1));
    assert!(written(&mut bench).is_some(), "the bucket may have the second one");
    bench.take(Input::Share(ShareInput::Kept(Some(vec![3]))));
    let again = keep(&mut bench, share("A", 1));
    assert_eq!(written(&mut bench), None, "the bucket has it");
    assert_eq!(again.wait(Duration::ZERO), Ok(Ok(Published { files: 1, pairs: 0 })));
    bench.take(Input::Connected(false));
    let lost = keep(&mut bench, share("A", 3));
    assert!(matches!(lost.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))), "a peer tries again");
    assert_eq!(written(&mut bench), None);
}

fn change(owner: &str, file: &str) -> Change {
    let (base, files) = (ListDigest::default(), Vec::new());
    let removed = vec![file.parse().expect("a good name")];
    Change { owner: name(owner), difference: Difference { base, removed, files } }
}

fn keep_change(bench: &mut Bench, file: &str) -> Pending<PublishAnswer> {
    keep_what(bench, Kept::Change(change("A", file)), Published::default())
}

/// The change that is to be written, and its number.
fn change_written(bench: &mut Bench) -> Option<(u32, Bytes)> {
    let effects = std::mem::take(&mut bench.effects).into_iter();
    effects.rev().find_map(|effect| match effect {
        Effect::PutChange { number, value, .. } => Some((number, value)),
        _ => None,
    })
}

fn see_change(bench: &mut Bench, number: u32, value: Option<Bytes>) -> Option<Box<Change>> {
    bench.effects.clear();
    bench.take(Input::Share(ShareInput::Change { name: name("a"), number, value }));
    let effects = std::mem::take(&mut bench.effects).into_iter();
    effects
        .rev()
        .find_map(|effect| if let Effect::ShareChange(change) = effect { Some(change) } else { None })
}

/// Publishes a share of so many files, and returns its parts.
fn put(bench: &mut Bench, files: usize) -> Vec<Bytes> {
    let _published = keep(bench, share("A", files));
    let parts = written(bench).expect("it is written");
    bench.take(Input::Share(ShareInput::Kept(Some(vec![1]))));
    parts
}

#[test]
fn changes_are_numbered_from_their_share_on_and_learned_in_order() {
    let (mut here, mut there) = (Bench::new(), Bench::new());
    let first = put(&mut here, 1);
    let kept = keep_change(&mut here, "a");
    let a = change_written(&mut here).expect("it is written");
    let later = keep_change(&mut here, "b");
    assert_eq!(change_written(&mut here), None, "one at a time");
    here.take(Input::Share(ShareInput::Kept(Some(vec![2]))));
    let b = change_written(&mut here).expect("it is written next");
    here.take(Input::Share(ShareInput::Kept(Some(vec![3]))));
    for kept in [kept, later] {
        assert_eq!(kept.wait(Duration::ZERO), Ok(Ok(Published::default())));
    }
    assert_eq!((a.0, b.0), (0, 1));
    // What comes back is known.
    assert_eq!(see(&mut here, "a", 0, &first), None);
    assert_eq!(see_change(&mut here, 0, Some(a.1.clone())), None);

    assert_eq!(see_change(&mut there, 0, Some(a.1.clone())), None, "the share is not known");
    assert!(see(&mut there, "a", 0, &first).is_some());
    assert_eq!(see_change(&mut there, 1, Some(b.1.clone())), None, "another one comes before");
    assert_eq!(see_change(&mut there, 0, Some(a.1.clone())), Some(Box::new(change("A", "a"))));
    assert_eq!(see_change(&mut there, 0, Some(a.1.clone())), None, "it is known");
    assert_eq!(see_change(&mut there, 1, Some(b.1)), Some(Box::new(change("A", "b"))));

    // A server that starts continues to count, and one share never takes the changes of another.
    there.effects.clear();
    let _kept = keep_change(&mut there, "c");
    assert_eq!(change_written(&mut there).map(|(number, _)| number), Some(2));
    let second = put(&mut here, 2);
    assert!(see(&mut there, "a", 0, &second).is_some());
    assert_eq!(see_change(&mut there, 0, Some(a.1)), None);
}

#[test]
fn a_share_that_comes_again_removes_its_changes_first() {
    let (mut here, mut there) = (Bench::new(), Bench::new());
    let share_of_one = put(&mut here, 1);
    see(&mut there, "a", 0, &share_of_one);
    let _kept = keep_change(&mut here, "a");
    let (_, a) = change_written(&mut here).expect("it is written");
    here.take(Input::Share(ShareInput::Kept(Some(vec![2]))));
    assert!(see_change(&mut there, 0, Some(a.clone())).is_some());

    let _again = keep(&mut here, share("A", 1));
    let mut effects = std::mem::take(&mut here.effects).into_iter();
    let put = effects.find(|effect| matches!(effect, Effect::PutShare { .. }));
    assert!(matches!(put, Some(Effect::PutShare { changes: 1, .. })), "{put:?}");
    assert_eq!(see_change(&mut there, 0, None), None);
    assert!(see(&mut there, "a", 0, &share_of_one).is_some(), "it is the share without the change");
    assert!(see_change(&mut there, 0, Some(a)).is_some(), "changes count from it");
    // The own share that comes back must not undo changes of it that wait.
    let _more = keep_change(&mut here, "b");
    assert_eq!(see_change(&mut here, 0, None), None);
    assert_eq!(see(&mut here, "a", 0, &share_of_one), None);
}

#[test]
fn a_change_that_is_not_in_the_bucket_needs_a_whole_share_after_it() {
    let mut bench = Bench::new();
    let unknown = keep_change(&mut bench, "a");
    assert!(matches!(unknown.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))), "of which share?");
    put(&mut bench, 1);
    let failed = keep_change(&mut bench, "b");
    assert!(change_written(&mut bench).is_some());
    bench.take(Input::Share(ShareInput::Kept(None)));
    assert!(matches!(failed.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));
    let next = keep_change(&mut bench, "c");
    assert!(matches!(next.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));
    put(&mut bench, 1);
    let _fits = keep_change(&mut bench, "d");
    assert_eq!(change_written(&mut bench).map(|(number, _)| number), Some(0));
    bench.take(Input::Share(ShareInput::Kept(Some(vec![9]))));

    bench.take(Input::Connected(false));
    for lost in [keep(&mut bench, share("A", 3)), keep_change(&mut bench, "e")] {
        assert!(matches!(lost.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));
    }
    bench.take(Input::Connected(true));
    let base_is_missing = keep_change(&mut bench, "f");
    assert!(matches!(base_is_missing.wait(Duration::ZERO), Ok(Err(PublishRefused::NotKept(_)))));
}

/// The number of the next part, all parts, and the revisions of those that were written.
type WritingShare = (usize, Vec<(Bytes, Revision)>, Vec<Revision>);

/// A bucket that only has the parts of one share, and in which each write is a step of its own.
#[derive(Default)]
struct Parts {
    changes: Vec<(usize, Bytes)>,
    writing: [Option<WritingShare>; 2],
    told: [usize; 2],
}

impl Parts {
    fn revision(&self, number: usize) -> Revision {
        self.changes.iter().rposition(|(of, _)| *of == number).map_or(0, |at| at as u64 + 1)
    }

    /// A server writes its next part.
    fn write(&mut self, at: usize, server: &mut Bench) {
        let Some((number, parts, mut revisions)) = self.writing[at].take() else { return };
        let kept = match parts.get(number) {
            None => Some(revisions),
            Some((_, over)) if *over != self.revision(number) => None,
            Some((part, _)) => {
                self.changes.push((number, part.clone()));
                revisions.push(self.changes.len() as u64);
                self.writing[at] = Some((number + 1, parts, revisions));
                return;
            }
        };
        server.take(Input::Share(ShareInput::Kept(kept)));
        self.begin(at, server);
    }

    fn begin(&mut self, at: usize, server: &mut Bench) {
        for effect in std::mem::take(&mut server.effects) {
            if let Effect::PutShare { parts, .. } = effect {
                self.writing[at] = Some((0, parts, Vec::new()));
            }
        }
    }

    /// A server is told of the next change.
    fn tell(&mut self, at: usize, server: &mut Bench) {
        if let Some((number, value)) = self.changes.get(self.told[at]) {
            self.told[at] += 1;
            let (number, value) = (u32::try_from(*number).expect("few"), value.clone());
            let revision = self.told[at] as u64;
            server.take(Input::Share(ShareInput::Part { name: name("a"), number, value, revision }));
            self.begin(at, server);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn of_two_servers_that_write_a_share_at_once_the_one_at_which_the_peer_stays_wins_whole(
        steps in proptest::collection::vec((0_usize..2, proptest::bool::ANY), 0..40)
    ) {
        let mut servers = [Bench::new(), Bench::new()];
        let mut bucket = Parts::default();
        // The peer has left the first one, and publishes at the second one until its share is kept.
        let left = keep(&mut servers[0], share("A", 6000));
        bucket.begin(0, &mut servers[0]);
        let mut stays = keep(&mut servers[1], share("A", 6001));
        bucket.begin(1, &mut servers[1]);
        for (at, is_told) in steps {
            let server = &mut servers[at];
            if is_told { bucket.tell(at, server) } else { bucket.write(at, server) }
        }
        for attempt in 0.. {
            proptest::prop_assert!(attempt < 5, "it is never kept");
            for at in [0, 1] {
                (0..20).for_each(|_| bucket.write(at, &mut servers[at]));
                (0..100).for_each(|_| bucket.tell(at, &mut servers[at]));
            }
            match stays.wait(Duration::ZERO) {
                Ok(Ok(_)) => break,
                answer => proptest::prop_assert!(matches!(answer, Ok(Err(_))), "{answer:?}"),
            }
            stays = keep(&mut servers[1], share("A", 6001));
            bucket.begin(1, &mut servers[1]);
        }
        let _either = left.wait(Duration::ZERO);
        // A server that starts reads the last value of each part, in the order of the revisions.
        let mut starts = Bench::new();
        let latest = (1_u64..).zip(&bucket.changes).filter(|(at, (number, _))| bucket.revision(*number) == *at);
        for (revision, (number, value)) in latest {
            let (number, value) = (u32::try_from(*number).expect("few"), value.clone());
            starts.take(Input::Share(ShareInput::Part { name: name("a"), number, value, revision }));
        }
        let learned = starts.effects.iter().filter_map(|effect| match effect {
            Effect::Share(share) => Some(share.files.len()),
            _ => None,
        });
        proptest::prop_assert_eq!(learned.collect::<Vec<_>>(), [6001]);
    }
}
