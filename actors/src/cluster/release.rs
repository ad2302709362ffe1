//! Names that the administrator takes from their owners.

use std::time::Instant;

use wire::PeerName;

use super::core::Cluster;
use super::interface::{Effect, MailEffect, Revision};
use super::packet::Body;
use crate::runtime::Reply;

impl Cluster {
    /// Removes the card from the bucket, which frees the name at all servers.
    pub(super) fn release(
        &mut self,
        name: &PeerName,
        drops_mail: bool,
        reply: Reply<Option<bool>>,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_connected {
            return reply.answer(None);
        }
        let owner = self.names.get(name).and_then(|name| name.owner.as_ref());
        let Some((_, revision)) = owner else { return reply.answer(Some(false)) };
        if drops_mail {
            // First, so that the mail of the next owner is not dropped.
            self.say(None, Body::DropMail { name: name.clone() }, out);
            out.push(Effect::DropMail(name.clone()));
            out.push(Effect::Mail(MailEffect::Purge(name.clone())));
        }
        out.push(Effect::Free { name: name.clone(), revision: *revision, reply });
    }

    /// The bucket has no card for a name any more.
    pub(super) fn released(
        &mut self,
        now: Instant,
        name: &PeerName,
        revision: Revision,
        out: &mut Vec<Effect>,
    ) {
        let Some(known) = self.names.get_mut(name) else { return };
        // A server that was away learns of it late, from the bucket.
        if known.owner.take_if(|(_, of_card)| *of_card < revision).is_some() {
            out.push(Effect::Unown(name.clone()));
            self.look(now, name, out);
        }
    }
}
