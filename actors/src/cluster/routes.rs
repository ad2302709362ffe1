//! Ways past the Router: from a link into the mailboxes of the sessions here. The Router gives one for each pair of a sender and a
//! session to which it has relayed something, as it does for senders here (`session/routes.rs`). That saves each batch a wake-up.

use std::collections::{HashMap, VecDeque};

use wire::PeerName;

use crate::commands::cluster::{Forwarded, Way};
use crate::commands::router::PeerKey;
use crate::commands::session::{Route, SERVER_SESSION, SessionId};
use crate::commands::store::Origin;

/// With this many senders, all of a session are forgotten. The next batch of each goes to the Router, and brings them back.
const SENDERS_MAX: usize = 256;

/// The session of a recipient.
#[derive(Debug)]
struct Recipient {
    route: Route,
    /// Those who have written to it lately, at other servers.
    senders: HashMap<PeerName, PeerKey>,
}

#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<SessionId, Recipient>);

impl Routes {
    pub(super) fn learn(&mut self, Way { from, session, sender, route }: Way) {
        let recipient = self.0.entry(session).or_insert_with(|| Recipient { route, senders: HashMap::new() });
        if recipient.senders.len() >= SENDERS_MAX {
            recipient.senders.clear();
        }
        recipient.senders.insert(from, sender);
    }

    /// A session here has ended.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// A name has no owner any more, so its key can become that of another name.
    pub(super) fn forget_sender(&mut self, name: &PeerName) {
        for recipient in self.0.values_mut() {
            recipient.senders.retain(|sender, _| sender.folded() != *name);
        }
    }

    /// Delivers envelopes as far as there are routes. Returns how many of them were delivered, and the rest for the Router. Nothing
    /// behind the first that must go there is delivered, because it could overtake one of its own sender.
    ///
    /// The Router must have nothing of the same link.
    pub(super) fn deliver(&self, envelopes: Vec<Forwarded>) -> (u32, Vec<Forwarded>) {
        let (mut delivered, mut rest) = (0, VecDeque::from(envelopes));
        while let Some(next) = rest.pop_front() {
            if let Err(next) = self.deliver_one(next) {
                rest.push_front(next);
                break;
            }
            delivered += 1;
        }
        for envelopes in &mut rest {
            envelopes.wants_route = envelopes.stored.is_none() && self.sender(envelopes).is_none();
        }
        (delivered, rest.into())
    }

    fn deliver_one(&self, envelopes: Forwarded) -> Result<(), Forwarded> {
        // The numbers of mail that other stores keep count what the Router gets, so all of it goes there.
        let sender = self.sender(&envelopes).filter(|_| envelopes.stored.is_none());
        let Some((peer, port)) = sender.and_then(|(peer, route)| Some((peer, route.port()?))) else {
            return Err(envelopes);
        };
        let origin = Origin { peer, session: SERVER_SESSION, first: 0 };
        let Forwarded { from, to, session, is_kept, stored, wants_route, frames } = envelopes;
        let back = |frames| Forwarded { from, to, session, is_kept, stored, wants_route, frames };
        port.deliver(frames, is_kept, origin).map_err(back)
    }

    fn sender(&self, envelopes: &Forwarded) -> Option<(PeerKey, &Route)> {
        let recipient = self.0.get(&envelopes.session)?;
        Some((*recipient.senders.get(&envelopes.from)?, &recipient.route))
    }
}
