//! The updates for one client that may read slowly.

use std::collections::VecDeque;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::peer::command::Update;
use crate::peer::event::Event;

/// With this many waiting updates, events that can be left out are left out.
const WAITING_MAX: usize = 4096;
/// The maximum number of updates that are sent together.
const BATCH_UPDATES_MAX: usize = 1024;

/// Sends updates to a client without ever waiting for it.
///
/// The updates of a step are sent together, because waking the client for each would cost more than the rest of the work
/// for a message. Updates that the channel has no room for wait here. Their number is limited: messages are sent only
/// as they are confirmed, other news is left out beyond [`WAITING_MAX`], and the rest are answers to the client's own
/// commands.
pub(super) struct Outlet {
    updates: Sender<Vec<Update>>,
    waiting: VecDeque<Update>,
    left_out: u64,
}

impl Outlet {
    pub(super) fn new(updates: Sender<Vec<Update>>) -> Self {
        Self { updates, waiting: VecDeque::new(), left_out: 0 }
    }

    /// Adds an update. It is sent by [`Self::flush`], or before that with many others.
    pub(super) fn send(&mut self, update: Update) {
        if self.waiting.len() >= WAITING_MAX && can_be_left_out(&update) {
            self.left_out += 1;
            return;
        }
        self.waiting.push_back(update);
        if self.waiting.len() >= BATCH_UPDATES_MAX {
            self.flush();
        }
    }

    /// Sends as many updates as the channel has room for.
    pub(super) fn flush(&mut self) {
        while !self.waiting.is_empty() && !self.updates.is_full() {
            let batch = self.waiting.drain(..self.waiting.len().min(BATCH_UPDATES_MAX)).collect();
            // Nobody else sends to this channel, so there is room unless the client has disconnected. Then its `Gone`
            // will arrive.
            if self.updates.try_send(batch).is_err() {
                return self.waiting.clear();
            }
            if self.waiting.is_empty() && self.left_out > 0 {
                let count = std::mem::take(&mut self.left_out);
                let error = format!("{count} events are left out here, because they were not read in time");
                self.waiting.push_back(Update::Event(Event::error(error)));
            }
        }
    }

    /// Whether updates wait for the client to read.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends the rest, until the deadline at most.
    pub(super) fn finish(self, deadline: Instant) {
        if !self.waiting.is_empty() {
            // Fails if the client does not read, or has disconnected.
            let _ = self.updates.send_deadline(self.waiting.into(), deadline);
        }
    }
}

/// Whether an update may be left out, because its information also shows elsewhere or is repeated. Messages may not,
/// because the engine waits for their confirmation.
fn can_be_left_out(update: &Update) -> bool {
    match update {
        Update::Done(_) => false,
        Update::Event(event) => !matches!(
            event,
            Event::Message(_)
                | Event::Result(_)
                | Event::FileDone { .. }
                | Event::FileHolders { .. }
                | Event::FileHolderDropped { .. }
                | Event::Joined { .. }
        ),
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::peer::command::Ending;
    use crate::peer::event::Answer;

    #[test]
    fn a_client_that_does_not_read_loses_news_but_no_answers() {
        let (sender, updates) = bounded(2);
        let mut outlet = Outlet::new(sender);
        let count = 2 * BATCH_UPDATES_MAX + WAITING_MAX + 1000;
        for _ in 0..count {
            outlet.send(Update::Event(Event::error("news")));
        }
        outlet.send(Update::Event(Event::Result(Answer::Published { files: 0, pairs: 0 })));
        outlet.send(Update::Done(Ending::Done));
        assert!(outlet.is_behind() && outlet.waiting.len() <= WAITING_MAX + 2);
        let mut read = Vec::new();
        while outlet.is_behind() || !updates.is_empty() {
            read.extend(updates.try_iter().flatten());
            outlet.flush();
        }
        let news = read.iter().filter(|update| **update == Update::Event(Event::error("news"))).count();
        let Some([Update::Event(Event::Result(_)), Update::Done(_), Update::Event(Event::Error { message })]) =
            read.last_chunk()
        else {
            panic!("the answers and the note come last: {:?}", read.last());
        };
        assert!(message.starts_with(&(count - news).to_string()), "{message}: {news} of {count} were read");
    }

    #[test]
    fn a_client_that_has_disconnected_costs_nothing() {
        let (sender, updates) = bounded(1);
        let mut outlet = Outlet::new(sender);
        drop(updates);
        outlet.send(Update::Done(Ending::Done));
        assert!(outlet.is_behind());
        outlet.flush();
        assert!(!outlet.is_behind());
    }
}
