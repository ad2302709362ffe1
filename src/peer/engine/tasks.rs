//! The commands of clients, from their start to their end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wire::card::Card;
use wire::conversation::TEXT_BYTES_MAX;
use wire::escape::Escaped;
use wire::frame;
use wire::protocol::{ErrorCode, KnownPeer, ToServer};
use wire::share::Hit;
use wire::{Fingerprint, PeerName, Query};

use super::contact::{Contact, Lookup, Unacked};
use super::outbound::CardVerdict;
use super::{ClientId, Effect, Engine, Fatal};
use crate::peer::command::{Command, EXIT_DONE, EXIT_FAILED, EXIT_NO_CONNECTION, Update};
use crate::peer::event::{Answer, Event, MessageEvent};
use crate::peer::home::Pin;
use crate::peer::records::Write;

/// How long a question to the server may take.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// How long a message may take to be relayed or stored when nobody waits for its receipt.
const SEND_WAIT: Duration = Duration::from_secs(30);
/// Most hits of a search that are asked for.
const HITS_WANTED: u32 = 1000;

/// A command that is being carried out.
pub(super) struct Task {
    pub(super) client: ClientId,
    pub(super) id: u64,
    pub(super) kind: TaskKind,
    deadline: Option<Instant>,
}

pub(super) enum TaskKind {
    View,
    Share,
    Send {
        to: PeerName,
        open: BTreeSet<u64>,
        waits_for_receipts: bool,
    },
    Listen {
        left: Option<u64>,
    },
    Search {
        query: Query,
        asked: Option<u32>,
    },
    Who {
        asked: Option<u32>,
    },
    /// See [`super::files`].
    Get,
    AddShare,
    Files,
    Drain,
}

impl Task {
    /// Whether its client is to be shown an event.
    pub(super) fn concerns(&self, event: &Event) -> bool {
        match (&self.kind, event) {
            (_, Event::Joined { .. } | Event::Error { .. }) => true,
            (_, Event::Result(_) | Event::FileProgress { .. } | Event::FileDone { .. }) => false,
            (TaskKind::View | TaskKind::Listen { .. }, _) => true,
            (TaskKind::Send { to, .. }, event) => {
                !matches!(event, Event::Message(_)) && event.peer().is_some_and(|p| p.folded() == to.folded())
            }
            _ => false,
        }
    }

    fn shows_messages(&self) -> bool {
        // A listener that has seen enough leaves what follows to the next one.
        match self.kind {
            TaskKind::View => true,
            TaskKind::Listen { left } => left != Some(0),
            _ => false,
        }
    }
}

impl Engine {
    /// Starts a command.
    pub(super) fn command(&mut self, client: ClientId, command: Command) -> Result<(), Fatal> {
        if let (Some(why), true) = (self.unwanted.clone(), command.needs_server()) {
            self.tell(client, Event::error(why));
            self.done(client, EXIT_FAILED);
            return Ok(());
        }
        if command.needs_server() && self.link.is_none() {
            self.effects.push(Effect::Connect);
        }
        if command.serves_files() {
            self.effects.push(Effect::Serve);
        }
        match command {
            Command::View => {
                self.start(client, TaskKind::View, None);
                self.greet(client);
                self.show_unshown(client)?;
            }
            Command::Share => {
                self.start(client, TaskKind::Share, None);
                self.greet(client);
                self.say_published(client);
            }
            Command::Send { to, texts, wait } => self.start_send(client, &to, texts, wait),
            Command::Listen { count, timeout } => {
                let deadline = timeout.map(|seconds| self.after(Duration::from_secs(seconds)));
                self.start(client, TaskKind::Listen { left: count }, deadline);
                self.greet(client);
                self.show_unshown(client)?;
            }
            Command::Search(query) => {
                let deadline = Some(self.after(ANSWER_WAIT));
                self.start(client, TaskKind::Search { query, asked: None }, deadline);
                self.ask();
            }
            Command::Who => {
                let deadline = Some(self.after(ANSWER_WAIT));
                self.start(client, TaskKind::Who { asked: None }, deadline);
                self.ask();
            }
            Command::Get { wanted, from, output, overwrite } => {
                let task = self.start(client, TaskKind::Get, None);
                self.start_get(client, task, wanted, from, output, overwrite);
            }
            Command::AddShare { file, keywords } => {
                self.start(client, TaskKind::AddShare, Some(self.after(ANSWER_WAIT)));
                self.effects.push(Effect::AddShare(file, keywords));
            }
            Command::Drain { wait } => {
                let deadline = Some(self.after(Duration::from_secs(wait)));
                self.start(client, TaskKind::Drain, deadline);
            }
            Command::Files => {
                self.start(client, TaskKind::Files, None);
                self.effects.push(Effect::ReadShare);
            }
            Command::Card => self.show_card(client),
            Command::Import { card } => self.import(client, &card)?,
            Command::Trust { name, fingerprint } => self.trust(client, &name, fingerprint)?,
            Command::History { with } => self.show_history(client, with.as_ref())?,
        }
        Ok(())
    }

