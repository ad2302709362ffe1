//! Publishes the shared files: all of them first, and then what has changed.
//!
//! A whole list can have 256 MiB. It goes part by part, with a ping after each, whose answer shows that the server has taken the part. So
//! messages do not wait behind the list, and a server that is slow, or far away, does not look as if it were silent.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use wire::FileName;
use wire::protocol::ToServer;
use wire::share::{Difference, ListDigest, ListedFile, PublishedFile};

use super::Engine;
use super::interface::ClientId;
use super::link::Link;
use super::tasks::{Task, TaskKind};
use crate::peer::command::Ending;
use crate::peer::event::{Answer, Event};

/// The pause before publishing again when the server was busy.
const PUBLISH_AGAIN: Duration = Duration::from_secs(10);
/// The maximum size of names and keywords in one part of a publication, well below the longest frame.
const PART_BYTES_MAX: usize = 256 << 10;
/// The same for a difference, so that the servers of a cluster can pass it on in one piece.
const DIFFERENCE_BYTES_MAX: usize = 128 << 10;
/// How many parts are sent before the server has taken the first of them, so that it need not wait for the next one.
const PARTS_UNDERWAY: usize = 2;
/// If more files than this have changed, and more than half of all, the whole list is shorter.
const CHANGED_MIN: usize = 1000;

/// What is left of a whole list, of which some parts were sent.
struct Rest {
    files: Peekable<vec::IntoIter<Arc<ListedFile>>>,
    /// The number of the next part.
    part: u32,
    /// The pings after parts that the server has not taken yet.
    pings: VecDeque<u32>,
}

impl Rest {
    /// The next part, and whether it is the last. Only this one is copied.
    fn next(&mut self, is_limited: bool) -> (ToServer<'static>, bool) {
        // An empty share is published too, as one empty part.
        let (mut files, mut bytes) = (Vec::new(), 0);
        while let Some(file) = self.files.next_if(|file| bytes == 0 || bytes + size(file) <= PART_BYTES_MAX) {
            bytes += size(&file);
            files.push(ListedFile::clone(&file));
        }
        let (part, last) = (self.part, self.files.peek().is_none());
        self.part += 1;
        let message = if is_limited {
            ToServer::PublishLimited { part, last, files }
        } else {
            ToServer::Publish { part, last, files: files.into_iter().map(|listed| listed.file).collect() }
        };
        (message, last)
    }
}

/// What was sent and is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Whole,
    Difference,
}

#[derive(Default)]
pub(super) struct Publishing {
    /// The share has the same in its memory.
    pub(super) files: BTreeMap<FileName, Arc<ListedFile>>,
    list: ListDigest,
    /// Whether the files were read. Until then nothing is published.
    is_read: bool,
    /// The list that the server has, or will have when it has taken what was sent. None if that is not known.
    base: Option<ListDigest>,
    /// The names at which the list differs from the base, with the file that the base has there.
    changed: BTreeMap<FileName, Option<Arc<ListedFile>>>,
    sent: Option<Sent>,
    rest: Option<Rest>,
    /// Whether a server has taken a difference. Then it is worthwhile to ask for its list after a break of the connection.
    has_taken_difference: bool,
    /// A server does not know differences, and ends the connection when it gets one.
    has_no_differences: bool,
    /// A server does not know files that not everyone may see, so they are left out.
    has_no_limits: bool,
    /// Whether what was sent has such files.
    has_sent_limits: bool,
    /// The number of files, and of pairs of a keyword and a file, that the server has confirmed.
    published: Option<(u32, u32)>,
    pub(super) again_at: Option<Instant>,
}

impl Publishing {
    /// Takes what has changed in the directory. Returns whether anything has.
    pub(super) fn take(&mut self, removed: Vec<FileName>, files: Vec<Arc<ListedFile>>) -> bool {
        let is_changed = !removed.is_empty() || !files.is_empty() || !self.is_read;
        self.is_read = true;
        for name in removed {
            let old = self.files.remove(&name);
            self.note(name, old);
        }
        for file in files {
            let name = file.file.name.clone();
            self.list.toggle(&file);
            let old = self.files.insert(name.clone(), file);
            self.note(name, old);
        }
        is_changed
    }

