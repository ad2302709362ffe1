//! The order of what a search has found. Files with the same content are one match.

use std::cmp::{Ordering, Reverse};
use std::hint::black_box;

use wire::share::{Hit, MATCH_HITS_MAX, Match};

use super::catalog::{Catalog, FileId, NameStart, OwnerId};
use super::finder::Scored;
use super::peers::Peers;
use crate::commands::index::{AskerSees, HITS_BYTES_MAX, HITS_MAX, Page};

/// The size of a hit without its texts: digest, length, address, and the lengths of the texts.
const HIT_BYTES: usize = 96;

pub(super) struct Ranking<'i> {
    pub(super) catalog: &'i Catalog,
    pub(super) peers: &'i Peers,
    /// Decides which addresses are shown.
    pub(super) asker: &'i AskerSees,
}

/// A file that was found. Files with the same content have the same `head`, and few others.
#[derive(Clone, Copy)]
struct Row {
    /// The start of the digest.
    head: u64,
    id: FileId,
    score: u32,
}

/// The files with one content.
struct Group<'r> {
    /// By it groups are ordered: the score, whether a holder is online, the number of holders.
    rank: Reverse<(u32, bool, usize)>,
    /// The file that is shown first.
    first: FileId,
    rows: &'r [Row],
}

/// A file with the start of what it is sorted by, so that most comparisons need not look for the rest.
struct Sortable {
    is_offline: bool,
    start: NameStart,
    id: FileId,
}

