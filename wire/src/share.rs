//! Published files and search results. PROTOCOL.md, section 14.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Audience, Digest, FileName, Keyword, PeerName, bounded, frame};

/// The maximum number of keywords of one file. A file with this many keywords of the greatest length fits into a frame
/// seven times.
pub const FILE_KEYWORDS_MAX: usize = 1024;

/// A file as its owner publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Its name, unique among the files of its owner.
    pub name: FileName,
    pub bytes: u64,
    pub sha256: Digest,
    /// Its keywords as the owner writes them, at most [`FILE_KEYWORDS_MAX`].
    #[serde(deserialize_with = "keywords_of_a_file")]
    pub keywords: Vec<Keyword>,
}

fn keywords_of_a_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Keyword>, D::Error> {
    bounded::at_most::<FILE_KEYWORDS_MAX, _, _>(deserializer)
}

/// A file in the list of its owner: what others see of it, and who may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    pub file: PublishedFile,
    pub audience: Audience,
}

impl From<PublishedFile> for ListedFile {
    /// A file that everyone may see.
    fn from(file: PublishedFile) -> Self {
        Self { file, audience: Audience::Everyone }
    }
}

/// Identifies a list of published files, in whatever order they are: the SHA-256 of the encoding of each, combined with XOR. That
/// of an empty list is zero. A file that everyone may see is encoded without its audience. So a change of the list changes it without looking at the other files.
///
/// It does not withstand a peer that makes two lists with the same digest, but such a peer harms only its own list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDigest(pub Digest);

impl ListDigest {
    pub fn of<'f>(files: impl IntoIterator<Item = &'f ListedFile>) -> Self {
        let mut list = Self::default();
        files.into_iter().for_each(|file| list.toggle(file));
        list
    }

    /// Adds a file that is not in the list, or removes one that is. No keyword of it may be repeated.
    pub fn toggle(&mut self, listed: &ListedFile) {
        let is_for_all = listed.audience.is_everyone();
        let of_file = Digest::of(&if is_for_all { frame::body(&listed.file) } else { frame::body(listed) });
        self.0.0.iter_mut().zip(of_file.0).for_each(|(byte, other)| *byte ^= other);
    }
}

/// What has changed in a list of published files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference<F = ListedFile> {
    /// The list before.
    pub base: ListDigest,
    /// The names that are gone.
    pub removed: Vec<FileName>,
    /// New files, and files that replace those of the same name.
    pub files: Vec<F>,
}

impl From<Difference<PublishedFile>> for Difference {
    fn from(Difference { base, removed, files }: Difference<PublishedFile>) -> Self {
        Self { base, removed, files: files.into_iter().map(ListedFile::from).collect() }
    }
}

/// A search result: a file of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    pub peer: PeerName,
    pub file: PublishedFile,
    pub online: bool,
    /// The address at which the searching peer can dial the holder, if the server knows one.
    pub address: Option<SocketAddr>,
}

/// The maximum number of hits of one [`Match`]: enough to fetch from, however many hold it.
pub const MATCH_HITS_MAX: usize = 16;

/// A search result: files with the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// How many peers have such a file that the search has found.
    pub holders: u32,
    /// Some of these files, 1 to [`MATCH_HITS_MAX`]; those of connected peers come first.
    #[serde(deserialize_with = "hits_of_a_match")]
    pub hits: Vec<Hit>,
}

fn hits_of_a_match<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hit>, D::Error> {
    let hits = bounded::at_most::<MATCH_HITS_MAX, _, _>(deserializer)?;
    if hits.is_empty() { Err(serde::de::Error::custom("a match without a hit")) } else { Ok(hits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(keywords: usize) -> PublishedFile {
        PublishedFile {
            name: "tide.csv".parse().expect("a good name"),
            bytes: 3,
            sha256: Digest::of(b"abc"),
            keywords: vec!["sea".parse().expect("a good keyword"); keywords],
        }
    }

    #[test]
    fn a_list_is_recognised_in_any_order_and_after_any_changes() {
        let named = |name: &str, keywords| {
            ListedFile::from(PublishedFile { name: name.parse().expect("a good name"), ..file(keywords) })
        };
        let (a, b, c) = (named("a", 1), named("b", 1), named("a", 0));
        let list = ListDigest::of([&a, &b]);
        assert_eq!(list, ListDigest::of([&b, &a]));
        assert_ne!(list, ListDigest::of([&c, &b]));
        let mut changed = list;
        [&a, &c, &b].into_iter().for_each(|file| changed.toggle(file));
        assert_eq!(changed, ListDigest::of([&c]));
        changed.toggle(&c);
        assert_eq!(changed, ListDigest::default());
    }

    #[test]
    fn a_list_is_another_one_with_another_audience() {
        let only = |names: &[&str]| {
            let names = names.iter().map(|name| name.parse().expect("a good name"));
            ListedFile { file: file(1), audience: Audience::only(names).expect("few enough") }
        };
        let all = ListedFile::from(file(1));
        let lists =
            [all.clone(), only(&[]), only(&["a"]), only(&["a", "b"])].map(|file| ListDigest::of([&file]));
        for (n, list) in lists.iter().enumerate() {
            assert!(!lists[..n].contains(list), "{n}");
        }
        assert_eq!(lists[0].0, Digest::of(&frame::body(&all.file)), "as peers without audiences compute it");
    }

    #[test]
    fn a_hit_survives_the_wire() {
        let hit = Hit {
            peer: "B".parse().expect("a good name"),
            file: file(2),
            online: true,
            address: Some(([10, 0, 0, 7], 7000).into()),
        };
        let bytes = postcard::to_stdvec(&hit).expect("a hit is plain data");
        assert_eq!(postcard::from_bytes(&bytes), Ok(hit));
    }

    #[test]
    fn a_match_has_a_hit_and_not_too_many() {
        let hit =
            Hit { peer: "B".parse().expect("a good name"), file: file(1), online: false, address: None };
        for (count, fits) in [(0, false), (1, true), (MATCH_HITS_MAX, true), (MATCH_HITS_MAX + 1, false)] {
            let bytes = postcard::to_stdvec(&Match { holders: 1, hits: vec![hit.clone(); count] });
            let bytes = bytes.expect("a match is plain data");
            assert_eq!(postcard::from_bytes::<Match>(&bytes).is_ok(), fits, "{count}");
        }
    }

    #[test]
    fn the_keywords_of_a_file_are_counted_while_they_are_decoded() {
        for (count, fits) in [(0, true), (FILE_KEYWORDS_MAX, true), (FILE_KEYWORDS_MAX + 1, false)] {
            let bytes = postcard::to_stdvec(&file(count)).expect("a file is plain data");
            assert_eq!(postcard::from_bytes::<PublishedFile>(&bytes).is_ok(), fits, "{count}");
        }
    }
}
