//! The files that wait to be fetched, by those who have them, and which of them a holder gets next.

use std::collections::{BTreeMap, VecDeque};

use wire::many::{MANY_BYTES_MAX, MANY_FILES_MAX};

use super::holders::{HolderId, Holders};
use super::{Item, SMALL_BYTES_MAX, wanted};
use crate::peer::engine::interface::Prepared;

/// What several holders have is divided among them: each gets half of its part, but at least so many files, and then the next ones.
/// So all of them end at about the same time.
const SHARED_FILES_LEAST: usize = 64;
/// The contents of one request are at most this long if there are several holders, because what all of them send waits in memory
/// for a slow disk.
const SHARED_BYTES_MAX: u64 = 8 << 20;

#[derive(Default)]
pub(super) struct Queue {
    /// Those that are fetched many at a time.
    small: BTreeMap<Holders, VecDeque<Item>>,
    /// Those that are fetched alone.
    large: BTreeMap<Holders, VecDeque<Item>>,
}

impl Queue {
    /// Adds a file of which this is here.
    pub(super) fn add(&mut self, item: Item, here: &Prepared) {
        let is_small = item.file.bytes <= SMALL_BYTES_MAX && *here == Prepared::From(0);
        let files = if is_small { &mut self.small } else { &mut self.large };
        files.entry(item.holders).or_default().push_back(item);
    }

    /// Puts a file back that was not sent. It comes next.
    pub(super) fn put_back(&mut self, item: Item) {
        let is_small = item.file.bytes <= SMALL_BYTES_MAX;
        let files = if is_small { &mut self.small } else { &mut self.large };
        files.entry(item.holders).or_default().push_front(item);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Forgets all files. Returns how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let Self { small, large } = std::mem::take(self);
        small.values().chain(large.values()).map(|files| files.len() as u64).sum()
    }

    /// Takes the files that none of these have.
    pub(super) fn take_without(&mut self, usable: Holders) -> Vec<Item> {
        let mut taken = Vec::new();
        for files in [&mut self.small, &mut self.large] {
            let gone = files.extract_if(.., |holders, _| holders.among(usable).is_empty());
            taken.extend(gone.flat_map(|(_, files)| files));
        }
        taken
    }

    /// Takes the small files of the next request to a holder. `chosen` are those of some holders that are asked for what they have.
    /// With `has_others`, its contents are limited.
    pub(super) fn take_small(
        &mut self,
        holder: HolderId,
        has_others: bool,
        chosen: impl Fn(Holders) -> Holders,
    ) -> Vec<Item> {
        let mut of_holder: Vec<(usize, Holders)> = Vec::new();
        for holders in self.small.keys() {
            let chosen = chosen(*holders);
            if chosen.has(holder) {
                of_holder.push((chosen.count(), *holders));
            }
        }
        // First what the fewest others can send, so that there is always something that all of them can.
        of_holder.sort_unstable();
        let (mut items, mut request_bytes, mut content_bytes) = (Vec::new(), 0, 0);
        'holders: for (sharers, holders) in of_holder {
            let Some(files) = self.small.get_mut(&holders) else { continue };
            let part = files.len().div_ceil(2 * sharers).max(SHARED_FILES_LEAST);
            let most = if sharers == 1 { MANY_FILES_MAX } else { (items.len() + part).min(MANY_FILES_MAX) };
            while items.len() < most
                && let Some(item) = files.pop_front()
            {
                request_bytes += wanted(&item.file).bytes();
                content_bytes += item.file.bytes;
                let is_full =
                    request_bytes > MANY_BYTES_MAX || (has_others && content_bytes > SHARED_BYTES_MAX);
                if is_full && !items.is_empty() {
                    files.push_front(item);
                    break 'holders;
                }
                items.push(item);
            }
        }
        self.small.retain(|_, files| !files.is_empty());
        items
    }

    /// Takes one small file that a holder has and that may be fetched alone now.
    pub(super) fn take_one_small(
        &mut self,
        holder: HolderId,
        may_be: impl Fn(&Item) -> bool,
    ) -> Option<Item> {
        let of_holder = self.small.iter().filter(|(holders, _)| holders.has(holder));
        let mut able = of_holder.filter(|(_, files)| files.iter().any(&may_be)).map(|(holders, _)| *holders);
        let holders = able.next()?;
        take_first(&mut self.small, holders, may_be)
    }

    /// The first large file of each group of holders that may be fetched now.
    pub(super) fn first_large(&self, may_be: impl Fn(&Item) -> bool) -> impl Iterator<Item = &Item> {
        self.large.values().filter_map(move |files| files.iter().find(|item| may_be(item)))
    }

    /// Takes the first large file that these holders have and that may be fetched now.
    pub(super) fn take_large(&mut self, holders: Holders, may_be: impl Fn(&Item) -> bool) -> Option<Item> {
        take_first(&mut self.large, holders, may_be)
    }
}

fn take_first(
    files: &mut BTreeMap<Holders, VecDeque<Item>>,
    holders: Holders,
    may_be: impl Fn(&Item) -> bool,
) -> Option<Item> {
    let of_them = files.get_mut(&holders)?;
    let at = of_them.iter().position(may_be)?;
    let first = of_them.remove(at);
    if of_them.is_empty() {
        files.remove(&holders);
    }
    first
}
