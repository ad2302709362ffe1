//! What there is instead of a connection to NATS in a server that was built without the feature `cluster`: an error.

use wire::protocol::ServerId;

use super::core::OnDisk;
use super::import::{Embedded, Imported};
use crate::commands::admission;
use crate::commands::cluster::{ClusterHandle, ClusterMailbox};
use crate::commands::index::IndexHandle;
use crate::commands::router::RouterHandle;
use crate::config::{ClusterConfig, PeerLimits};
use crate::runtime::{Answers, Running};

/// Why a server cannot be part of the cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "this server was built without clusters, which need a client of NATS; build it with `cargo build --release --features cluster`"
)]
pub struct StartError;

/// Why nothing was imported.
pub type ImportError = StartError;

/// Fails.
///
/// # Errors
/// Always.
pub fn start(
    _: &ClusterConfig,
    _: &PeerLimits,
    _: OnDisk,
    _: (ClusterHandle, ClusterMailbox),
    _: (RouterHandle, IndexHandle, Answers<admission::Command>),
) -> Result<Running<ClusterHandle>, StartError> {
    Err(StartError)
}

/// Fails, so that `server --check` says it.
///
/// # Errors
/// Always.
pub fn check(_: &ClusterConfig) -> Result<(), StartError> {
    Err(StartError)
}

/// Fails.
///
/// # Errors
/// Always.
pub fn import(
    _: &ClusterConfig,
    _: &PeerLimits,
    _: ServerId,
    _: &mut impl Embedded,
) -> Result<Imported, ImportError> {
    Err(StartError)
}