    fn after(&self, wait: Duration) -> Instant {
        self.now.instant + wait
    }

    fn start(&mut self, client: ClientId, kind: TaskKind, deadline: Option<Instant>) -> u64 {
        let id = self.next_task;
        self.next_task += 1;
        self.tasks.push(Task { client, id, kind, deadline });
        id
    }

    /// A client that comes after the peer has joined is told so, as if it had joined itself.
    fn greet(&mut self, client: ClientId) {
        let is_first = self.greeted.insert(client);
        if let (Some(link), true) = (&self.link, is_first) {
            let server = link.address.clone();
            let (name, fingerprint) = (self.me.name.clone(), self.me.card.fingerprint());
            self.tell(client, Event::Joined { name, server, fingerprint });
        }
    }

    pub(super) fn done(&mut self, client: ClientId, code: u8) {
        self.effects.push(Effect::Tell(client, Update::Done(code)));
    }

    /// Ends the tasks for which `ends` gives an exit status.
    fn end_tasks(&mut self, mut ends: impl FnMut(&Task) -> Option<u8>) {
        let mut ended = Vec::new();
        self.tasks.retain(|task| match ends(task) {
            Some(code) => {
                ended.push((task.client, code));
                false
            }
            None => true,
        });
        for (client, code) in ended {
            self.done(client, code);
        }
    }

    pub(super) fn end_task(&mut self, id: u64, code: u8) {
        self.end_tasks(|task| (task.id == id).then_some(code));
    }

