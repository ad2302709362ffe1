//! The routes of a session: ways past the Router to the recipients to which its peer writes.

use std::collections::HashMap;

use wire::PeerName;

use super::flow::Flow;
use crate::commands::router::{Member, Run};
use crate::commands::session::Route;
use crate::commands::store::Origin;

/// With this many recipients, all are forgotten. A peer that writes to so many in turn does not gain by a route.
const ROUTES_MAX: usize = 64;

/// The recipients to which the peer has written lately.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_name: HashMap<PeerName, Way>,
}

#[derive(Debug)]
struct Way {
    route: Option<Route>,
    /// The number after the last envelope that went to this recipient by way of the Router.
    through_router: u64,
}

impl Routes {
    /// Notes a route. One that arrives after its recipient was forgotten is of no use.
    pub(super) fn learn(&mut self, to: &PeerName, route: Route) {
        if let Some(way) = self.by_name.get_mut(to) {
            way.route = Some(route);
        }
    }

    /// Delivers a run without the Router, if there is a route, and nothing for this recipient is still in the Router, which
    /// the run would overtake. The Router counts openings, so it gets those too.
    ///
    /// # Errors
    /// The run, which must go to the Router.
    pub(super) fn deliver(&mut self, mut run: Run, from: Member, flow: &mut Flow) -> Result<(), Run> {
        let end = run.first + run.frames.count();
        let Some(way) = self.by_name.get_mut(&run.to) else {
            if self.by_name.len() == ROUTES_MAX {
                self.by_name.clear();
            }
            self.by_name.insert(run.to.clone(), Way { route: None, through_router: end });
            return Err(run);
        };
        match way.route.as_ref().and_then(Route::port) {
            None => {
                way.route = None;
                run.wants_route = true;
            }
            Some(port) if run.openings == 0 && flow.has_heard(way.through_router) => {
                let origin = Origin { peer: from.peer, session: from.session, first: run.first };
                match port.deliver(run.frames, run.kept, origin) {
                    Ok(()) => return Ok(()),
                    Err(frames) => run.frames = frames,
                }
            }
            // A peer that always has envelopes in the Router would never get to use the route.
            Some(port) if port.lease().is_granted() => flow.await_outcomes(end),
            Some(_) => {}
        }
        way.through_router = end;
        Err(run)
    }
}
