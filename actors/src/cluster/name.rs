//! A name: its owner, and where its peer is connected, as this server and the bucket see it.

use std::net::SocketAddr;
use std::time::Instant;

use wire::PeerName;
use wire::card::Card;

use super::interface::{Effect, Here, Revision};
use super::servers::Remote;
use crate::commands::cluster::Incarnation;
use crate::commands::session::SessionId;

/// What this server has told the bucket about a name.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// The session that has joined here.
    pub(super) session: Option<SessionId>,
    /// Where its peer can be dialled.
    pub(super) address: Option<SocketAddr>,
    /// The last presence that was written, and its revision.
    pub(super) written: Option<(Here, Revision)>,
    /// An operation on the bucket is under way.
    pub(super) is_busy: bool,
}

#[derive(Debug, Default)]
pub(super) struct Name {
    pub(super) owner: Option<(Box<Card>, Revision)>,
    pub(super) here: Option<(Here, Revision)>,
    /// The revision of the last change of the presence.
    pub(super) changed: Revision,
    pub(super) local: Local,
    pub(super) remote: Option<Remote>,
    /// No presence is made before this time.
    pub(super) paused_until: Option<Instant>,
}

impl Name {
    /// What the bucket has to be told of the session here.
    pub(super) fn begin_write(&mut self, me: Incarnation, key: &PeerName) -> Option<Effect> {
        let Self { here, changed, local, .. } = self;
        if local.is_busy {
            return None;
        }
        let mine = local.session.map(|session| Here { server: me, session, address: local.address });
        let effect = match (mine, local.written) {
            (Some(mine), Some((written, revision))) if written.is_join_of(&mine) => {
                let is_latest = here.is_some_and(|(_, latest)| latest == revision);
                let over = match here {
                    // Another server has erased it, which had heard nothing of this one for too long.
                    None if *changed > revision => None,
                    // Only the address is new. Somebody who has joined since then stays the latest.
                    Some(_) if is_latest && written != mine => Some(revision),
                    _ => return None,
                };
                Effect::Put { name: key.clone(), here: mine, over }
            }
            (Some(mine), _) => Effect::Put { name: key.clone(), here: mine, over: None },
            (None, written) => {
                // A later one that was written, and that is not seen here yet, is erased when it is.
                let is_mine = |(here, revision): &(Here, Revision)| {
                    here.server == me && written.is_none_or(|(_, last)| last <= *revision)
                };
                let (_, revision) = here.filter(is_mine)?;
                Effect::Erase { name: key.clone(), revision }
            }
        };
        local.is_busy = true;
        Some(effect)
    }

    /// Where the Router should know the peer, if that is another server.
    pub(super) fn wanted(&self, now: Instant, me: Incarnation) -> Option<Here> {
        let (here, revision) = self.here?;
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        // A session here counts until the bucket has a later join.
        let is_here = self.local.session.is_some()
            && (self.local.is_busy || self.local.written.is_none_or(|(_, written)| written >= revision));
        (here.server != me && !is_here && !is_paused && self.owner.is_some()).then_some(here)
    }
}
