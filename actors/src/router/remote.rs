//! Peers that are connected to other servers of a cluster.

use std::sync::Arc;

use wire::PeerName;
use wire::card::Card;

use super::core::Router;
use super::table::{Owner, Presence};
use crate::commands::cluster::{BatchReply, Forwarded};
use crate::commands::router::{Member, PresencePort};
use crate::commands::session::{Port, SERVER_SESSION, STORED_ELSEWHERE, SessionId};
use crate::commands::store::{Origin, StorePort};

impl<S: StorePort, I: PresencePort> Router<S, I> {
    /// A peer is connected to another server. None if its owner is not known here.
    pub(super) fn appear(
        &mut self,
        name: &PeerName,
        session: SessionId,
        port: Arc<dyn Port>,
    ) -> Option<Member> {
        let key = self.table.find(name.as_str())?;
        self.table.peer(key).owner().card()?;
        // Its transfers through the server go to the other one, so there is no token.
        self.set_presence(key, name, Presence::new(session, None, port));
        self.fetch(key);
        Some(Member { peer: key, session })
    }

    /// Notes the owner of a name, as the cluster knows it. The card is not written to disk, because the cluster keeps it.
    pub(super) fn learn(&mut self, card: &Card) {
        let Some(key) = self.table.find_or_admit(&card.name) else { return };
        match self.table.peer(key).owner() {
            Owner::Nobody => {}
            Owner::Known { card: known, .. } if known == card.as_bytes() => return,
            Owner::Known { fingerprint, .. } if card.is_of(fingerprint) => {}
            Owner::Known { .. } | Owner::Unreadable => {
                tracing::error!(
                    target: "router", name = %card.name,
                    "the name belongs to another key in the cluster than on this server; nobody can join under it here, \
                     until server release frees it"
                );
                return;
            }
        }
        let noted_for = self.table.set_owner(key, Owner::of(card, false));
        self.table.spell(key, &card.name);
        self.release_name(noted_for);
        self.show_card(key);
    }

    /// Relays envelopes from another server. Those that cannot be relayed are refused and not stored, because the other server
    /// stores them, in the order in which its senders have sent them. After a refused one, all for the same session are
    /// refused, so that none overtakes it.
    pub(super) fn forwarded(&mut self, envelopes: Vec<Forwarded>, reply: BatchReply) {
        let (mut refused, mut shut) = (Vec::new(), Vec::new());
        for (place, envelope) in (0..).zip(envelopes) {
            let session = envelope.session;
            if shut.contains(&session) || self.forward(envelope).is_none() {
                shut.push(session);
                refused.push(place);
            }
        }
        reply.answer(refused);
    }

    fn forward(&mut self, envelopes: Forwarded) -> Option<()> {
        let Forwarded { from, to, session, is_kept, stored, frames } = envelopes;
        let key = self.table.find(to.as_str())?;
        self.table.peer(key).present(session)?;
        let sender = self.table.find_or_insert(&from);
        let origin = match stored {
            Some(first) => Origin { peer: sender, session: STORED_ELSEWHERE, first },
            None => Origin { peer: sender, session: SERVER_SESSION, first: 0 },
        };
        self.relay(key, frames, is_kept, origin).ok()
    }
}
