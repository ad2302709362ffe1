//! All files of all owners, and the ways to find them. The catalog knows neither who is online nor who asks, so a
//! faster structure can replace it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use slab::Slab;
use wire::share::PublishedFile;
use wire::{Digest, FileName, Keyword, Query};

use super::interner::{Interner, TextId};

/// The id of a file in the catalog. It is valid until the share is replaced.
pub(super) type FileId = u32;

/// The id of an owner, see [`super::peers`].
pub(super) type OwnerId = u32;

#[derive(Debug)]
struct Entry {
    owner: OwnerId,
    name: TextId,
    bytes: u64,
    sha256: Digest,
    /// As the owner writes them, in the order given.
    keywords: Box<[TextId]>,
}

/// An inverted index: for each keyword in lower case, the sorted list of the files that have it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    names: Interner<()>,
    /// Keywords as their owners write them, each with its term. Each holds one use of its term.
    spellings: Interner<TextId>,
    /// Keywords in lower case, each with its posting list: its files in ascending order, each once.
    terms: Interner<Vec<FileId>>,
    files: Slab<Entry>,
    by_name: BTreeSet<(TextId, FileId)>,
    by_digest: BTreeSet<(Digest, FileId)>,
}

impl Catalog {
    /// Adds the files of an owner. Within one file no keyword may occur twice, whatever its case.
    pub(super) fn insert(&mut self, owner: OwnerId, files: &[PublishedFile]) -> Vec<FileId> {
        let mut unsorted = Vec::new();
        let ids = files.iter().map(|file| self.insert_one(owner, file, &mut unsorted)).collect();
        unsorted.sort_unstable();
        unsorted.dedup();
        for term in unsorted {
            // Mostly two ascending runs, which the stable sort merges in one pass.
            self.terms.value_mut(term).sort();
        }
        ids
    }

    fn insert_one(&mut self, owner: OwnerId, file: &PublishedFile, unsorted: &mut Vec<TextId>) -> FileId {
        let name = self.names.acquire(file.name.as_str(), || ());
        let terms = &mut self.terms;
        let keywords: Box<[TextId]> = file
            .keywords
            .iter()
            .map(|keyword| {
                let term = || terms.acquire(&keyword.folded(), Vec::new);
                self.spellings.acquire(keyword.as_str(), term)
            })
            .collect();
        let entry = Entry { owner, name, bytes: file.bytes, sha256: file.sha256, keywords };
        let id = self.files.insert(entry);
        let keywords = &self.files[id].keywords;
        let id = u32::try_from(id).expect("the index holds fewer than 2^32 files");
        for spelling in keywords {
            let term = *self.spellings.value(*spelling);
            let posting = self.terms.value_mut(term);
            if posting.last().is_some_and(|last| *last > id) {
                unsorted.push(term);
            }
            posting.push(id);
        }
        self.by_name.insert((name, id));
        self.by_digest.insert((file.sha256, id));
        id
    }

    pub(super) fn remove(&mut self, ids: &[FileId]) {
        let mut touched = Vec::new();
        // Backwards, because the id that is freed last is used first: new files then get ascending ids, and their
        // posting lists need no sorting.
        for id in ids.iter().rev() {
            let entry = self.files.remove(*id as usize);
            self.by_name.remove(&(entry.name, *id));
            self.by_digest.remove(&(entry.sha256, *id));
            self.names.release(entry.name);
            for spelling in &entry.keywords {
                let term = *self.spellings.value(*spelling);
                let is_forgotten =
                    self.spellings.release(*spelling).is_some() && self.terms.release(term).is_some();
                if !is_forgotten {
                    touched.push(term);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for term in touched {
            if !self.terms.contains(term) {
                // Another file of these had its last use.
                continue;
            }
            let posting = self.terms.value_mut(term);
            posting.retain(|id| self.files.contains(*id as usize));
            if posting.len() < posting.capacity() / 4 {
                posting.shrink_to_fit();
            }
        }
    }

    /// The matching files, in ascending order of their ids, each once.
    pub(super) fn matching(&self, query: &Query) -> Cow<'_, [FileId]> {
        match query {
            Query::Keywords(keywords) => self.with_all(keywords.as_slice()),
            Query::File(name) => {
                let name = self.names.find(name.as_str());
                name.map(|n| of_key(&self.by_name, n)).unwrap_or_default().into()
            }
            Query::Digest(digest) => of_key(&self.by_digest, *digest).into(),
        }
    }

    fn with_all(&self, keywords: &[Keyword]) -> Cow<'_, [FileId]> {
        let mut postings = Vec::with_capacity(keywords.len());
        for keyword in keywords {
            match self.terms.find(&keyword.folded()) {
                Some(term) => postings.push(self.terms.value(term).as_slice()),
                None => return Cow::default(),
            }
        }
        postings.sort_unstable_by_key(|posting| posting.len());
        let mut postings = postings.into_iter();
        let shortest = Cow::Borrowed(postings.next().unwrap_or_default());
        postings.fold(shortest, |common, longer| intersect(&common, longer).into())
    }

    pub(super) fn owner(&self, id: FileId) -> OwnerId {
        self.entry(id).owner
    }

    pub(super) fn name(&self, id: FileId) -> &str {
        self.names.text(self.entry(id).name)
    }

    /// A file that is in the catalog, as it was published.
    pub(super) fn file(&self, id: FileId) -> PublishedFile {
        let entry = self.entry(id);
        let name: FileName = self.name(id).parse().expect("it was interned from a FileName");
        let keyword = |spelling: &TextId| {
            let text = self.spellings.text(*spelling);
            text.parse().expect("it was interned from a Keyword")
        };
        PublishedFile {
            name,
            bytes: entry.bytes,
            sha256: entry.sha256,
            keywords: entry.keywords.iter().map(keyword).collect(),
        }
    }

    fn entry(&self, id: FileId) -> &Entry {
        &self.files[id as usize]
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.names.len() + self.spellings.len() + self.terms.len() == 0
            && self.files.is_empty()
            && self.by_name.is_empty()
            && self.by_digest.is_empty()
    }
}

/// The files that a sorted set has for a key.
fn of_key<K: Ord + Copy>(set: &BTreeSet<(K, FileId)>, key: K) -> Vec<FileId> {
    set.range((key, 0)..=(key, FileId::MAX)).map(|(_, id)| *id).collect()
}

/// The intersection of two ascending lists.
fn intersect(short: &[FileId], long: &[FileId]) -> Vec<FileId> {
    let mut rest = long;
    let mut common = Vec::new();
    for id in short {
        rest = &rest[count_below(rest, *id)..];
        match rest.first() {
            None => break,
            Some(first) if first == id => common.push(*id),
            Some(_) => {}
        }
    }
    common
}

/// How many ids at the start of an ascending list are below `id`. A galloping search: cheap when the place is near, and
/// when the list is much longer than the other one.
fn count_below(ascending: &[FileId], id: FileId) -> usize {
    let mut bound = 1;
    while bound < ascending.len() && ascending[bound] < id {
        bound *= 2;
    }
    let from = bound / 2;
    let to = ascending.len().min(bound + 1);
    from + ascending[from..to].partition_point(|other| *other < id)
}
