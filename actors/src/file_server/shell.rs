//! FileServer's thread, and its helpers: the compressor, and the watch on the web root.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::StartError;
use super::cache::Limits;
use super::compressor::{self, Job};
use super::core::{Core, Effect, Input};
use super::disk::RootDirectory;
use super::watch::{self, Watch};
use crate::commands::file_server::{FileServerHandle, Find, OPEN_FILES_MAX};
use crate::config::CacheConfig;
use crate::metrics::CacheCounts;
use crate::runtime::{Address, Answers, Now, Running, Shell, mailbox, start as start_actor};
use crate::site::SiteConfig;

/// How many requests can wait. Each is from a session that waits for the answer. With more, the disk is too slow, and it
/// is better to respond with 503 at once.
const MAILBOX_COMMANDS: usize = 4096;

/// How many reports and results can wait. A report that finds no room can be dropped, because those that wait cause all
/// entries to be compared.
const ANSWERS_MAX: usize = 1024;

/// Files up to this size are kept in memory.
const MEMORY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Opens the web root and starts FileServer. Does not wait until the root is watched, which takes long for large sites. Until
/// then files are compared with the disk every second.
pub(crate) fn start(
    site: Arc<SiteConfig>,
    cache: &CacheConfig,
) -> Result<Running<FileServerHandle>, StartError> {
    let root = site.root.clone();
    let disk = RootDirectory::open(&root)?;
    let counts = Arc::new(CacheCounts::default());
    let limits = Limits {
        memory_file_bytes_max: MEMORY_FILE_BYTES_MAX,
        memory_bytes_max: cache.bytes,
        entries_max: cache.entries,
        open_files_max: OPEN_FILES_MAX,
    };
    let core = Core::new(disk, site, limits, Arc::clone(&counts), Now::read());
    let (address, mut mailbox) = mailbox::<Find, Input>(MAILBOX_COMMANDS);
    let answers = mailbox.answers(Some(ANSWERS_MAX));
    let compressor = compressor::start(answers.clone()).map_err(StartError::Thread)?;
    let handle = FileServerHandle { address: address.clone(), counts };
    let shell = FileServerShell { root, answers, watch: None, compressor };
    start_actor("file_server", (address, mailbox), handle, core, shell).map_err(StartError::Thread)
}

struct FileServerShell {
    root: PathBuf,
    answers: Answers<Input>,
    /// Dropping it ends the reports.
    watch: Option<Watch>,
    compressor: Address<Job>,
}

impl Shell for FileServerShell {
    type Core = Core<RootDirectory>;

    fn settle(&mut self, core: &mut Self::Core, effects: &mut Vec<Effect>, now: Now) -> Option<Instant> {
        core.look_if_due(now, effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Watch(number) => {
                    self.watch = None;
                    self.watch = watch::start(&self.root, number, self.answers.clone());
                }
                // Fails only if the compressor has ended: the core gives it no more than it has room for.
                Effect::Compress(job) => drop(self.compressor.offer(job)),
            }
        }
        core.next_look()
    }
}
