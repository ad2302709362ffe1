//! FileServer's state and decisions: what a path names, what is cached, what is compressed. See `freshness.rs` for how long
//! a cache entry is fresh, and `cache.rs` for eviction.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wire::http::{SitePath, Status};

use super::cache::{Cache, Compared, Key, Limits};
use super::compressor::{Compressed, Job};
use super::disk::{Disk, DiskError};
use super::fields::fields_of;
use super::freshness::Freshness;
use super::keep::with_suffix;
use super::listing;
use super::watch::Report;
use crate::commands::asset::{Asset, AssetFields, Body, Representation};
use crate::commands::file_server::{Find, Found};
use crate::metrics::CacheCounts;
use crate::runtime::{self, Now};
use crate::site::SiteConfig;

/// The file that is served for its directory.
const INDEX_FILE: &str = "index.html";

/// The site's own page for a 404.
pub(super) const NOT_FOUND_FILE: &str = "404.html";

/// The site's own page for a 500 or 503.
pub(super) const FAILED_FILE: &str = "50x.html";

/// The extension that a clean URL lacks.
pub(super) const CLEAN_EXTENSION: &str = ".html";

/// The page for a 404 of a site without `404.html`.
const NOT_FOUND_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Not found</title>\n\
    <p>There is nothing at this address. <a href=\"/\">Start here</a>.\n";

/// The maximum number of entries in the list of a directory. Reading them takes some milliseconds, in which other
/// requests wait.
const LISTED_MAX: usize = 5_000;

/// The number of cached lists. Without a cache, alternating requests for large directories would build a list each time.
const LISTS_MAX: usize = 16;

/// What the shell has to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Watch the web root, in place of the previous watch. Reports carry this number.
    Watch(u64),
    Compress(Job),
}

/// What FileServer takes in.
#[derive(Debug)]
pub(super) enum Input {
    Find(Find),
    /// A report of the watch with this number.
    Reported(u64, Report),
    Compressed(Compressed),
}

impl From<Find> for Input {
    fn from(find: Find) -> Self {
        Self::Find(find)
    }
}

/// The list of a directory, in both forms.
#[derive(Debug)]
pub(super) struct Listed {
    path: PathBuf,
    html: Arc<Asset>,
    json: Arc<Asset>,
    compared: Compared,
}

#[derive(Debug)]
pub(super) struct Core<D> {
    pub(super) disk: D,
    pub(super) site: Arc<SiteConfig>,
    pub(super) cache: Cache,
    pub(super) freshness: Freshness,
    /// The last lists, oldest first.
    listed: VecDeque<Listed>,
    /// The built-in page for a 404.
    pub(super) not_found: Arc<Asset>,
    /// The queue of the compressor, and how many files it has now.
    pub(super) waiting: VecDeque<Key>,
    pub(super) compressing: usize,
    /// The number of the current watch.
    pub(super) watch: u64,
    pub(super) effects: Vec<Effect>,
}

impl<D: Disk> runtime::Core for Core<D> {
    type Command = Input;
    type Out = Vec<Effect>;

    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Find(find) => self.answer(now, find),
            Input::Reported(number, report) if number == self.watch => match report {
                Report::Watching => self.note_watched(true),
                Report::NotWatching => self.note_watched(false),
                Report::Change(path) => self.note_change(path),
            },
            // From a watch on a previous root.
            Input::Reported(..) => {}
            Input::Compressed(done) => self.note_compressed(&done),
        }
        out.append(&mut self.effects);
    }
}

impl<D: Disk> Core<D> {
    pub(super) fn new(
        disk: D,
        site: Arc<SiteConfig>,
        limits: Limits,
        counts: Arc<CacheCounts>,
        now: Now,
    ) -> Self {
        let not_found = Arc::new(built_in(&site));
        let mut core = Self {
            disk,
            site,
            cache: Cache::new(limits, counts),
            freshness: Freshness::new(now),
            listed: VecDeque::new(),
            not_found,
            waiting: VecDeque::new(),
            compressing: 0,
            watch: 0,
            effects: vec![Effect::Watch(0)],
        };
        // Cached now, so that they are there when the disk fails.
        core.error_page(now, Status::InternalServerError);
        core.error_page(now, Status::ServiceUnavailable);
        core
    }

