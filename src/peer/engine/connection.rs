//! The beginning and the end of connections to the server.

use wire::escape::Escaped;
use wire::protocol::{ErrorCode, ServerId};

use super::Engine;
use super::interface::{Effect, Net};
use super::link::Link;
use super::tasks::TaskKind;
use crate::peer::command::{Ending, Until};
use crate::peer::event::Event;

impl Engine {
    pub(super) fn net(&mut self, net: Net) {
        match net {
            Net::Joined { server, address } => self.joined(server, address),
            Net::Frames(bodies) => bodies.iter().for_each(|body| self.frame(body)),
            Net::Unreachable(why) => {
                self.disconnected();
                self.unreachable(why);
            }
            Net::Refused(code, detail) => {
                self.disconnected();
                self.refused_by_server(code, &detail);
            }
            Net::Lost => {
                self.disconnected();
                self.fail_fetches("the connection to the server broke");
            }
        }
    }

    /// Frames that were meant for the connection are dropped with it.
    fn disconnected(&mut self) {
        self.local.link = None;
        self.local.to_server.clear();
        for message in self.contacts.iter_mut().flat_map(|contact| contact.unacked.values_mut()) {
            message.is_relayed = false;
        }
    }

    /// Gives the connection up and makes a new one.
    pub(super) fn reconnect(&mut self, why: String) {
        self.disconnected();
        self.say_trouble(why);
        self.local.effects.push(Effect::Reconnect);
    }

    fn joined(&mut self, server: ServerId, address: String) {
        self.local.to_server.clear();
        // The first ping asks at once for those that stored messages wait for.
        self.local.link = Some(Link::new(server, address.clone(), self.local.now.instant));
        self.has_joined = true;
        self.trouble = None;
        for contact in self.contacts.iter_mut() {
            contact.reconnected(&server);
        }
        let joined = self.local.joined_event(address);
        self.local.emit(&joined);
        self.announce_files();
        self.ask_again();
        self.resume_fetches();
    }

    /// There is no server. Commands that do not wait for one end here, unless the server was there before: then it is
    /// most likely being restarted.
    fn unreachable(&mut self, why: String) {
        if self.has_joined {
            self.trouble = Some(why);
            return;
        }
        let waits = |kind: &TaskKind| {
            matches!(
                kind,
                TaskKind::View | TaskKind::Drain | TaskKind::Send { until: Until::Delivered { .. }, .. }
            )
        };
        let mut failures = Vec::new();
        for task in self.local.tasks.iter().filter(|task| !waits(&task.kind)) {
            let error = match task.kind {
                TaskKind::Send { .. } => {
                    format!("{why}; the message is queued on disk and goes when this peer runs again")
                }
                _ => why.clone(),
            };
            failures.push((task.client, error));
        }
        for (client, error) in failures {
            self.local.tell(client, Event::error(error));
        }
        self.local.end_tasks(Ending::NoConnection, |task| !waits(&task.kind));
        self.say_trouble(why);
    }

    /// Tells all clients, once until the next connection, why there is none.
    fn say_trouble(&mut self, why: String) {
        if self.trouble.is_none() {
            self.local.tell_all(&Event::error(format!("{why}; trying again")), |_| true);
        }
        self.trouble = Some(why);
    }

    /// The server has refused this peer or ended its session.
    pub(super) fn refused_by_server(&mut self, code: ErrorCode, detail: &str) {
        let detail = Escaped(detail).to_string();
        match code {
            // A restart: the next attempt finds the server again or says that it does not.
            ErrorCode::ShuttingDown => {}
            ErrorCode::Busy | ErrorCode::TimedOut => {
                self.say_trouble(format!("the server does not let this peer in: {detail}"));
            }
            // A frame may have been damaged on its way. The next attempt tells.
            ErrorCode::Malformed
            | ErrorCode::UnknownKind
            | ErrorCode::TooLong
            | ErrorCode::OutOfPlace
            | ErrorCode::BadEnvelope
            | ErrorCode::BadCard
            | ErrorCode::BadProof => self.unreachable(format!("the server ends the session: {detail}")),
            ErrorCode::NameTaken | ErrorCode::Superseded => {
                let why = format!("the server ends the session: {detail}");
                self.local.emit(&Event::error(why.clone()));
                self.unwanted = Some(why);
                self.local.end_tasks(Ending::Failed, |_| true);
                self.local.effects.push(Effect::Disconnect);
            }
        }
    }
}
