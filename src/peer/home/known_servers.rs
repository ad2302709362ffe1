//! The pinned keys of servers: the file `known_servers` with a line `HOST:PORT FINGERPRINT SINCE` for each server.

use wire::Fingerprint;

use super::{Home, HomeError, PRIVATE_FILE_MODE, read_private};
use crate::peer::folder::FileError;

pub(super) const KNOWN_SERVERS: &str = "known_servers";
/// The maximum size of the file, enough for about 10,000 servers.
pub(super) const KNOWN_SERVERS_BYTES_MAX: u64 = 1 << 20;

impl Home {
    /// The key that is pinned for a server (`HOST:PORT`), and since when, in seconds since 1970.
    ///
    /// [`HomeError::Io`]; [`HomeError::PinDamaged`] for the first invalid line.
    pub fn server_pin(&self, server: &str) -> Result<Option<(Fingerprint, u64)>, HomeError> {
        let pin = self.known_servers()?.into_iter().find(|(address, ..)| address == server);
        Ok(pin.map(|(_, fingerprint, since)| (fingerprint, since)))
    }

    /// Pins the key of a server, and replaces the one that was pinned. It is on the disk when this returns. `now` is in
    /// seconds since 1970.
    ///
    /// # Errors
    /// As [`Home::server_pin`].
    pub fn pin_server(&self, server: &str, fingerprint: &Fingerprint, now: u64) -> Result<(), HomeError> {
        let mut servers = self.known_servers()?;
        servers.retain(|(address, ..)| address != server);
        servers.push((server.to_owned(), *fingerprint, now));
        let line = |(address, fingerprint, since): &(String, Fingerprint, u64)| {
            format!("{address} {fingerprint} {since}\n")
        };
        let text: String = servers.iter().map(line).collect();
        let failed = FileError::of("write the known servers", self.private_path().join(KNOWN_SERVERS));
        Ok(self.private().write(KNOWN_SERVERS, text.as_bytes(), PRIVATE_FILE_MODE).map_err(failed)?)
    }

    fn known_servers(&self) -> Result<Vec<(String, Fingerprint, u64)>, HomeError> {
        let path = self.private_path().join(KNOWN_SERVERS);
        let text = read_private(self.private(), KNOWN_SERVERS, KNOWN_SERVERS_BYTES_MAX)
            .map_err(FileError::of("read the known servers", &path))?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().enumerate().map(|(index, line)| {
            let reason = "it is not HOST:PORT, a fingerprint and a time in seconds since 1970";
            parse(line).ok_or_else(|| HomeError::PinDamaged { path: path.clone(), line: index + 1, reason })
        });
        lines.collect()
    }
}

fn parse(line: &str) -> Option<(String, Fingerprint, u64)> {
    let mut words = line.split_whitespace();
    let (address, fingerprint, since) = (words.next()?, words.next()?, words.next()?);
    let pin = (address.to_owned(), fingerprint.parse().ok()?, since.parse().ok()?);
    words.next().is_none().then_some(pin)
}
