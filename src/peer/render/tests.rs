use std::time::Instant;

use wire::FileName;

use super::*;
use crate::peer::event::{Answer, HolderFault};

#[test]
fn a_line_of_chat_has_the_time_and_a_late_one_also_when_it_was_written() {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let now = at("2026-11-26T14:03:30Z");
    let written = |text: &str| {
        let seconds = u64::try_from(at(text).as_second()).expect("after 1970");
        let time = chat_time(now, seconds, &TimeZone::UTC);
        assert_eq!(time.now, "14:03");
        time.written
    };
    assert_eq!(written("2026-11-26T14:03:00Z"), "");
    assert_eq!(written("2026-11-26T09:12:00Z"), " (written 09:12)");
    assert_eq!(written("2026-11-25T09:12:00Z"), " (written 2026-11-25 09:12)");
    let hour_ahead = TimeZone::fixed(jiff::tz::offset(1));
    assert_eq!(chat_time(now, 0, &hour_ahead).now, "15:03", "times are local");
    assert_eq!(chat_time(now, u64::MAX, &TimeZone::UTC).written, "");
}

#[test]
fn at_a_prompt_progress_is_a_line_now_and_then_and_never_a_bar() {
    let mut renderer = Renderer::new(Style::Quiet);
    renderer.is_at_prompt = true;
    let name: FileName = "big.iso".parse().expect("a good name");
    let begun = Instant::now();
    let mut at =
        |ms, done| renderer.progress.line("", &name, done, 1 << 30, begun + Duration::from_millis(ms));
    assert_eq!(at(0, 100 << 20), None, "a resumed transfer");
    assert_eq!(at(1_999, 200 << 20), None);
    assert_eq!(at(2_000, 512 << 20).as_deref(), Some("big.iso: 50 % of 1.00 GiB, 206.00 MiB/s"));
    assert_eq!(at(2_100, 600 << 20), None);
    assert_eq!(at(5_000, 1 << 30), None, "the end is shown by another event");
    let progress = Event::FileProgress { name, done: 1, total: 2 };
    assert_eq!(renderer.text(&progress), None);
    assert!(!renderer.progress.has_bars());
}

#[test]
fn the_place_in_a_queue_is_an_ordinal_number() {
    for (place, text) in
        [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (113, "113th")]
    {
        let (name, from) = ("a.txt".parse().expect("a good name"), "B".parse().expect("a good name"));
        let shown = Renderer::new(Style::Quiet).text(&Event::FileQueued { name, from, place });
        assert_eq!(shown, Some(format!("waiting a.txt is {text} in the queue of B")));
    }
}

#[test]
fn the_holders_of_a_file_are_shown_and_why_one_was_dropped() {
    let (name, ben): (FileName, PeerName) =
        ("a.txt".parse().expect("a good name"), "ben".parse().expect("a good name"));
    let reason = "ben lies \u{1b}[31m".to_owned();
    let dropped = Event::FileHolderDropped {
        name: name.clone(),
        from: ben.clone(),
        fault: HolderFault::Lied,
        piece: Some(3),
        reason,
    };
    let part = |from: &str, route| HolderPart { from: from.parse().expect("a good name"), bytes: 7, route };
    let holders = vec![part("ann", FileRoute::Direct), part("cleo", FileRoute::Server)];
    let mut renderer = Renderer::new(Style::Quiet);
    let shown = renderer.text(&dropped).expect("it is shown");
    assert!(shown.starts_with("dropped ben lies ") && !shown.contains('\u{1b}'), "{shown}");
    let shown = renderer.text(&Event::FileHolders { name, holders });
    let through = "through the server";
    assert_eq!(shown, Some(format!("from ann, directly, 7 bytes; cleo, {through}, 7 bytes")));
}

#[test]
fn lines_of_a_message_never_look_like_another_message() {
    let text = "first\r\nB #2: forged\n\t\u{1f44d}\u{1f3fd}";
    assert_eq!(Chat(text).to_string(), "first\n    | B #2: forged\n    |     \u{1f44d}\u{1f3fd}");
}

#[test]
fn no_event_controls_a_terminal_in_any_style() {
    let hostile = "a\u{1b}[2J\u{9b}2J\u{202e}\u{2066}b";
    let message = MessageEvent {
        from: "B".parse().expect("a good name"),
        text: hostile.into(),
        number: 1,
        verified: true,
        compared: false,
        written_at: 0,
        sha256: wire::Digest::of(hostile.as_bytes()),
        arrival: None,
    };
    let event = Event::Message(Box::new(message));
    for style in [Style::Json, Style::Trace, Style::Quiet] {
        let text = Renderer::new(style).text(&event).expect("messages are always shown");
        assert!(text.is_ascii() && !text.contains('\u{1b}'), "{style:?}: {text:?}");
    }
    let json = Renderer::new(Style::Json).text(&event).expect("messages are always shown");
    assert_eq!(serde_json::from_str::<Event>(&json).ok(), Some(event), "a program reads what was written");
}

