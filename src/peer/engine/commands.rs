//! The commands of clients: starting them, and the errors when they take too long.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use wire::PeerName;
use wire::conversation::TEXT_BYTES_MAX;

use super::Engine;
use super::cards::stranger;
use super::contact::Lookup;
use super::interface::{ClientId, Effect};
use super::tasks::{Task, TaskKind};
use crate::peer::command::{Command, Ending, Until};
use crate::peer::event::{ConnectionState, Event};
use crate::peer::records::{Direction, HistoryRecord, OutboxRecord, Write};

/// How long a request to the server may take.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// How long a client that does not wait for a receipt waits until its message is relayed or stored.
const SEND_WAIT: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) fn command(&mut self, client: ClientId, command: Command) {
        if let (Some(why), true) = (&self.unwanted, command.needs_server()) {
            return self.local.fail(client, why.clone());
        }
        if command.needs_server() && self.local.link.is_none() {
            self.local.effects.push(Effect::Connect);
        }
        if let (Some(why), true) = (self.not_connected(), command.asks_server()) {
            return self.local.fail_without_server(client, why);
        }
        if command.serves_files() {
            self.local.effects.push(Effect::Serve);
        }
        self.carry_out(client, command);
    }

    fn carry_out(&mut self, client: ClientId, command: Command) {
        let local = &mut self.local;
        match command {
            Command::View => self.show_messages(client, TaskKind::View, None),
            Command::Listen { count, timeout } => {
                let wait = timeout.map(Duration::from_secs);
                self.show_messages(client, TaskKind::Listen { left: count }, wait);
            }
            Command::Share => {
                local.start(client, TaskKind::Share, None);
                self.greet(client);
                self.say_published(client);
            }
            Command::Send { to, texts, until } => self.start_send(client, &to, texts, until),
            Command::Search { search, skip, limit } => {
                let kind = TaskKind::Search { search, page: (skip, limit), is_asked: false };
                local.start(client, kind, Some(ANSWER_WAIT));
                self.ask();
            }
            Command::Who => {
                local.start(client, TaskKind::Who { is_asked: false }, Some(ANSWER_WAIT));
                self.ask();
            }
            Command::Get { wanted, from, output, existing } => {
                let task = local.start(client, TaskKind::Get, None);
                self.start_get(client, task, wanted, from, output, existing);
            }
            Command::StopGets => self.stop_gets(client),
            Command::ChangeShare(change) => {
                // The deadline begins when the files have been read.
                local.start(client, TaskKind::ChangeShare, None);
                local.effects.push(Effect::ChangeShare(change));
            }
            Command::Drain { wait } => {
                local.start(client, TaskKind::Drain, Some(Duration::from_secs(wait)));
            }
            Command::Files => {
                local.start(client, TaskKind::Files, None);
                local.effects.push(Effect::ReadShare);
            }
            Command::Card => self.show_card(client),
            Command::Outbox => self.show_outbox(client),
            Command::Limits => self.show_limits(client),
            Command::Cancel { number, to } => self.cancel(client, number, to.as_ref()),
            Command::Import { card } => self.import(client, &card),
            Command::Trust { name, fingerprint } => self.trust(client, &name, fingerprint),
            Command::TrustServer { server, fingerprint } => {
                local.effects.push(Effect::TrustServer(client, server, fingerprint));
            }
            Command::Verify { name } => self.verify(client, &name),
            Command::Compared { name, fingerprint } => self.compared(client, &name, fingerprint),
            Command::Block { name, is_blocked } => self.block(client, &name, is_blocked),
            Command::Forget { name } => self.forget(client, &name),
            Command::History { with } => local.effects.push(Effect::ShowHistory(client, with)),
        }
    }

    /// Tells a new client once whether this peer has joined, or why it cannot.
    pub(super) fn greet(&mut self, client: ClientId) {
        let is_first = self.greeted.insert(client);
        if !is_first {
            return;
        }
        if let Some(joined) = self.local.joined_event() {
            self.local.tell(client, joined);
        } else if let Some(trouble) = &self.trouble {
            let trying = self.local.connection_event(ConnectionState::Trying, Some(trouble.clone()), None);
            self.local.tell(client, trying);
        }
    }

    fn start_send(&mut self, client: ClientId, to: &PeerName, texts: Vec<String>, until: Until) {
        if to.folded() == self.local.name.folded() {
            return self.local.fail(client, "a peer does not write to itself; name somebody else");
        }
        if let Some(text) = texts.iter().find(|text| text.len() > TEXT_BYTES_MAX) {
            let error = format!(
                "a message has at most {TEXT_BYTES_MAX} bytes, this one has {}; share it as a file",
                text.len()
            );
            return self.local.fail(client, error);
        }
        let numbers = texts.iter().map(|_| self.contacts.of(to).take_number()).collect::<BTreeSet<u64>>();
        let kind = TaskKind::Send { to: to.clone(), open: numbers.clone(), until };
        let wait = match until {
            Until::Queued | Until::Sent => SEND_WAIT,
            Until::Delivered { seconds } => Duration::from_secs(seconds),
        };
        let task = self.local.start(client, kind, Some(wait));
        self.greet(client);
        for (number, text) in numbers.into_iter().zip(texts) {
            self.queue(to, number, text);
        }
        let contact = self.contacts.of(to);
        match contact.lookup {
            Lookup::Unknown if contact.card.is_none() => {
                let event = stranger(contact);
                self.local.emit(&event);
                self.local.end_hasty_sends(to, Ending::Done);
            }
            Lookup::Untrusted => {
                let error = format!(
                    "{to} shows another identity key than the pinned one; the message is kept, and goes if you trust it"
                );
                self.local.tell(client, Event::error(error));
                self.local.end_hasty_sends(to, Ending::Failed);
            }
            _ => {}
        }
        if let (Some(why), Until::Sent) = (self.not_connected(), until) {
            self.local.tell(
                client,
                Event::error(format!("{why}; the message is queued on disk and goes when it is back")),
            );
            self.local.end_task(task, Ending::NoConnection);
        }
        self.local.end_tasks(Ending::Done, |ended| {
            ended.id == task
                && matches!(&ended.kind, TaskKind::Send { open, until, .. } if open.is_empty() || *until == Until::Queued)
        });
    }

    /// Writes a message to the outbox and to the history.
    fn queue(&mut self, to: &PeerName, number: u64, text: String) {
        let (name, now) = (self.contacts.of(to).name.clone(), self.local.now.unix);
        let (sha256, id) = (wire::Digest::of(text.as_bytes()), self.local.rng.random());
        self.local.emit(&Event::Queued { to: name.clone(), number, text: text.clone(), sha256 });
        self.local.records.write(Write::History(HistoryRecord {
            with: name.clone(),
            direction: Direction::Sent,
            generation: 0,
            number,
            id,
            written_at: now,
            text: text.clone(),
            delivered: false,
        }));
        let record = OutboxRecord { id, text, queued_at: now, sealed: None };
        self.local.records.write(Write::Outbox(name, number, record));
    }

    pub(super) fn end_late_tasks(&mut self) {
        let now = self.local.now.instant;
        let late: Vec<_> = self
            .local
            .tasks
            .iter()
            .filter(|task| task.is_late(now))
            .map(|task| (task.client, self.lateness(task)))
            .collect();
        for (client, why) in late {
            self.local.tell(client, Event::error(why));
        }
        let ending = self.unanswered();
        self.local
            .end_tasks(Ending::Failed, |task| matches!(task.kind, TaskKind::Drain) && task.is_late(now));
        self.local.end_tasks(ending, |task| task.is_late(now));
    }

    fn lateness(&self, task: &Task) -> String {
        match &task.kind {
            TaskKind::Send { to, open, .. } => {
                let what = if self.has_joined { "has not acknowledged" } else { "could not be sent" };
                format!("{to} {what} {} message(s) in time; they stay queued on disk", open.len())
            }
            TaskKind::Listen { left: Some(left) } => format!("{left} message(s) have not come in time"),
            TaskKind::Listen { left: None } => "the time to listen is over".into(),
            TaskKind::Drain => {
                let (queued, _) = self.undelivered();
                format!("{queued} message(s) stay queued on disk; they go when this peer runs again")
            }
            _ => self.no_answer(ANSWER_WAIT),
        }
    }

    /// The number of messages that are neither delivered nor stored, and how many of them wait for names that nobody
    /// has.
    fn undelivered(&self) -> (usize, usize) {
        let (mut all, mut to_nobody) = (0, 0);
        for contact in self.contacts.iter() {
            let count = contact.unacked.values().filter(|message| message.stored_at.is_none()).count();
            all += count;
            to_nobody += if contact.is_nobody() { count } else { 0 };
        }
        (all, to_nobody)
    }

    /// Ends the drains when no message is left that could be delivered or stored now.
    pub(super) fn end_drains(&mut self) {
        let is_drain = |task: &Task| matches!(task.kind, TaskKind::Drain);
        if !self.local.tasks.iter().any(is_drain) {
            return;
        }
        let (all, to_nobody) = self.undelivered();
        if all > to_nobody {
            return;
        }
        if to_nobody > 0 {
            let message = format!(
                "{to_nobody} message(s) stay queued on disk for names that nobody has; they go when somebody joins under them"
            );
            self.local.tell_all(&Event::error(message), is_drain);
        }
        self.local.end_tasks(Ending::Done, |task| is_drain(task));
    }
}
