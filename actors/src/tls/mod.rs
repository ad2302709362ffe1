//! TLS at the server: its certificates, and connections as bytes. It opens no socket.

mod certificates;
mod connection;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::certificates::FILE_BYTES_MAX;
pub use self::certificates::{CertificateError, TlsBase, TlsConfig, TlsFiles};
pub(crate) use self::connection::TlsConnection;
