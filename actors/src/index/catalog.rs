//! All files of all owners, and the ways to find them. The catalog knows neither who is online nor who asks, so a
//! faster structure can replace it.

use std::collections::BTreeSet;

use slab::Slab;
use wire::share::{ListedFile, PublishedFile};
use wire::words::{folded, has_phrase, words};
use wire::{Digest, FileName, Keyword};

use super::access::Access;
use super::interner::{Interner, TextId};
use super::posting::{Match, Posting};
use super::vocabulary::Vocabulary;

/// The id of a file in the catalog. It is valid until the share is replaced.
pub(super) type FileId = u32;

/// Posting lists have two bits of an entry for something else.
const FILES_MAX: usize = 1 << 30;

/// The id of an owner, see [`super::peers`].
pub(super) type OwnerId = u32;

/// The first bytes of a name. Two of them have the order of the names, or are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameStart([u8; 8]);

impl NameStart {
    fn of(name: &str) -> Self {
        let mut start = [0; 8];
        let bytes = name.len().min(start.len());
        start[..bytes].copy_from_slice(&name.as_bytes()[..bytes]);
        Self(start)
    }
}

#[derive(Debug)]
struct Entry {
    owner: OwnerId,
    name: TextId,
    start: NameStart,
    bytes: u64,
    sha256: Digest,
    /// As the owner writes them, in the order given.
    keywords: Box<[TextId]>,
}

/// A keyword as an owner writes it. It holds one use of each text in the vocabulary.
#[derive(Debug)]
struct Spelling {
    /// The keyword folded.
    term: TextId,
    /// Its words, unless it is a single word.
    words: Box<[TextId]>,
}

/// An inverted index: for each text by which files are found, the sorted list of these files. The texts are folded keywords,
/// their words, and the words of the names of files without keywords.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    names: Interner<(), FileName>,
    spellings: Interner<Spelling, Keyword>,
    vocabulary: Vocabulary,
    /// The last extensions of names, folded.
    extensions: Interner<Posting>,
    files: Slab<Entry>,
    /// A name has one file of each owner at most.
    by_name: BTreeSet<(TextId, OwnerId, FileId)>,
    by_digest: BTreeSet<(Digest, FileId)>,
    access: Access,
}

impl Catalog {
    /// Adds the files of an owner. Within one file no keyword may occur twice, whatever its case.
    pub(super) fn insert(&mut self, owner: OwnerId, files: &[ListedFile]) -> Vec<FileId> {
        let mut unsorted = (Vec::new(), Vec::new());
        let ids = files.iter().map(|file| self.insert_one(owner, file, &mut unsorted)).collect();
        let (mut terms, mut extensions) = unsorted;
        for unsorted in [&mut terms, &mut extensions] {
            unsorted.sort_unstable();
            unsorted.dedup();
        }
        terms.into_iter().for_each(|term| self.vocabulary.posting_mut(term).sort());
        extensions.into_iter().for_each(|extension| self.extensions.value_mut(extension).sort());
        ids
    }

    /// Adds a file, and notes the terms and extensions whose lists are not sorted any more.
    fn insert_one(
        &mut self,
        owner: OwnerId,
        ListedFile { file, audience }: &ListedFile,
        unsorted: &mut (Vec<TextId>, Vec<TextId>),
    ) -> FileId {
        let name = self.names.acquire(file.name.as_str(), || (file.name.clone(), ()));
        let keywords: Box<[TextId]> = file.keywords.iter().map(|keyword| self.acquire(keyword)).collect();
        if keywords.is_empty() {
            for word in words_of_name(file.name.as_str()) {
                self.vocabulary.acquire(&word);
            }
        }
        let start = NameStart::of(file.name.as_str());
        let entry = Entry { owner, name, start, bytes: file.bytes, sha256: file.sha256, keywords };
        let id = self.files.insert(entry);
        assert!(id < FILES_MAX, "the index holds fewer than 2^30 files");
        let id = u32::try_from(id).expect("2^30 fits");
        let terms = self.terms_of(id);
        self.access.limit(id, audience, terms.iter().map(|(term, _)| *term));
        for (term, how) in terms {
            if self.vocabulary.posting_mut(term).push(id, how) {
                unsorted.0.push(term);
            }
        }
        if let Some(extension) = extension(&folded(file.name.as_str())) {
            let extension = self.extensions.acquire(extension, || (extension.into(), Posting::default()));
            if self.extensions.value_mut(extension).push(id, Match::Name) {
                unsorted.1.push(extension);
            }
        }
        self.by_name.insert((name, owner, id));
        self.by_digest.insert((file.sha256, id));
        id
    }

