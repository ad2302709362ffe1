//! What peers tell the server about the files they share, and what a search answers.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, FileName, Keyword, PeerName, bounded};

/// Most keywords of one file. With keywords of the greatest length, one file still fits into a frame seven times.
pub const FILE_KEYWORDS_MAX: usize = 1024;

/// A file as its owner publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Its name in the owner's folder, the only file of that name there.
    pub name: FileName,
    /// Its length in bytes.
    pub bytes: u64,
    /// The digest of all of it.
    pub sha256: Digest,
    /// What it is found by, as the owner writes it; at most [`FILE_KEYWORDS_MAX`] are decoded.
    #[serde(deserialize_with = "keywords_of_a_file")]
    pub keywords: Vec<Keyword>,
}

fn keywords_of_a_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Keyword>, D::Error> {
    bounded::at_most::<FILE_KEYWORDS_MAX, _, _>(deserializer)
}

/// A file of a peer that a search has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Who has it, as the owner writes the name.
    pub peer: PeerName,
    /// What was published.
    pub file: PublishedFile,
    /// Whether the peer is connected now.
    pub online: bool,
    /// Where the peer can be reached directly; only while it is online, and only where the asker could reach it too.
    pub address: Option<SocketAddr>,
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
    fn the_keywords_of_a_file_are_counted_while_they_are_decoded() {
        for (count, fits) in [(0, true), (FILE_KEYWORDS_MAX, true), (FILE_KEYWORDS_MAX + 1, false)] {
            let bytes = postcard::to_stdvec(&file(count)).expect("a file is plain data");
            assert_eq!(postcard::from_bytes::<PublishedFile>(&bytes).is_ok(), fits, "{count}");
        }
    }
}
