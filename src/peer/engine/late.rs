//! Late mail: mail that arrives after its encryption key was destroyed.
//!
//! Its sender still has it and seals it again after the complaint, so usually nothing is lost. If the sender does not
//! come back, both ends must know. The user of the recipient is told when the mail is refused, and again if it has not
//! come after the time for which keys are kept. The sender is told when it comes back, because it then sends all
//! messages without a receipt again.

use wire::PeerName;

use super::Engine;
use crate::peer::records::{LateRecord, Write};

impl Engine {
    /// Handles a conversation whose key was destroyed.
    pub(super) fn mail_came_too_late(&mut self, from: &PeerName, first_number: u64) {
        let refused_at = self.local.now.unix;
        let contact = self.contacts.of(from);
        if contact.late.is_some() {
            return;
        }
        let late = LateRecord { first_number, refused_at };
        contact.late = Some(late);
        if contact.is_kept {
            self.local.records.write(Write::Late(from.clone(), Some(late)));
        }
        let days = self.local.options.key_times.kept_seconds() / (24 * 60 * 60);
        let reason = format!(
            "mail from {from} came too late: the key that it was sealed for is more than {days} days old and destroyed; \
             {from} has it still and is asked to seal it again"
        );
        self.local.refuse(from, Some(first_number), &reason);
    }

    /// Handles the arrival of a message. Messages arrive without gaps, so all earlier ones have arrived too.
    pub(super) fn late_mail_came(&mut self, from: &PeerName, number: u64) {
        let contact = self.contacts.of(from);
        if contact.late.is_some_and(|late| late.first_number <= number) {
            contact.late = None;
            self.local.records.write(Write::Late(from.clone(), None));
        }
    }

    /// Tells the user about late mail that has not come again.
    pub(super) fn give_up_late_mail(&mut self) {
        let (now, kept) = (self.local.now.unix, self.local.options.key_times.kept_seconds());
        for contact in self.contacts.iter_mut() {
            let Some(late) = contact.late.filter(|late| now >= late.refused_at.saturating_add(kept)) else {
                continue;
            };
            contact.late = None;
            self.local.records.write(Write::Late(contact.name.clone(), None));
            let reason = format!(
                "mail that came too late {} days ago has not come again: {name} has not joined since; ask {name} to run \
                 their peer, which sends it again",
                (now - late.refused_at) / (24 * 60 * 60),
                name = contact.name,
            );
            self.local.refuse(&contact.name, Some(late.first_number), &reason);
        }
    }
}
