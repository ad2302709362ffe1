//! The store's thread, which has the open file.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use wire::PeerName;

use super::core::{Forgotten, MailDisk, Store, Swept, Write};
use super::{Disk, StoreError};
use crate::commands::cluster::ClusterHandle;
use crate::commands::router;
use crate::commands::store::{Completion, Inventory, Mail, Ordinal, StoreHandle};
use crate::runtime::{Answers, Now, Running, Shell, mailbox, start as start_actor};

/// The capacity of the mailbox, for commands that wait during a commit. When it is full, senders get `busy`.
const MAILBOX_COMMANDS: usize = 4096;

/// Opens the store at `path` and starts it. It sends its completions to `completed`, but mail that it has written to the cluster,
/// if there is one, which makes a copy first. Also returns what is on disk.
///
/// [`StoreError`], also if the thread cannot be started.
pub fn start(
    path: &Path,
    completed: Answers<router::Command>,
    cluster: Option<ClusterHandle>,
) -> Result<(Running<StoreHandle>, Inventory), StoreError> {
    let (disk, inventory) = super::open(path)?;
    let (address, mailbox) = mailbox(MAILBOX_COMMANDS);
    let shell = StoreShell { disk, completed, cluster };
    let handle = StoreHandle(address.clone());
    let running = start_actor("store", (address, mailbox), handle, Store::default(), shell)
        .map_err(|e| StoreError::Database { path: path.into(), source: Box::new(redb::Error::Io(e)) })?;
    Ok((running, inventory))
}

struct StoreShell {
    disk: Disk,
    completed: Answers<router::Command>,
    cluster: Option<ClusterHandle>,
}

impl StoreShell {
    fn tell(completed: &Answers<router::Command>, cluster: Option<&ClusterHandle>, completion: Completion) {
        let completion = match (cluster, completion) {
            (Some(cluster), Completion::Put { mail, stored: true }) => return cluster.stored(mail),
            (cluster, completion) => {
                if let (Some(cluster), Completion::Forgotten { name, places, amounts }) =
                    (cluster, &completion)
                {
                    cluster.forgotten(name.clone(), places.clone(), amounts.clone());
                }
                completion
            }
        };
        // Fails only when the Router has ended. Then nobody waits for the outcome.
        let _ = completed.send(router::Command::Completed(completion));
    }
}

impl Shell for StoreShell {
    type Core = Store;

    /// A large batch makes for few commits.
    const BATCH_COMMANDS_MAX: usize = 1024;

    fn settle(&mut self, core: &mut Store, (): &mut (), _now: Now) -> Option<Instant> {
        let (completed, cluster) = (&self.completed, self.cluster.as_ref());
        core.flush(&mut self.disk, |completion| Self::tell(completed, cluster, completion));
        None
    }
}

impl MailDisk for Disk {
    fn commit(&mut self, writes: &[Write<'_>]) -> Option<Vec<Forgotten>> {
        let result = self.write(writes);
        if let Err(error) = &result {
            tracing::error!(target: "store", %error, commands = writes.len(), "could not write; the senders are told");
        }
        result.ok()
    }

    fn sweep(&mut self, from: Option<&(PeerName, Ordinal)>, before: u64) -> Option<Swept> {
        let swept = Disk::sweep(self, from, before);
        if let Err(error) = &swept {
            tracing::error!(target: "store", %error, "could not look for mail that is too old");
        }
        swept.ok()
    }

    fn fetch(
        &mut self,
        name: &PeerName,
        places: Range<Ordinal>,
        bytes_max: usize,
    ) -> Option<(Mail, Option<Ordinal>)> {
        let fetched = self.read(name, places, bytes_max);
        if let Err(error) = &fetched {
            tracing::error!(target: "store", %error, to = %name, "could not read a mailbox");
        }
        fetched.ok()
    }
}
