//! FileServer: owns the web root and the cache of what is in it.
//!
//! A session asks once for a path and gets an [`Asset`](crate::commands::asset::Asset) as a lease: it may answer with it as often as it likes,
//! without asking again, until [`is_revoked`](crate::commands::asset::Asset::is_revoked). FileServer revokes a lease when the file changes, goes away, or
//! has to make room, and when compressed forms of it are ready. Who has a lease drops it soon after it was revoked, since
//! until then it takes memory. FileServer never waits for a session, and never opens anything outside the web root.
//!
//! There is one FileServer for each site.

mod cache;
mod compressor;
mod core;
mod disk;
mod fields;
mod freshness;
mod keep;
mod listing;
mod shell;
mod watch;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(test)]
use wire::http::Status;

#[cfg(test)]
use crate::commands::asset::{Asset, Body};
use crate::commands::file_server::FileServerHandle;
use crate::config::CacheConfig;
use crate::runtime::Running;
use crate::site::SiteConfig;

/// Why the web root cannot be served, in one sentence with its cause.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root is missing, unreadable or no directory.
    #[error("cannot serve {}: {cause}; give the directory of the web site with --root", root.display())]
    Root {
        /// The root that was asked for.
        root: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The kernel cannot keep paths inside the root.
    #[error("cannot serve {}: openat2(2) does not work here ({cause}); Linux 5.6 or newer is needed", root.display())]
    NoOpenat2 {
        /// The root that was asked for.
        root: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// No thread.
    #[error("cannot start a thread for the web site: {0}")]
    Thread(std::io::Error),
}

/// What FileServer has to know at its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileServerConfig {
    /// The site that is served.
    pub site: Arc<SiteConfig>,
    /// How much of it is kept: files up to 256 KiB, compressed forms, heads of answers. A lease ends when what it is for has to
    /// make room.
    pub cache: CacheConfig,
}

/// Opens the web root and starts FileServer. Large sites take no longer: their changes are reported once their directories have been
/// walked through, and until then they are looked at once a second.
///
/// # Errors
/// [`StartError`]
pub(crate) fn start(config: &FileServerConfig) -> Result<Running<FileServerHandle>, StartError> {
    shell::start(config)
}

/// A page as FileServer gives it for a status.
#[cfg(test)]
pub(crate) fn page_of(status: Status, text: &'static str) -> Arc<Asset> {
    let rules = fields::FieldRules::new(Arc::default());
    let body = Body::Memory(bytes::Bytes::from_static(text.as_bytes()));
    Arc::new(core::page(status, &rules.said(std::path::Path::new("50x.html"), status), body))
}
