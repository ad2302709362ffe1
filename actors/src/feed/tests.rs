//! The core of the feed, under a time that the tests set.

use std::time::Instant;

use crossbeam_channel::TryRecvError;
use wire::Digest;

use super::core::{CHANGES_MAX, ENVELOPES_MAX, Effect, Feed, INTERVAL, NAMES_MAX};
use super::shell::Viewers;
use crate::commands::feed::{Command, FeedHandle, Passed, View};
use crate::config::FlowAccess;
use crate::runtime::{Core as _, Mailbox, Now, Shell as _, mailbox};

fn name(number: usize) -> wire::PeerName {
    format!("p{number}").parse().expect("it is a name")
}

fn passed(number: u64, outcome: &'static str) -> Command {
    let sha256 = Digest::of(&number.to_le_bytes());
    let (from, to) = (name(1), name(2));
    Command::Passed(Box::new(Passed { from, to, kind: "message", number, bytes: 100, sha256, outcome }))
}

/// A feed, and the beginning of its time.
struct Bench {
    feed: Feed,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self { feed: Feed::default(), now: Now::read() }
    }

    fn tell(&mut self, command: Command) {
        self.feed.handle(self.now, command, &mut Vec::new());
    }

    /// The event and the data of each event of the interval.
    fn events(&mut self, lost: u64) -> Vec<(String, String)> {
        assert_eq!(self.feed.ends_at(), Some(self.now.instant + INTERVAL));
        let text = self.feed.take(lost);
        assert_eq!(self.feed.ends_at(), None);
        let event = |event: &str| {
            let (event, data) = event.split_once('\n').expect("an event has data");
            let value =
                |line: &str, field: &str| line.strip_prefix(field).expect("the field is there").to_owned();
            (value(event, "event: "), value(data, "data: "))
        };
        text.split_terminator("\n\n").map(event).collect()
    }
}

#[test]
fn an_envelope_is_shown_with_what_the_server_knows_of_it() {
    let mut bench = Bench::new();
    bench.tell(passed(7, "stored"));
    let sha256 = Digest::of(&7u64.to_le_bytes());
    let data = format!(
        "{{\"from\":\"p1\",\"to\":\"p2\",\"kind\":\"message\",\"number\":7,\"bytes\":100,\"sha256\":\"{sha256}\",\"outcome\":\"stored\"}}"
    );
    assert_eq!(bench.events(0), [("envelope".to_owned(), data)]);
}

#[test]
fn of_too_many_envelopes_only_the_sum_is_shown() {
    let mut bench = Bench::new();
    for number in 0..ENVELOPES_MAX as u64 {
        bench.tell(passed(number, "relayed"));
    }
    for (number, outcome) in
        [(100, "relayed"), (101, "stored"), (102, "stored"), (103, "refused"), (104, "unknown")]
    {
        bench.tell(passed(number, outcome));
    }
    let events = bench.events(9);
    let (last, shown) = events.split_last().expect("there are events");
    assert!(shown.len() == ENVELOPES_MAX && shown.iter().all(|(event, _)| event == "envelope"), "{shown:?}");
    let sum = "{\"count\":5,\"bytes\":500,\"relayed\":1,\"stored\":2,\"refused\":2,\"lost\":9}";
    assert_eq!(last, &("others".to_owned(), sum.to_owned()));
    // The next interval has room again.
    bench.tell(passed(200, "relayed"));
    assert_eq!(bench.events(0).len(), 1);
}

#[test]
fn peers_that_come_and_go_are_named_once_an_interval() {
    let mut bench = Bench::new();
    bench.tell(Command::Joined(name(1)));
    bench.tell(Command::Joined(name(2)));
    bench.tell(Command::Left(name(2)));
    let event = |event: &str, number| (event.to_owned(), format!("{{\"name\":\"p{number}\"}}"));
    assert_eq!(bench.events(0), [event("joined", 1)]);
    // A new session takes over before the old one has ended.
    bench.tell(Command::Joined(name(1)));
    bench.tell(Command::Left(name(1)));
    bench.tell(Command::Joined(name(3)));
    assert_eq!(bench.events(0), [event("joined", 3)]);
    bench.tell(Command::Left(name(1)));
    assert_eq!(bench.events(0), [event("left", 1)]);
    // After so many changes everybody who is there is named.
    for number in 0..=CHANGES_MAX {
        bench.tell(Command::Joined(name(100 + number)));
    }
    let events = bench.events(0);
    assert!(
        matches!(&events[..], [(event, data)] if event == "present" && data.contains("\"p3\"")),
        "{events:?}"
    );
    assert!(!events[0].1.contains("\"p1\""), "{events:?}");
}