impl Ranking<'_> {
    /// The first `limit` of some files in the order of hits.
    pub(super) fn first(&self, limit: usize, ids: Vec<FileId>) -> Vec<FileId> {
        let mut rows: Vec<Sortable> = ids.into_iter().map(|id| self.sortable(id)).collect();
        if rows.len() > limit {
            rows.select_nth_unstable_by(limit, |a, b| self.hit_order(a, b));
            rows.truncate(limit);
        }
        rows.sort_unstable_by(|a, b| self.hit_order(a, b));
        rows.into_iter().map(|row| row.id).collect()
    }

    fn sortable(&self, id: FileId) -> Sortable {
        let is_offline = !self.peers.get(self.catalog.owner(id)).online;
        Sortable { is_offline, start: self.catalog.name_start(id), id }
    }

    /// Online before offline, then by name of the file, then by name of the peer. The two names together are unique.
    fn hit_order(&self, a: &Sortable, b: &Sortable) -> Ordering {
        let names = || self.catalog.name(a.id).cmp(self.catalog.name(b.id));
        let folded = |row: &Sortable| &self.peers.get(self.catalog.owner(row.id)).folded;
        let starts = a.is_offline.cmp(&b.is_offline).then(a.start.cmp(&b.start));
        starts.then_with(names).then_with(|| folded(a).cmp(folded(b)))
    }

    /// The matches of a page, and how many there are in all.
    pub(super) fn page(&self, found: &[Scored], page: Page) -> (Vec<Match>, u64) {
        let mut rows: Vec<Row> = found.iter().map(|(id, score)| self.row(*id, *score)).collect();
        let digest = |row: &Row| self.catalog.digest(row.id);
        rows.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| digest(a).cmp(digest(b))));
        let is_same = |a: &Row, b: &Row| a.head == b.head && digest(a) == digest(b);
        let mut groups: Vec<Group<'_>> = rows.chunk_by(is_same).map(|rows| self.group(rows)).collect();
        let total = groups.len() as u64;

        let end = (page.skip + page.limit) as usize;
        if groups.len() > end {
            groups.select_nth_unstable_by(end, |a, b| self.order(a, b));
            groups.truncate(end);
        }
        groups.sort_unstable_by(|a, b| self.order(a, b));
        (self.matches(groups.get(page.skip as usize..).unwrap_or_default()), total)
    }

    fn row(&self, id: FileId, score: u32) -> Row {
        let head = self.catalog.digest(id).0.first_chunk().copied().unwrap_or_default();
        Row { head: u64::from_be_bytes(head), id, score }
    }

    fn group<'r>(&self, rows: &'r [Row]) -> Group<'r> {
        let first = rows.iter().min_by(|a, b| self.holder_order(a, b)).expect("a chunk is not empty");
        let score = rows.iter().map(|row| row.score).max().unwrap_or_default();
        let rank = Reverse((score, self.is_online(first.id), self.holders(rows)));
        Group { rank, first: first.id, rows }
    }

    fn holders(&self, rows: &[Row]) -> usize {
        if rows.len() == 1 {
            return 1;
        }
        let mut owners: Vec<OwnerId> = rows.iter().map(|row| self.catalog.owner(row.id)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.len()
    }

    fn is_online(&self, id: FileId) -> bool {
        self.peers.get(self.catalog.owner(id)).online
    }

    fn order(&self, a: &Group<'_>, b: &Group<'_>) -> Ordering {
        let names = || self.catalog.name(a.first).cmp(self.catalog.name(b.first));
        let digests = || self.catalog.digest(a.first).cmp(self.catalog.digest(b.first));
        a.rank.cmp(&b.rank).then_with(names).then_with(digests)
    }

    /// The order of files with the same content: those that can be fetched now, then better matches.
    fn holder_order(&self, a: &Row, b: &Row) -> Ordering {
        let key = |row: &Row| Reverse((self.is_online(row.id), row.score));
        let names = || self.catalog.name(a.id).cmp(self.catalog.name(b.id));
        let folded = |row: &Row| &self.peers.get(self.catalog.owner(row.id)).folded;
        key(a).cmp(&key(b)).then_with(names).then_with(|| folded(a).cmp(folded(b)))
    }

    /// As many of these groups as fit into an answer, at least one.
    fn matches(&self, groups: &[Group<'_>]) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        let (mut hits, mut bytes) = (0, 0);
        let shown = groups.iter().flat_map(|group| group.rows.iter().take(MATCH_HITS_MAX));
        self.fetch_ahead(&shown.map(|row| row.id).collect::<Vec<_>>());
        for group in groups {
            let mut rows = group.rows.to_vec();
            rows.sort_unstable_by(|a, b| self.holder_order(a, b));
            let mut of_group: Vec<Hit> = Vec::new();
            for row in rows.iter().take(MATCH_HITS_MAX) {
                let hit = self.hit(row.id);
                bytes += hit_bytes(&hit);
                hits += 1;
                let is_first = of_group.is_empty() && matches.is_empty();
                if !is_first && (bytes > HITS_BYTES_MAX || hits > HITS_MAX) {
                    break;
                }
                of_group.push(hit);
            }
            if of_group.is_empty() {
                break;
            }
            let holders = u32::try_from(self.holders(group.rows)).unwrap_or(u32::MAX);
            matches.push(Match { holders, hits: of_group });
        }
        matches
    }

    /// Reads a byte of each text of these files. They lie all over the memory: the processor fetches many of them at the same time, but
    /// waits for each when it is copied in between.
    pub(super) fn fetch_ahead(&self, ids: &[FileId]) {
        let peers = ids.iter().map(|id| self.peers.get(self.catalog.owner(*id)).name.as_str());
        let texts: Vec<&str> = peers.chain(self.catalog.texts(ids)).collect();
        black_box(texts.iter().filter_map(|text| text.as_bytes().first()).fold(0, |sum, byte| sum ^ byte));
    }

    pub(super) fn hit(&self, id: FileId) -> Hit {
        let peer = self.peers.get(self.catalog.owner(id));
        Hit {
            peer: peer.name.clone(),
            file: self.catalog.file(id),
            online: peer.online,
            address: peer.address.filter(|address| self.asker.may_be_told(address)),
        }
    }
}

pub(super) fn hit_bytes(hit: &Hit) -> usize {
    let keywords: usize = hit.file.keywords.iter().map(|k| k.as_str().len() + 2).sum();
    HIT_BYTES + hit.peer.as_str().len() + hit.file.name.as_str().len() + keywords
}
