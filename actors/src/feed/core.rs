//! Gathers what happens into a text for each interval: a limited number of single events, and a sum of the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use wire::PeerName;

use crate::commands::feed::{Command, Passed, Viewer};
use crate::runtime::{self, Now};

/// Events within this time are sent together, so that a viewer is not woken for each of them.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// With more envelopes in an interval only their sum is sent of the others: nobody could follow more than 200 a second.
pub(super) const ENVELOPES_MAX: usize = 20;
/// When more peers than this have come or gone in an interval, all that are connected are named instead.
pub(super) const CHANGES_MAX: usize = 20;
/// How many connected peers are named at once, so that the texts that wait for a slow viewer have a limited size.
pub(super) const NAMES_MAX: usize = 1000;

/// What the shell has to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Show this to a viewer who has come, and what follows.
    Add(Viewer, String),
}

/// The envelopes of an interval that are not shown one by one.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Others {
    count: u64,
    bytes: u64,
    relayed: u64,
    stored: u64,
    refused: u64,
    /// Those of which nothing is known but that they passed.
    lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Feed {
    /// The connected peers, each with the number of its sessions: while a new one takes over there are two.
    present: BTreeMap<PeerName, u32>,
    /// The peers that have come or gone in this interval, and whether they were there before.
    changed: BTreeMap<PeerName, bool>,
    shown: Vec<Passed>,
    others: Others,
    /// The end of the interval, if anything has happened in it.
    ends_at: Option<Instant>,
}

impl runtime::Core for Feed {
    type Command = Command;
    type Out = Vec<Effect>;

    fn handle(&mut self, now: Now, command: Command, out: &mut Vec<Effect>) {
        match command {
            Command::Watch(viewer) => {
                out.push(Effect::Add(viewer, self.all_present()));
                return;
            }
            Command::Joined(name) => {
                let sessions = self.present.entry(name.clone()).or_default();
                self.changed.entry(name).or_insert(*sessions > 0);
                *sessions += 1;
            }
            Command::Left(name) => {
                self.changed.entry(name.clone()).or_insert(true);
                if let Some(sessions) = self.present.get_mut(&name) {
                    *sessions -= 1;
                    if *sessions == 0 {
                        self.present.remove(&name);
                    }
                }
            }
            Command::Passed(passed) if self.shown.len() < ENVELOPES_MAX => self.shown.push(*passed),
            Command::Passed(passed) => self.others.add(&passed),
        }
        self.ends_at.get_or_insert(now.instant + INTERVAL);
    }
}

impl Feed {
    /// When the next text is due.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }

    /// The text of the interval, and the beginning of the next one. `lost` envelopes were not told of.
    pub(super) fn take(&mut self, lost: u64) -> String {
        self.ends_at = None;
        let mut text = String::new();
        let changed = std::mem::take(&mut self.changed);
        let changed = changed.into_iter().filter_map(|(name, was_present)| {
            let is_present = self.present.contains_key(&name);
            (is_present != was_present).then_some((name, is_present))
        });
        let changed: Vec<(PeerName, bool)> = changed.collect();
        let are_named = changed.len() <= CHANGES_MAX;
        if !are_named {
            text = self.all_present();
        }
        // Who has left may have sent one of the envelopes before.
        for (name, _) in changed.iter().filter(|(_, is_present)| *is_present && are_named) {
            push(&mut text, "joined", &Name { name });
        }
        for passed in self.shown.drain(..) {
            push(&mut text, "envelope", &passed);
        }
        for (name, _) in changed.iter().filter(|(_, is_present)| !is_present && are_named) {
            push(&mut text, "left", &Name { name });
        }
        let others = Others { lost, ..std::mem::take(&mut self.others) };
        if others != Others::default() {
            push(&mut text, "others", &others);
        }
        text
    }

    /// Begins the next interval without a text, because nobody watches.
    pub(super) fn forget(&mut self) {
        self.ends_at = None;
        self.changed.clear();
        self.shown.clear();
        self.others = Others::default();
    }

    fn all_present(&self) -> String {
        let mut text = String::new();
        let names = self.present.keys().take(NAMES_MAX).collect();
        push(&mut text, "present", &Names { names, more: self.present.len().saturating_sub(NAMES_MAX) });
        text
    }
}

impl Others {
    fn add(&mut self, passed: &Passed) {
        self.count += 1;
        self.bytes += passed.bytes as u64;
        match passed.outcome {
            "relayed" => self.relayed += 1,
            "stored" => self.stored += 1,
            _ => self.refused += 1,
        }
    }
}

#[derive(Serialize)]
struct Name<'f> {
    name: &'f PeerName,
}

#[derive(Serialize)]
struct Names<'f> {
    names: Vec<&'f PeerName>,
    more: usize,
}

/// Appends an event (HTML standard, section 9.2.6). JSON has no line breaks, which would end the event.
fn push<T: Serialize>(text: &mut String, event: &str, data: &T) {
    let data = serde_json::to_string(data).expect("names and numbers can be written as JSON");
    // Writing into a String cannot fail.
    let _ = write!(text, "event: {event}\ndata: {data}\n\n");
}