    fn note(&mut self, name: FileName, old: Option<Arc<ListedFile>>) {
        old.iter().for_each(|old| self.list.toggle(old));
        if self.base.is_some() {
            self.changed.entry(name).or_insert(old);
        }
    }

    /// What was sent on a connection that has ended may have arrived or not.
    fn connection_ended(&mut self) {
        if self.sent.take().is_some() || !self.has_taken_difference {
            self.base = None;
        }
        self.rest = None;
        self.again_at = None;
    }

    /// Says the next difference to the server, or begins with the whole list. Returns whether there was anything to say.
    fn next(&mut self, say: impl FnOnce(&ToServer<'_>)) -> bool {
        if self.sent.is_some() || !self.is_read || self.again_at.is_some() {
            return false;
        }
        let is_long = self.changed.len() > CHANGED_MIN.max(self.files.len() / 2);
        match self.base.filter(|_| !is_long && !self.has_no_differences) {
            Some(base) => {
                self.sent = Some(Sent::Difference);
                let difference = self.difference(base);
                let files = for_everyone(difference.files);
                self.has_sent_limits = files.is_err();
                say(&match files {
                    Ok(files) => {
                        let (base, removed) = (difference.base, difference.removed);
                        ToServer::Change(Difference { base, removed, files })
                    }
                    Err(files) => ToServer::ChangeLimited(Difference { files, ..difference }),
                });
            }
            None => {
                self.sent = Some(Sent::Whole);
                self.base = Some(self.list);
                self.changed.clear();
                self.rest = Some(self.whole());
            }
        }
        true
    }

    /// The first of what has changed. The rest goes when it is answered.
    fn difference(&mut self, base: ListDigest) -> Difference {
        let mut difference = Difference { base, removed: Vec::new(), files: Vec::new() };
        let (mut after, mut bytes) = (base, 0);
        while bytes < DIFFERENCE_BYTES_MAX
            && let Some((name, old)) = self.changed.pop_first()
        {
            let new = self.files.get(&name);
            if new == old.as_ref() {
                continue;
            }
            bytes += new.map_or(name.as_str().len(), |file| size(file));
            old.iter().chain(new).for_each(|file| after.toggle(file));
            match new {
                Some(file) => difference.files.push(ListedFile::clone(file)),
                None => difference.removed.push(name),
            }
        }
        self.base = Some(after);
        difference
    }

    /// The whole list as it is now.
    fn whole(&mut self) -> Rest {
        let files = self.files.values().filter(|listed| !self.has_no_limits || listed.audience.is_everyone());
        let files: Vec<Arc<ListedFile>> = files.cloned().collect();
        self.has_sent_limits = files.iter().any(|listed| !listed.audience.is_everyone());
        Rest { files: files.into_iter().peekable(), part: 0, pings: VecDeque::new() }
    }

    /// How many files are not published, because the server does not know limits.
    fn left_out(&self) -> usize {
        let limited = self.files.values().filter(|listed| !listed.audience.is_everyone());
        if self.has_no_limits { limited.count() } else { 0 }
    }

    /// The server's numbers, if it has everything.
    fn confirmed(&self) -> Option<(u32, u32)> {
        self.published.filter(|_| self.sent.is_none() && self.changed.is_empty())
    }
}

/// The files without their audiences, if everyone may see all of them.
fn for_everyone(files: Vec<ListedFile>) -> Result<Vec<PublishedFile>, Vec<ListedFile>> {
    if files.iter().all(|listed| listed.audience.is_everyone()) {
        Ok(files.into_iter().map(|listed| listed.file).collect())
    } else {
        Err(files)
    }
}

/// About the size of a file in a publication, in bytes.
fn size(ListedFile { file, audience }: &ListedFile) -> usize {
    let keywords = file.keywords.iter().map(|keyword| keyword.as_str().len() + 2).sum::<usize>();
    let names =
        audience.names().unwrap_or_default().iter().map(|name| name.as_str().len() + 2).sum::<usize>();
    64 + file.name.as_str().len() + keywords + names
}

impl Engine {
    /// Publishes the share on a new connection.
    pub(super) fn publish_anew(&mut self) {
        let publishing = &mut self.sharing.publishing;
        publishing.connection_ended();
        publishing.published = None;
        self.publish();
    }

