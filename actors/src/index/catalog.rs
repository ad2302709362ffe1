//! All files of all owners, and the ways to find them. It knows neither who is online nor who asks: this is the seam at
//! which a faster structure can take its place.

use std::borrow::Cow;
use std::collections::BTreeSet;

use wire::share::PublishedFile;
use wire::{Digest, FileName, Keyword, Query};

use super::interner::{Interner, TextId};

/// Names a file in the catalog until its share is replaced.
pub(super) type FileId = u32;

/// Names an owner, see [`super::peers`].
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
    names: Interner,
    /// Keywords as their owners write them. Each holds one use of its term.
    spellings: Interner,
    /// Keywords in lower case.
    terms: Interner,
    /// The term of each spelling.
    term_of: Vec<TextId>,
    /// The files of each term, in ascending order, each once.
    postings: Vec<Vec<FileId>>,
    files: Vec<Option<Entry>>,
    free: Vec<FileId>,
    by_name: BTreeSet<(TextId, FileId)>,
    by_digest: BTreeSet<(Digest, FileId)>,
}

impl Catalog {
    /// Enters the files of an owner. Within one file no keyword may occur twice, whatever its case.
    pub(super) fn insert(&mut self, owner: OwnerId, files: &[PublishedFile]) -> Vec<FileId> {
        let mut unsorted = Vec::new();
        let ids = files.iter().map(|file| self.insert_one(owner, file, &mut unsorted)).collect();
        unsorted.sort_unstable();
        unsorted.dedup();
        for term in unsorted {
            // Two ascending runs, mostly, which the stable sort merges in one pass.
            self.postings[term as usize].sort();
        }
        ids
    }

    fn insert_one(&mut self, owner: OwnerId, file: &PublishedFile, unsorted: &mut Vec<TextId>) -> FileId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.files.push(None);
            u32::try_from(self.files.len() - 1).expect("the index holds fewer than 2^32 files")
        });
        let name = self.names.acquire(file.name.as_str());
        let keywords: Box<[TextId]> = file.keywords.iter().map(|k| self.spell(k)).collect();
        for spelling in &keywords {
            let term = self.term_of[*spelling as usize];
            let posting = &mut self.postings[term as usize];
            if posting.last().is_some_and(|last| *last > id) {
                unsorted.push(term);
            }
            posting.push(id);
        }
        self.by_name.insert((name, id));
        self.by_digest.insert((file.sha256, id));
        self.files[id as usize] =
            Some(Entry { owner, name, bytes: file.bytes, sha256: file.sha256, keywords });
        id
    }

    /// Counts one more use of a spelling, and enters its term when it is a new one.
    fn spell(&mut self, keyword: &Keyword) -> TextId {
        let known = self.spellings.find(keyword.as_str()).is_some();
        let spelling = self.spellings.acquire(keyword.as_str());
        if !known {
            let term = self.terms.acquire(&keyword.folded());
            put(&mut self.term_of, spelling, term);
            if self.postings.len() <= term as usize {
                self.postings.push(Vec::new());
            }
        }
        spelling
    }

    /// Forgets files.
    pub(super) fn remove(&mut self, ids: &[FileId]) {
        let mut touched = Vec::new();
        for id in ids {
            let Some(entry) = self.files[*id as usize].take() else {
                continue;
            };
            self.by_name.remove(&(entry.name, *id));
            self.by_digest.remove(&(entry.sha256, *id));
            self.names.release(entry.name);
            for spelling in &entry.keywords {
                let term = self.term_of[*spelling as usize];
                touched.push(term);
                if self.spellings.release(*spelling) {
                    self.terms.release(term);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for term in touched {
            let posting = &mut self.postings[term as usize];
            posting.retain(|id| self.files[*id as usize].is_some());
            if posting.len() < posting.capacity() / 4 {
                posting.shrink_to_fit();
            }
        }
        // Only now, so that no posting could have met a number that is in use again.
        self.free.extend(ids.iter().rev());
    }

    /// The files that match, in ascending order of their numbers, each once.
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
                Some(term) => postings.push(self.postings[term as usize].as_slice()),
                None => return Cow::default(),
            }
        }
        postings.sort_unstable_by_key(|posting| posting.len());
        let mut postings = postings.into_iter();
        let shortest = Cow::Borrowed(postings.next().unwrap_or_default());
        postings.fold(shortest, |common, longer| intersect(&common, longer).into())
    }

    /// Who owns a file that is in the catalog.
    pub(super) fn owner(&self, id: FileId) -> OwnerId {
        self.entry(id).owner
    }

    /// The name of a file that is in the catalog.
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
        self.files[id as usize].as_ref().expect("file numbers are handed out and taken back with the entry")
    }

    /// Whether nothing is left of anything that was ever entered.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.names.len() + self.spellings.len() + self.terms.len() == 0
            && self.postings.iter().all(Vec::is_empty)
            && self.by_name.is_empty()
            && self.by_digest.is_empty()
    }
}

/// Sets a place in a table that grows by one place at a time.
fn put(table: &mut Vec<TextId>, at: TextId, value: TextId) {
    if table.len() <= at as usize {
        table.push(value);
    } else {
        table[at as usize] = value;
    }
}

/// The files that a sorted set has under a key.
fn of_key<K: Ord + Copy>(set: &BTreeSet<(K, FileId)>, key: K) -> Vec<FileId> {
    set.range((key, 0)..=(key, FileId::MAX)).map(|(_, id)| *id).collect()
}

/// What two ascending lists have in common.
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

/// How many numbers at the start of an ascending list are below `id`. Doubling the step first makes it cheap both when the
/// place is near and when the list is much longer than the other one.
fn count_below(ascending: &[FileId], id: FileId) -> usize {
    let mut bound = 1;
    while bound < ascending.len() && ascending[bound] < id {
        bound *= 2;
    }
    let from = bound / 2;
    let to = ascending.len().min(bound + 1);
    from + ascending[from..to].partition_point(|other| *other < id)
}
