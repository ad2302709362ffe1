//! Which received messages have been shown, and which were sent to the clients that show them.
//!
//! Each received message gets a place in the order of arrival, in the same transaction as its history record. A viewer
//! is sent the messages from the first one that was not shown, and confirms those that it has written. Messages that it
//! has not confirmed when it ends are sent to the next viewer. So an orderly end shows each message once, and after a
//! kill some are shown again.
//!
//! A viewer is sent at most [`WINDOW_MESSAGES`] more than it has confirmed; the others are read from disk later. So a
//! slow viewer costs no memory and delays nobody.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use wire::conversation::MessageId;

use super::Engine;
use super::interface::{ClientId, Loaded};
use super::tasks::TaskKind;
use crate::peer::command::Ending;
use crate::peer::event::{Event, MessageEvent};
use crate::peer::records::{Direction, HistoryRecord, Write};

/// The maximum number of unconfirmed messages of a viewer.
const WINDOW_MESSAGES: usize = 1024;
/// The maximum size of their texts. A single message may be larger.
const WINDOW_BYTES: usize = 4 << 20;
/// Confirmations are written with the next transaction, or after this time in one of their own.
const WRITE_AFTER: Duration = Duration::from_millis(250);

/// The part that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    /// The messages before this place have been shown.
    shown: u64,
    /// The messages before this place are not needed in the order of arrival any more.
    forgotten: u64,
}

/// The order of arrival of the received messages, and the clients that show them.
pub(super) struct Showing {
    /// The place of the next message.
    next: u64,
    /// All messages before this place were confirmed by a viewer. Each viewer starts here or before, and gets all that
    /// follow in order.
    shown: u64,
    kept: Kept,
    write_at: Option<Instant>,
    viewers: BTreeMap<ClientId, Viewer>,
    is_closed: bool,
}

/// A client that shows messages, or has done so.
struct Viewer {
    /// The place of the next message for it.
    next: u64,
    /// The unconfirmed messages: the places, and the lengths of the texts.
    unconfirmed: VecDeque<(u64, usize)>,
    unconfirmed_bytes: usize,
}

impl Viewer {
    fn has_room(&self) -> bool {
        self.unconfirmed.len() < WINDOW_MESSAGES && self.unconfirmed_bytes < WINDOW_BYTES
    }
}

impl Showing {
    pub(super) fn load(loaded: &Loaded) -> Self {
        let Loaded { next_arrival: next, shown, .. } = *loaded;
        let kept = Kept { shown, forgotten: shown };
        Self { next, shown, kept, write_at: None, viewers: BTreeMap::new(), is_closed: false }
    }

    /// The messages before this place in the order of arrival have been shown.
    pub(super) fn shown_before(&self) -> u64 {
        self.shown
    }

    pub(super) fn write_at(&self) -> Option<Instant> {
        self.write_at
    }

    /// Stops sending messages to viewers. Confirmations are then written at once.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether a viewer has not confirmed everything that it was sent.
    pub(super) fn awaits_confirmation(&self) -> bool {
        self.viewers.values().any(|viewer| !viewer.unconfirmed.is_empty())
    }

    fn has_confirmed_all(&self, client: ClientId) -> bool {
        self.viewers.get(&client).is_none_or(|viewer| viewer.unconfirmed.is_empty())
    }

    /// The place of the next message for a client, if it may be sent one now.
    fn next_for(&self, client: ClientId) -> Option<u64> {
        let viewer = self.viewers.get(&client).filter(|viewer| viewer.has_room() && !self.is_closed)?;
        (viewer.next < self.next).then_some(viewer.next)
    }

    fn start(&mut self, client: ClientId) {
        let shown = self.shown;
        let new = || Viewer { next: shown, unconfirmed: VecDeque::new(), unconfirmed_bytes: 0 };
        let viewer = self.viewers.entry(client).or_insert_with(new);
        viewer.next = viewer.next.max(shown);
    }

    /// Removes a client that has ended. Its confirmations are written at once, because this process may end too.
    pub(super) fn gone(&mut self, client: ClientId, now: Instant) {
        if self.viewers.remove(&client).is_some() {
            self.write_at = Some(now);
        }
    }

