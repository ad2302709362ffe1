//! Mail of servers that are gone, which is too old.
//!
//! A server drops its mail when it is too old, and tells the senders. If it is gone, the first of the servers that are alive does that with
//! the copies. If two take themselves for the first, or the server comes back, a sender is told twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::core::{ALIVE_EVERY, ALIVE_TIMEOUT, Cluster};
use super::interface::{Effect, MailEffect, OldCopy, Sequence};
use crate::commands::expiry::{Notices, envelope};
use crate::commands::store::Frames;
use crate::config::PeerLimits;
use crate::runtime::Now;

/// The servers look for such mail this many times in the lifetime of mail, with pauses within the two bounds.
const SEARCHES_IN_LIFETIME: u32 = 64;
const SEARCH_EVERY_MIN: Duration = Duration::from_secs(1);
const SEARCH_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// Copies are removed this long after the Router was given the notice, which has to be on the disk or with the sender first.
const REMOVED_AFTER: Duration = ALIVE_EVERY;

#[derive(Debug)]
pub(super) struct Expired {
    lifetime: Duration,
    due: Option<Instant>,
    is_searching: bool,
    /// The copies whose senders were told, and when to remove them.
    told: VecDeque<(Instant, Vec<Sequence>)>,
}

impl Expired {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self { lifetime: limits.mail_lifetime, due: None, is_searching: false, told: VecDeque::new() }
    }

    fn every(&self) -> Duration {
        (self.lifetime / SEARCHES_IN_LIFETIME).clamp(SEARCH_EVERY_MIN, SEARCH_EVERY_MAX)
    }
}

impl Cluster {
    pub(super) fn tick_expired(&mut self, now: Now, out: &mut Vec<Effect>) {
        // Who is alive is known only a while after this server has connected.
        let is_known = self.connected_at.is_some_and(|at| at + ALIVE_TIMEOUT <= now.instant);
        if !self.is_connected || !is_known {
            return;
        }
        while let Some((_, sequences)) = self.expired.told.pop_front_if(|(at, _)| *at <= now.instant) {
            out.push(Effect::Mail(MailEffect::Remove(sequences)));
        }
        let is_first = self.servers.iter().all(|(at, server)| !server.is_alive || self.me < *at);
        let every = self.expired.every();
        let due = *self.expired.due.get_or_insert(now.instant + every);
        if self.expired.is_searching || due > now.instant || !is_first {
            return;
        }
        (self.expired.is_searching, self.expired.due) = (true, Some(now.instant + every));
        // A server that is only started again finds its old mail itself.
        let age = self.expired.lifetime.saturating_add(every);
        out.push(Effect::Mail(MailEffect::FindOld { before: now.unix().saturating_sub(age.as_secs()) }));
    }

    /// The copies that are too old, the oldest first, or none if they could not be read.
    pub(super) fn found_old(&mut self, now: Instant, found: Option<Vec<OldCopy>>, out: &mut Vec<Effect>) {
        self.expired.is_searching = false;
        for OldCopy { store, name, sequences, frames } in found.into_iter().flatten() {
            let mut alive = self.servers.values().filter(|server| server.is_alive);
            let is_kept = store == self.copies.store || alive.any(|server| server.store == Some(store));
            if is_kept || self.expired.told.iter().any(|(_, told)| *told == sequences) {
                continue;
            }
            let frames = Frames::of(frames);
            let mut notices = Notices::new(&name);
            frames.iter().for_each(|frame| notices.add(&frame));
            let first = frames.iter().next().unwrap_or_default();
            let sender = envelope(&first).and_then(|envelope| envelope.from.parse().ok());
            let (count, notice) = (frames.count(), notices.finish());
            if let Some(sender) = sender {
                out.push(Effect::Expired { sender, name: name.clone(), count, notice });
            }
            self.expired.told.push_back((now + REMOVED_AFTER, sequences));
        }
    }
}
