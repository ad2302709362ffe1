//! Connections with TLS and without, and certificates that are pinned at first use.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Journal, Request, WebClientError};
use crate::tls::{Connector, Fingerprint, HandshakeError, TlsStream, Trust, fingerprint};

/// How the certificate of a server is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Check {
    /// With the authorities that this machine trusts.
    #[default]
    System,
    /// With those in this file.
    Authorities(PathBuf),
    /// With the fingerprint of the server in this file, which is added at first use.
    Pins(PathBuf),
}

/// The connection to a server.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Performs the TLS handshake on a connection to the server of `request`.
///
/// # Errors
/// The certificate is not accepted, or the server does not speak TLS as this client does.
pub(super) fn secure(
    request: &Request,
    socket: TcpStream,
    journal: Journal,
) -> Result<TlsStream, WebClientError> {
    let (server, check) = (request.server(), request.check());
    let pins = match check {
        Check::Pins(path) => Some(Pins::read(path)?),
        Check::System | Check::Authorities(_) => None,
    };
    let trust = match check {
        Check::System => Trust::System,
        Check::Authorities(path) => Trust::Authorities(path.clone()),
        Check::Pins(_) => Trust::Pinned(pins.as_ref().and_then(|pins| pins.of(&server))),
    };
    let connector = Connector::new(&trust)
        .map_err(|error| WebClientError::no_response(error.to_string(), "choose another file"))?;
    let stream = connector.connect(request.host(), socket).map_err(|why| {
        let advice = match check {
            _ if matches!(why, HandshakeError::Other(_)) => "check the address",
            Check::System => "check the address, or accept the certificate with --ca FILE or --pin FILE",
            Check::Authorities(_) => "check the address, and that --ca has the right certificates",
            Check::Pins(_) => "if the server has a new certificate, remove its line from the file of --pin",
        };
        WebClientError::no_response(format!("no TLS connection to {server}: {why}"), advice)
    })?;
    let found = fingerprint(&stream);
    if let (Some(pins), Some(found)) = (pins, found)
        && pins.of(&server).is_none()
    {
        pins.add(&server, found)?;
        journal.remark(format_args!(
            "pinned the certificate of {server}, seen for the first time, in {}: SHA-256 {found}",
            pins.path.display()
        ));
    }
    if let (Some(version), Some(found)) = (stream.conn.protocol_version(), found) {
        journal.detail(format_args!("{version:?}, certificate with SHA-256 {found}"));
    }
    Ok(stream)
}

/// A file with a line for each server: its host and port, and the fingerprint of its certificate.
struct Pins {
    path: PathBuf,
    lines: Vec<(String, Fingerprint)>,
}

impl Pins {
    /// A missing file is empty.
    fn read(path: &Path) -> Result<Self, WebClientError> {
        let fail = |why: String| {
            let what = format!("cannot use the pinned certificates in {}: {why}", path.display());
            WebClientError::refused(what, "correct the file, or choose another with --pin")
        };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| fail(error.to_string()))?,
        };
        let line = |(at, line): (usize, &str)| {
            let parsed = line.split_once(' ').map(|(server, pin)| (server, pin.trim().parse()));
            match parsed {
                Some((server, Ok(pin))) => Ok((server.to_owned(), pin)),
                Some((_, Err(why))) => Err(fail(format!("line {}: {why}", at + 1))),
                None => Err(fail(format!("line {} is not HOST:PORT FINGERPRINT", at + 1))),
            }
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line);
        Ok(Self { path: path.to_owned(), lines: lines.collect::<Result<_, _>>()? })
    }

    fn of(&self, server: &str) -> Option<Fingerprint> {
        self.lines.iter().find(|(name, _)| name == server).map(|(_, pin)| *pin)
    }

    fn add(&self, server: &str, pin: Fingerprint) -> Result<(), WebClientError> {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        let written = opened.and_then(|mut file| file.write_all(format!("{server} {pin}\n").as_bytes()));
        written.map_err(|error| {
            let what = format!("cannot pin the certificate in {}: {error}", self.path.display());
            WebClientError::refused(what, "choose another file with --pin")
        })
    }
}
