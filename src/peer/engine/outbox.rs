//! The outbox for the user: lists waiting messages, cancels one that was never sent, and suggests similar names if
//! nobody has the name of the recipient.

use wire::PeerName;
use wire::protocol::{KnownPeer, ToServer};

use super::contact::{Contact, Unacked, same_name};
use super::interface::{ClientId, TaskId};
use super::tasks::TaskKind;
use super::{Engine, NEAR_NAMES};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event, OutboxState};
use crate::peer::records::Write;

const NEAR_NAMES_MAX: usize = 3;

impl Engine {
    pub(super) fn show_outbox(&mut self, client: ClientId) {
        let mut is_empty = true;
        for contact in self.contacts.iter() {
            for (number, message) in &contact.unacked {
                let Some(record) = self.local.records.outbox(&contact.name, *number) else { continue };
                let state = match message {
                    Unacked { stored_at: Some(_), .. } => OutboxState::Stored,
                    Unacked { is_relayed: true, .. } => OutboxState::Relayed,
                    _ if record.sealed.is_some() => OutboxState::Sent,
                    _ => OutboxState::Queued,
                };
                let (to, number) = (contact.name.clone(), *number);
                let answer =
                    Answer::Outbox { to, number, text: record.text, queued_at: record.queued_at, state };
                self.local.tell(client, Event::Result(answer));
                is_empty = false;
            }
        }
        if is_empty {
            self.local.tell(client, Event::Result(Answer::NothingQueued));
        }
        self.local.done(client, Ending::Done);
    }

    /// Removes a message that was never sealed, and so never sent.
    pub(super) fn cancel(&mut self, client: ClientId, number: u64, to: Option<&PeerName>) {
        let is_meant = |contact: &&Contact| {
            contact.unacked.contains_key(&number) && to.is_none_or(|to| same_name(to, &contact.name))
        };
        let names: Vec<PeerName> = self.contacts.iter().filter(is_meant).map(|c| c.name.clone()).collect();
        let name = match names.as_slice() {
            [name] => name,
            [] => {
                let error = format!("no message #{number} waits; /outbox lists the messages that do");
                return self.local.fail(client, error);
            }
            several => {
                let names = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let error = format!("a message #{number} waits for each of {names}; add the name of one");
                return self.local.fail(client, error);
            }
        };
        // A message that must be sealed again keeps its old ciphertext in the record, because that one may have
        // arrived.
        if self.local.records.outbox(name, number).is_none_or(|record| record.sealed.is_some()) {
            let error = format!("#{number} to {name} may have been sent already and cannot be cancelled");
            return self.local.fail(client, error);
        }
        let contact = self.contacts.of(name);
        contact.unacked.remove(&number);
        contact.unsent.remove(&number);
        self.local.records.write(Write::Cancelled(name.clone(), number));
        self.local.end_tasks(Ending::Failed, |task| {
            matches!(&task.kind, TaskKind::Send { to, open, .. } if same_name(to, name) && open.contains(&number))
        });
        self.local.tell(client, Event::Result(Answer::Cancelled { to: name.clone(), number }));
        self.local.done(client, Ending::Done);
    }

    /// Asks the server for the names that it knows, once for each missing name on a connection.
    pub(super) fn look_for_near_names(&mut self, name: &PeerName) {
        if self.misnamed.insert(name.folded(), false).is_none() {
            self.local.say(&ToServer::Who { id: NEAR_NAMES });
        }
    }

    /// Suggests similar names for those that nobody has. Returns whether the answer was to such a request.
    pub(super) fn offer_near_names(&mut self, id: TaskId, known: &[KnownPeer]) -> bool {
        if id != NEAR_NAMES {
            return false;
        }
        for (name, is_done) in &mut self.misnamed {
            if std::mem::replace(is_done, true) {
                continue;
            }
            let me = &self.local.name;
            let known = known.iter().map(|peer| &peer.name).filter(|name| !same_name(name, me));
            let near = near_names(name, known);
            if !near.is_empty() {
                let to = self.contacts.of(name).name.clone();
                let reason = format!("nobody has the name {to}; did you mean {}?", near.join(" or "));
                self.local.emit(&Event::Waiting { to, reason });
            }
        }
        true
    }
}

/// The names that differ from `name` by few letters, the most similar first. One letter in three may be wrong, missing,
/// superfluous or exchanged with its neighbour.
fn near_names<'n>(name: &PeerName, known: impl Iterator<Item = &'n PeerName>) -> Vec<String> {
    let folded = name.folded();
    let distance = |other: &PeerName| {
        let distance = strsim::damerau_levenshtein(folded.as_str(), other.folded().as_str());
        let longer = folded.as_str().len().max(other.as_str().len());
        (distance > 0 && distance * 3 <= longer).then_some(distance)
    };
    let mut near: Vec<(usize, String)> =
        known.filter_map(|other| Some((distance(other)?, other.to_string()))).collect();
    near.sort();
    near.into_iter().take(NEAR_NAMES_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_differ_by_typing_errors() {
        let known: Vec<PeerName> = ["Alice", "alicia", "Bob", "B", "Robert"]
            .iter()
            .map(|name| name.parse().expect("a good name"))
            .collect();
        for (typed, near) in [
            ("Alcie", &["Alice", "alicia"][..]),
            ("bobb", &["Bob"]),
            ("Rupert", &["Robert"]),
            ("A", &[]),
            ("Bob", &[]),
            ("Zoe", &[]),
        ] {
            let typed: PeerName = typed.parse().expect("a good name");
            assert_eq!(near_names(&typed, known.iter()), near, "{typed}");
        }
    }
}
