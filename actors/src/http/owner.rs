//! Says who owns a name, so that the page can say while somebody types a name that it is taken.

use std::time::Duration;

use wire::PeerName;
use wire::http::{RequestHead, Status};

use super::brief::Brief;
use super::flow::objection;
use crate::commands::admission::{AdmissionHandle, Command as AdmissionCommand};
use crate::commands::connection::Door;
use crate::commands::router::{Command, RouterHandle};

const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Who owns which name, and who may know that.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub router: RouterHandle,
    /// Asked each time whether anybody may join, because a cluster can get a list of members while this server runs. `None`: anybody may.
    pub admission: Option<AdmissionHandle>,
}

impl Names {
    fn is_open(&self) -> Result<bool, Brief<'static>> {
        let Some(AdmissionHandle(admission)) = &self.admission else { return Ok(true) };
        admission.ask(ANSWER_WAIT, AdmissionCommand::IsOpen).map_err(|_| Brief::busy())
    }
}

/// The answer as JSON: the fingerprint of the owner's key in hexadecimal, or null.
///
/// A server that admits only members does not say who they are.
pub(super) fn answer(names: &Names, head: &RequestHead<'_>, door: Door) -> Result<String, Brief<'static>> {
    if let Some(reason) = objection(head, door) {
        return Err(Brief::new(Status::Forbidden, reason));
    }
    let name = head.target.query.and_then(|query| query.strip_prefix("name="));
    let Some(name) = name.and_then(|name| name.parse::<PeerName>().ok()) else {
        return Err(Brief::new(Status::BadRequest, "ask for the name of a peer: owner?name=NAME"));
    };
    if !names.is_open()? {
        return Err(Brief::new(Status::Forbidden, "only members learn who has a name"));
    }
    match names.router.address.ask(ANSWER_WAIT, |reply| Command::Find(name, reply)) {
        Ok(Some(owner)) => Ok(format!("{{\"owner\":\"{}\"}}\n", owner.fingerprint)),
        Ok(None) => Ok("{\"owner\":null}\n".to_owned()),
        Err(_) => Err(Brief::busy()),
    }
}
