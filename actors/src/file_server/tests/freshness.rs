//! How soon a change is seen.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::cache::Limits;
use super::super::core::Effect;
use super::bench::{Bench, LIMITS, text};
use crate::commands::asset::{Asset, Representation};
use crate::commands::file_server::Found;
use crate::site::SiteConfig;

const TICK: Duration = Duration::from_millis(20);
/// Room for so many entries that not all are compared every second.
const MANY: Limits = Limits { entries_max: 4096, ..LIMITS };

#[test]
fn a_lease_lasts_until_the_file_changes() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.txt", "one");
    let first = bench.asset("/a.txt");
    let again = bench.asset("/a.txt");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(bench.disk.loads(), 1);
    assert!(first.head().starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    bench.disk.write("a.txt", "two");
    bench.core.note_change(Some("a.txt".into()));
    bench.pass(TICK);
    assert!(first.is_revoked());
    assert_eq!(text(&bench.asset("/a.txt")), "two");
    assert_eq!(bench.counts.revocations.get(), 1);
}

#[test]
fn a_report_about_another_path_is_about_all_that_links_may_name() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("link.txt", "one");
    let lease = bench.asset("/link.txt");
    bench.disk.write("link.txt", "two");
    bench.core.note_change(Some("target.txt".into()));
    bench.pass(TICK);
    assert!(lease.is_revoked());
}

#[test]
fn what_is_not_reported_is_seen_when_somebody_asks_a_second_later() {
    let mut bench = Bench::new(MANY);
    let _others = many(&mut bench, 2000);
    bench.disk.write("a.txt", "one");
    let first = bench.asset("/a.txt");
    bench.pass(TICK);
    bench.disk.write("a.txt", "two");
    bench.pass(Duration::from_millis(1001));
    assert!(!first.is_revoked(), "nobody has looked yet");
    assert_eq!(text(&bench.asset("/a.txt")), "two");
    assert!(first.is_revoked());
}

#[test]
fn what_nobody_has_a_lease_of_is_looked_at_when_it_is_asked_for() {
    let mut bench = Bench::new(LIMITS);
    bench.disk.write("a.txt", "one");
    drop(bench.asset("/a.txt"));
    bench.pass(TICK);
    let looks = bench.disk.looks();
    bench.disk.write("a.txt", "two");
    bench.core.note_change(None);
    bench.pass(TICK);
    assert_eq!(bench.disk.looks(), looks);
    assert_eq!(text(&bench.asset("/a.txt")), "two", "although it was looked at less than a second ago");
}

#[test]
fn without_reports_everything_is_looked_at_once_a_second() {
    let mut bench = Bench::new(LIMITS);
    bench.core.note_watched(false);
    assert_eq!(bench.core.next_look(), None, "there is nothing to look at");
    bench.disk.write("a.txt", "one");
    let asset = bench.asset("/a.txt");
    bench.disk.remove("a.txt");
    bench.pass(Duration::from_millis(999));
    assert!(!asset.is_revoked());
    bench.pass(Duration::from_millis(1));
    assert!(asset.is_revoked());
}

#[test]
fn with_reports_everything_is_looked_at_all_the_same() {
    // A few files are compared within a second, many within five.
    for (others, fresh) in [(0, 1_000), (2_000, 5_000)] {
        let mut bench = Bench::new(MANY);
        bench.disk.write("a.txt", "one");
        let asset = bench.asset("/a.txt");
        let _others = many(&mut bench, others);
        bench.disk.remove("a.txt");
        let looks = bench.disk.looks();
        bench.pass_in_steps(Duration::from_millis(fresh));
        assert!(asset.is_revoked(), "{others}");
        let looks = bench.disk.looks() - looks;
        assert!(looks <= others + 512, "{looks} looks at {others} files in {fresh} ms");
    }
}

#[test]
fn a_change_within_a_tick_of_the_clock_is_not_overlooked() {
    let mut bench = Bench::new(LIMITS);
    bench.now.time = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1_010);
    bench.disk.write("a.txt", "one");
    let asset = bench.asset("/a.txt");
    bench.disk.overwrite_as_version("a.txt", 1, "two");
    bench.core.note_change(Some("a.txt".into()));
    bench.pass(TICK);
    assert!(asset.is_revoked());
    assert_eq!(text(&bench.asset("/a.txt")), "two");
}

fn many(bench: &mut Bench, count: usize) -> Vec<Arc<Asset>> {
    (0..count)
        .map(|n| {
            bench.disk.write(&format!("{n}.png"), "x");
            bench.asset(&format!("/{n}.png"))
        })
        .collect()
}

#[test]
fn what_a_report_names_comes_first_and_the_others_in_slices() {
    let mut bench = Bench::new(LIMITS);
    let leases = many(&mut bench, 1000);
    bench.pass(TICK);
    let looks = bench.disk.looks();
    bench.disk.write("990.png", "y");
    bench.disk.write("980.png", "y");
    bench.core.note_change(Some("990.png".into()));
    bench.pass(TICK);
    assert!(leases[990].is_revoked());
    assert!(!leases[980].is_revoked(), "it was not named");
    assert!(bench.disk.looks() - looks <= 300, "the thread is free again soon");
    bench.pass_in_steps(4 * TICK);
    assert!(leases[980].is_revoked());
    assert_eq!(leases.iter().filter(|lease| lease.is_revoked()).count(), 2);
}

