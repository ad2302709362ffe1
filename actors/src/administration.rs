//! What the administrator can do while the server runs. It sends commands to the actors, as sessions do.

use std::time::Duration;

use wire::PeerName;
use wire::invitation::{Invitation, SECRET_BYTES};
use wire::protocol::KnownPeer;
use wire::server_key::ServerPublic;

use crate::commands::admission::{self, AdmissionHandle, Entry, NotAdmitted};
use crate::commands::cluster::ClusterHandle;
use crate::commands::index::{IndexHandle, PublishRefused};
use crate::commands::network::Network;
use crate::commands::router::{self, RouterHandle};
use crate::runtime::{NoAnswer, Reply, reply};

/// How long an actor may take to answer. It may have to write to the disk first.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationError {
    #[error("anybody may join this server; start it with --members FILE to admit members only")]
    Open,
    #[error("nobody has the name {0}")]
    NoSuchName(PeerName),
    /// Nobody was removed, or the list of members could not be written.
    #[error(transparent)]
    NotChanged(#[from] NotAdmitted),
    /// There is no connection to NATS, or the owner has joined meanwhile.
    #[error("the cluster has not released the name; try again when the server is connected to NATS")]
    NotReleased,
    /// The files of the released name are still in the index.
    #[error("the name is free, but its shared files are still found until the server is started again: {0}")]
    NotUnpublished(#[from] PublishRefused),
    /// An actor is overloaded, or the server ends.
    #[error("the server did not answer: {0}; try again")]
    NoAnswer(#[from] NoAnswer),
}

/// Administers a running server. Holding it does not keep the server from ending.
#[derive(Debug, Clone)]
pub struct Administration {
    pub(crate) router: RouterHandle,
    pub(crate) index: IndexHandle,
    pub(crate) admission: Option<AdmissionHandle>,
    pub(crate) key: ServerPublic,
    /// The other servers, if there are any.
    pub(crate) cluster: Option<ClusterHandle>,
}

impl Administration {
    pub fn key(&self) -> ServerPublic {
        self.key
    }

    /// Makes an invitation, with which one peer may join until a time (seconds since 1970). With `name`, it must use
    /// that name.
    pub fn invite(&self, name: Option<PeerName>, until: u64) -> Result<Invitation, AdministrationError> {
        let secret: [u8; SECRET_BYTES] = rand::random();
        let entry = Entry::Invitation { secret, until, name };
        self.admission()?.ask(|reply| admission::Command::Add(entry, reply))??;
        Ok(Invitation::new(secret, &self.key.fingerprint()))
    }

    /// The members and the open invitations; `None` if anybody may join.
    pub fn listed(&self) -> Result<Option<Vec<Entry>>, AdministrationError> {
        let Some(admission) = &self.admission else { return Ok(None) };
        Ok(admission.ask(admission::Command::List)?)
    }

    /// The peers that have joined at least once: first those that are connected, then by name; at most 10,000.
    pub fn known(&self) -> Result<Vec<KnownPeer>, AdministrationError> {
        Ok(self.ask_router(router::Command::Who)?.to_vec())
    }

    /// Removes a peer from the members, which ends its session. It keeps its name.
    pub fn remove(&self, name: &PeerName) -> Result<(), AdministrationError> {
        let admission = self.admission()?;
        let owner = self.ask_router(|reply| router::Command::Find(name.clone(), reply))?;
        let (name, fingerprint) = (name.clone(), owner.map(|owner| owner.fingerprint));
        Ok(admission.ask(|reply| admission::Command::Remove { name, fingerprint, reply })??)
    }

    /// Frees a name: another key may take it. Removes the files that it shares from the index, and drops its mail if
    /// `drops_mail`.
    pub fn release(&self, name: &PeerName, drops_mail: bool) -> Result<(), AdministrationError> {
        let release = |reply| router::Command::Release { name: name.clone(), drops_mail, reply };
        let is_released = match &self.cluster {
            Some(cluster) => {
                let released = cluster.release(name.clone(), drops_mail)?;
                released.ok_or(AdministrationError::NotReleased)?
            }
            None => self.ask_router(release)?,
        };
        if !is_released {
            return Err(AdministrationError::NoSuchName(name.clone()));
        }
        let owner = (name.clone(), Network::UNKNOWN);
        self.index.publish(owner, 0, true, Vec::new(), ANSWER_WAIT)??;
        Ok(())
    }

    fn admission(&self) -> Result<&AdmissionHandle, AdministrationError> {
        self.admission.as_ref().ok_or(AdministrationError::Open)
    }

    fn ask_router<T>(&self, command: impl FnOnce(Reply<T>) -> router::Command) -> Result<T, NoAnswer> {
        let (reply, pending) = reply();
        self.router.send(command(reply)).map_err(|_| NoAnswer::Dropped)?;
        pending.wait(ANSWER_WAIT)
    }
}
