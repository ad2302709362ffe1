//! Limits for the conversations that other peers open.
//!
//! Each opening costs RSA operations and room on the disk, so openings are limited by rate: for each sender, and for all strangers
//! together, because a new name is free. An opening over a limit is dropped without an answer. Nothing is lost: its sender
//! still has the messages, and sends them again.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use wire::{Digest, PeerName};

use super::Engine;
use super::contact::Contact;
use super::contacts::Contacts;
use super::pace::Spacing;
use crate::peer::event::Event;

/// Openings of one sender. With `--rekey 1` each message has one.
const SENDER: Rate = Rate { burst: 2_000.0, per_second: 50.0 };
/// Openings of all strangers. An opening costs about 3 ms: those of a burst hold others up for a fifth of a second.
const STRANGERS: Rate = Rate { burst: 60.0, per_second: 20.0 };
/// Names that this peer has not heard of before. Each stays on its disk.
const NEW_NAMES: Rate = Rate { burst: 60.0, per_second: 5.0 };
/// What a message that has arrived gives back of an opening: a conversation of 64 messages costs nothing.
const EARNED: f64 = 1.0 / 64.0;
/// Most strangers whose conversations are accepted.
const STRANGERS_MAX: usize = 5_000;
/// How many openings that were refused are remembered, so that they cost nothing when they come again.
const REFUSED_MAX: usize = 4_096;
/// How often it is said that something was put off.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How much of something may come.
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A token bucket.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: f64,
    at: Option<Instant>,
}

impl Budget {
    /// Takes one, if there is one left.
    fn take(&mut self, now: Instant, rate: &Rate) -> bool {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.spent = (self.spent - elapsed.as_secs_f64() * rate.per_second).max(0.0);
        self.at = Some(now);
        let has_one = self.spent + 1.0 <= rate.burst;
        if has_one {
            self.spent += 1.0;
        }
        has_one
    }

    fn give_back(&mut self, part: f64) {
        self.spent = (self.spent - part).max(0.0);
    }
}

/// The budgets that all senders share.
#[derive(Default)]
pub(super) struct Guard {
    strangers: Budget,
    new_names: Budget,
    refused: HashSet<Digest>,
    /// The same in the order in which they came.
    refused_order: VecDeque<Digest>,
    put_off: u64,
    said: Spacing,
}

impl Guard {
    /// Whether something from this sender may be looked at that costs much.
    fn admits(&mut self, from: &PeerName, contacts: &mut Contacts, now: Instant) -> bool {
        match contacts.get_mut(from) {
            Some(contact) if !contact.is_stranger() => contact.openings_budget.take(now, &SENDER),
            Some(contact) => {
                contact.openings_budget.take(now, &SENDER) && self.strangers.take(now, &STRANGERS)
            }
            None => self.admits_name(contacts, now) && self.strangers.take(now, &STRANGERS),
        }
    }

    /// Whether one more name may be taken note of.
    fn admits_name(&mut self, contacts: &Contacts, now: Instant) -> bool {
        self.new_names.take(now, &NEW_NAMES)
            && contacts.iter().filter(|contact| contact.is_stranger()).count() < STRANGERS_MAX
    }

    fn refuse(&mut self, opening: Digest) {
        if self.refused.insert(opening) {
            self.refused_order.push_back(opening);
        }
        if self.refused_order.len() > REFUSED_MAX
            && let Some(oldest) = self.refused_order.pop_front()
        {
            self.refused.remove(&oldest);
        }
    }
}

impl Contact {
    /// Whether this peer has never written to it.
    fn is_stranger(&self) -> bool {
        self.next_number == 1
    }
}

impl Engine {
    /// Whether an opening is to be looked at: it has not been refused before, and its sender has some left.
    pub(super) fn may_open(&mut self, from: &PeerName, opening: Digest) -> bool {
        if self.guard.refused.contains(&opening) {
            return false;
        }
        let is_admitted = self.guard.admits(from, &mut self.contacts, self.local.now.instant);
        if !is_admitted {
            self.put_off(from);
        }
        is_admitted
    }

