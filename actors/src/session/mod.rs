//! Sessions: one connection each, on a thread of its own.

mod callback;
mod greeting;
pub mod http;
mod inbound;
mod link;
mod member;
mod port;
mod splice;
mod transmissions;
mod untaken;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{io, mem};

use wire::frame::PREFACE;

use crate::acceptor::{Place, PollerHandle, Returned};
use crate::config::Limits;
use crate::file_server::FileServerHandle;
use crate::index::IndexHandle;
use crate::router::RouterHandle;

pub use port::{Delivery, EndReason, Port, SessionCommand, SessionPort};

use greeting::Wish;
use http::{Connection, Next, Outbox, Responder};
use link::Link;

/// Names a session; never used again while the server runs.
pub type SessionId = u64;

/// What a session can ask for.
#[derive(Debug, Clone)]
pub struct Services {
    /// The Router.
    pub router: RouterHandle,
    /// The Index.
    pub index: IndexHandle,
    /// The FileServer.
    pub files: FileServerHandle,
    /// Set when the server ends: a session then ends as soon as it has answered.
    pub stopping: Arc<AtomicBool>,
}

/// What a session is for.
pub(crate) enum Job {
    /// To serve a peer until its connection ends.
    Peer(PeerJob),
    /// To give an answer that has to wait for something.
    Answer(Box<AnswerJob>),
}

/// A connection that has begun with the preface of a peer.
pub(crate) struct PeerJob {
    pub(crate) id: SessionId,
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) address: SocketAddr,
    /// What has been read, with the preface.
    pub(crate) read: Vec<u8>,
    /// Given back at the end.
    pub(crate) place: Place,
}

impl PeerJob {
    /// None if the peer has no address that others could reach it at.
    pub(crate) fn new(connection: Connection) -> Option<Self> {
        let address = connection.visitor.address?;
        let Connection { id, stream, held: read, place, .. } = connection;
        Some(Self { id, stream, address, read, place })
    }
}

/// An HTTP connection whose poller must not wait.
pub(crate) struct AnswerJob {
    pub(crate) connection: Connection,
    /// What has been answered and not been written.
    pub(crate) outbox: Outbox,
    /// What is to be done after that.
    pub(crate) next: Next,
    /// Where the connection rests afterwards.
    pub(crate) home: PollerHandle,
}

/// Does what a session is for. Whatever goes wrong is logged here and goes no further.
pub(crate) fn run(job: Job, services: &Services, limits: &Limits) {
    match job {
        Job::Peer(job) => {
            let _span =
                tracing::info_span!(target: "session", "session", id = job.id, address = %job.address);
            let _entered = _span.enter();
            if let Err(error) = serve_peer(job, services) {
                tracing::debug!(target: "session", %error, "ended");
            }
        }
        Job::Answer(job) => answer(*job, services, limits),
    }
}

fn serve_peer(job: PeerJob, services: &Services) -> io::Result<()> {
    let PeerJob { id, stream, address, read, place: _place } = job;
    let mut link = Link::new(stream, read.strip_prefix(&PREFACE).unwrap_or(&read));
    match greeting::greet(&mut link, services.router.server)? {
        Wish::Join(card) => member::serve(id, link, card, address, services),
        Wish::Splice(transfer, side) => splice::serve(link, transfer, side, services),
        Wish::Nothing => Ok(()),
    }
}

fn answer(job: AnswerJob, services: &Services, limits: &Limits) {
    let AnswerJob { mut connection, outbox, next, home } = job;
    let mut responder = Responder::new(services.files.clone(), Arc::clone(&services.stopping), true);
    match http::serve(&mut connection, outbox, next, &mut responder, limits) {
        Ok(next) => home.take_back(Returned { connection, next, learned: mem::take(&mut responder.learned) }),
        Err(error) => tracing::debug!(target: "web", visitor = %connection.visitor, %error, "ended"),
    }
}