    fn acquire(&mut self, keyword: &Keyword) -> TextId {
        let vocabulary = &mut self.vocabulary;
        self.spellings.acquire(keyword.as_str(), || {
            let folded = keyword.folded();
            let mut of_it: Vec<&str> = words(&folded).filter(|word| **word != *folded).collect();
            of_it.sort_unstable();
            of_it.dedup();
            let words = of_it.into_iter().map(|word| vocabulary.acquire(word)).collect();
            (keyword.clone(), Spelling { term: vocabulary.acquire(&folded), words })
        })
    }

    /// The texts by which a file is found, each once with its best match.
    fn terms_of(&self, id: FileId) -> Vec<(TextId, Match)> {
        let entry = self.entry(id);
        let mut terms = Vec::new();
        for spelling in &entry.keywords {
            let spelling = self.spellings.value(*spelling);
            terms.push((spelling.term, Match::Keyword));
            terms.extend(spelling.words.iter().map(|word| (*word, Match::Word)));
        }
        if entry.keywords.is_empty() {
            let words = words_of_name(self.names.text(entry.name).as_str()).into_iter();
            terms.extend(words.filter_map(|word| Some((self.vocabulary.id(&word)?, Match::Name))));
        }
        terms.sort_unstable_by(|(a, how_a), (b, how_b)| a.cmp(b).then(how_b.cmp(how_a)));
        terms.dedup_by_key(|(term, _)| *term);
        terms
    }

    pub(super) fn remove(&mut self, ids: &[FileId]) {
        let mut gone: Vec<(TextId, FileId)> = Vec::new();
        for id in ids {
            let terms = self.terms_of(*id);
            self.access.forget(*id, terms.iter().map(|(term, _)| *term));
            gone.extend(terms.into_iter().map(|(term, _)| (term, *id)));
        }
        gone.sort_unstable();
        for of_term in gone.chunk_by(|(a, _), (b, _)| a == b) {
            self.vocabulary.posting_mut(of_term[0].0).remove(of_term.iter().map(|(_, id)| *id));
        }
        self.remove_extensions(ids);
        // Backwards, because the id that is freed last is used first: new files then get ascending ids, and their
        // posting lists need no sorting.
        for id in ids.iter().rev() {
            let entry = self.files.remove(*id as usize);
            self.by_name.remove(&(entry.name, entry.owner, *id));
            self.by_digest.remove(&(entry.sha256, *id));
            if entry.keywords.is_empty() {
                for word in words_of_name(self.names.text(entry.name).as_str()) {
                    if let Some(word) = self.vocabulary.id(&word) {
                        self.vocabulary.release(word);
                    }
                }
            }
            self.names.release(entry.name);
            for spelling in entry.keywords {
                if let Some(Spelling { term, words }) = self.spellings.release(spelling) {
                    words.into_iter().chain([term]).for_each(|text| self.vocabulary.release(text));
                }
            }
        }
    }

    fn remove_extensions(&mut self, ids: &[FileId]) {
        let of_file = |id: &FileId| Some((self.extensions.find(extension(&folded(self.name(*id)))?)?, *id));
        let mut gone: Vec<(TextId, FileId)> = ids.iter().filter_map(of_file).collect();
        gone.sort_unstable();
        for of_one in gone.chunk_by(|(a, _), (b, _)| a == b) {
            self.extensions.value_mut(of_one[0].0).remove(of_one.iter().map(|(_, id)| *id));
        }
        for (extension, _) in gone {
            self.extensions.release(extension);
        }
    }

    /// The files that have all of these keywords, in ascending order of their ids.
    pub(super) fn with_all(&self, keywords: &[Keyword]) -> Vec<FileId> {
        let mut postings = Vec::with_capacity(keywords.len());
        for keyword in keywords {
            match self.vocabulary.find(&keyword.folded()) {
                Some(posting) => postings.push(posting),
                None => return Vec::new(),
            }
        }
        postings.sort_unstable_by_key(|posting| posting.len());
        let Some((shortest, others)) = postings.split_first() else { return Vec::new() };
        let has_it = |how: Match| how == Match::Keyword;
        let mut ids: Vec<FileId> =
            shortest.iter().filter(|(_, how)| has_it(*how)).map(|(id, _)| id).collect();
        for other in others {
            let mut scan = other.scan();
            ids.retain(|id| scan.find(*id).is_some_and(has_it));
        }
        ids
    }

