//! Who has a file, and under which name it is kept here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use wire::protocol::ToServer;
use wire::query::Query;
use wire::share::Hit;
use wire::{FileName, PeerName};

use super::super::Engine;
use super::super::contact::same_name;
use super::super::interface::{Effect, TaskId};
use super::gather::is_large_enough;
use super::{Fetch, STEP_WAIT, Stage};
use crate::peer::command::Wanted;

/// The maximum number of hits of a search for a holder.
const HOLDERS_WANTED: u32 = 1000;

impl Engine {
    pub(super) fn search_for(&mut self, task: TaskId) {
        let Some(fetch) = self.fetches.fetches.get(&task) else {
            return;
        };
        let query = match (&fetch.stage, &fetch.wanted) {
            (Stage::Holders(named), _) => Query::Digest(named[0].file.sha256),
            (_, Wanted::Name(name)) => Query::File(name.clone()),
            (_, Wanted::Digest(digest)) => Query::Digest(*digest),
            // See [`super::super::fetch_many`].
            (_, Wanted::Pattern(_)) => return,
        };
        self.local.say(&ToServer::Search { id: task, query, limit: HOLDERS_WANTED });
    }

    /// Handles the answer to a search for a holder.
    pub(in crate::peer::engine) fn found_for_fetch(&mut self, task: TaskId, mut hits: Vec<Hit>, total: u64) {
        if self.found_for_many(task, &mut hits, total) {
            return;
        }
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        if fetch.turns.is_searching() {
            return self.found_another(task, hits);
        }
        let chosen = match &mut fetch.stage {
            Stage::Searching => match holders(fetch, hits, &self.local.name) {
                Ok(named) if asks_for_others(fetch, &named[0]) => {
                    fetch.name = Some(named[0].file.name.clone());
                    fetch.stage = Stage::Holders(named);
                    fetch.deadline = Some(self.local.now.instant + STEP_WAIT);
                    return self.search_for(task);
                }
                Ok(named) => {
                    if let Wanted::Digest(_) = fetch.wanted {
                        fetch.name = commonest_name(&named);
                    }
                    choose(fetch, named)
                }
                Err(why) => Err(why),
            },
            Stage::Holders(named) => {
                let mut all = std::mem::take(named);
                // A server could send anything.
                let is_same = |hit: &Hit| {
                    hit.file.sha256 == all[0].file.sha256 && !same_name(&hit.peer, &self.local.name)
                };
                hits.retain(is_same);
                all.extend(hits);
                choose(fetch, all)
            }
            _ => return,
        };
        match chosen {
            Ok((hit, others)) => {
                self.local.effects.push(Effect::Prepare(task, fetch.download(&hit)));
                fetch.others = others;
                // There is no deadline, because comparing with an existing file can take long.
                fetch.deadline = None;
                fetch.stage = Stage::Preparing(hit);
            }
            Err(why) => self.fail_fetch(task, &why),
        }
    }
}

/// Whether holders that call the file differently are of use: they send a part of a large one, or all of it while the others are away.
fn asks_for_others(fetch: &Fetch, best: &Hit) -> bool {
    let is_by_name = fetch.from.is_none() && matches!(fetch.wanted, Wanted::Name(_));
    is_by_name && (!best.online || is_large_enough(&best.file))
}

/// Those who have the file, the best first. All of them have the same content.
fn holders(fetch: &Fetch, hits: Vec<Hit>, me: &PeerName) -> Result<Vec<Hit>, String> {
    let what = fetch.what();
    let mut holders: Vec<Hit> = hits
        .into_iter()
        .filter(|hit| !same_name(&hit.peer, me))
        .filter(|hit| fetch.from.as_ref().is_none_or(|from| same_name(from, &hit.peer)))
        .collect();
    if holders.is_empty() {
        let whom = match &fetch.from {
            Some(from) => format!("{from} does not share"),
            None => "nobody else shares".to_owned(),
        };
        return Err(format!("{whom} {what}; look for it with search"));
    }
    if holders.iter().any(|hit| hit.file.sha256 != holders[0].file.sha256) {
        let whose: Vec<String> =
            holders.iter().map(|h| format!("{} (sha256:{})", h.peer, h.file.sha256)).collect();
        let whose = whose.join(", ");
        return Err(format!("different files are called {what}: {whose}; say --from NAME or get sha256:HEX"));
    }
    sort(&mut holders);
    Ok(holders)
}

pub(super) fn sort(holders: &mut [Hit]) {
    holders.sort_by_key(|hit| (!hit.online, hit.address.is_none()));
}

/// Chooses the holder to fetch a file from. Returns the others that are here too.
fn choose(fetch: &Fetch, mut holders: Vec<Hit>) -> Result<(Hit, Vec<Hit>), String> {
    // A content has one length. If holders say different ones, the most are believed, so that one who lies keeps nobody from it.
    let mut lengths = BTreeMap::<(bool, u64), usize>::new();
    for hit in &holders {
        *lengths.entry((hit.online, hit.file.bytes)).or_default() += 1;
    }
    let believed = |hit: &Hit| Reverse(lengths.get(&(hit.online, hit.file.bytes)).copied());
    holders.sort_by_key(|hit| (!hit.online, believed(hit), hit.address.is_none()));
    let best = holders.remove(0);
    if best.online {
        holders.retain(|holder| holder.online && holder.file.bytes == best.file.bytes);
        Ok((best, holders))
    } else {
        let what = fetch.what();
        Err(format!("{} has {what} but is not here now; try again when they are", best.peer))
    }
}

/// The name that most holders use, and of several such names the first one in order. So it does not depend on who is chosen.
fn commonest_name(holders: &[Hit]) -> Option<FileName> {
    let mut counts = BTreeMap::<&FileName, usize>::new();
    for hit in holders {
        *counts.entry(&hit.file.name).or_default() += 1;
    }
    counts.into_iter().min_by_key(|(name, count)| (Reverse(*count), *name)).map(|(name, _)| name.clone())
}
