//! To Certificates: read the files again.

use crate::runtime::Address;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Read the files, whether or not they have changed.
    Reload,
}

#[derive(Debug, Clone)]
pub struct CertificatesHandle(pub(crate) Address<Command>);

impl CertificatesHandle {
    /// Reads the certificates and keys again. The log says whether they are used.
    pub fn reload(&self) {
        // Fails while the same command waits already, and when the server ends.
        let _ = self.0.offer(Command::Reload);
    }
}
