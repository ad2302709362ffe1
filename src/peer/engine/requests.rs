//! Requests to the server: search and who.

use wire::escape::Escaped;
use wire::protocol::{KnownPeer, ToServer};
use wire::share::Hit;

use super::Engine;
use super::interface::{ClientId, TaskId};
use super::tasks::TaskKind;
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};

/// The maximum number of hits that a search requests.
const HITS_WANTED: u32 = 1000;

impl Engine {
    /// Sends the requests that were not sent on this connection.
    pub(super) fn ask(&mut self) {
        if self.local.link.is_none() {
            return;
        }
        let mut requests = Vec::new();
        for task in &mut self.local.tasks {
            let id = task.id;
            match &mut task.kind {
                TaskKind::Search { query, is_asked: is_asked @ false } => {
                    *is_asked = true;
                    requests.push(ToServer::Search { id, query: query.clone(), limit: HITS_WANTED });
                }
                TaskKind::Who { is_asked: is_asked @ false } => {
                    *is_asked = true;
                    requests.push(ToServer::Who { id });
                }
                _ => {}
            }
        }
        for request in &requests {
            self.local.say(request);
        }
    }

    /// Sends the requests again on a new connection.
    pub(super) fn ask_again(&mut self) {
        for task in &mut self.local.tasks {
            if let TaskKind::Search { is_asked, .. } | TaskKind::Who { is_asked } = &mut task.kind {
                *is_asked = false;
            }
        }
        self.ask();
    }

    fn asker(&self, id: TaskId) -> Option<ClientId> {
        let is_request = |kind: &TaskKind| matches!(kind, TaskKind::Search { .. } | TaskKind::Who { .. });
        self.local.tasks.iter().find(|task| task.id == id && is_request(&task.kind)).map(|task| task.client)
    }

    pub(super) fn found(&mut self, id: TaskId, hits: Vec<Hit>, total: u64) {
        let Some(client) = self.asker(id) else {
            return self.found_for_fetch(id, hits);
        };
        for hit in hits {
            self.local.tell(client, Event::Result(Answer::File(hit)));
        }
        self.local.tell(client, Event::Result(Answer::Found { total }));
        self.local.end_task(id, Ending::Done);
    }

    pub(super) fn known(&mut self, id: TaskId, peers: Vec<KnownPeer>) {
        if self.offer_near_names(id, &peers) {
            return;
        }
        let Some(client) = self.asker(id) else { return };
        for peer in peers {
            self.local.tell(
                client,
                Event::Result(Answer::Peer { compared: self.local.is_compared(&peer.name), peer }),
            );
        }
        self.local.end_task(id, Ending::Done);
    }

    /// Handles a request that the server could not answer.
    pub(super) fn failed(&mut self, id: TaskId, detail: &str) {
        let detail = Escaped(detail).to_string();
        if id == super::PUBLICATION {
            self.not_published(&detail);
        } else if let Some(client) = self.asker(id) {
            self.local.tell(client, Event::error(detail));
            self.local.end_task(id, Ending::Failed);
        } else {
            self.fail_fetch(id, detail);
        }
    }
}