    pub(super) fn answer(&mut self, now: Now, Find { path, reply }: Find) {
        if reply.has_expired(now.instant) {
            return;
        }
        reply.answer(match path {
            Some(path) => self.find(now, &path),
            None => self.nothing(now, Vec::new()),
        });
    }

    fn find(&mut self, now: Now, path: &SitePath) -> Found {
        self.look_at_root(now);
        let file = Path::new(OsStr::from_bytes(path.as_bytes()));
        let found = if path.is_directory() {
            self.find_directory(now, file)
        } else {
            self.find_file(now, file, || path.directory_location())
        };
        match found {
            Ok(found) => found,
            Err(DiskError::NotFound) => self.find_instead(now, file, path.is_directory()),
            Err(DiskError::Refused) => Found::Refused,
            Err(DiskError::Busy) => Found::Busy(self.error_page(now, Status::ServiceUnavailable)),
            Err(DiskError::Failed) => Found::Failed(self.error_page(now, Status::InternalServerError)),
        }
    }

    fn find_directory(&mut self, now: Now, path: &Path) -> Result<Found, DiskError> {
        match self.file(now, &index_of(path)) {
            Ok(Some(asset)) => Ok(Found::Asset(asset)),
            Ok(None) | Err(DiskError::NotFound) if self.site.listing => self.list(now, path),
            Ok(None) => Err(DiskError::NotFound),
            Err(error) => Err(error),
        }
    }

    /// `directory` gives the target of the redirection if the path is that of a directory.
    fn find_file(
        &mut self,
        now: Now,
        path: &Path,
        directory: impl Fn() -> String,
    ) -> Result<Found, DiskError> {
        match self.file(now, path) {
            Ok(Some(asset)) => Ok(Found::Asset(asset)),
            Ok(None) if self.site.clean_urls && self.disk.stamp(&index_of(path)).is_err() => {
                // `blog/` often has the posts that `blog.html` lists.
                match self.clean(now, path) {
                    Err(DiskError::NotFound) => Ok(Found::Redirect(directory())),
                    found => found,
                }
            }
            Ok(None) => Ok(Found::Redirect(directory())),
            Err(DiskError::NotFound) if self.site.clean_urls => self.clean(now, path),
            Err(error) => Err(error),
        }
    }

    /// The file for a clean URL.
    fn clean(&mut self, now: Now, path: &Path) -> Result<Found, DiskError> {
        let file = with_suffix(path, CLEAN_EXTENSION);
        let asset = self.file(now, &file)?.ok_or(DiskError::NotFound)?;
        let slot = self.cache.find(&Key::new(&file, Status::Ok));
        if let Some(kept) = slot.and_then(|slot| self.cache.get_mut(slot)) {
            kept.stands_for_clean = true;
        }
        Ok(Found::Asset(asset))
    }

    /// The page for a path that names nothing.
    fn find_instead(&mut self, now: Now, path: &Path, is_directory: bool) -> Found {
        let mut absent = if is_directory {
            // With listings, a directory without an index file is served too.
            vec![if self.site.listing { path.to_owned() } else { index_of(path) }]
        } else {
            vec![path.to_owned()]
        };
        if self.site.clean_urls && !is_directory {
            absent.push(with_suffix(path, CLEAN_EXTENSION));
        }
        let has_extension = path.file_name().is_some_and(|name| name.as_bytes().contains(&b'.'));
        // A path with an extension is a missing picture or script. The application's page in its place would hide that.
        if self.site.spa && !has_extension {
            if let Ok(Some(page)) = self.file(now, Path::new(INDEX_FILE)) {
                return Found::Nothing { page, absence: self.disk.absence(absent) };
            }
            absent.push(INDEX_FILE.into());
        }
        self.nothing(now, absent)
    }

