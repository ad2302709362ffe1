//! A core over a disk in memory, and virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use wire::http::{Coding, SitePath};

use super::super::cache::Limits;
use super::super::core::{Core, Effect};
use super::super::disk::{Disk, DiskError, Entry, Stamp};
use super::super::{compressor, listing};
use crate::commands::absence::Absence;
use crate::commands::asset::{Asset, Body};
use crate::commands::file_server::{Find, Found};
use crate::metrics::CacheCounts;
use crate::runtime::Now;
use crate::runtime::reply;
use crate::site::SiteConfig;

/// The deadline of everything that must happen.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A disk in memory. Each write makes a new version, from which the stamp is made.
#[derive(Clone, Default, Debug)]
pub(super) struct FakeDisk(Rc<RefCell<FakeFiles>>);

#[derive(Default, Debug)]
pub(super) struct FakeFiles {
    pub(super) files: BTreeMap<String, (u64, Vec<u8>)>,
    version: u64,
    /// How many files were read.
    loads: usize,
    /// How many files were compared.
    looks: usize,
    is_busy: bool,
    is_replaced: bool,
}

impl FakeDisk {
    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let mut disk = self.0.borrow_mut();
        disk.version += 1;
        let version = disk.version;
        disk.files.insert(path.to_owned(), (version, content.as_ref().to_vec()));
    }

    /// As if the clock of the file system had not ticked since the first version.
    pub(super) fn overwrite_as_version(&self, path: &str, version: u64, content: &str) {
        self.0.borrow_mut().files.insert(path.to_owned(), (version, content.as_bytes().to_vec()));
    }

    pub(super) fn remove(&self, path: &str) {
        self.0.borrow_mut().files.remove(path);
    }

    pub(super) fn loads(&self) -> usize {
        self.0.borrow().loads
    }

    pub(super) fn looks(&self) -> usize {
        self.0.borrow().looks
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.0.borrow_mut().is_busy = is_busy;
    }

    /// Replaces the root by another directory.
    pub(super) fn replace(&self) {
        let mut disk = self.0.borrow_mut();
        disk.files.clear();
        disk.is_replaced = true;
    }

    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.0.borrow().files.get(path).map(|(_, content)| content.clone())
    }
}

pub(super) fn fake_stamp(version: u64, content: &[u8]) -> Stamp {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(version);
    Stamp { bytes: content.len() as u64, modified: time, changed: time, device: 1, inode: 1 }
}

fn text_of_path(path: &Path) -> &str {
    path.to_str().expect("the names in these tests are text")
}

impl Disk for FakeDisk {
    fn load(&self, path: &Path, memory_bytes_max: u64) -> Result<Entry, DiskError> {
        let path = text_of_path(path);
        let mut disk = self.0.borrow_mut();
        if disk.is_busy {
            return Err(DiskError::Busy);
        }
        let directory = format!("{path}/");
        if disk.files.range(directory.clone()..).next().is_some_and(|(file, _)| file.starts_with(&directory))
        {
            return Ok(Entry::Directory);
        }
        let (version, content) = disk.files.get(path).cloned().ok_or(DiskError::NotFound)?;
        disk.loads += 1;
        let stamp = fake_stamp(version, &content);
        let body = if stamp.bytes > memory_bytes_max {
            let file = tempfile::tempfile().expect("there is a place for temporary files");
            std::os::unix::fs::FileExt::write_all_at(&file, &content, 0).expect("the file can be written");
            Body::File { file: Arc::new(file), bytes: stamp.bytes }
        } else {
            Body::Memory(Bytes::from(content))
        };
        Ok(Entry::File { stamp, body })
    }

    fn stamp(&self, path: &Path) -> Result<Stamp, DiskError> {
        let path = text_of_path(path);
        let mut disk = self.0.borrow_mut();
        disk.looks += 1;
        if disk.is_busy {
            return Err(DiskError::Busy);
        }
        let (version, content) = disk.files.get(path).ok_or(DiskError::NotFound)?;
        Ok(fake_stamp(*version, content))
    }