#[test]
fn many_entries_are_passed_as_fast_as_few() {
    for (is_watched, count, fresh) in [(true, 2000, 5), (true, 1000, 1), (false, 1000, 1)] {
        let mut bench = Bench::new(MANY);
        bench.core.note_watched(is_watched);
        let leases = many(&mut bench, count);
        bench.pass_in_steps(Duration::from_secs(fresh));
        for n in 0..count {
            bench.disk.write(&format!("{n}.png"), "y");
        }
        bench.pass_in_steps(Duration::from_secs(fresh) + TICK);
        assert_eq!(leases.iter().filter(|lease| !lease.is_revoked()).count(), 0);
    }
}

#[test]
fn another_root_ends_all_leases() {
    let site = SiteConfig { spa: true, ..SiteConfig::default() };
    let mut bench = Bench::of_site(site, LIMITS);
    bench.disk.write("index.html", "old");
    let (page, built_in) = (bench.asset("/"), bench.asset("/missing.png"));
    bench.disk.replace();
    bench.disk.write("index.html", "new");
    bench.pass_in_steps(Duration::from_secs(5));
    assert!(page.is_revoked() && built_in.is_revoked());
    assert_eq!(text(&bench.asset("/")), "new");
    let effects = std::mem::take(&mut bench.core.effects);
    assert!(matches!(effects[..], [Effect::Watch(1)]), "{effects:?}");
    // Changes in the new root are not reported yet.
    let lease = bench.asset("/");
    bench.disk.write("index.html", "newer");
    bench.pass_in_steps(Duration::from_secs(1));
    assert!(lease.is_revoked());
}

#[test]
fn a_root_is_looked_at_even_if_all_that_is_leased_is_that_there_is_nothing() {
    for is_watched in [false, true] {
        let mut bench = Bench::new(LIMITS);
        bench.core.note_watched(is_watched);
        let built_in = bench.asset("/missing");
        bench.disk.replace();
        bench.disk.write("missing", "it is there now");
        bench.pass_in_steps(Duration::from_secs(1));
        assert!(built_in.is_revoked());
        assert_eq!(text(&bench.asset("/missing")), "it is there now");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, String),
    Remove(u8),
    Ask(u8),
    Forget,
    Compress,
    Pass(u16),
}

/// Two files, each with a compressed file beside it, a clean URL, and the page of the application.
const NAMES: [&str; 6] = ["a.css", "a.css.gz", "b.html", "b", "b.html.br", "index.html"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u8, "[a-z]{0,6}").prop_map(|(file, content)| Step::Write(file, content)),
        (0..6_u8).prop_map(|file| Step::Write(file, "compressible ".repeat(50))),
        (0..6_u8).prop_map(Step::Remove),
        (0..6_u8).prop_map(Step::Ask),
        Just(Step::Forget),
        Just(Step::Compress),
        (0..3000_u16).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..80)
}

fn name(file: u8) -> &'static str {
    NAMES[usize::from(file)]
}

proptest! {
    /// When changes were compared, each valid lease is what a server without a cache would respond.
    #[test]
    fn no_lease_outlives_its_file(steps in steps()) {
        let site = || SiteConfig { clean_urls: true, spa: true, compression: true, ..SiteConfig::default() };
        let limits = Limits { memory_bytes_max: 20_000, entries_max: 3, ..LIMITS };
        let mut bench = Bench::of_site(site(), limits);
        let mut leases: Vec<(&str, Arc<Asset>, Vec<String>)> = Vec::new();
        for step in steps {
            match step {
                Step::Write(file, content) => bench.disk.write(name(file), &content),
                Step::Remove(file) => bench.disk.remove(name(file)),
                Step::Ask(file) => {
                    match bench.find(&format!("/{}", name(file))) {
                        Found::Asset(asset) => leases.push((name(file), asset, Vec::new())),
                        Found::Nothing { page, absence } => {
                            leases.push((name(file), page, absence.paths()));
                        }
                        _ => {}
                    }
                }
                Step::Forget => leases.clear(),
                Step::Compress => {
                    bench.compress();
                }
                Step::Pass(millis) => {
                    bench.core.note_change(None);
                    bench.pass(Duration::from_millis(20) + Duration::from_millis(millis.into()));
                    let is_absent = |path: &String| bench.disk.content(path).is_none();
                    let holds = |absent: &Vec<String>| absent.iter().all(is_absent);
                    let held = leases.iter().filter(|(_, asset, absent)| !asset.is_revoked() && holds(absent));
                    for (path, asset, _) in held {
                        let mut model = Bench::of_site(site(), Limits { entries_max: 0, ..LIMITS });
                        model.disk = bench.disk.clone();
                        model.core.disk = bench.disk.clone();
                        let fresh = model.asset(&format!("/{path}"));
                        prop_assert_eq!(text(asset), text(&fresh));
                        for coding in fresh.codings() {
                            prop_assert_eq!(
                                asset.in_coding(coding).map(Representation::head),
                                fresh.in_coding(coding).map(Representation::head)
                            );
                        }
                        prop_assert!(bench.disk.content(path).is_some() || *path == "b" || asset.status == fresh.status);
                    }
                    prop_assert!(bench.counts.bytes.get() <= 20_000 && bench.counts.entries.get() <= 3);
                }
            }
        }
    }
}
