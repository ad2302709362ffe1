//! The running commands of clients.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wire::{PeerName, Search};

use super::contact::same_name;
use super::interface::{ClientId, Effect, TaskId};
use super::local::Local;
use crate::peer::command::{Ending, Until, Update};
use crate::peer::event::Event;

pub(super) struct Task {
    pub(super) client: ClientId,
    pub(super) id: TaskId,
    pub(super) kind: TaskKind,
    pub(super) deadline: Option<Instant>,
}

pub(super) enum TaskKind {
    View,
    Share,
    Send {
        to: PeerName,
        open: BTreeSet<u64>,
        until: Until,
    },
    Listen {
        left: Option<u64>,
    },
    Search {
        search: Search,
        /// How many matches to leave out, and how many to show at most.
        page: (u32, u32),
        is_asked: bool,
    },
    Who {
        is_asked: bool,
    },
    /// See [`super::fetch`].
    Get,
    ChangeShare,
    Files,
    Drain,
}

impl Task {
    /// Whether its client must be shown an event.
    fn concerns(&self, event: &Event) -> bool {
        match (&self.kind, event) {
            (_, Event::Joined { .. } | Event::Connection { .. } | Event::Error { .. }) => true,
            // Messages are sent by `showing`.
            (
                _,
                Event::Message(_)
                | Event::Result(_)
                | Event::FileHashing { .. }
                | Event::FileRequest(_)
                | Event::FilesRequest(_)
                | Event::FilesProgress { .. }
                | Event::FileQueued { .. }
                | Event::FileSent { .. }
                | Event::FileHolderDropped { .. }
                | Event::FileHolders { .. }
                | Event::FileProgress { .. }
                | Event::FileDone { .. },
            ) => false,
            (TaskKind::View | TaskKind::Listen { .. }, _) => true,
            (TaskKind::Send { to, .. }, event) => event.peer().is_some_and(|peer| same_name(peer, to)),
            _ => false,
        }
    }

    fn shows_messages(&self) -> bool {
        match self.kind {
            TaskKind::View => true,
            // A listener that has its messages leaves the next one to the next listener.
            TaskKind::Listen { left } => left != Some(0),
            _ => false,
        }
    }

    /// Whether its client is told about the files that this peer shares.
    fn shows_sharing(&self) -> bool {
        matches!(self.kind, TaskKind::View | TaskKind::Share | TaskKind::ChangeShare | TaskKind::Files)
    }

    pub(super) fn ends_by_itself(&self) -> bool {
        !matches!(self.kind, TaskKind::View | TaskKind::Share | TaskKind::Listen { .. })
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        let has_all = matches!(self.kind, TaskKind::Listen { left: Some(0) });
        !has_all && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether it is a send to this peer that does not wait for receipts.
    fn is_hasty_send_to(&self, name: &PeerName) -> bool {
        matches!(&self.kind, TaskKind::Send { to, until: Until::Sent, .. } if same_name(to, name))
    }
}

impl Local {
    pub(super) fn start(&mut self, client: ClientId, kind: TaskKind, wait: Option<Duration>) -> TaskId {
        let id = self.next_task;
        self.next_task += 1;
        let deadline = wait.map(|wait| self.now.instant + wait);
        self.tasks.push(Task { client, id, kind, deadline });
        id
    }

    /// Sends an event to the clients that it concerns.
    pub(super) fn emit(&mut self, event: &Event) {
        self.tell_all(event, |task| task.concerns(event));
    }

    /// Sends an event to the clients that are told about this peer's shared files.
    pub(super) fn tell_sharers(&mut self, event: &Event) {
        self.tell_all(event, Task::shows_sharing);
    }

    /// Sends an event once to each client that has such a task.
    pub(super) fn tell_all(&mut self, event: &Event, of: impl Fn(&Task) -> bool) {
        let mut clients = Vec::new();
        for task in &self.tasks {
            // Looked at first, because a client that sends a long input has many tasks.
            if !clients.contains(&task.client) && of(task) {
                clients.push(task.client);
            }
        }
        for client in clients {
            self.tell(client, event.clone());
        }
    }

    pub(super) fn tell(&mut self, client: ClientId, event: Event) {
        self.effects.push(Effect::Tell(client, Update::Event(event)));
    }

    pub(super) fn done(&mut self, client: ClientId, ending: Ending) {
        self.effects.push(Effect::Tell(client, Update::Done(ending)));
    }

    /// Ends a command that failed at once.
    pub(super) fn fail(&mut self, client: ClientId, why: impl Into<String>) {
        self.tell(client, Event::error(why));
        self.done(client, Ending::Failed);
    }

    /// Ends a command that needs the server, while there is no connection.
    pub(super) fn fail_without_server(&mut self, client: ClientId, why: String) {
        self.tell(client, Event::error(why));
        self.done(client, Ending::NoConnection);
    }

    /// Ends the tasks that `of` selects.
    pub(super) fn end_tasks(&mut self, ending: Ending, of: impl FnMut(&mut Task) -> bool) {
        let ended: Vec<Task> = self.tasks.extract_if(.., of).collect();
        for task in ended {
            self.done(task.client, ending);
        }
    }

    pub(super) fn end_task(&mut self, id: TaskId, ending: Ending) {
        self.end_tasks(ending, |task| task.id == id);
    }

    /// Ends the sends that do not wait for receipts, because nothing more happens to their messages for now.
    pub(super) fn end_hasty_sends(&mut self, to: &PeerName, ending: Ending) {
        self.end_tasks(ending, |task| task.is_hasty_send_to(to));
    }

    /// Ends the sends of a message that the server has refused.
    pub(super) fn message_refused(&mut self, to: &PeerName, number: u64) {
        self.end_tasks(Ending::Failed, |task| {
            task.is_hasty_send_to(to)
                && matches!(&task.kind, TaskKind::Send { open, .. } if open.contains(&number))
        });
    }

    /// Notes that a message was relayed, stored or delivered. Ends its send if it was the last one of it.
    pub(super) fn message_done(&mut self, to: &PeerName, number: u64, is_delivered: bool) {
        // No other send has this message, and it is mostly one of the first.
        let is_last = self.tasks.iter_mut().enumerate().find_map(|(at, task)| match &mut task.kind {
            TaskKind::Send { to: name, open, until } if is_delivered || *until == Until::Sent => {
                (same_name(name, to) && open.remove(&number)).then_some((at, open.is_empty()))
            }
            _ => None,
        });
        if let Some((at, true)) = is_last {
            let task = self.tasks.remove(at);
            self.done(task.client, Ending::Done);
        }
    }

    pub(super) fn viewers(&self) -> BTreeSet<ClientId> {
        self.tasks.iter().filter(|task| task.shows_messages()).map(|task| task.client).collect()
    }

    pub(super) fn is_viewer(&self, client: ClientId) -> bool {
        self.tasks.iter().any(|task| task.client == client && task.shows_messages())
    }

    /// Counts a message that a client was sent.
    pub(super) fn count_shown(&mut self, client: ClientId) {
        for task in self.tasks.iter_mut().filter(|task| task.client == client) {
            if let TaskKind::Listen { left: Some(left) } = &mut task.kind {
                *left = left.saturating_sub(1);
            }
        }
    }
}
