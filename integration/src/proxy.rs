//! A proxy between peers and their server that records all bytes in both directions.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use wire::frame::{BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::protocol::ToServer;

use crate::websocket::{self, Messages};

const READ_BYTES: usize = 64 << 10;

/// What the proxy forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Everything.
    All,
    /// Everything except the message in which a peer names its listening port, so that files go through the server, as for
    /// a peer behind a firewall.
    WithoutPorts,
    /// The same, and the server sees WebSockets, as of peers in a browser.
    AsBrowser,
}

#[derive(Debug, Default)]
struct Record {
    bytes: Mutex<Vec<u8>>,
    streams: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
    is_mute: AtomicBool,
}

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    record: Arc<Record>,
}

impl Proxy {
    /// Starts a proxy in front of `server`.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(server: SocketAddr, passing: Passing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a free port");
        let address = listener.local_addr().expect("it is bound");
        let record = Arc::new(Record::default());
        let shared = Arc::clone(&record);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let server = match passing {
                    Passing::All | Passing::WithoutPorts => TcpStream::connect(server),
                    Passing::AsBrowser => websocket::connect(server),
                };
                if let Ok(server) = server {
                    shared.connect(client, server, passing);
                }
            }
        });
        Self { address, record }
    }

    /// Where peers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on drops what peers send, or forwards it again. Connections that exist when this ends are of no use any
    /// more, because a part of their frames is missing.
    pub fn mute(&self, is_mute: bool) {
        self.record.is_mute.store(is_mute, Ordering::SeqCst);
    }

    /// All bytes so far, of both directions.
    ///
    /// # Panics
    /// Never: no code panics while it holds the lock.
    pub fn recorded(&self) -> Vec<u8> {
        self.record.bytes.lock().expect("nobody panics while holding it").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.record.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread from `accept`.
        let _ = TcpStream::connect(self.address);
        for stream in self.record.streams.lock().iter().flat_map(|streams| streams.iter()) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Record {
    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream, passing: Passing) {
        let mut kept = self.streams.lock().expect("nobody panics while holding it");
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            kept.extend(stream.try_clone());
        }
        drop(kept);
        let (Ok(client_again), Ok(server_again)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let (out, back) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || {
            let mut filter = (passing != Passing::All).then(Filter::default);
            let _ = out.carry(&client, &server, |bytes| {
                if out.is_mute.load(Ordering::SeqCst) {
                    return Vec::new();
                }
                let bytes = filter.as_mut().map_or_else(|| bytes.to_vec(), |filter| filter.pass(bytes));
                if passing == Passing::AsBrowser { websocket::message(&bytes) } else { bytes }
            });
            if passing == Passing::AsBrowser {
                let _ = (&server).write_all(&websocket::close());
            }
            // The other direction notices a closed connection.
            let _ = server.shutdown(Shutdown::Write);
        });
        std::thread::spawn(move || {
            let mut messages = Messages::default();
            let _ = back.carry(&server_again, &client_again, |bytes| match passing {
                Passing::All | Passing::WithoutPorts => bytes.to_vec(),
                Passing::AsBrowser => messages.take(bytes),
            });
            let _ = client_again.shutdown(Shutdown::Write);
        });
    }

    /// Forwards what `change` makes of the bytes.
    fn carry(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        mut change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let bytes = change(&buffer[..count]);
            self.bytes.lock().expect("nobody panics while holding it").extend_from_slice(&bytes);
            to.write_all(&bytes)?;
        }
    }
}

/// Removes the message in which a peer names its port.
#[derive(Default)]
struct Filter {
    waiting: Vec<u8>,
    has_passed_preface: bool,
    /// The rest of the connection is a file.
    is_raw: bool,
}

impl Filter {
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.waiting.extend_from_slice(bytes);
        let mut out = Vec::new();
        if !self.has_passed_preface && self.waiting.len() >= PREFACE.len() {
            out.extend(self.waiting.drain(..PREFACE.len()));
            self.has_passed_preface = true;
        }
        while self.has_passed_preface && !self.is_raw {
            let Ok(Some(body)) = wire::frame::split(&self.waiting, BODY_BYTES_MAX) else {
                break;
            };
            let message = ToServer::decode(body);
            let is_left_out = matches!(message, Ok(ToServer::Listening { .. }));
            self.is_raw = matches!(message, Ok(ToServer::Splice { .. }));
            let used = LENGTH_BYTES + body.len();
            let frame = self.waiting.drain(..used);
            if !is_left_out {
                out.extend(frame);
            }
        }
        if self.is_raw {
            out.append(&mut self.waiting);
        }
        out
    }
}