    /// The page for a 404, which depends on `absent`.
    fn nothing(&mut self, now: Now, mut absent: Vec<PathBuf>) -> Found {
        let page = match self.asset(now, Path::new(NOT_FOUND_FILE), Status::NotFound) {
            Ok(Some(page)) => page,
            Ok(None) | Err(_) => {
                absent.push(NOT_FOUND_FILE.into());
                Arc::clone(&self.not_found)
            }
        };
        Found::Nothing { page, absence: self.disk.absence(absent) }
    }

    /// The site's own page for a 500 or 503. If the disk fails, a cached one is used.
    pub(super) fn error_page(&mut self, now: Now, status: Status) -> Option<Arc<Asset>> {
        match self.asset(now, Path::new(FAILED_FILE), status) {
            Ok(page) => page,
            Err(DiskError::NotFound | DiskError::Refused) => None,
            Err(DiskError::Busy | DiskError::Failed) => {
                let slot = self.cache.find(&Key::new(FAILED_FILE, status))?;
                self.cache.get(slot).map(|(_, kept)| Arc::clone(&kept.asset))
            }
        }
    }

    fn list(&mut self, now: Now, path: &Path) -> Result<Found, DiskError> {
        let freshness = &self.freshness;
        self.listed.retain(|listed| freshness.is_fresh(now, listed.compared));
        if let Some(listed) = self.listed.iter().find(|listed| listed.path == path) {
            return Ok(Found::Listing { html: Arc::clone(&listed.html), json: Arc::clone(&listed.json) });
        }
        let mut entries = self.disk.list(path, self.site.hidden_files, LISTED_MAX + 1)?;
        let is_cut = entries.len() > LISTED_MAX;
        entries.truncate(LISTED_MAX);
        let form = |media_type: &'static str, content: String, security: Option<&str>| {
            let mut fields = fields_of(&self.site, path, Status::NotFound);
            fields.content_type = media_type.into();
            fields.varies_by("Accept");
            if let Some(security) = security {
                fields.replace("Content-Security-Policy", security);
            }
            let list = page(Status::Ok, &fields, Body::Memory(content.into()));
            // It is not a lease, because the directory is not watched for changes of the list.
            list.revoke();
            Arc::new(list)
        };
        let security = listing::content_security_policy();
        let shown = path.to_string_lossy();
        let html =
            form("text/html; charset=utf-8", listing::render_html(&shown, &entries, is_cut), Some(security));
        let json = form("application/json", listing::render_json(&shown, &entries, is_cut), None);
        let found = Found::Listing { html: Arc::clone(&html), json: Arc::clone(&json) };
        if self.listed.len() == LISTS_MAX {
            self.listed.pop_front();
        }
        let compared = self.freshness.compared(now);
        self.listed.push_back(Listed { path: path.to_owned(), html, json, compared });
        Ok(found)
    }

    /// The root was replaced by another directory, so nothing of what is cached is valid.
    pub(super) fn forget_all(&mut self) {
        self.cache.clear();
        self.not_found.revoke();
        self.not_found = Arc::new(built_in(&self.site));
        self.listed.clear();
        self.waiting.clear();
    }
}

pub(super) fn index_of(directory: &Path) -> PathBuf {
    directory.join(INDEX_FILE)
}

/// The page of a site without its own for a 404.
fn built_in(site: &SiteConfig) -> Asset {
    let content = Body::Memory(Bytes::from_static(NOT_FOUND_PAGE.as_bytes()));
    page(Status::NotFound, &fields_of(site, Path::new(NOT_FOUND_FILE), Status::NotFound), content)
}

/// A page without validators: pages that stand for an error or a list cannot be revalidated.
pub(super) fn page(status: Status, fields: &AssetFields<'_>, body: Body) -> Asset {
    Asset::new(status, false, Representation::build(status, fields, None, None, body), Vec::new())
}
