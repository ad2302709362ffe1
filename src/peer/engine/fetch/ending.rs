//! The ends of fetches.

use std::collections::BTreeSet;
use std::path::PathBuf;

use wire::share::Hit;

use super::super::Engine;
use super::super::interface::{ClientId, TaskId};
use super::{Fetch, STEP_WAIT, Stage};
use crate::peer::command::Ending;
use crate::peer::event::{Event, FileRoute, HolderPart};

/// Why a file has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer::engine) enum Cause {
    /// Whatever concerns this file only.
    File,
    /// The holder does not answer, does not send anything now, or has not sent all of it.
    Holder,
    /// The holder is not connected.
    Absent,
    /// The connection to the server, over which the holder was asked.
    Server,
}

impl Engine {
    pub(super) fn end_fetch(&mut self, task: TaskId, path: PathBuf, hit: &Hit, route: FileRoute) {
        if let Some(fetch) = self.fetches.fetches.remove(&task) {
            let (bytes, sha256) = (hit.file.bytes, hit.file.sha256);
            let from = (route != FileRoute::Here).then(|| hit.peer.clone());
            let peers = usize::from(from.is_some());
            let given: Vec<HolderPart> =
                from.iter().map(|from| HolderPart { from: from.clone(), bytes, route }).collect();
            self.local.tell(fetch.client, Event::FileDone { path, bytes, sha256, from, peers, route });
            match fetch.parent {
                Some(parent) => self.part_arrived(parent, task, &given),
                None => self.local.end_task(task, Ending::Done),
            }
        }
    }

    /// Cancels the fetches of a client.
    pub(in crate::peer::engine) fn stop_gets(&mut self, client: ClientId) {
        self.stop_many(|_, of| of == client);
        self.stop_gathers(|_, of| of == client);
        for task in self.fetches.tasks(|fetch| fetch.client == client) {
            let name = self.fetches.fetches.get(&task).map(Fetch::what).unwrap_or_default();
            self.fail_fetch(task, format!("{name}: cancelled; what has arrived is kept for the next time"));
        }
        self.local.done(client, Ending::Done);
    }

    /// Ends a fetch with an error. Does nothing if the task is not a fetch.
    pub(in crate::peer::engine) fn fail_fetch(&mut self, task: TaskId, why: String) {
        self.fail_fetch_because(task, why, Cause::File);
    }

    pub(super) fn fail_fetch_because(&mut self, task: TaskId, why: String, cause: Cause) {
        if let Some(mut fetch) = self.fetches.fetches.remove(&task) {
            self.stop(&fetch.stage);
            self.withdraw_probe(fetch.probing.stop());
            match fetch.parent {
                Some(parent) => {
                    let asked = fetch.stage.hit().map(|hit| &hit.peer);
                    self.part_failed(parent, task, asked, &why, cause);
                }
                None => {
                    self.local.tell(fetch.client, Event::error(why));
                    let ending = self.unanswered();
                    self.local.end_task(task, ending);
                }
            }
        }
    }

    /// Cancels a fetch of which nothing arrives. Returns whether it was one.
    pub(in crate::peer::engine) fn cancel_unsent(&mut self, task: TaskId) -> bool {
        let is_unsent = |fetch: &Fetch| !matches!(fetch.stage, Stage::Moving(..));
        let unsent = self.fetches.fetches.extract_if(task..=task, |_, fetch| is_unsent(fetch)).next();
        let Some((_, mut fetch)) = unsent else { return false };
        self.stop(&fetch.stage);
        self.withdraw_probe(fetch.probing.stop());
        true
    }

    /// Fails the fetches that wait for an answer over a lost connection.
    pub(in crate::peer::engine) fn fail_fetches(&mut self, why: &str) {
        self.many_lost_connection();
        self.gathers_lost_connection();
        self.probes_lost_connection();
        for task in self.fetches.tasks(|f| matches!(f.stage, Stage::Card(_) | Stage::Asked(..))) {
            self.fail_fetch_because(task, format!("{why}; try again"), Cause::Server);
        }
    }

    /// Fails the fetches whose deadline has passed, and drops those whose client has gone.
    pub(in crate::peer::engine) fn end_late_fetches(&mut self) {
        self.end_late_probes();
        let now = self.local.now.instant;
        let is_late = |fetch: &Fetch| fetch.deadline.is_some_and(|deadline| deadline <= now);
        for task in self.fetches.tasks(is_late) {
            let why = match self.fetches.fetches.get(&task).map(|fetch| &fetch.stage) {
                Some(Stage::Asked(hit, asked)) if asked.wish.may_wait() => {
                    format!("{} sends too many files at once; try again", hit.peer)
                }
                Some(Stage::Queued(hit, _)) if self.local.link.is_some() => {
                    format!("{} does not answer any more; try again", hit.peer)
                }
                Some(Stage::Asked(hit, _)) => format!("{} does not answer; try again", hit.peer),
                _ => self.no_answer(STEP_WAIT),
            };
            self.fail_fetch_because(task, why, Cause::Holder);
        }
        self.end_late_many();
        self.end_late_gathers();
        let tasks: BTreeSet<TaskId> = self.local.tasks.iter().map(|task| task.id).collect();
        self.stop_many(|task, _| !tasks.contains(&task));
        self.stop_gathers(|task, _| !tasks.contains(&task));
        let is_over = |task: &TaskId, fetch: &mut Fetch| !tasks.contains(&fetch.parent.unwrap_or(*task));
        let gone: Vec<_> = self.fetches.fetches.extract_if(.., is_over).collect();
        for (_, mut fetch) in gone {
            self.stop(&fetch.stage);
            self.withdraw_probe(fetch.probing.stop());
        }
    }
}
