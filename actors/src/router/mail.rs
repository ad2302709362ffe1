//! Stored mail: writing it, fetching it for its recipient, and dropping it when it is too old.

use std::time::{Duration, Instant};

use wire::PeerName;
use wire::protocol::{Outcome, Refusal};

use super::core::{NAME, Router};
use super::ledger::Usage;
use super::table::Owner;
use crate::commands::router::{Member, PeerKey, PresencePort};
use crate::commands::session::{Delivery, EndReason, SERVER_SESSION, SessionCommand, SessionId};
use crate::commands::store::{
    self, Amount, Completion, Counted, Frames, Mail, MailboxSize, Ordinal, Origin, Overdue, Sender,
    StorePort, Written,
};
use crate::runtime::Now;

/// The maximum of bytes that the store has not confirmed. With more, the disk is slower than the network, and senders
/// get `busy`.
const STORING_BYTES_MAX: u64 = 64 << 20;
/// The server looks for mail that is too old this many times in the lifetime of mail, with pauses within the two
/// bounds.
const SWEEPS_IN_LIFETIME: u32 = 64;
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// The pause between two parts of one search, so that the store can write new mail.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);

/// The search for mail that is too old.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// When the next part is due. `None` before the first search.
    due: Option<Instant>,
    is_under_way: bool,
    /// Where the next part begins; `None` for the start.
    from: Option<(PeerName, Ordinal)>,
}

fn mail(bytes: u64) -> Usage {
    Usage { mail_bytes: bytes, names: 0 }
}

impl<S: StorePort, I: PresencePort> Router<S, I> {
    /// Counts a mailbox that was on disk when the server started.
    pub(super) fn restore(&mut self, mailbox: MailboxSize) {
        let key = self.table.find(mailbox.name.as_str()).unwrap_or_else(|| {
            let first = mailbox.amounts.first();
            let sender = first.map_or_else(|| Sender::of_nobody(&mailbox.name), |(sender, _)| sender.clone());
            self.ledger.charge(&sender, NAME);
            self.table.note(&mailbox.name, sender)
        });
        for (sender, amount) in mailbox.amounts {
            self.ledger.charge(&sender, mail(amount.cost()));
            self.table.peer(key).mail_bytes += amount.cost();
        }
        let peer = self.table.peer(key);
        (peer.next, peer.stored_end) = (mailbox.end, mailbox.end);
    }

    /// Drops all mail that is stored for a name.
    pub(super) fn drop_mail(&mut self, name: &PeerName) {
        if let Some(key) = self.table.find(name.as_str()) {
            let (name, places) = (name.folded(), 0..self.table.peer(key).stored_end);
            self.store.send(store::Command::Forget { name, places });
        }
    }

    /// Takes note of what the store has done.
    pub(super) fn complete(&mut self, now: Now, completion: Completion) {
        match completion {
            Completion::Put { mail, stored } => {
                let Written { name, frames, sender, origin, .. } = *mail;
                let amount = frames.amount();
                let outcome = if stored {
                    Outcome::Stored
                } else {
                    self.discount(&name, &[(sender, amount)]);
                    Outcome::Refused(Refusal::Busy)
                };
                self.put_ended(origin, amount, outcome);
            }
            Completion::Uncopied { origin, amount } => {
                self.put_ended(origin, amount, Outcome::Refused(Refusal::Busy));
            }
            Completion::Fetched { peer, session, found } => self.fetched(peer, session, found),
            Completion::Card { peer, written } => {
                self.table.peer(peer).set_written(written);
            }
            Completion::Forgotten { name, amounts, .. } => self.discount(&name, &amounts),
            Completion::Swept { overdue, next } => {
                let pause = if next.is_some() { SWEEP_PAUSE } else { self.sweep_every() };
                self.sweep = Sweep { due: Some(now.instant + pause), is_under_way: false, from: next };
                for overdue in overdue {
                    self.expire(overdue);
                }
            }
        }
    }

