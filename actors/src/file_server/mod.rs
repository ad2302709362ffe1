//! FileServer: owns a web root and the cache of its files. There is one FileServer for each site.
//!
//! A session asks for a path once and gets an [`Asset`](crate::commands::asset::Asset) as a lease: it may respond with it
//! until [`is_revoked`](crate::commands::asset::Asset::is_revoked), without asking again. FileServer revokes a lease when
//! the file changes or is removed, when it has to make room, and when compressed forms are ready. Sessions drop revoked
//! leases soon, because they hold memory. FileServer never waits for a session, and never opens anything outside the web
//! root.

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

pub(crate) use self::shell::start;

use std::path::PathBuf;
#[cfg(test)]
use std::sync::Arc;

#[cfg(test)]
use wire::http::Status;

#[cfg(test)]
use crate::commands::asset::{Asset, Body};

/// Why the web root cannot be served, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot serve {}: {cause}; give the directory of the web site with --root", root.display())]
    Root { root: PathBuf, cause: std::io::Error },
    #[error("cannot serve {}: openat2(2) does not work here ({cause}); Linux 5.6 or newer is needed", root.display())]
    NoOpenat2 { root: PathBuf, cause: std::io::Error },
    #[error("cannot start a thread for the web site: {0}")]
    Thread(std::io::Error),
}

/// The page of FileServer for a status.
#[cfg(test)]
pub(crate) fn page_of(status: Status, text: &'static str) -> Arc<Asset> {
    let body = Body::Memory(bytes::Bytes::from_static(text.as_bytes()));
    let site = crate::site::SiteConfig::default();
    Arc::new(core::page(status, &fields::fields_of(&site, std::path::Path::new("50x.html"), status), body))
}
