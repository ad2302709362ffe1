//! The start and the end of connections to the server.

use std::time::Duration;

use wire::escape::Escaped;
use wire::protocol::ErrorCode;

use super::Engine;
use super::interface::{Effect, Net};
use super::link::Link;
use super::local::Local;
use super::tasks::TaskKind;
use crate::peer::command::{Ending, Until};
use crate::peer::event::{ConnectionState, Event};

impl Local {
    pub(super) fn connection_event(
        &self,
        state: ConnectionState,
        reason: Option<String>,
        retry: Option<Duration>,
    ) -> Event {
        // The server of the connection, or all that are tried.
        let server = self.link.as_ref().map_or(&self.server, |link| &link.address).clone();
        let retry_ms = retry.map(|retry| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
        Event::Connection { state, server, reason, retry_ms }
    }
}

impl Engine {
    pub(super) fn net(&mut self, net: Net) {
        match net {
            Net::Joined { greeting, address, pinned_certificate } => {
                self.joined(Link::new(&greeting, address, pinned_certificate, self.local.now.instant));
            }
            Net::Frames(bodies) => bodies.iter().for_each(|body| self.frame(body)),
            Net::Unreachable(why, retry) => {
                self.disconnected();
                self.unreachable(why, Some(retry));
            }
            Net::Refused(code, detail) => {
                self.disconnected();
                self.refused_by_server(code, &detail);
            }
            Net::Lost(retry) => {
                if self.local.link.is_some() {
                    self.lost("the connection broke".into(), Some(retry));
                }
                self.fail_fetches("the connection to the server broke");
            }
        }
    }

    /// Drops the connection, with the frames that were not sent on it yet.
    pub(super) fn disconnected(&mut self) {
        self.local.link = None;
        self.local.to_server.clear();
        for message in self.contacts.iter_mut().flat_map(|contact| contact.unacked.values_mut()) {
            message.is_relayed = false;
        }
    }

    /// Drops a joined connection that does not work any more. Clients are told at once.
    fn lost(&mut self, why: String, retry: Option<Duration>) {
        let lost = self.local.connection_event(ConnectionState::Lost, Some(why.clone()), retry);
        self.disconnected();
        self.local.emit(&lost);
        self.trouble = Some(why);
    }

    /// Drops the connection and makes a new one.
    pub(super) fn reconnect(&mut self, why: String) {
        self.lost(why, None);
        self.local.effects.push(Effect::Reconnect);
    }

    /// The error for a request that needs the server while there is no connection. `None` while the first attempt to
    /// connect may still succeed.
    pub(super) fn not_connected(&self) -> Option<String> {
        let trouble = self.trouble.as_ref().filter(|_| self.local.link.is_none())?;
        Some(format!("not connected to {}: {trouble}", self.local.server))
    }

    /// Why something was not answered within `wait`, and what the user can do.
    pub(super) fn no_answer(&self, wait: Duration) -> String {
        format!("{}; try again", self.why_no_answer(wait))
    }

    /// Why something was not answered within `wait`. What was told as the reason already is not said again.
    pub(super) fn why_no_answer(&self, wait: Duration) -> String {
        match &self.trouble {
            Some(_) if self.trouble == self.told_trouble => {
                format!("given up after {} seconds", wait.as_secs())
            }
            Some(trouble) => trouble.clone(),
            None => "the server did not answer in time".into(),
        }
    }

    /// How something ends that has failed because there was no answer.
    pub(super) fn unanswered(&self) -> Ending {
        if self.has_joined { Ending::Failed } else { Ending::NoConnection }
    }

    fn joined(&mut self, link: Link) {
        self.local.to_server.clear();
        let server = link.server;
        self.local.link = Some(link);
        if self.trouble.take().is_some() && self.has_joined {
            let back = self.local.connection_event(ConnectionState::Back, None, None);
            self.local.emit(&back);
        }
        self.has_joined = true;
        // It was used, so no server has to know it any more.
        self.local.options.invitation = None;
        self.misnamed.clear();
        for contact in self.contacts.iter_mut() {
            contact.reconnected(&server);
        }
        if let Some(joined) = self.local.joined_event() {
            self.local.emit(&joined);
        }
        self.announce_files();
        self.ask_again();
        self.resume_fetches();
    }

    /// Handles a server that cannot be reached. Requests fail. So do commands that run until the client ends, unless
    /// this peer had joined before: then the server is probably being restarted.
    fn unreachable(&mut self, why: String, retry: Option<Duration>) {
        let has_joined = self.has_joined;
        let ends = |kind: &TaskKind| match kind {
            TaskKind::Search { .. } | TaskKind::Who { .. } | TaskKind::Send { until: Until::Sent, .. } => {
                true
            }
            TaskKind::View | TaskKind::Drain | TaskKind::Send { .. } => false,
            _ => !has_joined,
        };
        let mut failures = Vec::new();
        for task in self.local.tasks.iter().filter(|task| ends(&task.kind)) {
            let error = match task.kind {
                TaskKind::Send { .. } => {
                    format!("{why}; the message is queued on disk and goes when this peer runs again")
                }
                _ if has_joined => format!("not connected to {}: {why}", self.local.server),
                _ => why.clone(),
            };
            failures.push((task.client, error));
        }
        for (client, error) in failures {
            self.local.tell(client, Event::error(error));
        }
        self.local.end_tasks(Ending::NoConnection, |task| ends(&task.kind));
        self.say_trouble(why, retry);
    }

    /// Tells all clients why there is no connection. Each reason is told once until the next connection.
    fn say_trouble(&mut self, why: String, retry: Option<Duration>) {
        if !self.has_joined && self.trouble.is_none() {
            self.local.tell_all(&Event::error(format!("{why}; trying again")), |_| true);
            self.told_trouble = Some(why.clone());
        } else if self.has_joined && self.trouble.as_ref() != Some(&why) {
            let trying = self.local.connection_event(ConnectionState::Trying, Some(why.clone()), retry);
            self.local.emit(&trying);
        }
        self.trouble = Some(why);
    }

    /// Handles an error from the server, which has refused this peer or ended its session.
    pub(super) fn refused_by_server(&mut self, code: ErrorCode, detail: &str) {
        let detail = Escaped(detail).to_string();
        if code == ErrorCode::UnknownKind {
            self.publication_unknown();
        }
        if code == ErrorCode::Malformed {
            self.holders_unknown();
        }
        match code {
            // The server is restarting, or the next attempt to connect fails and says so.
            ErrorCode::ShuttingDown => {}
            ErrorCode::Busy | ErrorCode::TimedOut => {
                self.say_trouble(format!("the server does not let this peer in: {detail}"), None);
            }
            // A frame may have been damaged on its way, or the card does not match the server's clock, which may be
            // corrected. So this peer tries again.
            ErrorCode::Malformed
            | ErrorCode::UnknownKind
            | ErrorCode::TooLong
            | ErrorCode::OutOfPlace
            | ErrorCode::BadEnvelope
            | ErrorCode::BadCard
            | ErrorCode::BadProof => {
                self.unreachable(format!("the server ends the session: {detail}"), None);
            }
            ErrorCode::NameTaken | ErrorCode::Superseded | ErrorCode::NotAdmitted => {
                let why = format!("the server ends the session: {detail}");
                self.local.emit(&Event::error(why.clone()));
                self.unwanted = Some(why);
                self.local.end_tasks(Ending::Failed, |_| true);
                self.local.effects.push(Effect::Disconnect);
            }
        }
    }
}
