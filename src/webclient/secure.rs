//! The TLS handshake, and certificates that are pinned at first use.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::{Journal, Request, WebClientError};
use crate::server_pins::{self, BadLine, ServerPins};
use crate::stream::Stream;
use crate::tls::{Connector, HandshakeError, Trust, Versions};

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

/// Performs the TLS handshake on a connection to the server of `request`.
///
/// # Errors
/// The certificate is not accepted, or the server does not speak TLS as this client does.
pub(super) fn secure(
    request: &Request,
    socket: TcpStream,
    journal: Journal,
) -> Result<Stream, WebClientError> {
    let (server, check) = (request.server(), &request.check);
    let pins = match check {
        Check::Pins(path) => Some((path, read_pins(path)?)),
        Check::System | Check::Authorities(_) => None,
    };
    let pinned = pins.as_ref().and_then(|(_, pins)| pins.of(&server)).map(|pin| pin.fingerprint);
    let trust = match check {
        Check::System => Trust::System,
        Check::Authorities(path) => Trust::Authorities(path.clone()),
        Check::Pins(_) => Trust::Pinned(pinned),
    };
    let connector = Connector::new(&trust, Versions::All)
        .map_err(|error| WebClientError::no_response(error.to_string(), "choose another file"))?;
    let secured = connector.connect(&request.host, socket).map_err(|why| {
        let advice = match check {
            _ if matches!(why, HandshakeError::Other(_)) => "check the address",
            Check::System => "check the address, or accept the certificate with --ca FILE or --pin FILE",
            Check::Authorities(_) => "check the address, and that --ca has the right certificates",
            Check::Pins(_) => "if the server has a new certificate, remove its line from the file of --pin",
        };
        WebClientError::no_response(format!("no TLS connection to {server}: {why}"), advice)
    })?;
    if let Some((version, found)) = secured.stream.secured_by() {
        if let (Some((path, mut pins)), None) = (pins, pinned) {
            pins.pin(&server, found, crate::unix_now());
            durable::replace_private(path, pins.to_text().as_bytes())
                .map_err(|error| cannot_use(path, &error.to_string()))?;
            journal.remark(format_args!(
                "pinned the certificate of {server}, seen for the first time, in {}: SHA-256 {found}",
                path.display()
            ));
        }
        journal.detail(format_args!("{version:?}, certificate with SHA-256 {found}"));
    }
    Ok(secured.stream)
}

/// Reads a file with pins. A missing file is empty.
fn read_pins(path: &Path) -> Result<ServerPins, WebClientError> {
    let text = match durable::read_text(path, server_pins::BYTES_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| cannot_use(path, &error.to_string()))?,
    };
    ServerPins::parse(&text).map_err(|BadLine(line)| {
        let what = format!("cannot use {} line {line}: {}", path.display(), server_pins::BAD_LINE);
        let advice =
            "correct the line; if you remove it, the next certificate of its server is accepted and pinned";
        WebClientError::refused(what, advice)
    })
}

fn cannot_use(path: &Path, why: &str) -> WebClientError {
    let what = format!("cannot use the pinned certificates in {}: {why}", path.display());
    let advice =
        "make sure that it can be read and written and that the disk has room, or choose another with --pin";
    WebClientError::refused(what, advice)
}
