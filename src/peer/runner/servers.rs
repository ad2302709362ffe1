//! The pinned keys and certificates of servers. This peer joins a server that it knows only as long as the server shows the
//! same ones.

use std::time::{Duration, UNIX_EPOCH};

use wire::Fingerprint;
use wire::protocol::{ChannelBinding, Greeting, ToServer, join_proof_text};

use super::Joining;
use super::shell::{Shell, now};
use crate::peer::access::Server;
use crate::peer::command::{Ending, Update};
use crate::peer::engine::ClientId;
use crate::peer::event::{Answer, Event};
use crate::peer::home::HomeError;
use crate::server_pins::ServerPin;

impl Shell {
    /// Checks the certificate of a server, if no known authority has issued it, and its key: they must be the pinned ones. Returns
    /// whether a key is pinned for this address.
    pub(super) fn check_server(&self, server: &Server, greeting: &Greeting) -> Result<bool, String> {
        if let Some(shown) = server.unknown_certificate {
            let address = server.access.address.to_string();
            let pin = self.home.server_pin(&address).map_err(|e| e.to_string())?;
            if let Some(pin) = pin.filter(|pin| pin.fingerprint != shown) {
                return Err(format!(
                    "the certificate of {address} has changed: its fingerprint is {shown}, and that of the certificate known \
                     since {} is {}; somebody may be between you and the server: ask whoever runs it, and accept the new one \
                     with trust {address} {shown}",
                    date(&pin),
                    pin.fingerprint
                ));
            }
        }
        let (address, shown) = (server.access.address.plain().to_string(), greeting.key.fingerprint());
        let pin = self.home.server_pin(&address).map_err(|e| e.to_string())?;
        match pin {
            Some(pin) if pin.fingerprint == shown => Ok(true),
            Some(pin) => Err(format!(
                "{address} is a new server: its key is {shown}, and that of the server known since {} is {}; it may have \
                 lost its data, or be an impostor: ask whoever runs it for its key, and accept it with trust {address} {shown}",
                date(&pin),
                pin.fingerprint
            )),
            None => Ok(false),
        }
    }

    /// How to join a server. If no key is pinned for its address, and the invitation is for another one, the server must prove that it
    /// knows the invitation too.
    pub(super) fn joining(
        &mut self,
        greeting: &Greeting,
        binding: Option<&ChannelBinding>,
        is_pinned: bool,
    ) -> Joining {
        let message = self.engine.join(now(), greeting, binding);
        let asks_for = match (&message, &self.invitation) {
            (ToServer::JoinInvited { card, .. }, Some(invitation)) if !is_pinned => {
                Some((invitation.clone(), join_proof_text(greeting, card, binding)))
            }
            _ => None,
        };
        Joining { message, asks_for }
    }

    /// Pins the key of the server and its certificate if no known authority has issued it, unless they are pinned. If that
    /// fails, the next join tries it again. Returns the certificate if it was pinned now.
    pub(super) fn pin_server(&mut self, greeting: &Greeting) -> Option<Fingerprint> {
        let Server { access, unknown_certificate } = self.membership.server.clone();
        self.pin(&access.address.plain().to_string(), &greeting.key.fingerprint());
        unknown_certificate.filter(|certificate| self.pin(&access.address.to_string(), certificate))
    }

    /// Remembers the server that this peer has joined, if it came with an invitation.
    pub(super) fn remember_server(&mut self) {
        if !std::mem::take(&mut self.remembers_server) {
            return;
        }
        let address = &self.membership.server.access.address;
        if let Err(error) = self.home.remember_server(address) {
            self.tell_all(&format!("{error}; name the server with --server {address} from now on"));
        }
    }

    /// Pins a fingerprint unless one is pinned. Returns whether it did.
    fn pin(&mut self, server: &str, fingerprint: &Fingerprint) -> bool {
        if !matches!(self.home.server_pin(server), Ok(None)) {
            return false;
        }
        let pinned = self.home.pin_server(server, fingerprint, now().unix);
        if let Err(error) = &pinned {
            self.tell_all(&format!("{}; until it is pinned, another server can take its place", told(error)));
        }
        pinned.is_ok()
    }

    pub(super) fn trust_server(&mut self, client: ClientId, server: String, fingerprint: Fingerprint) {
        let (update, ending) = match self.home.pin_server(&server, &fingerprint, now().unix) {
            Ok(()) => (Event::Result(Answer::TrustedServer { server, fingerprint }), Ending::Done),
            Err(error) => (Event::error(told(&error)), Ending::Failed),
        };
        self.tell(client, Update::Event(update));
        self.tell(client, Update::Done(ending));
    }
}

/// Why nothing was pinned, and what to do about it.
fn told(error: &HomeError) -> String {
    match error {
        HomeError::Io(error) => {
            format!("{error}; make sure that the disk has room and the file can be written")
        }
        error => error.to_string(),
    }
}

/// When something was pinned, for people.
fn date(pin: &ServerPin) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(pin.since.unwrap_or(0)))
}
