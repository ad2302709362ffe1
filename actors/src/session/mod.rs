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

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use wire::frame::PREFACE;

use crate::acceptor::{Place, PollerHandle, Returned};
use crate::access_log::AccessLogHandle;
use crate::config::Limits;
use crate::index::IndexHandle;
use crate::metrics::WebCounts;
use crate::router::RouterHandle;

pub use port::{Delivery, EndReason, Port, SessionCommand, SessionPort};

use greeting::Wish;
use http::{Admin, Connection, Learned, Responder, Sites, Unsent};
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
    /// The web sites, each with its FileServer.
    pub sites: Arc<Sites>,
    /// Where each request is written down.
    pub access_log: Option<AccessLogHandle>,
    /// Set when the server ends: a session then ends as soon as it has answered.
    pub stopping: Arc<AtomicBool>,
}

impl Services {
    /// What answers HTTP requests on one thread.
    pub(crate) fn responder(&self, admin: &Arc<Admin>, counts: Arc<WebCounts>, may_wait: bool) -> Responder {
        let (sites, stopping) = (Arc::clone(&self.sites), Arc::clone(&self.stopping));
        Responder::new(sites, Arc::clone(admin), stopping, counts, self.access_log.clone(), may_wait)
    }
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
    /// What comes first.
    pub(crate) unsent: Unsent,
    /// What the poller knows of the request.
    pub(crate) known: Vec<Learned>,
    /// Where the connection rests afterwards.
    pub(crate) home: PollerHandle,
}

/// Does what a session is for. Whatever goes wrong is logged here and goes no further.
pub(crate) fn run(job: Job, services: &Services, limits: &Limits, responder: &mut Responder) {
    match job {
        Job::Peer(job) => {
            let _span =
                tracing::info_span!(target: "session", "session", id = job.id, address = %job.address);
            let _entered = _span.enter();
            if let Err(error) = serve_peer(job, services) {
                tracing::debug!(target: "session", %error, "ended");
            }
        }
        Job::Answer(job) => answer(*job, limits, responder),
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

fn answer(job: AnswerJob, limits: &Limits, responder: &mut Responder) {
    let AnswerJob { mut connection, unsent, known, home } = job;
    responder.learn(known);
    responder.set_time(SystemTime::now());
    match http::serve(&mut connection, unsent, responder, limits) {
        Ok(next) => home.take_back(Returned { connection, next, learned: responder.take_learned() }),
        Err(error) => {
            tracing::debug!(target: "web", visitor = %connection.visitor, %error, "ended");
            connection.abort();
            responder.reset();
        }
    }
    responder.flush_log();
}