    /// Notes that a client has shown the next `count` messages.
    pub(super) fn confirmed(&mut self, client: ClientId, count: u64) {
        let Some(viewer) = self.viewers.get_mut(&client) else { return };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(viewer.unconfirmed.len());
        for (place, bytes) in viewer.unconfirmed.drain(..count) {
            viewer.unconfirmed_bytes -= bytes;
            self.shown = self.shown.max(place + 1);
        }
    }
}

impl Engine {
    /// Writes a message to the history, and sends it to the clients that show messages.
    pub(super) fn show(&mut self, id: MessageId, message: &MessageEvent) {
        let contact = self.contacts.of(&message.from);
        contact.last_number = contact.last_number.max(message.number);
        contact.keep();
        let place = self.showing.next;
        self.showing.next += 1;
        contact.arrived_before = self.showing.next;
        let (from, generation, number) = (message.from.clone(), contact.generation, message.number);
        self.local.records.write(Write::History(HistoryRecord {
            with: message.from.clone(),
            direction: Direction::Received,
            generation,
            number,
            id,
            written_at: message.written_at,
            text: message.text.clone(),
            delivered: true,
        }));
        self.local.records.write(Write::Arrived(place, from, generation, number));
        for client in self.local.viewers() {
            if self.showing.next_for(client) == Some(place) {
                self.send_to_viewer(client, place, message.clone());
            }
        }
    }

    pub(super) fn show_messages(&mut self, client: ClientId, kind: TaskKind, wait: Option<Duration>) {
        self.local.start(client, kind, wait);
        self.showing.start(client);
        self.greet(client);
    }

    /// Sends viewers the messages that they could not be sent when they arrived.
    pub(super) fn show_earlier(&mut self) {
        for client in self.local.viewers() {
            while self.local.is_viewer(client)
                && let Some(place) = self.showing.next_for(client)
            {
                let Some((place, record)) = self.local.records.arrived(place) else {
                    // Nothing is left on disk.
                    if let Some(viewer) = self.showing.viewers.get_mut(&client) {
                        viewer.next = self.showing.next;
                    }
                    break;
                };
                let message = MessageEvent {
                    compared: self.local.is_compared(&record.with),
                    from: record.with,
                    sha256: wire::Digest::of(record.text.as_bytes()),
                    text: record.text,
                    number: record.number,
                    verified: true,
                    written_at: record.written_at,
                    arrival: None,
                };
                self.send_to_viewer(client, place, message);
            }
        }
    }

    fn send_to_viewer(&mut self, client: ClientId, place: u64, message: MessageEvent) {
        let Some(viewer) = self.showing.viewers.get_mut(&client) else { return };
        viewer.next = place + 1;
        viewer.unconfirmed.push_back((place, message.text.len()));
        viewer.unconfirmed_bytes += message.text.len();
        self.local.tell(client, Event::Message(Box::new(message)));
        self.local.count_shown(client);
    }

    /// Ends the listeners that have shown enough. Their process may end then, so the confirmations are written at once.
    pub(super) fn end_listeners(&mut self) {
        let showing = &self.showing;
        let before = self.local.tasks.len();
        self.local.end_tasks(Ending::Done, |task| {
            matches!(task.kind, TaskKind::Listen { left: Some(0) }) && showing.has_confirmed_all(task.client)
        });
        if self.local.tasks.len() < before {
            self.showing.write_at = Some(self.local.now.instant);
        }
    }

    /// Writes the confirmations, if the step writes something else or they have waited long enough.
    pub(super) fn write_shown(&mut self) {
        let showing = &mut self.showing;
        let needed = self.local.viewers().into_iter().filter_map(|client| showing.viewers.get(&client));
        let forgotten = needed.map(|viewer| viewer.next).fold(showing.shown, u64::min);
        let news = Kept { shown: showing.shown, forgotten };
        let now = self.local.now.instant;
        if news == showing.kept {
            showing.write_at = None;
        } else if showing.is_closed
            || self.local.records.has_writes()
            || showing.write_at.is_some_and(|at| at <= now)
        {
            (showing.kept, showing.write_at) = (news, None);
            self.local.records.write(Write::Shown { before: news.shown, forget: news.forgotten });
        } else {
            showing.write_at.get_or_insert(now + WRITE_AFTER);
        }
    }
}
