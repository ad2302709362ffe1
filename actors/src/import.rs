//! Moves what a server without a cluster has on its disk into a cluster, once. The server does not run meanwhile.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use wire::PeerName;

pub use crate::cluster::Imported;
use crate::cluster::{self, Embedded};
use crate::commands::index::Share;
use crate::commands::store::{Inventory, Mail, Ordinal};
use crate::config::{ClusterConfig, Config};
use crate::index;
use crate::server::{IMPORTED, StartError, lock_data};
use crate::store::{self, Disk, StoreError};

/// How much mail is read at once; each read becomes a message of the stream, or several.
const READ_BYTES: usize = 256 << 10;

/// Why nothing was imported, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("there are no names and no mail in {}; name the data directory of a server with --data", .0.display())]
    Nothing(PathBuf),
    #[error(
        "{} was imported into the cluster {cluster}; remove {} to import it into another one too",
        path.display(), path.join(IMPORTED).display()
    )]
    Elsewhere { path: PathBuf, cluster: String },
    #[error("cannot use the data directory {}: {source}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error(transparent)]
    InUse(#[from] StartError),
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cluster(#[from] cluster::ImportError),
}

/// Moves everything into `cluster`. None if that was done before.
///
/// # Errors
/// What was moved before an error stays in the cluster, and the next import goes on.
pub fn import(config: &Config, cluster: &ClusterConfig) -> Result<Option<Imported>, ImportError> {
    let path = config.data.clone();
    if !path.join("store.redb").exists() {
        return Err(ImportError::Nothing(path));
    }
    let _lock = lock_data(config)?;
    let fail = |source| ImportError::Data { path: path.clone(), source };
    match std::fs::read_to_string(path.join(IMPORTED)) {
        Ok(text) if text.trim() == cluster.name => return Ok(None),
        Ok(text) => return Err(ImportError::Elsewhere { path, cluster: text.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let (disk, inventory) = store::open(&path.join("store.redb"))?;
    let shares = Box::new(index::shares(&path).map_err(fail)?);
    let store = inventory.server;
    let mut from = OnDisk { disk, inventory, shares };
    let imported = cluster::import(cluster, &config.peers, store, &mut from)?;
    // What is left out may be freed in the cluster, and imported then.
    if imported.left_out.is_empty() {
        durable::replace_private(&path.join(IMPORTED), format!("{}\n", cluster.name).as_bytes())
            .map_err(fail)?;
    }
    Ok(Some(imported))
}

struct OnDisk {
    disk: Disk,
    inventory: Inventory,
    shares: Box<dyn Iterator<Item = Share>>,
}

impl Embedded for OnDisk {
    fn cards(&self) -> Vec<(PeerName, Bytes)> {
        let cards = self.inventory.cards.iter();
        cards.map(|(name, card)| (name.clone(), Bytes::copy_from_slice(card))).collect()
    }

    fn mailboxes(&self) -> Vec<(PeerName, Ordinal)> {
        self.inventory.mailboxes.iter().map(|mailbox| (mailbox.name.clone(), mailbox.end)).collect()
    }

    fn mail(&self, name: &PeerName, places: Range<Ordinal>) -> Result<(Mail, Option<Ordinal>), String> {
        self.disk.read(name, places, READ_BYTES).map_err(|error| error.to_string())
    }

    fn next_share(&mut self) -> Option<Share> {
        self.shares.next()
    }
}