    fn put_ended(&mut self, origin: Origin, amount: Amount, outcome: Outcome) {
        self.storing_bytes = self.storing_bytes.saturating_sub(amount.bytes);
        let to = Member { peer: origin.peer, session: origin.session };
        self.tell(to, SessionCommand::Routed { first: origin.first, count: amount.envelopes, outcome });
    }

    /// Stores mail, unless a limit is reached.
    pub(super) fn put(&mut self, key: PeerKey, frames: Frames, origin: Origin) -> Result<(), Refusal> {
        let amount = frames.amount();
        let peer = self.table.peer(key);
        let elsewhere = self.ledger.for_recipient_elsewhere(&peer.folded);
        if peer.mail_bytes + elsewhere + amount.cost() > self.limits.mail_bytes_per_recipient {
            return Err(Refusal::MailboxFull);
        }
        let sender = self.table.peer(origin.peer).sender();
        self.ledger.admit_mail(&sender, amount.cost())?;
        if !self.keeps_mail || self.storing_bytes + amount.bytes > STORING_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        let first = self.table.peer(key).next;
        let put = self.put_command(key, first, frames, origin);
        self.store.offer(put).map_err(|_| Refusal::Busy)?;
        self.count(key, first, amount, &sender);
        self.fetch(key);
        Ok(())
    }

    /// Stores mail that was accepted before. The limits do not apply to it.
    fn put_accepted(&mut self, key: PeerKey, first: Ordinal, frames: Frames, origin: Origin) {
        let (amount, sender) = (frames.amount(), self.table.peer(origin.peer).sender());
        let put = self.put_command(key, first, frames, origin);
        self.store.send(put);
        self.count(key, first, amount, &sender);
    }

    fn put_command(
        &mut self,
        key: PeerKey,
        first: Ordinal,
        frames: Frames,
        origin: Origin,
    ) -> store::Command {
        let (name, at) = (self.table.peer(key).folded.clone(), self.unix);
        let sender = Box::new(self.table.peer(origin.peer).sender());
        store::Command::Put { name, first, frames, sender, at, origin }
    }

    fn count(&mut self, key: PeerKey, first: Ordinal, amount: Amount, sender: &Sender) {
        self.ledger.charge(sender, mail(amount.cost()));
        self.storing_bytes += amount.bytes;
        let peer = self.table.peer(key);
        debug_assert!(!peer.is_open(), "senders still reach a recipient that has stored mail");
        peer.mail_bytes += amount.cost();
        let end = first + amount.envelopes;
        peer.next = peer.next.max(end);
        peer.stored_end = peer.stored_end.max(end);
    }

    /// Subtracts mail that is no longer in the store, or could not be written.
    fn discount(&mut self, name: &PeerName, amounts: &[(Sender, Amount)]) {
        for (sender, amount) in amounts {
            self.ledger.release(sender, mail(amount.cost()));
        }
        let Some(key) = self.table.find(name.as_str()) else { return };
        let bytes: u64 = amounts.iter().map(|(_, amount)| amount.cost()).sum();
        let peer = self.table.peer(key);
        peer.mail_bytes = peer.mail_bytes.saturating_sub(bytes);
        self.forget_if_unused(key);
    }

    /// Fetches the stored mail that a connected peer has not been sent yet, if its session can take it now.
    pub(super) fn fetch(&mut self, key: PeerKey) {
        let peer = self.table.peer(key);
        let Some((session, places)) = peer.not_handed() else { return };
        let end = places.end;
        let name = peer.folded.clone();
        let asked = self.store.offer(store::Command::Fetch { name, peer: key, session, places });
        match (asked, self.table.peer(key).presence()) {
            (Ok(()), Some(presence)) => presence.fetching = Some(end),
            // The store is busy; `catch_up` retries.
            _ => self.unfetched.push(key),
        }
    }