#[test]
fn a_viewer_learns_first_who_is_there() {
    let mut bench = Bench::new();
    bench.tell(Command::Joined(name(5)));
    let (address, mut mailbox) = mailbox::<Command, Command>(1);
    let handle = FeedHandle::new(address, std::sync::Arc::default(), FlowAccess::Admin);
    assert!(!handle.is_watched());
    let view = handle.watch().expect("there is room");
    assert!(handle.is_watched());
    let mut batch = Vec::new();
    mailbox.wait(Some(Instant::now()), 1, &mut batch);
    let mut effects = Vec::new();
    batch.into_iter().for_each(|command| bench.feed.handle(bench.now, command, &mut effects));
    let [Effect::Add(_, text)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(text, "event: present\ndata: {\"names\":[\"p5\"],\"more\":0}\n\n");
    drop(view);
    assert!(!handle.is_watched());
}

#[test]
fn a_viewer_that_does_not_read_is_dropped_and_viewers_are_limited() {
    let (address, mut mailbox) = mailbox::<Command, Command>(64);
    let handle = FeedHandle::new(address, std::sync::Arc::default(), FlowAccess::Public);
    let views: Vec<_> = std::iter::from_fn(|| handle.watch()).take(20).collect();
    assert_eq!(views.len(), 16);
    let mut batch = Vec::new();
    while mailbox.wait(Some(Instant::now()), 64, &mut batch) && batch.len() < views.len() {}
    let Some(Command::Watch(viewer)) = batch.pop() else { panic!("it watches") };
    let texts =
        std::iter::repeat_with(|| viewer.offer("text".into())).take_while(|was_taken| *was_taken).count();
    assert_eq!(texts, 64);
    drop(views);
    assert!(handle.watch().is_some() && !viewer.offer("text".into()));
}

#[test]
fn what_the_mailbox_has_no_room_for_is_counted() {
    let (address, _mailbox) = mailbox::<Command, Command>(1);
    let lost = std::sync::Arc::<std::sync::atomic::AtomicU64>::default();
    let handle = FeedHandle::new(address, std::sync::Arc::clone(&lost), FlowAccess::Public);
    for number in 0..3 {
        let Command::Passed(passed) = passed(number, "relayed") else { panic!("it is one") };
        handle.passed(*passed);
    }
    assert_eq!(lost.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn a_limited_number_of_peers_is_named_at_once() {
    let mut bench = Bench::new();
    for number in 0..NAMES_MAX + 7 {
        bench.tell(Command::Joined(name(number)));
    }
    let events = bench.events(0);
    let [(event, data)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.as_str(), data.matches("\"p").count()), ("present", NAMES_MAX));
    assert!(data.ends_with("\"more\":7}"), "{data}");
}

/// The feed with its shell.
struct Stage {
    bench: Bench,
    shell: Viewers,
    effects: Vec<Effect>,
    handle: FeedHandle,
    mailbox: Mailbox<Command>,
}

impl Stage {
    fn new() -> Self {
        let (address, mailbox) = mailbox::<Command, Command>(64);
        let handle = FeedHandle::new(address, std::sync::Arc::default(), FlowAccess::Admin);
        Self {
            bench: Bench::new(),
            shell: Viewers::new(std::sync::Arc::default()),
            effects: Vec::new(),
            handle,
            mailbox,
        }
    }

    fn watch(&mut self) -> View {
        let view = self.handle.watch().expect("there is room");
        let mut batch = Vec::new();
        self.mailbox.wait(Some(Instant::now()), 1, &mut batch);
        batch.into_iter().for_each(|command| self.tell(command));
        self.shell.settle(&mut self.bench.feed, &mut self.effects, self.bench.now);
        view
    }

    fn tell(&mut self, command: Command) {
        self.bench.feed.handle(self.bench.now, command, &mut self.effects);
    }

    /// The end of the interval.
    fn end(&mut self) {
        let now = self.bench.now;
        let end = Now { instant: now.instant + INTERVAL, ..now };
        let wait = self.shell.settle(&mut self.bench.feed, &mut self.effects, end);
        assert_eq!(wait, None);
    }
}

#[test]
fn the_feed_drops_a_viewer_that_is_too_slow_and_forgets_those_that_have_gone() {
    let mut stage = Stage::new();
    let slow = stage.watch();
    let quick = stage.watch();
    for number in 0..100 {
        stage.tell(passed(number, "relayed"));
        stage.end();
        assert!(quick.texts.try_iter().count() > 0, "it gets every text");
    }
    assert_eq!(slow.texts.try_iter().count(), 64);
    assert_eq!(slow.texts.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(stage.shell.viewers.len(), 1);
    // Also when nothing happens that would be sent.
    for _ in 0..100 {
        drop(stage.watch());
    }
    assert_eq!(stage.shell.viewers.len(), 2);
}

#[test]
fn nothing_is_kept_for_nobody() {
    let mut stage = Stage::new();
    stage.tell(Command::Joined(name(1)));
    stage.tell(passed(1, "relayed"));
    stage.end();
    let view = stage.watch();
    stage.tell(Command::Joined(name(2)));
    stage.end();
    let texts: Vec<String> = view.texts.try_iter().map(|text| text.to_string()).collect();
    let present = "event: present\ndata: {\"names\":[\"p1\"],\"more\":0}\n\n";
    assert_eq!(texts, [present, "event: joined\ndata: {\"name\":\"p2\"}\n\n"]);
}
