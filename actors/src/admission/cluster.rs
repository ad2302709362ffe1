//! Admission's thread at a server of a cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use super::StartError;
use super::core::{Admission, Out};
use super::shell::{MAILBOX_COMMANDS, read_list};
use crate::commands::admission::{AdmissionHandle, Command, Members, NotAdmitted};
use crate::commands::cluster::ClusterHandle;
use crate::runtime::{Answers, Now, Running, Shell, mailbox, start as start_actor};

/// How long a write into the cluster may take. Sessions wait a little longer for their answer.
const WRITE_TIMEOUT: Duration = Duration::from_millis(4500);
/// The same for a whole list.
const SEED_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause before a list is written again.
const SEED_PAUSE: Duration = Duration::from_secs(1);

/// Starts Admission at a server of a cluster. `path` has the list of this server, if it has one. Also returns where the cluster tells
/// what it has.
pub(crate) fn start_in_cluster(
    path: Option<&Path>,
    cluster: ClusterHandle,
    expel: impl FnMut(Members) + Send + 'static,
) -> Result<(Running<AdmissionHandle>, Answers<Command>), StartError> {
    let seed = path.map(read_list).transpose()?.map(|(_, lines)| lines);
    let (address, mut mailbox) = mailbox(MAILBOX_COMMANDS);
    // The cluster never waits for Admission, which may wait for the cluster.
    let learned = mailbox.answers(None);
    let handle = AdmissionHandle(address.clone());
    let shell = ClusterShell { cluster, seeds_at: None, expel };
    let running = start_actor("admission", (address, mailbox), handle, Admission::of_cluster(seed), shell);
    Ok((running.map_err(StartError::Thread)?, learned))
}

struct ClusterShell<E> {
    cluster: ClusterHandle,
    /// When to write the list of this server, if the cluster has none.
    seeds_at: Option<Instant>,
    expel: E,
}

impl<E: FnMut(Members) + Send + 'static> Shell for ClusterShell<E> {
    type Core = Admission;

    /// A change must be in the cluster before the next command sees it.
    const BATCH_COMMANDS_MAX: usize = 1;

    fn settle(&mut self, admission: &mut Admission, out: &mut Out, now: Now) -> Option<Instant> {
        let Out { replies, mut expels, seeds } = std::mem::take(out);
        if !replies.is_empty() {
            let answer = self.write(admission, now, WRITE_TIMEOUT).map_err(NotAdmitted::NotWritten);
            expels &= answer.is_ok();
            replies.into_iter().for_each(|reply| reply.answer(answer.clone()));
        }
        if seeds {
            self.seeds_at = Some(now.instant);
        }
        if self.seeds_at.is_some_and(|at| at <= now.instant) {
            self.seeds_at = match self.write(admission, now, SEED_TIMEOUT) {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(target: "admission", error, "the list of members is not in the cluster yet");
                    Some(Instant::now() + SEED_PAUSE)
                }
            };
        }
        if expels {
            (self.expel)(admission.members());
        }
        self.seeds_at
    }
}

impl<E: FnMut(Members)> ClusterShell<E> {
    /// Makes the cluster write what has changed. If that fails, the list is again as the cluster has it.
    fn write(&self, admission: &mut Admission, now: Now, timeout: Duration) -> Result<(), String> {
        let edits = admission.edits(now);
        match self.cluster.edit_members(edits.clone(), timeout) {
            Ok(Some(revisions)) => {
                admission.written(edits, &revisions);
                Ok(())
            }
            failed => {
                admission.undo();
                let why = "NATS has not written it, or another server has just changed it";
                Err(failed.map_or_else(|error| error.to_string(), |_| why.to_owned()))
            }
        }
    }
}