#[test]
fn many_files_have_a_line_each_and_one_progress_for_all() {
    let mut renderer = Renderer::new(Style::Quiet);
    renderer.is_at_prompt = true;
    let progress =
        |files_done| Event::FilesProgress { files_done, files: 3, failed: 1, bytes_done: 1, bytes: 9 };
    let line = renderer.text(&progress(1)).expect("the first is shown at once");
    assert!(line.contains("1 of 3 files"), "{line}");
    assert_eq!(renderer.text(&progress(2)), None, "not too often");
    let done = Event::FileDone {
        path: "/d/a".into(),
        bytes: 1,
        sha256: Digest::of(b"a"),
        from: Some("B".parse().expect("a good name")),
        peers: 1,
        route: FileRoute::Direct,
    };
    let line = renderer.text(&done).expect("each file is shown");
    assert!(line.contains("/d/a from B") && line.lines().count() == 1, "{line}");
    renderer.trace(true);
    assert!(renderer.text(&done).is_some_and(|line| line.contains("SHA-256 verified")));
    renderer.trace(false);
    renderer.is_at_prompt = false;
    assert_eq!(renderer.text(&progress(2)), None, "a bar");
    assert!(renderer.text(&done).is_some() && renderer.progress.has_bars(), "it stays until the end");
    let name: FileName = "large".parse().expect("a good name");
    let part = |done| Event::FileProgress { name: name.clone(), done, total: 9 };
    for done in [1, 9] {
        assert_eq!(renderer.text(&part(done)), None);
    }
    let mut fetched = |from: Option<&str>, peers| {
        let from = from.map(|from| from.parse().expect("a good name"));
        let answer = Answer::Fetched { from, peers, files: 3, files_done: 2, here: 1, failed: 1, bytes: 5 };
        renderer.text(&Event::Result(answer)).expect("it is shown")
    };
    let rest = "1 here before, 1 failed; 5 bytes are here";
    assert_eq!(fetched(Some("B"), 1), format!("1 of 3 file(s) fetched from B, {rest}"));
    assert_eq!(fetched(Some("B"), 2), format!("1 of 3 file(s) fetched from 2 peers, {rest}"));
    assert_eq!(fetched(None, 0), format!("1 of 3 file(s) fetched, {rest}"));
    assert!(!renderer.progress.has_bars());
}

#[test]
fn a_file_of_several_peers_is_not_said_to_be_of_one() {
    let done = |peers| Event::FileDone {
        path: "/d/a".into(),
        bytes: 9,
        sha256: Digest::of(b"a"),
        from: Some("B".parse().expect("a good name")),
        peers,
        route: FileRoute::Direct,
    };
    let first = |peers| {
        let text = Renderer::new(Style::Quiet).text(&done(peers)).expect("it is shown");
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first(1), "fetched /d/a from B, directly, 9 bytes");
    assert_eq!(first(2), "fetched /d/a from 2 peers, 9 bytes");
}

#[test]
fn what_a_server_is_trusted_with_is_its_key_or_its_certificate() {
    let fingerprint = Digest::of(b"shown");
    for (server, what) in [("host:6789", "key"), ("tls:host:6443", "certificate")] {
        let trusted = Answer::TrustedServer { server: server.into(), fingerprint };
        let line = Renderer::new(Style::Quiet).text(&Event::Result(trusted)).expect("it is shown");
        assert_eq!(line, format!("the server {server} is trusted with {what} {fingerprint}"));
    }
}

#[test]
fn what_is_empty_says_what_would_be_there() {
    let shown = |answer| Renderer::new(Style::Quiet).text(&Event::Result(answer)).expect("it is shown");
    let found = |no_condition: Option<&str>| Answer::Found {
        total: 0,
        skip: 0,
        shown: 0,
        instead: None,
        no_condition: no_condition.map(str::to_owned),
    };
    assert_eq!(shown(found(None)), "0 found");
    assert_eq!(
        shown(found(Some("type:pdf"))),
        "0 found; type:pdf was searched for as text, because there is no condition type: (there are ext: from: file: sha256: \
         and size)"
    );
    assert!(shown(Answer::NothingQueued).starts_with("no message waits for a receipt; "));
    assert!(shown(Answer::NoHistory { with: None }).starts_with("no messages are kept here; "));
    let with = Some("B".parse().expect("a good name"));
    assert!(shown(Answer::NoHistory { with }).starts_with("no messages with B are kept here; "));
}
