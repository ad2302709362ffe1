//! The file `known_servers`: the pinned keys of servers (`HOST:PORT`), and the pinned certificates of servers with TLS
//! (`tls:HOST:PORT`) that no known authority has issued. And the file `server`: the address of the server to use when none is
//! named.

use std::io;

use wire::Fingerprint;

use super::{Home, HomeError, PRIVATE_FILE_MODE, read_private};
use crate::peer::folder::FileError;
use crate::peer::server_address::{BadAddress, ServerAddress};
use crate::server_pins::{self, BadLine, ServerPin, ServerPins};

pub(super) const KNOWN_SERVERS: &str = "known_servers";
const SERVER: &str = "server";
/// More than an address can have.
const SERVER_BYTES_MAX: u64 = 1024;
/// The maximum size of the file.
pub(super) const KNOWN_SERVERS_BYTES_MAX: u64 = server_pins::BYTES_MAX;

impl Home {
    /// What is pinned for a server: its key for `HOST:PORT`, its certificate for `tls:HOST:PORT`.
    ///
    /// [`HomeError::Io`]; [`HomeError::PinDamaged`] for the first invalid line.
    pub(crate) fn server_pin(&self, server: &str) -> Result<Option<ServerPin>, HomeError> {
        Ok(self.known_servers()?.of(server).cloned())
    }

    /// Pins a fingerprint for a server, and replaces the one that was pinned. It is on the disk when this returns. `now` is in
    /// seconds since 1970.
    ///
    /// # Errors
    /// [`HomeError::Io`]; [`HomeError::PinDamaged`] for the first invalid line. The file is unchanged then.
    pub fn pin_server(&self, server: &str, fingerprint: &Fingerprint, now: u64) -> Result<(), HomeError> {
        let mut servers = self.known_servers()?;
        servers.pin(server, *fingerprint, now);
        let failed = FileError::of("write the known servers", self.private_path().join(KNOWN_SERVERS));
        let text = servers.to_text();
        Ok(self.private().write(KNOWN_SERVERS, text.as_bytes(), PRIVATE_FILE_MODE).map_err(failed)?)
    }

    /// The server of the invitation with which this peer has joined, if there was one.
    ///
    /// # Errors
    /// [`HomeError::Io`], also if the file does not have an address.
    pub fn remembered_server(&self) -> Result<Option<ServerAddress>, HomeError> {
        let failed = || FileError::of("read the server's address", self.private_path().join(SERVER));
        let text = read_private(self.private(), SERVER, SERVER_BYTES_MAX).map_err(failed())?;
        let Some(text) = text else { return Ok(None) };
        let address = String::from_utf8_lossy(&text).trim().parse();
        let address = address.map_err(|bad: BadAddress| {
            let said = format!("{bad}; correct the file, or remove it and use --server");
            failed()(io::Error::new(io::ErrorKind::InvalidData, said))
        });
        Ok(Some(address?))
    }

    /// Keeps the address of a server for [`Self::remembered_server`].
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn remember_server(&self, address: &ServerAddress) -> Result<(), HomeError> {
        let failed = FileError::of("write the server's address", self.private_path().join(SERVER));
        let text = format!("{address}\n");
        Ok(self.private().write(SERVER, text.as_bytes(), PRIVATE_FILE_MODE).map_err(failed)?)
    }

    fn known_servers(&self) -> Result<ServerPins, HomeError> {
        let path = self.private_path().join(KNOWN_SERVERS);
        let text = read_private(self.private(), KNOWN_SERVERS, KNOWN_SERVERS_BYTES_MAX)
            .map_err(FileError::of("read the known servers", &path))?
            .unwrap_or_default();
        ServerPins::parse(&String::from_utf8_lossy(&text)).map_err(|BadLine(line)| HomeError::PinDamaged {
            path,
            line,
            reason: server_pins::BAD_LINE,
        })
    }
}
