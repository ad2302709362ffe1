//! The parts of the engine's state that are separate from the contacts, so that a contact can be borrowed at the same
//! time.

use std::collections::HashMap;

use rand::rngs::StdRng;
use wire::card::Card;
use wire::conversation::Opening;
use wire::escape::Escaped;
use wire::frame;
use wire::protocol::ToServer;
use wire::{Digest, Fingerprint, PeerName};

use super::contact::Place;
use super::interface::{Effect, Now, Options, Out, TaskId, Unreadable};
use super::link::Link;
use super::overlay::Overlay;
use super::tasks::Task;
use crate::peer::event::{ConversationEvent, Event, Sealed};
use crate::peer::home::Keys;
use crate::peer::records::{Direction, PinnedKey};

/// This peer: its identity, its connection, its clients, and the outputs of the current step.
pub(super) struct Local {
    pub(super) name: PeerName,
    pub(super) keys: Keys,
    pub(super) card: Card,
    /// The server's address, as it is shown to the user.
    pub(super) server: String,
    pub(super) options: Options,
    pub(super) rng: StdRng,
    pub(super) now: Now,
    /// By folded name.
    pub(super) pins: HashMap<PeerName, PinnedKey>,
    pub(super) link: Option<Link>,
    pub(super) tasks: Vec<Task>,
    pub(super) next_task: TaskId,
    pub(super) records: Overlay,
    /// Outputs of the current step, see [`Out`].
    pub(super) new_pins: Vec<(PeerName, PinnedKey)>,
    pub(super) to_server: Vec<u8>,
    pub(super) effects: Vec<Effect>,
}

impl Local {
    /// Moves the outputs of this step into `out`.
    pub(super) fn take(&mut self, out: &mut Out) -> Result<(), Unreadable> {
        out.writes.append(&mut self.records.take()?);
        out.pins.append(&mut self.new_pins);
        out.to_server.append(&mut self.to_server);
        out.effects.append(&mut self.effects);
        Ok(())
    }

    /// Sends a message that is not an envelope. Without a connection it is dropped.
    pub(super) fn say(&mut self, message: &ToServer<'_>) {
        if self.link.is_some() {
            frame::encode(message, &mut self.to_server);
        }
    }

    /// The fingerprint of the pinned key of a peer.
    pub(super) fn pinned(&self, name: &PeerName) -> Option<Fingerprint> {
        self.pins.get(&name.folded()).map(|key| key.fingerprint)
    }

    /// Whether the user has compared the pinned key of a peer.
    pub(super) fn is_compared(&self, name: &PeerName) -> bool {
        self.pins.get(&name.folded()).is_some_and(|key| key.is_compared)
    }

    pub(super) fn refuse(&mut self, with: &PeerName, number: Option<u64>, reason: &str) {
        let reason = Escaped(reason).to_string();
        self.emit(&Event::Refused { with: with.clone(), number, reason });
    }

    pub(super) fn joined_event(&self) -> Option<Event> {
        let link = self.link.as_ref()?;
        Some(Event::Joined {
            name: self.name.clone(),
            server: link.address.clone(),
            fingerprint: self.card.fingerprint(),
            server_key: link.server_key,
            pinned_certificate: link.pinned_certificate,
        })
    }

    /// The opening of a conversation, for display.
    pub(super) fn describe_opening(
        &self,
        opening: &Opening,
        with: &PeerName,
        direction: Direction,
    ) -> ConversationEvent {
        ConversationEvent {
            with: with.clone(),
            direction,
            conversation: opening.id,
            sender_key: opening.sender.fingerprint(),
            recipient_key: opening.recipient,
            wrapped_for: opening.recipient_key,
            wrapped_key: self.shorten(&opening.wrapped_key),
            commitment: opening.commitment,
            opening: self.shorten(opening.as_bytes()),
            first_number: opening.first_number,
            pinned_now: false,
        }
    }

    /// A sealed message, for display.
    pub(super) fn describe_sealed(&self, bytes: &[u8], place: Place) -> Sealed {
        Sealed {
            conversation: place.conversation,
            place: place.place,
            bytes: bytes.len() as u64,
            ciphertext_sha256: Digest::of(bytes),
            ciphertext: self.shorten(bytes),
            running_hash: place.running_hash,
        }
    }

    fn shorten(&self, bytes: &[u8]) -> String {
        const SHOWN_BYTES: usize = 24;
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        if self.options.full_trace || bytes.len() <= SHOWN_BYTES {
            hex(bytes)
        } else {
            format!("{}...", hex(&bytes[..SHOWN_BYTES]))
        }
    }
}
