//! A connection between two programs that a scenario can cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What is open on a link. None while it is cut.
type Open = Arc<Mutex<Option<Vec<TcpStream>>>>;

/// Accepts connections until the process ends, and forwards what comes on each of them to another address.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    open: Open,
}

impl Link {
    /// # Panics
    /// There is no free port.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let open: Open = Arc::new(Mutex::new(Some(Vec::new())));
        let all = Arc::clone(&open);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                // Fails while the target is down; the program tries again.
                let _ = forward(socket, target, &all);
            }
        });
        Self { address, open }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and accepts none until it is mended.
    pub fn cut(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        for socket in open.into_iter().flatten() {
            // Fails if it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }
}

fn forward(socket: TcpStream, target: SocketAddr, all: &Open) -> io::Result<()> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(open) = all.as_mut() else { return Ok(()) };
    let other = TcpStream::connect(target)?;
    open.extend([socket.try_clone()?, other.try_clone()?]);
    for (mut from, mut to) in [(socket.try_clone()?, other.try_clone()?), (other, socket)] {
        std::thread::spawn(move || {
            // Ends with the connection, whatever ends that.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
