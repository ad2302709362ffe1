//! Renewal of this peer's encryption key and card while the process runs.
//!
//! Other peers seal for the key on the card until the card expires, so key and card are replaced long before. The
//! server shows the card with which a peer has joined, so this peer then joins again. Old keys are destroyed when their
//! time is over.

use std::time::{Duration, Instant};

use wire::card::Term;

use super::Engine;
use super::interface::Effect;
use super::tasks::TaskKind;
use crate::peer::event::Event;
use crate::peer::home::EncryptionPair;

/// The pause before a new key is requested again, for example because the disk was full.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The same while this peer has no valid card and so cannot join.
const RETRY_SOON: Duration = Duration::from_secs(2);
/// The maximum interval between two comparisons of the clock with the dates of keys. If the machine sleeps or its clock
/// is set, a date comes earlier than the monotonic clock says.
const CHECK_EVERY: Duration = Duration::from_secs(60 * 60);
/// Joining again interrupts fetches, so it waits for them, but at most this long.
const REJOIN_WITHIN: Duration = Duration::from_secs(60 * 60);

#[derive(Default)]
pub(super) struct Renewal {
    is_making: bool,
    /// No key is requested before this time.
    retry_at: Option<Instant>,
    card_changed_at: Option<Instant>,
    /// The term of the card with which this peer has last joined or is joining.
    joined_with: Option<Term>,
}

impl Engine {
    pub(super) fn card_to_join_with(&mut self) -> Vec<u8> {
        self.replace_expired_card();
        self.renewal.joined_with = Some(self.local.card.term);
        self.local.card.as_bytes().to_vec()
    }

    pub(super) fn renew(&mut self) {
        let now = self.local.now;
        self.destroy_old_keys();
        let is_due = now.unix >= self.local.options.key_times.renewed_at(self.local.keys.current().made_at);
        let may_try = self.renewal.retry_at.is_none_or(|at| at <= now.instant);
        if is_due && may_try && !self.renewal.is_making {
            self.renewal.is_making = true;
            self.local.effects.push(Effect::MakeKey);
        }
        self.replace_expired_card();
        self.join_again();
    }

    /// When [`Engine::renew`] must be called again.
    pub(super) fn next_renewal(&self) -> Instant {
        let (now, times) = (self.local.now, &self.local.options.key_times);
        let keys = self.local.keys.encryption.iter();
        let keys = keys.flat_map(|pair| [times.renewed_at(pair.made_at), times.destroyed_at(pair.made_at)]);
        // Dates in the past were handled, or wait for a new key.
        let dates = keys.chain([self.local.card.term.valid_until]).filter(|date| *date > now.unix);
        let wait = dates.map(|date| Duration::from_secs(date - now.unix)).min();
        let date = now.instant + wait.unwrap_or(CHECK_EVERY).min(CHECK_EVERY);
        self.renewal.retry_at.filter(|at| *at > now.instant).map_or(date, |at| at.min(date))
    }

    pub(super) fn key_made(&mut self, made: Result<Box<EncryptionPair>, String>) {
        self.renewal.is_making = false;
        match made {
            Ok(pair) => {
                self.renewal.retry_at = None;
                self.local.keys.encryption.insert(0, *pair);
                self.replace_card();
            }
            Err(why) => {
                let has_card = self.local.card.is_valid_at(self.local.now.unix);
                let wait = if has_card { RETRY_AFTER } else { RETRY_SOON };
                self.renewal.retry_at = Some(self.local.now.instant + wait);
                let error = format!("the encryption key could not be renewed: {why}; trying again");
                self.local.tell_all(&Event::error(error), |_| true);
            }
        }
    }

    fn destroy_old_keys(&mut self) {
        let (now, times) = (self.local.now.unix, self.local.options.key_times);
        // The current key stays until there is another one, because a card needs it.
        while let [_, .., oldest] = &self.local.keys.encryption[..]
            && now >= times.destroyed_at(oldest.made_at)
        {
            let made_at = oldest.made_at;
            self.local.keys.encryption.pop();
            self.conversations.drop_unreadable(&mut self.local);
            self.local.effects.push(Effect::DestroyKey(made_at));
        }
    }

    /// Replaces a card that has expired before there was a new key, because the clock was set or no key could be made.
    fn replace_expired_card(&mut self) {
        if !self.local.card.is_valid_at(self.local.now.unix) {
            self.replace_card();
        }
    }

    /// Issues a card for the current key, unless that is about to be destroyed.
    fn replace_card(&mut self) {
        let local = &mut self.local;
        let (now, times) = (local.now.unix, local.options.key_times);
        // The card must not be valid longer than its key exists.
        let left = times.destroyed_at(local.keys.current().made_at).saturating_sub(now);
        let valid_seconds = left.min(times.card_valid_seconds());
        if valid_seconds == 0 {
            return;
        }
        let term = Term::starting(now, valid_seconds, Some(local.card.term.sequence));
        local.card = local.keys.issue_card(&local.name, term, &mut local.rng);
        let me = self.contacts.of(&local.name);
        me.card = Some(local.card.clone());
        me.is_changed = true;
        self.renewal.card_changed_at = Some(local.now.instant);
    }

    /// Joins again if the server shows an older card.
    fn join_again(&mut self) {
        let shown = self.renewal.joined_with;
        if self.local.link.is_none() || shown == Some(self.local.card.term) {
            return;
        }
        let now = self.local.now;
        let waited = self.renewal.card_changed_at.map(|at| now.instant.saturating_duration_since(at));
        let is_fetching = self.local.tasks.iter().any(|task| matches!(task.kind, TaskKind::Get));
        // Other peers cannot write to this peer while the server shows an expired card.
        let is_urgent = shown.is_none_or(|term| term.check(now.unix).is_err());
        if !is_fetching || is_urgent || waited.is_none_or(|waited| waited >= REJOIN_WITHIN) {
            self.disconnected();
            self.local.effects.push(Effect::Reconnect);
        }
    }
}