    /// The files of this name, in ascending order.
    pub(super) fn of_name(&self, name: &FileName) -> Vec<FileId> {
        let Some(name) = self.names.find(name.as_str()) else { return Vec::new() };
        let all = (name, OwnerId::MIN, FileId::MIN)..=(name, OwnerId::MAX, FileId::MAX);
        let mut ids: Vec<FileId> = self.by_name.range(all).map(|(_, _, id)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The file that an owner has under a name.
    pub(super) fn find(&self, owner: OwnerId, name: &FileName) -> Option<FileId> {
        let name = self.names.find(name.as_str())?;
        let of_owner = (name, owner, FileId::MIN)..=(name, owner, FileId::MAX);
        self.by_name.range(of_owner).next().map(|(_, _, id)| *id)
    }

    /// The files with this content, in ascending order.
    pub(super) fn of_content(&self, digest: Digest) -> Vec<FileId> {
        of_key(&self.by_digest, digest)
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The files whose names end with the last part of an extension.
    pub(super) fn with_extension(&self, of: &str) -> Option<&Posting> {
        let last = extension(of).unwrap_or(of);
        self.extensions.find(last).map(|id| self.extensions.value(id))
    }

    /// How a file has a folded text: as a keyword, or as words that follow each other.
    pub(super) fn phrase(&self, id: FileId, text: &str) -> Option<Match> {
        self.best(id, |keyword| keyword == text, |words| has_phrase(words, text))
    }

    /// How a file has a text that begins with `prefix`.
    pub(super) fn prefix(&self, id: FileId, prefix: &str) -> Option<Match> {
        let has_word = |text: &str| words(text).any(|word| word.starts_with(prefix));
        self.best(id, |keyword| keyword.starts_with(prefix), has_word)
    }

    fn best(&self, id: FileId, is_whole: impl Fn(&str) -> bool, has: impl Fn(&str) -> bool) -> Option<Match> {
        let entry = self.entry(id);
        let of_keyword = |spelling: &TextId| {
            let keyword = self.vocabulary.text(self.spellings.value(*spelling).term);
            if is_whole(keyword) { Some(Match::Keyword) } else { has(keyword).then_some(Match::Word) }
        };
        if entry.keywords.is_empty() {
            return has(&folded(self.names.text(entry.name).as_str())).then_some(Match::Name);
        }
        entry.keywords.iter().filter_map(of_keyword).max()
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The ids of all files, in ascending order.
    pub(super) fn ids(&self) -> impl Iterator<Item = FileId> {
        self.files.iter().map(|(id, _)| u32::try_from(id).expect("checked when it was inserted"))
    }

    pub(super) fn bytes(&self, id: FileId) -> u64 {
        self.entry(id).bytes
    }

    pub(super) fn digest(&self, id: FileId) -> &Digest {
        &self.entry(id).sha256
    }

    pub(super) fn owner(&self, id: FileId) -> OwnerId {
        self.entry(id).owner
    }

    pub(super) fn name(&self, id: FileId) -> &str {
        self.names.text(self.entry(id).name).as_str()
    }

    pub(super) fn name_start(&self, id: FileId) -> NameStart {
        self.entry(id).start
    }

    /// The name, without a copy of its text.
    pub(super) fn file_name(&self, id: FileId) -> FileName {
        self.names.text(self.entry(id).name).clone()
    }

    /// The texts that [`Catalog::file`] copies for these files.
    pub(super) fn texts(&self, ids: &[FileId]) -> Vec<&str> {
        // One kind after the other: in a short loop the processor fetches many of them at the same time.
        let entries: Vec<&Entry> = ids.iter().map(|id| self.entry(*id)).collect();
        let spellings: Vec<TextId> =
            entries.iter().flat_map(|entry| entry.keywords.iter().copied()).collect();
        let keywords = spellings.iter().map(|spelling| self.spellings.text(*spelling).as_str());
        keywords.chain(entries.iter().map(|entry| self.names.text(entry.name).as_str())).collect()
    }

    /// A file that is in the catalog, as it was published.
    pub(super) fn file(&self, id: FileId) -> PublishedFile {
        let entry = self.entry(id);
        PublishedFile {
            name: self.names.text(entry.name).clone(),
            bytes: entry.bytes,
            sha256: entry.sha256,
            keywords: entry.keywords.iter().map(|spelling| self.spellings.text(*spelling).clone()).collect(),
        }
    }

    /// The same, with who may see it.
    pub(super) fn listed(&self, id: FileId) -> ListedFile {
        ListedFile { file: self.file(id), audience: self.access.audience(id).clone() }
    }

    fn entry(&self, id: FileId) -> &Entry {
        &self.files[id as usize]
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.names.len() + self.spellings.len() + self.vocabulary.len() + self.extensions.len() == 0
            && self.files.is_empty()
            && self.access.is_empty()
            && self.by_name.is_empty()
            && self.by_digest.is_empty()
    }
}

/// The files that a sorted set has for a key.
fn of_key<K: Ord + Copy>(set: &BTreeSet<(K, FileId)>, key: K) -> Vec<FileId> {
    set.range((key, 0)..=(key, FileId::MAX)).map(|(_, id)| *id).collect()
}

/// The last extension of a folded name.
fn extension(name: &str) -> Option<&str> {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| !extension.is_empty())
}

/// The words of a name, each once.
fn words_of_name(name: &str) -> BTreeSet<String> {
    words(&folded(name)).map(str::to_owned).collect()
}