    /// A message of this sender has arrived, so its conversations are of use.
    pub(super) fn earned(&mut self, from: &PeerName) {
        let Some(contact) = self.contacts.get_mut(from) else { return };
        contact.openings_budget.give_back(EARNED);
        if contact.is_stranger() {
            self.guard.strangers.give_back(EARNED);
        }
    }

    /// Remembers an opening that is not accepted, now or later.
    pub(super) fn refuse_opening(&mut self, opening: Digest) {
        self.guard.refuse(opening);
    }

    /// Whether a sender may be complained to: one that is not known must be taken note of first.
    pub(super) fn may_take_note_of(&mut self, name: &PeerName) -> bool {
        self.contacts.get(name).is_some() || self.guard.admits_name(&self.contacts, self.local.now.instant)
    }

    /// Says, from time to time, that something was put off.
    fn put_off(&mut self, from: &PeerName) {
        let now = self.local.now.instant;
        self.guard.put_off += 1;
        if !self.guard.said.is_due(now, SAY_EVERY) {
            return;
        }
        let count = std::mem::take(&mut self.guard.put_off);
        self.local.emit(&Event::error(format!(
            "{count} new conversation(s) were put off, most recently one of {from}, because too many are being opened; peers that \
             you have written to go first; `block NAME` ignores a peer"
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> PeerName {
        format!("peer{number}").parse().expect("a good name")
    }

    /// How many of so many openings are looked at, the senders taking turns.
    fn admitted(
        guard: &mut Guard,
        contacts: &mut Contacts,
        senders: usize,
        openings: usize,
        now: Instant,
    ) -> usize {
        (0..openings)
            .filter(|at| {
                let from = name(at % senders);
                let is_admitted = guard.admits(&from, contacts, now);
                if is_admitted {
                    contacts.of(&from);
                }
                is_admitted
            })
            .count()
    }

    #[test]
    fn strangers_share_one_budget_and_known_peers_have_their_own() {
        let (mut guard, mut contacts, now) = (Guard::default(), Contacts::default(), Instant::now());
        contacts.of(&name(7_000)).take_number();
        assert_eq!(admitted(&mut guard, &mut contacts, 50, 10_000, now), 60, "other names do not help");
        let known = (0..5_000).filter(|_| guard.admits(&name(7_000), &mut contacts, now)).count();
        assert_eq!(known, 2_000, "a peer that this one has written to is not held up by strangers");
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&mut guard, &mut contacts, 50, 10_000, later), 40);
    }

    #[test]
    fn new_names_come_slowly_and_end_somewhere() {
        let (mut guard, mut contacts, start) = (Guard::default(), Contacts::default(), Instant::now());
        let mut taken = 0;
        for minute in 0..100 {
            let now = start + Duration::from_secs(60) * minute;
            taken += (0..200)
                .filter(|at| {
                    let from = name(usize::try_from(minute).expect("it is small") * 200 + at);
                    let is_admitted = guard.admits(&from, &mut contacts, now);
                    if is_admitted {
                        contacts.of(&from);
                    }
                    is_admitted
                })
                .count();
            if minute == 0 {
                assert_eq!(taken, 60);
            }
        }
        assert_eq!(taken, STRANGERS_MAX);
    }

    #[test]
    fn refused_openings_are_remembered_up_to_a_limit() {
        let mut guard = Guard::default();
        for number in 0..=REFUSED_MAX {
            guard.refuse(Digest::of(&number.to_le_bytes()));
        }
        assert_eq!((guard.refused.len(), guard.refused_order.len()), (REFUSED_MAX, REFUSED_MAX));
        assert!(!guard.refused.contains(&Digest::of(&0_usize.to_le_bytes())), "the oldest is forgotten");
        assert!(guard.refused.contains(&Digest::of(&REFUSED_MAX.to_le_bytes())));
    }
}
