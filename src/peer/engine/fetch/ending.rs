//! The ends of fetches.

use std::cmp::Reverse;
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
    /// The holder does not share it any more, or has another content under its name.
    Content,
    /// The holder has sent something else.
    Lied,
    /// The holder does not answer, does not send anything now, or has not sent all of it.
    Holder,
    /// The holder is not connected.
    Absent,
    /// The server does not pass the request on.
    Refused,
    /// The connection to the server, over which the holder was asked.
    Server,
}

/// How many bytes were kept although a transfer has failed, and what to do, to follow the reason.
pub fn kept_rest(kept: u64, total: u64) -> String {
    match kept {
        0 => String::new(),
        _ => format!("; {kept} of {total} bytes are kept, and the same command fetches the rest"),
    }
}

impl Fetch {
    /// What the user can do about a failure, to follow the reason: something else if a part of the file is here.
    fn advice(&self, cause: Cause) -> String {
        let total = self.stage.file().map_or(0, |file| file.bytes);
        match cause {
            Cause::Holder | Cause::Absent | Cause::Lied if self.offset > 0 => kept_rest(self.offset, total),
            Cause::Holder | Cause::Absent | Cause::Lied | Cause::Server => "; try again".to_owned(),
            Cause::Content => "; search again".to_owned(),
            // The reason says it.
            Cause::File | Cause::Refused => String::new(),
        }
    }
}

/// Who has sent how much of a file that is complete, the most first.
fn given(fetch: &Fetch, hit: &Hit, route: FileRoute) -> Vec<HolderPart> {
    let mut given = fetch.turns.given.clone();
    if route != FileRoute::Here {
        // What an earlier process has received counts as that of whoever sends the rest.
        let before: u64 = given.iter().map(|part| part.bytes).sum();
        let bytes = hit.file.bytes - before.min(hit.file.bytes);
        given.push(HolderPart { from: hit.peer.clone(), bytes, route });
    }
    given.sort_by_key(|part| Reverse(part.bytes));
    given
}

impl Engine {
    pub(super) fn end_fetch(&mut self, task: TaskId, path: PathBuf, hit: &Hit, route: FileRoute) {
        if let Some(fetch) = self.fetches.fetches.remove(&task) {
            let (name, bytes, sha256) = (fetch.name(hit).clone(), hit.file.bytes, hit.file.sha256);
            let given = given(&fetch, hit, route);
            let most = given.first();
            let (from, route) = most.map_or((None, route), |most| (Some(most.from.clone()), most.route));
            let peers = given.len();
            if peers > 1 {
                self.local.tell(fetch.client, Event::FileHolders { name, holders: given.clone() });
            }
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
            self.fail_fetch(task, &format!("{name}: cancelled; what has arrived is kept for the next time"));
        }
        self.local.done(client, Ending::Done);
    }

    /// Ends a fetch with an error. Does nothing if the task is not a fetch.
    pub(in crate::peer::engine) fn fail_fetch(&mut self, task: TaskId, why: &str) {
        self.fail_finally(task, why, Cause::File);
    }

    /// The same, unless another holder can be asked.
    pub(super) fn fail_fetch_because(&mut self, task: TaskId, why: &str, cause: Cause) {
        if !self.turn_to_another(task, why, cause) {
            self.fail_finally(task, why, cause);
        }
    }

    pub(super) fn fail_finally(&mut self, task: TaskId, why: &str, cause: Cause) {
        if let Some(mut fetch) = self.fetches.fetches.remove(&task) {
            self.stop(&fetch.stage);
            self.withdraw_probe(fetch.probing.stop());
            let advice = fetch.advice(cause);
            match fetch.parent {
                Some(parent) => {
                    let asked = fetch.stage.hit().map(|hit| &hit.peer);
                    self.part_failed((parent, task), asked, (why, &advice), cause);
                }
                None => {
                    self.local.tell(fetch.client, Event::error(format!("{why}{advice}")));
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
            self.fail_finally(task, why, Cause::Server);
        }
    }

    /// Fails the fetches whose deadline has passed, and drops those whose client has gone.
    pub(in crate::peer::engine) fn end_late_fetches(&mut self) {
        self.end_late_probes();
        let now = self.local.now.instant;
        let is_late = |fetch: &Fetch| fetch.deadline.is_some_and(|deadline| deadline <= now);
        for task in self.fetches.tasks(is_late) {
            if self.fetches.fetches.get(&task).is_some_and(|fetch| fetch.turns.is_searching()) {
                self.fail_without_others(task, false);
                continue;
            }
            let why = match self.fetches.fetches.get(&task).map(|fetch| &fetch.stage) {
                Some(Stage::Asked(hit, asked)) if asked.wish.may_wait() => {
                    format!("{} sends too many files at once", hit.peer)
                }
                Some(Stage::Queued(hit, _)) if self.local.link.is_some() => {
                    format!("{} does not answer any more", hit.peer)
                }
                Some(Stage::Asked(hit, _)) => format!("{} does not answer", hit.peer),
                _ => self.why_no_answer(STEP_WAIT),
            };
            self.fail_fetch_because(task, &why, Cause::Holder);
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