    pub(super) fn publish(&mut self) {
        if self.local.link.is_none() {
            return;
        }
        let Self { sharing, local, .. } = self;
        if sharing.publishing.next(|message| local.say(message)) {
            sharing.publishing.published = None;
            self.publish_rest();
        }
    }

    /// Says the next parts of a whole list.
    fn publish_rest(&mut self) {
        let is_limited = self.sharing.publishing.has_sent_limits;
        while let Some(rest) = &mut self.sharing.publishing.rest
            && rest.pings.len() < PARTS_UNDERWAY
        {
            let (part, is_last) = rest.next(is_limited);
            self.local.say(&part);
            if is_last {
                self.sharing.publishing.rest = None;
                return;
            }
            rest.pings.extend(self.local.link.as_ref().map(Link::next_ping));
            self.ping();
        }
    }

    /// Goes on with a whole list if this is the answer to a ping after one of its parts.
    pub(super) fn publish_after(&mut self, ping: u32) {
        let rest = self.sharing.publishing.rest.as_mut();
        if rest.is_some_and(|rest| rest.pings.pop_front_if(|awaited| *awaited == ping).is_some()) {
            self.publish_rest();
        }
    }

    /// Publishes what has changed, or tells those who wait for it that the server has everything.
    pub(super) fn publish_changes(&mut self, is_changed: bool) {
        match self.sharing.publishing.confirmed().filter(|_| !is_changed) {
            Some((files, pairs)) => {
                let changes = |task: &Task| matches!(task.kind, TaskKind::ChangeShare);
                self.local.tell_all(&Event::Result(Answer::Published { files, pairs }), changes);
                self.end_share_changes(Ending::Done);
            }
            None => self.publish(),
        }
    }

    pub(super) fn publish_again(&mut self) {
        if self.sharing.publishing.again_at.take_if(|at| *at <= self.local.now.instant).is_some() {
            self.publish();
        }
    }

    /// Handles a refused publication. The server refuses each part, but the user is told once.
    pub(super) fn not_published(&mut self, detail: &str) {
        let publishing = &mut self.sharing.publishing;
        let sent = publishing.sent.take();
        publishing.rest = None;
        publishing.base = None;
        publishing.changed.clear();
        if sent == Some(Sent::Difference) {
            // The server has another list, or wants a whole one for another reason.
            return self.publish();
        }
        let at = self.local.now.instant + PUBLISH_AGAIN;
        if publishing.again_at.replace(at).is_none() {
            self.local.tell_sharers(&Event::error(format!(
                "the server has refused the share: {detail}; trying again"
            )));
            self.end_share_changes(Ending::Failed);
        }
    }

    /// The server has ended the connection because it does not know a message.
    pub(super) fn publication_unknown(&mut self) {
        let publishing = &mut self.sharing.publishing;
        let Some(sent) = publishing.sent else { return };
        publishing.has_no_differences |= sent == Sent::Difference;
        if publishing.has_sent_limits {
            publishing.has_no_limits = true;
            // What a difference would be based on has the limited files.
            publishing.has_no_differences = true;
            let files = publishing.left_out();
            self.local.tell_sharers(&Event::error(format!(
                "the server does not know files that are for some peers only; {files} such file(s) are not published, until the \
                 server is updated and this program starts again"
            )));
        }
    }

    pub(super) fn published(&mut self, files: u32, pairs: u32) {
        let publishing = &mut self.sharing.publishing;
        publishing.has_taken_difference |= publishing.sent.take() == Some(Sent::Difference);
        publishing.published = Some((files, pairs));
        if publishing.confirmed().is_none() {
            return self.publish();
        }
        self.local.tell_sharers(&Event::Result(Answer::Published { files, pairs }));
        self.end_share_changes(Ending::Done);
    }

    fn end_share_changes(&mut self, ending: Ending) {
        self.local.end_tasks(ending, |task| matches!(task.kind, TaskKind::ChangeShare));
    }

    /// Tells a new client about an earlier publication.
    pub(super) fn say_published(&mut self, client: ClientId) {
        if let (Some((files, pairs)), true) = (self.sharing.publishing.published, self.local.link.is_some()) {
            self.local.tell(client, Event::Result(Answer::Published { files, pairs }));
        }
    }
}
