//! Requests to the server: search and who.

use wire::escape::Escaped;
use wire::protocol::{KnownPeer, ToServer};
use wire::share::Match;

use super::Engine;
use super::interface::{ClientId, TaskId};
use super::tasks::TaskKind;
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};

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
                TaskKind::Search { search, page: (skip, limit), is_asked: is_asked @ false } => {
                    *is_asked = true;
                    let text = search.to_string();
                    requests.push(ToServer::Find { id, text, skip: *skip, limit: *limit });
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

    /// Shows the matches of a search. `instead` is a search with corrected words.
    pub(super) fn matches(&mut self, id: TaskId, matches: Vec<Match>, total: u64, instead: Option<&str>) {
        let Some(client) = self.asker(id) else { return };
        let (mut skip, mut no_condition) = (0, None);
        if let Some(TaskKind::Search { search, page, .. }) =
            self.local.tasks.iter().find(|task| task.id == id).map(|task| &task.kind)
        {
            skip = u64::from(page.0);
            no_condition = search.unknown_condition().filter(|_| total == 0).map(str::to_owned);
        }
        let shown = matches.len() as u64;
        for Match { holders, hits } in matches {
            for (n, hit) in hits.into_iter().enumerate() {
                self.local.tell(client, Event::Result(Answer::File { hit, holders, is_copy: n > 0 }));
            }
        }
        // A server could send anything, and the user might use it.
        let instead = instead.and_then(|text| text.parse().ok());
        self.local.tell(client, Event::Result(Answer::Found { total, skip, shown, instead, no_condition }));
        self.local.end_task(id, Ending::Done);
    }

    /// Handles a search that the server cannot read, although this program can.
    pub(super) fn bad_search(&mut self, id: TaskId, column: u32, detail: &str) {
        self.failed(id, &format!("the server cannot read the search: column {column}: {detail}"));
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
        } else if !self.fail_many(id, &detail) {
            self.fail_fetch(id, &detail);
        }
    }
}