    /// When the next deadline is, if there is one.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.tasks.iter().filter_map(|task| task.deadline);
        let retries = self.contacts.values().filter_map(|contact| contact.retry_at);
        let probes = self.contacts.values().filter_map(Contact::probe_at).filter(|_| self.link.is_some());
        tasks.chain(retries).chain(probes).chain(self.files.next_deadline()).min()
    }

    pub(super) fn tick(&mut self) {
        let now = self.now.instant;
        for contact in self.contacts.values_mut() {
            contact.retry_at = contact.retry_at.filter(|at| *at > now);
            contact.probe(now);
        }
        let late = |task: &Task| task.deadline.is_some_and(|deadline| deadline <= now);
        let mut failures = Vec::new();
        for task in self.tasks.iter().filter(|task| late(task)) {
            failures.push((task.client, self.lateness(task)));
        }
        for (client, why) in failures {
            self.tell(client, Event::error(why));
        }
        let code = if self.has_joined { EXIT_FAILED } else { EXIT_NO_CONNECTION };
        self.end_tasks(|task| late(task).then_some(code));
        self.expire_files();
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
                let open = |m: &&Unacked| !m.is_relayed && m.stored_at.is_none();
                let queued =
                    self.contacts.values().flat_map(|contact| contact.unacked.values()).filter(open).count();
                format!("{queued} message(s) stay queued on disk; they go when this peer runs again")
            }
            _ => "the server did not answer in time; try again".into(),
        }
    }

    fn start_send(&mut self, client: ClientId, to: &PeerName, texts: Vec<String>, wait: Option<u64>) {
        if to.folded() == self.me.name.folded() {
            self.tell(client, Event::error("a peer does not write to itself; name somebody else"));
            return self.done(client, EXIT_FAILED);
        }
        if let Some(text) = texts.iter().find(|text| text.len() > TEXT_BYTES_MAX) {
            let long = text.len();
            let error = format!(
                "a message has at most {TEXT_BYTES_MAX} bytes, this one has {long}; share it as a file"
            );
            self.tell(client, Event::error(error));
            return self.done(client, EXIT_FAILED);
        }
        let deadline = self.after(wait.map_or(SEND_WAIT, Duration::from_secs));
        let kind =
            TaskKind::Send { to: to.clone(), open: BTreeSet::new(), waits_for_receipts: wait.is_some() };
        let id = self.start(client, kind, Some(deadline));
        self.greet(client);
        let numbers = self.queue(to, texts);
        if let Some(Task { kind: TaskKind::Send { open, .. }, .. }) =
            self.tasks.iter_mut().find(|t| t.id == id)
        {
            open.extend(numbers);
        }
        match self.contact(to).lookup {
            Lookup::Unknown => self.nobody_there_yet(to),
            Lookup::Untrusted => {
                let error = format!(
                    "{to} shows another identity key than the pinned one; the message is kept, and goes if you trust it"
                );
                self.tell(client, Event::error(error));
                self.waits_for_trust(to);
            }
            _ => {}
        }
        self.sends_are_done();
    }

    fn nobody_there_yet(&mut self, to: &PeerName) {
        let contact = self.contact(to);
        if contact.card.is_none() {
            let to = contact.name.clone();
            let reason = format!("{to} has never joined this server; the server says when they do");
            self.emit(&Event::Waiting { to: to.clone(), reason });
            self.waits_for_stranger(&to);
        }
    }

    /// Ends the sends that have nothing open any more.
    fn sends_are_done(&mut self) {
        self.end_tasks(|task| match &task.kind {
            TaskKind::Send { open, .. } if open.is_empty() => Some(EXIT_DONE),
            _ => None,
        });
    }

    fn close(&mut self, to: &PeerName, number: u64, only_without_receipts: bool) {
        for task in &mut self.tasks {
            if let TaskKind::Send { to: name, open, waits_for_receipts } = &mut task.kind
                && name.folded() == to.folded()
                && !(only_without_receipts && *waits_for_receipts)
            {
                open.remove(&number);
            }
        }
        self.sends_are_done();
    }

    /// A message was relayed or stored.
    pub(super) fn message_went_out(&mut self, to: &PeerName, number: u64) {
        self.close(to, number, true);
    }

    /// The receipt for a message was verified.
    pub(super) fn message_delivered(&mut self, to: &PeerName, number: u64) {
        self.close(to, number, false);
    }

    /// The server has not taken a message.
    pub(super) fn message_refused(&mut self, to: &PeerName, number: u64) {
        self.end_tasks(|task| match &task.kind {
            TaskKind::Send { to: name, open, waits_for_receipts: false }
                if name.folded() == to.folded() && open.contains(&number) =>
            {
                Some(EXIT_FAILED)
            }
            _ => None,
        });
    }

    /// The recipient has never joined: whoever does not wait for receipts is done, the messages are on disk.
    pub(super) fn waits_for_stranger(&mut self, to: &PeerName) {
        if self.contact(to).card.is_some() {
            return;
        }
        self.end_tasks(|task| match &task.kind {
            TaskKind::Send { to: name, waits_for_receipts: false, .. } if name.folded() == to.folded() => {
                Some(EXIT_DONE)
            }
            _ => None,
        });
    }

    /// The recipient's key has changed and is not trusted: whoever does not wait for receipts has failed, the messages
    /// are on disk.
    pub(super) fn waits_for_trust(&mut self, to: &PeerName) {
        self.end_tasks(|task| match &task.kind {
            TaskKind::Send { to: name, waits_for_receipts: false, .. } if name.folded() == to.folded() => {
                Some(EXIT_FAILED)
            }
            _ => None,
        });
    }

    /// Everything is delivered, relayed or stored.
    pub(super) fn check_drained(&mut self) {
        if !self.tasks.iter().any(|task| matches!(task.kind, TaskKind::Drain)) {
            return;
        }
        let is_drained = self
            .contacts
            .values()
            .all(|contact| contact.unacked.values().all(|m| m.is_relayed || m.stored_at.is_some()));
        if is_drained {
            self.end_tasks(|task| matches!(task.kind, TaskKind::Drain).then_some(EXIT_DONE));
        }
    }

    pub(super) fn has_viewer(&self) -> bool {
        self.tasks.iter().any(Task::shows_messages)
    }

    /// A message was shown to all who look.
    pub(super) fn message_shown(&mut self) {
        for task in &mut self.tasks {
            if let TaskKind::Listen { left: Some(left) } = &mut task.kind {
                *left = left.saturating_sub(1);
            }
        }
    }

    /// Ends the listeners that have seen enough.
    pub(super) fn end_listeners(&mut self) {
        self.end_tasks(|task| matches!(task.kind, TaskKind::Listen { left: Some(0) }).then_some(EXIT_DONE));
    }

    /// Shows what came while nobody was looking.
    fn show_unshown(&mut self, client: ClientId) -> Result<(), Fatal> {
        // What came in the same step is there as well.
        self.collect_changes();
        self.store.commit(&self.writes)?;
        self.writes.clear();
        let unshown = self.store.unshown()?;
        if unshown.is_empty() {
            return Ok(());
        }
        let mut rest = unshown.into_iter();
        for record in rest.by_ref() {
            let message = MessageEvent {
                from: record.with,
                sha256: wire::Digest::of(record.text.as_bytes()),
                text: record.text,
                number: record.number,
                verified: true,
                written_at: record.written_at,
                arrival: None,
            };
            self.tell(client, Event::Message(Box::new(message)));
            self.message_shown();
            if !self.has_viewer() {
                break;
            }
        }
        self.writes.push(Write::AllShown);
        self.writes.extend(rest.map(|record| Write::Unshown(record.with, record.generation, record.number)));
        Ok(())
    }

    /// Asks the server what tasks want to know and have not asked on this connection.
    fn ask(&mut self) {
        if self.link.is_none() {
            return;
        }
        for task in &mut self.tasks {
            let id = u32::try_from(task.id).unwrap_or(u32::MAX);
            match &mut task.kind {
                TaskKind::Search { query, asked: asked @ None } => {
                    *asked = Some(id);
                    let search = ToServer::Search { id, query: query.clone(), limit: HITS_WANTED };
                    frame::encode(&search, &mut self.frames);
                }
                TaskKind::Who { asked: asked @ None } => {
                    *asked = Some(id);
                    frame::encode(&ToServer::Who { id }, &mut self.frames);
                }
                _ => {}
            }
        }
    }

    /// The connection is there (again).
    pub(super) fn resume_tasks(&mut self) {
        for task in &mut self.tasks {
            if let TaskKind::Search { asked, .. } | TaskKind::Who { asked } = &mut task.kind {
                *asked = None;
            }
        }
        self.ask();
        self.resume_fetches();
    }

    fn asked(&self, id: u32) -> Option<(ClientId, u64)> {
        let task = self.tasks.iter().find(|task| match &task.kind {
            TaskKind::Search { asked, .. } | TaskKind::Who { asked } => *asked == Some(id),
            _ => false,
        })?;
        Some((task.client, task.id))
    }

    pub(super) fn found(&mut self, id: u32, hits: Vec<Hit>, total: u64) {
        let Some((client, task)) = self.asked(id) else {
            return self.found_for_fetch(id, hits);
        };
        for hit in hits {
            self.tell(client, Event::Result(Answer::File(hit)));
        }
        self.tell(client, Event::Result(Answer::Found { total }));
        self.end_task(task, EXIT_DONE);
    }

    pub(super) fn known(&mut self, id: u32, peers: Vec<KnownPeer>) {
        let Some((client, task)) = self.asked(id) else {
            return;
        };
        for KnownPeer { name, fingerprint, online } in peers {
            self.tell(client, Event::Result(Answer::Peer { name, fingerprint, online }));
        }
        self.end_task(task, EXIT_DONE);
    }

    pub(super) fn failed(&mut self, id: u32, detail: &str) {
        let detail = Escaped(detail).to_string();
        if let Some((client, task)) = self.asked(id) {
            self.tell(client, Event::error(detail));
            self.end_task(task, EXIT_FAILED);
        } else if id == 0 {
            // One refusal is followed by one for each part that was on its way.
            if self.not_published() {
                self.tell_sharers(&Event::error(format!(
                    "the server has not taken what is shared: {detail}; trying again"
                )));
                self.end_add_share(EXIT_FAILED);
            }
        } else {
            self.fetch_search_failed(id, &detail);
        }
    }

    /// There is no server: commands that do not wait end here.
    pub(super) fn unreachable(&mut self, why: &str) {
        self.link = None;
        if self.has_joined {
            return;
        }
        let mut failures = Vec::new();
        for task in &self.tasks {
            let message = match &task.kind {
                TaskKind::View | TaskKind::Drain => continue,
                TaskKind::Send { waits_for_receipts: true, .. } => continue,
                TaskKind::Send { .. } => {
                    format!("{why}; the message is queued on disk and goes when this peer runs again")
                }
                _ => why.to_owned(),
            };
            failures.push((task.client, task.id, message));
        }
        for (client, id, message) in failures {
            self.tell(client, Event::error(message));
            self.end_task(id, EXIT_NO_CONNECTION);
        }
        let waiting: Vec<ClientId> = self.tasks.iter().map(|task| task.client).collect();
        if !self.files.has_said_unreachable {
            self.files.has_said_unreachable = true;
            for client in waiting {
                self.tell(client, Event::error(format!("{why}; trying again")));
            }
        }
    }

    /// The server does not want this peer (any more).
    pub(super) fn refused_by_server(&mut self, code: ErrorCode, detail: &str) {
        let detail = Escaped(detail).to_string();
        if matches!(code, ErrorCode::ShuttingDown | ErrorCode::Busy | ErrorCode::TimedOut) {
            // It passes; the connection is tried again.
            return;
        }
        let why = format!("the server ends the session: {detail}");
        self.emit(&Event::error(why.clone()));
        self.unwanted = Some(why);
        self.end_tasks(|_| Some(EXIT_FAILED));
        self.effects.push(Effect::Disconnect);
    }

    /// Whether a command is under way that ends by itself.
    pub fn has_work(&self) -> bool {
        let stands =
            |task: &Task| matches!(task.kind, TaskKind::View | TaskKind::Share | TaskKind::Listen { .. });
        self.tasks.iter().any(|task| !stands(task))
    }

    fn show_card(&mut self, client: ClientId) {
        let card = &self.me.card;
        let answer =
            Answer::Card { name: card.name.clone(), fingerprint: card.fingerprint(), card: card.to_text() };
        self.tell(client, Event::Result(answer));
        self.done(client, EXIT_DONE);
    }

    fn import(&mut self, client: ClientId, text: &str) -> Result<(), Fatal> {
        let card = match Card::from_text(text) {
            Ok(card) => card,
            Err(bad) => {
                self.tell(client, Event::error(format!("the card cannot be taken in: {bad}")));
                self.done(client, EXIT_FAILED);
                return Ok(());
            }
        };
        let (name, fingerprint) = (card.name.clone(), card.fingerprint());
        let code = match self.take_card(card)? {
            CardVerdict::Changed => {
                let error = format!(
                    "another identity key of {name} is pinned; if the card is right: trust {name} {fingerprint}, and \
                     import it again"
                );
                self.tell(client, Event::error(error));
                EXIT_FAILED
            }
            CardVerdict::Mine => {
                self.tell(client, Event::error("this is your own card"));
                EXIT_FAILED
            }
            CardVerdict::PinnedNow | CardVerdict::Known => {
                self.tell(client, Event::Result(Answer::Trusted { name, fingerprint }));
                EXIT_DONE
            }
        };
        self.done(client, code);
        Ok(())
    }

    fn trust(&mut self, client: ClientId, name: &PeerName, fingerprint: Fingerprint) -> Result<(), Fatal> {
        let is_another = matches!(self.pins.check(name, &fingerprint), Pin::Changed { .. });
        self.pins.replace(name, &fingerprint, self.now.unix)?;
        if is_another {
            self.another_key(name)?;
        }
        let contact = self.contact(name);
        // The card that was refused is asked for once more.
        contact.lookup = Lookup::NotAsked;
        contact.is_distrusted = false;
        self.changed_contacts.insert(name.folded());
        self.tell(client, Event::Result(Answer::Trusted { name: name.clone(), fingerprint }));
        self.done(client, EXIT_DONE);
        Ok(())
    }

    /// Another identity key stands for a name: its numbers start again, what was accepted under the old key is not gone on
    /// with, and what was sealed for it is sealed anew.
    fn another_key(&mut self, name: &PeerName) -> Result<(), Fatal> {
        self.number_again(name);
        self.forget_accepted(name);
        let contact = self.contact(name);
        (contact.card, contact.current) = (None, None);
        contact.send_all_again();
        let numbers: Vec<u64> = contact.unacked.keys().copied().collect();
        self.unseal(name, &numbers)
    }

    fn show_history(&mut self, client: ClientId, with: Option<&PeerName>) -> Result<(), Fatal> {
        for record in self.store.history(with)? {
            self.tell(
                client,
                Event::Result(Answer::History {
                    with: record.with,
                    direction: record.direction,
                    number: record.number,
                    written_at: record.written_at,
                    text: record.text,
                    delivered: record.delivered,
                }),
            );
        }
        self.done(client, EXIT_DONE);
        Ok(())
    }

    /// Lists what is shared for those who have asked.
    pub(super) fn list_for_waiting(&mut self) {
        let clients: Vec<ClientId> =
            self.tasks.iter().filter(|t| matches!(t.kind, TaskKind::Files)).map(|task| task.client).collect();
        for client in clients {
            for answer in self.sharing() {
                self.tell(client, Event::Result(answer));
            }
        }
        self.end_tasks(|task| matches!(task.kind, TaskKind::Files).then_some(EXIT_DONE));
    }

    pub(super) fn end_add_share(&mut self, code: u8) {
        self.end_tasks(|task| matches!(task.kind, TaskKind::AddShare).then_some(code));
    }

    /// Ends what waited for the share to be read.
    pub(super) fn end_sharing(&mut self, code: u8) {
        self.end_tasks(|task| matches!(task.kind, TaskKind::AddShare | TaskKind::Files).then_some(code));
    }

    pub(super) fn tell_sharers(&mut self, event: &Event) {
        let clients: BTreeSet<ClientId> = self
            .tasks
            .iter()
            .filter(|t| {
                matches!(t.kind, TaskKind::View | TaskKind::Share | TaskKind::AddShare | TaskKind::Files)
            })
            .map(|task| task.client)
            .collect();
        for client in clients {
            self.tell(client, event.clone());
        }
    }
}