    fn fetched(&mut self, key: PeerKey, session: SessionId, found: Option<(Mail, Option<Ordinal>)>) {
        let Some(presence) = self.table.peer(key).present(session) else {
            return;
        };
        let Some(end) = presence.fetching.take() else {
            return;
        };
        let Some((mail, next)) = found else {
            // The mail stays on disk. The session is ended so that the peer joins again, which fetches the mail again.
            return self.end_presence(key, EndReason::Busy);
        };
        presence.handed = next.unwrap_or(end);
        for (first, frames) in mail {
            let origin = Origin { peer: key, session, first: 0 };
            let delivery = Delivery { first, is_stored: true, is_kept: true, origin, frames };
            self.tell(Member { peer: key, session }, SessionCommand::Deliver(Box::new(delivery)));
        }
        self.fetch(key);
    }

    pub(super) fn taken(&mut self, by: Member, before: Ordinal) {
        let name = self.table.peer(by.peer).folded.clone();
        if self.store.offer(store::Command::Forget { name, places: 0..before }).is_err() {
            // The next acknowledgement drops these envelopes too. If there is none, they are sent again, and the
            // recipient recognises them.
            tracing::debug!(target: "router", "the store is busy; taken mail is dropped later");
        }
    }

    pub(super) fn hand_back(&mut self, from: Member, untaken: Vec<Delivery>) {
        for delivery in untaken.into_iter().filter(|d| d.is_kept && !d.is_stored) {
            let Delivery { first, frames, origin, .. } = delivery;
            self.put_accepted(from.peer, first, frames, origin);
        }
        let peer = self.table.peer(from.peer);
        peer.parting = peer.parting.saturating_sub(1);
        self.fetch(from.peer);
        self.forget_if_unused(from.peer);
    }

    /// Notes how much the other servers of the cluster keep.
    pub(super) fn keeps_elsewhere(&mut self, amounts: Vec<(Counted, u64)>) {
        amounts.into_iter().for_each(|(counted, bytes)| self.ledger.keeps_elsewhere(counted, bytes));
    }

    fn sweep_every(&self) -> Duration {
        (self.limits.mail_lifetime / SWEEPS_IN_LIFETIME).clamp(SWEEP_EVERY_MIN, SWEEP_EVERY_MAX)
    }

    /// Starts the next part of the search for old mail if it is due. Returns when to call again; `None` if the
    /// completion of a part comes first, or there is no mail.
    pub fn sweep(&mut self, now: Now) -> Option<Instant> {
        if self.sweep.is_under_way || self.ledger.all().mail_bytes == 0 {
            return None;
        }
        let every = self.sweep_every();
        let due = *self.sweep.due.get_or_insert(now.instant + every);
        if now.instant < due {
            return Some(due);
        }
        self.unix = now.unix();
        let before = self.unix.saturating_sub(self.limits.mail_lifetime.as_secs());
        let sweep = store::Command::Sweep { from: self.sweep.from.clone(), before };
        self.sweep.is_under_way = self.store.offer(sweep).is_ok();
        self.sweep.due = Some(now.instant + SWEEP_PAUSE);
        (!self.sweep.is_under_way).then_some(now.instant + SWEEP_PAUSE)
    }

    /// Notifies the sender of mail that is too old, and drops the mail. The store gets the notice first: after a crash
    /// in between, the sender is notified twice instead of never.
    fn expire(&mut self, overdue: Overdue) {
        let Overdue { name, places, sender, notice } = overdue;
        self.expired(&sender.name, &name, places.end - places.start, notice);
        self.store.send(store::Command::Forget { name, places });
    }

    /// Counts envelopes that have expired, and notifies their sender.
    pub(super) fn expired(&mut self, sender: &PeerName, name: &PeerName, count: u64, notice: Option<Frames>) {
        tracing::info!(
            target: "router", to = %name, from = %sender, envelopes = count,
            "mail was not acknowledged in time and is dropped"
        );
        self.counts.expired.add(count);
        if let Some(notice) = notice
            && let Some(key) = self.table.find(sender.as_str())
            && !matches!(self.table.peer(key).owner(), Owner::Nobody)
        {
            let origin = Origin { peer: key, session: SERVER_SESSION, first: 0 };
            if let Err(notice) = self.relay(key, notice, true, origin) {
                let first = self.table.peer(key).next;
                self.put_accepted(key, first, notice, origin);
                self.fetch(key);
            }
        }
    }
}
