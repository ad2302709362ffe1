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

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use wire::frame::PREFACE;

use crate::file_server::FileServerHandle;
use crate::index::IndexHandle;
use crate::router::RouterHandle;

pub use port::{Delivery, EndReason, Port, SessionCommand, SessionPort};

use greeting::Wish;
use http::HttpLimits;
use link::Link;

/// Names a session; never used again while the server runs.
pub type SessionId = u64;

/// How long a connection has to say which protocol it speaks.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(10);
/// Room for the first read: a whole request of a browser fits.
const FIRST_READ_BYTES: usize = 4 << 10;

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

/// Serves one connection to its end. Whatever goes wrong with it is logged here and goes no further.
pub fn run(id: SessionId, stream: &Arc<TcpStream>, services: &Services) {
    let Ok(address) = stream.peer_addr() else { return };
    let _span = tracing::info_span!(target: "session", "session", id, %address).entered();
    if let Err(error) = serve(id, stream, address, services) {
        tracing::debug!(target: "session", %error, "ended");
    }
}

fn serve(
    id: SessionId,
    stream: &Arc<TcpStream>,
    address: std::net::SocketAddr,
    services: &Services,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; FIRST_READ_BYTES];
    let filled = read_first(stream, &mut first)?;
    let Some(rest) = first[..filled].strip_prefix(&PREFACE) else {
        http::serve(
            stream,
            first[..filled].to_vec(),
            &services.files,
            &HttpLimits::default(),
            &services.stopping,
        );
        return Ok(());
    };
    let mut link = Link::new(Arc::clone(stream), rest);
    match greeting::greet(&mut link, services.router.server)? {
        Wish::Join(card) => member::serve(id, link, card, address, services),
        Wish::Splice(transfer, side) => splice::serve(link, transfer, side, services),
        Wish::Nothing => Ok(()),
    }
}

/// Reads until it is clear whether this is the preface.
fn read_first(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let deadline = Instant::now() + FIRST_BYTES_WAIT;
    let mut filled = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut buffer[filled..])?;
        filled += count;
        let is_undecided = filled < PREFACE.len() && PREFACE.starts_with(&buffer[..filled]);
        if count == 0 || !is_undecided {
            return Ok(filled);
        }
    }
}
