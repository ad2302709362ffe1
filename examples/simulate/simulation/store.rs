//! A model of the server's store behind the Router's own port: group commit, failing writes, and loss of what was not
//! committed.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use actors::commands::store::{
    Amount, Command, Completion, Frames, Inventory, Mail, MailboxSize, Ordinal, Sender, StorePort, Written,
};
use bytes::Bytes;
use wire::PeerName;

use super::SERVER;

/// The maximum number of commands that wait.
const WAITING_MAX: usize = 16;
/// The maximum number of envelopes that one fetch returns.
const FETCHED_MAX: usize = 5;

/// What is on the server's disk.
#[derive(Default)]
pub(crate) struct ServerDisk {
    cards: BTreeMap<PeerName, Vec<u8>>,
    mail: BTreeMap<(PeerName, Ordinal), (Sender, Bytes)>,
    /// Writes fail.
    pub(super) is_full: bool,
}

impl ServerDisk {
    pub(crate) fn inventory(&self) -> Inventory {
        let mut mailboxes: BTreeMap<&PeerName, MailboxSize> = BTreeMap::new();
        for ((name, ordinal), (sender, frame)) in &self.mail {
            let empty = MailboxSize { name: name.clone(), amounts: Vec::new(), end: 0 };
            let size = mailboxes.entry(name).or_insert(empty);
            size.amounts.push((sender.clone(), amount_of(frame)));
            size.end = ordinal + 1;
        }
        let cards = self.cards.iter().map(|(name, card)| (name.clone(), card.clone())).collect();
        Inventory { server: SERVER, cards, mailboxes: mailboxes.into_values().collect() }
    }

    /// Commits a batch of commands and says what has become of them.
    pub(crate) fn commit(&mut self, batch: Vec<Command>) -> Vec<Completion> {
        batch.into_iter().filter_map(|command| self.carry_out(command)).collect()
    }

    fn carry_out(&mut self, command: Command) -> Option<Completion> {
        match command {
            Command::PutCard { peer, name, card, reply } => {
                let written = !self.is_full;
                if written {
                    self.cards.insert(name, card);
                    reply.answer(());
                }
                Some(Completion::Card { peer, written })
            }
            // No administrator is simulated.
            Command::DropCard { .. } => None,
            Command::Put { name, first, frames, sender, origin, .. } => {
                let (sender, stored) = (*sender, !self.is_full);
                if stored {
                    let places = (first..).zip(frames.iter());
                    self.mail.extend(
                        places.map(|(ordinal, frame)| ((name.clone(), ordinal), (sender.clone(), frame))),
                    );
                }
                let mail = Written { name, first, frames, sender, origin };
                Some(Completion::Put { mail: Box::new(mail), stored })
            }
            Command::Fetch { name, peer, session, places } => {
                let range = (name.clone(), places.start)..(name, places.end);
                let mut mail: Mail = Vec::new();
                let mut next = None;
                for (at, ((_, ordinal), (_, frame))) in self.mail.range(range).enumerate() {
                    if at == FETCHED_MAX {
                        next = Some(*ordinal);
                        break;
                    }
                    let frames = Frames {
                        lengths: vec![u32::try_from(frame.len()).expect("frames are short")],
                        bytes: frame.clone(),
                    };
                    mail.push((*ordinal, frames));
                }
                Some(Completion::Fetched { peer, session, found: Some((mail, next)) })
            }
            Command::Forget { name, places } => {
                if self.is_full {
                    return None;
                }
                let mut amounts = Vec::new();
                self.mail.retain(|(owner, ordinal), (sender, frame)| {
                    let stays = *owner != name || !places.contains(ordinal);
                    if !stays {
                        amounts.push((sender.clone(), amount_of(frame)));
                    }
                    stays
                });
                Some(Completion::Forgotten { name, places, amounts })
            }
            // No simulation lasts as long as mail.
            Command::Sweep { .. } => Some(Completion::Swept { overdue: Vec::new(), next: None }),
        }
    }
}

fn amount_of(frame: &Bytes) -> Amount {
    Amount { envelopes: 1, bytes: frame.len() as u64 }
}

/// The commands that wait for the next commit.
#[derive(Clone, Default)]
pub(super) struct Waiting(pub(super) Rc<RefCell<VecDeque<Command>>>);

impl StorePort for Waiting {
    fn offer(&mut self, command: Command) -> Result<(), Command> {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            return Err(command);
        }
        waiting.push_back(command);
        Ok(())
    }

    fn send(&mut self, command: Command) {
        self.0.borrow_mut().push_back(command);
    }
}
