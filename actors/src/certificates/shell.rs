//! Certificates' thread, and the files.

use std::io;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::core::{Certificates, Digest};
use crate::commands::certificates::CertificatesHandle;
use crate::handover::PollerHandle;
use crate::runtime::{Now, Running, Shell, mailbox, start as start_actor};
use crate::tls::{FILE_BYTES_MAX, TlsBase, TlsFiles};

/// How often the files are read. Their times are not enough, because the clocks of some file systems are too coarse.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// One more would ask for the same.
const MAILBOX_COMMANDS: usize = 1;

/// Starts Certificates, which gives changed certificates to these pollers.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn start(
    base: TlsBase,
    files: &[TlsFiles],
    pollers: &[PollerHandle],
) -> io::Result<Running<CertificatesHandle>> {
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let handle = CertificatesHandle(address.clone());
    let (files, pollers) = (files.to_vec(), pollers.to_vec());
    let core = Certificates::new(digest(&files));
    let shell = CertificatesShell { base, files, pollers };
    start_actor("certificates", (address, mailbox), handle, core, shell)
}

struct CertificatesShell {
    base: TlsBase,
    files: Vec<TlsFiles>,
    pollers: Vec<PollerHandle>,
}

impl Shell for CertificatesShell {
    type Core = Certificates;

    fn settle(&mut self, certificates: &mut Certificates, (): &mut (), now: Now) -> Option<Instant> {
        if certificates.look(digest(&self.files)) {
            self.load();
        }
        Some(now.instant + READ_INTERVAL)
    }
}

impl CertificatesShell {
    fn load(&self) {
        match self.base.load(&self.files) {
            Ok(tls) => {
                self.pollers.iter().for_each(|poller| poller.use_certificates(tls.clone()));
                tracing::info!(target: "certificates", "the TLS certificates were read again");
            }
            Err(error) => {
                tracing::error!(target: "certificates", %error, "the previous TLS certificates stay in use");
            }
        }
    }
}

/// The digest of all files, or of the errors of reading them.
fn digest(files: &[TlsFiles]) -> Digest {
    let mut digest = Sha256::new();
    for path in files.iter().flat_map(|files| [&files.certificate, &files.key]) {
        let content = durable::read_text(path, FILE_BYTES_MAX).unwrap_or_else(|error| error.to_string());
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(content);
    }
    digest.finalize().into()
}
