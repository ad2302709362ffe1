//! Comparison of the pinned key of a peer with the one that its owner sees.

use wire::{Fingerprint, PeerName};

use super::Engine;
use super::interface::ClientId;
use crate::peer::command::Ending;
use crate::peer::comparison::Comparison;
use crate::peer::event::{Answer, Event};
use crate::peer::records::PinnedKey;

impl Engine {
    pub(super) fn verify(&mut self, client: ClientId, name: &PeerName) {
        let Some(pinned) = self.local.pinned(name) else {
            return self.local.fail(client, unknown(name));
        };
        let own = (&self.local.name, self.local.card.fingerprint());
        let compared = self.local.is_compared(name);
        // The owner's spelling of the name, which the other peer shows too.
        let name = self.contacts.get(name).map_or(name, |contact| &contact.name);
        let comparison = Comparison::new(own, (name, pinned), compared);
        self.local.tell(client, Event::Result(Answer::Comparison(comparison)));
        self.local.done(client, Ending::Done);
    }

    /// Marks the pinned key as compared. The mark is stored with the pin, so it is lost when another key is pinned.
    pub(super) fn compared(&mut self, client: ClientId, name: &PeerName, compared: Option<Fingerprint>) {
        let Some(pinned) = self.local.pinned(name) else {
            return self.local.fail(client, unknown(name));
        };
        if compared.is_some_and(|compared| compared != pinned) {
            let error = format!("the key of {name} has changed since it was shown; verify {name} again");
            return self.local.fail(client, error);
        }
        self.pin(name, PinnedKey { fingerprint: pinned, is_compared: true });
        self.contacts.of(name).keep();
        self.local.tell(client, Event::Result(Answer::Compared { name: name.clone(), fingerprint: pinned }));
        self.local.done(client, Ending::Done);
    }
}

fn unknown(name: &PeerName) -> String {
    format!("no key of {name} is known yet; write to {name}, or import its contact card")
}
