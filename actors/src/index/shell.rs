//! The Index's thread. It owns the keeper.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, KEEPS_IN_FLIGHT_MAX};
use super::keeper;
use super::shelf::Shelf;
use crate::commands::cluster::ClusterHandle;
use crate::commands::index::{IndexHandle, Keep, Loading};
use crate::config::Quota;
use crate::runtime::{Now, Running, Shell, mailbox, start as start_actor};

/// The capacity of the mailbox. A part of a share can be as large as a frame, 1 MiB, so this is at most 256 MiB.
const MAILBOX_COMMANDS: usize = 256;

/// Loading for longer than this is logged.
const LONG: Duration = Duration::from_secs(1);

/// Starts the Index. Its thread reads the shares before the first command, because that can take half a minute, and
/// messages and pages must not wait for it.
///
/// One server of a cluster keeps no shares. It learns all of them from the cluster.
pub(super) fn start(
    data_dir: &Path,
    quota: Quota,
    cluster: Option<ClusterHandle>,
) -> io::Result<Running<IndexHandle>> {
    let (address, mut mailbox) = mailbox(MAILBOX_COMMANDS);
    let loading = Arc::<Loading>::default();
    let shell = match cluster {
        Some(cluster) => {
            loading.end();
            IndexShell { keep: Box::new(move |keep| cluster.keep(keep)), unloaded: None }
        }
        None => {
            let shelf = Shelf::open(data_dir.join("index"))?;
            let keeper = keeper::start(shelf.clone(), mailbox.answers(Some(KEEPS_IN_FLIGHT_MAX)))?;
            let keep = move |keep| {
                // The keeper's mailbox has room for every share that may be in flight, so it is never full. It is closed
                // only if the keeper has panicked. Then the process is ending, and the publisher gets no answer.
                let _ = keeper.offer(keep);
            };
            IndexShell { keep: Box::new(keep), unloaded: Some((shelf, Arc::clone(&loading))) }
        }
    };
    let handle = IndexHandle { address: address.clone(), loading };
    start_actor("index", (address, mailbox), handle, Core::new(quota), shell)
}

fn load(shelf: &Shelf, core: &mut Core, loading: &Loading) {
    let begun = Instant::now();
    let (mut shares, mut files) = (0, 0);
    let loaded = shelf.load(|share, changed_bytes| {
        match core.restore(&share, changed_bytes) {
            Ok(()) => {
                shares += 1;
                files += share.files.len();
            }
            Err(reason) => {
                tracing::error!(target: "index", peer = %share.owner, %reason, "a share was not loaded");
            }
        }
        !loading.is_cancelled()
    });
    match loaded {
        Ok(()) => {
            // Whoever starts the server waits for the line with its address, which comes at the same time.
            if begun.elapsed() > LONG {
                tracing::info!(target: "index", shares, files, took = ?begun.elapsed(), "shares are loaded");
            }
        }
        Err(error) => {
            tracing::error!(target: "index", %error, "the directory of the shares cannot be listed");
        }
    }
    loading.end();
}

pub(super) struct IndexShell {
    /// Gives a share to the keeper, and owns it, so that it ends after the Index.
    pub(super) keep: Box<dyn FnMut(Keep) + Send>,
    /// The shares on disk, until they are loaded.
    pub(super) unloaded: Option<(Shelf, Arc<Loading>)>,
}

impl Shell for IndexShell {
    type Core = Core;

    fn settle(&mut self, core: &mut Core, keeps: &mut Vec<Keep>, now: Now) -> Option<Instant> {
        if let Some((shelf, loading)) = self.unloaded.take() {
            load(&shelf, core, &loading);
        }
        keeps.drain(..).for_each(&mut self.keep);
        // At once, after the commands that have come meanwhile.
        core.go_on(now.instant).then_some(now.instant)
    }
}