    fn list(&self, path: &Path, _: bool, entries_max: usize) -> Result<Vec<listing::Entry>, DiskError> {
        let path = text_of_path(path);
        let disk = self.0.borrow();
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let names = disk.files.iter().filter_map(|(file, (version, content))| {
            let name = file.strip_prefix(&below).filter(|name| !name.contains('/'))?;
            let Stamp { bytes, modified, .. } = fake_stamp(*version, content);
            Some(listing::Entry::new(name.as_bytes(), listing::EntryKind::File, bytes, modified))
        });
        let names: Vec<_> = names.take(entries_max).collect();
        if names.is_empty() && !disk.files.keys().any(|file| file.starts_with(&below)) {
            return Err(DiskError::NotFound);
        }
        Ok(names)
    }

    fn reopen_if_replaced(&mut self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().is_replaced)
    }

    /// Only for its paths; a real disk decides whether it holds.
    fn absence(&self, paths: Vec<PathBuf>) -> Absence {
        let nowhere = std::fs::File::open("/").expect("there is a root");
        Absence::new(Arc::new(nowhere.into()), paths)
    }
}

pub(super) const LIMITS: Limits = Limits {
    memory_file_bytes_max: 256 * 1024,
    memory_bytes_max: 64 * 1024 * 1024,
    entries_max: 1024,
    open_files_max: 64,
};

pub(super) struct Bench {
    pub(super) core: Core<FakeDisk>,
    pub(super) disk: FakeDisk,
    pub(super) now: Now,
    pub(super) counts: Arc<CacheCounts>,
}

impl Bench {
    pub(super) fn new(limits: Limits) -> Self {
        Self::of_site(SiteConfig::default(), limits)
    }

    pub(super) fn of_site(site: SiteConfig, limits: Limits) -> Self {
        let disk = FakeDisk::default();
        let now =
            Now { instant: Instant::now(), time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) };
        let counts = Arc::new(CacheCounts::default());
        let mut core = Core::new(disk.clone(), Arc::new(site), limits, Arc::clone(&counts), now);
        core.effects.clear();
        core.note_watched(true);
        Self { core, disk, now, counts }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.time += time;
        let mut out = Vec::new();
        self.core.look_if_due(self.now, &mut out);
        self.core.effects = out;
    }

    /// Lets time pass, and does whatever is due at its time.
    pub(super) fn pass_in_steps(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(due) = self.core.next_look().filter(|due| *due <= end) {
            let wait = due.saturating_duration_since(self.now.instant).max(Duration::from_micros(1));
            self.pass(wait.min(end.saturating_duration_since(self.now.instant)));
            if self.now.instant >= end {
                return;
            }
        }
        self.pass(end.saturating_duration_since(self.now.instant));
    }

    pub(super) fn find(&mut self, path: &str) -> Found {
        let (reply, pending) = reply();
        let path = SitePath::decode(path, false).expect("the test gives a good path");
        self.core.answer(self.now, Find { path: Some(path), reply });
        pending.wait(SOON).expect("the core answers at once")
    }

    pub(super) fn asset(&mut self, path: &str) -> Arc<Asset> {
        match self.find(path) {
            Found::Asset(asset) | Found::Nothing { page: asset, .. } => asset,
            other => panic!("{path} gave {other:?}"),
        }
    }

    /// Runs the jobs of the compressor. Returns their number.
    pub(super) fn compress(&mut self) -> usize {
        let mut jobs = 0;
        loop {
            let effects = std::mem::take(&mut self.core.effects);
            if effects.is_empty() {
                return jobs;
            }
            for effect in effects {
                if let Effect::Compress(job) = effect {
                    jobs += 1;
                    self.core.note_compressed(&compressor::compress(job));
                }
            }
        }
    }
}

impl Asset {
    pub(super) fn head(&self) -> &[u8] {
        self.plain.head()
    }

    pub(super) fn body(&self) -> &Body {
        &self.plain.body
    }

    pub(super) fn codings(&self) -> impl Iterator<Item = Coding> {
        self.coded.iter().map(|(coding, _)| *coding)
    }

    pub(super) fn has(&self, coding: Coding) -> bool {
        self.in_coding(coding).is_some()
    }
}

pub(super) fn text(asset: &Asset) -> String {
    text_of(asset.body())
}

pub(super) fn text_of(body: &Body) -> String {
    match body {
        Body::Memory(content) => String::from_utf8_lossy(content).into_owned(),
        Body::File { file, .. } => {
            let mut content = String::new();
            let mut file = &**file;
            std::io::Seek::rewind(&mut file).expect("the test's file can be read");
            file.read_to_string(&mut content).expect("the test's file can be read");
            content
        }
    }
}

pub(super) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).expect("heads are text");
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
