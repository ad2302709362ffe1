//! The pinned keys of servers. This peer joins a server that it knows only as long as the server shows the same key.

use std::time::{Duration, UNIX_EPOCH};

use wire::Fingerprint;
use wire::protocol::Greeting;

use super::shell::{Shell, now};
use crate::peer::command::{Ending, Update};
use crate::peer::engine::ClientId;
use crate::peer::event::{Answer, Event};

impl Shell {
    /// Checks the key of a server: it must be the pinned one. If none is pinned for this address, it must be the one
    /// that the invitation is for, if there is an invitation.
    pub(super) fn check_server(&self, greeting: &Greeting) -> Result<(), String> {
        let (address, shown) = (&self.membership.server, greeting.key.fingerprint());
        let pin = self.home.server_pin(address).map_err(|e| e.to_string())?;
        match pin {
            Some((pinned, _)) if pinned == shown => Ok(()),
            Some((pinned, since)) => Err(format!(
                "{address} is a new server: its key is {shown}, and that of the server known since {} is {pinned}; it may have \
                 lost its data, or be an impostor: ask whoever runs it for its key, and accept it with trust {address} {shown}",
                httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(since))
            )),
            None => match &self.invitation {
                Some(invitation) if !invitation.is_for(&shown) => Err(format!(
                    "{address} is not the server that the invitation is for: its key is {shown}; check the address"
                )),
                _ => Ok(()),
            },
        }
    }

    /// Pins the key of a server, unless one is pinned. If that fails, the next join tries it again.
    pub(super) fn pin_server(&mut self, greeting: &Greeting) {
        let address = &self.membership.server;
        if let Ok(None) = self.home.server_pin(address)
            && let Err(error) = self.home.pin_server(address, &greeting.key.fingerprint(), now().unix)
        {
            self.tell_all(&error.to_string());
        }
    }

    pub(super) fn trust_server(&mut self, client: ClientId, server: String, fingerprint: Fingerprint) {
        let (update, ending) = match self.home.pin_server(&server, &fingerprint, now().unix) {
            Ok(()) => (Event::Result(Answer::TrustedServer { server, fingerprint }), Ending::Done),
            Err(error) => (Event::error(error.to_string()), Ending::Failed),
        };
        self.tell(client, Update::Event(update));
        self.tell(client, Update::Done(ending));
    }
}
