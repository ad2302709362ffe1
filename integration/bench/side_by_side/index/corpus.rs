//! The files that are searched: the same in each run.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub(super) const PEERS: usize = 3_000;
const FILES_EACH: usize = 334;
pub(super) const KEYWORDS_EACH: usize = 3;
const VOCABULARY: u32 = 100_000;
const SYLLABLES: [&str; 10] = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu"];

/// The keywords of each file of each peer, as numbers of words.
pub(super) struct Corpus {
    peers: Vec<Vec<[u32; KEYWORDS_EACH]>>,
}

impl Corpus {
    pub(super) fn new(peers: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let mut file = || [(); KEYWORDS_EACH].map(|()| number(&mut rng));
        let share = |_| (0..FILES_EACH).map(|_| file()).collect();
        Self { peers: (0..peers).map(share).collect() }
    }

    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn files(&self) -> usize {
        self.peers.iter().map(Vec::len).sum()
    }

    /// The number of pairs of a keyword and a file.
    pub(super) fn pairs(&self) -> usize {
        self.all().map(|(_, _, words)| words.len()).sum()
    }

    /// The files of a peer: the name of each, and its keywords.
    pub(super) fn of(&self, peer: usize) -> impl Iterator<Item = (String, Vec<String>)> {
        let files = self.peers[peer].iter().enumerate();
        files.map(move |(file, numbers)| (file_name(peer, file), distinct(numbers)))
    }

    /// All files with the numbers of their peers.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, String, Vec<String>)> {
        (0..self.peers.len()).flat_map(|peer| self.of(peer).map(move |(file, words)| (peer, file, words)))
    }

    /// Some keywords of some file, so that each question finds something. Files with fewer different keywords are left out.
    pub(super) fn question(&self, rng: &mut StdRng, keywords: usize) -> Vec<String> {
        loop {
            let files = &self.peers[rng.random_range(0..self.peers.len())];
            let mut words = distinct(&files[rng.random_range(0..files.len())]);
            if words.len() >= keywords {
                words.truncate(keywords);
                return words;
            }
        }
    }
}

/// Ends with something that no other file has in its name.
fn file_name(peer: usize, file: usize) -> String {
    format!("{file:03}-{peer}.{}", ["pdf", "txt", "jpg"][file % 3])
}

/// The number of a word. Small ones are frequent, as in a language.
fn number(rng: &mut StdRng) -> u32 {
    (0..4).map(|_| rng.random_range(0..VOCABULARY)).min().unwrap_or_default()
}

fn distinct(numbers: &[u32]) -> Vec<String> {
    let mut words: Vec<String> = numbers.iter().map(|number| spelled(*number)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Each number as a word of its own.
fn spelled(number: u32) -> String {
    let digits = number.to_string();
    digits.bytes().map(|digit| SYLLABLES[usize::from(digit - b'0')]).collect()
}
