//! Which files a pattern describes, and who has them.

use std::collections::btree_map::Entry;

use wire::escape::Escaped;
use wire::query::Query;
use wire::share::Hit;
use wire::signal::Route;

use super::holders::HOLDERS_MAX;
use super::*;
use crate::peer::engine::contact::same_name;

/// How many files a list has in one answer, and how many one command fetches.
const PAGE_FILES: u32 = 1000;
const FILES_MAX: u64 = 100_000;

impl Engine {
    pub(in crate::peer::engine) fn start_get_many(
        &mut self,
        (client, task): (ClientId, TaskId),
        pattern: Pattern,
        from: Option<PeerName>,
        output: Option<PathBuf>,
        existing: Existing,
    ) {
        let many = Many {
            client,
            pattern,
            holders: from.iter().cloned().map(Holder::new).collect(),
            stage: if from.is_some() { Stage::Listing(0) } else { Stage::Finding },
            from,
            output,
            existing,
            listed: BTreeMap::new(),
            items: Vec::new(),
            queue: Queue::default(),
            batches: BTreeMap::new(),
            parts: BTreeMap::new(),
            counts: Counts::default(),
            gives_up: false,
            deadline: None,
            slow_at: None,
            progress_at: self.local.now.instant,
        };
        self.fetches.many.insert(task, many);
        self.list_many(task);
    }

    /// Asks who has such files, or for the next part of a list.
    pub(super) fn list_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        let pattern = many.pattern.clone();
        let (query, limit) = match many.stage {
            Stage::Finding => (Query::Holders { pattern }, PAGE_FILES),
            Stage::Listing(at) => {
                let Holder { name, last, .. } = &many.holders[at];
                (Query::Names { from: name.clone(), pattern, after: last.clone() }, PAGE_FILES)
            }
            Stage::Preparing | Stage::Moving => return,
        };
        many.deadline = Some(self.local.now.instant + STEP_WAIT);
        self.local.say(&ToServer::Search { id: task, query, limit });
    }

    /// Takes the holders, or a part of a list. Returns whether the search was for that.
    pub(in crate::peer::engine) fn found_for_many(
        &mut self,
        task: TaskId,
        hits: &mut Vec<Hit>,
        total: u64,
    ) -> bool {
        let Some(many) = self.fetches.many.get_mut(&task) else { return false };
        let hits = std::mem::take(hits);
        let mut left_out = None;
        let taken = match many.stage {
            Stage::Finding => many.take_holders(hits, total, &self.local.name, &mut left_out),
            Stage::Listing(at) => many.take_list(at, hits, total, &self.local.name, &mut left_out),
            Stage::Preparing | Stage::Moving => return true,
        };
        if let Some(event) = left_out {
            many.counts.left_out += 1;
            self.local.tell(many.client, event);
        }
        match taken {
            Err(why) => {
                self.fail_many(task, &why);
            }
            Ok(()) if matches!(many.stage, Stage::Preparing) => self.prepare_many(task),
            Ok(()) => self.list_many(task),
        }
        true
    }

    /// Looks at the disk before anybody is asked for a file.
    fn prepare_many(&mut self, task: TaskId) {
        let Some(many) = self.fetches.many.get_mut(&task) else { return };
        many.deadline = None;
        for holder in &mut many.holders {
            holder.route = if holder.address.is_some() { Route::Direct } else { Route::Server };
        }
        let mut ambiguous = Vec::new();
        for (name, Listed { file, holders, others }) in std::mem::take(&mut many.listed) {
            many.counts.files += 1;
            // Whoever publishes a file can say that it has any length.
            many.counts.bytes = many.counts.bytes.saturating_add(file.bytes);
            if others.is_empty() {
                many.items.push(Item { file, holders });
            } else {
                ambiguous.push(name);
            }
        }
        many.counts.failed += ambiguous.len() as u64;
        if let Some(first) = ambiguous.first() {
            let why = format!(
                "{} file(s) were not fetched, because peers have different ones of the same name, such as {}; say from whom, with \
                 --from NAME",
                ambiguous.len(),
                Escaped(first.as_str())
            );
            self.local.tell(many.client, Event::error(why));
        }
        let downloads = many.items.iter().map(|item| many.download(&item.file)).collect();
        self.local.effects.push(Effect::PrepareMany(task, downloads));
    }

    /// A server that cannot read a question ends the connection, and would do that again.
    pub(in crate::peer::engine) fn holders_unknown(&mut self) {
        let finding = self.fetches.many.iter().filter(|(_, many)| matches!(many.stage, Stage::Finding));
        let finding: Vec<TaskId> = finding.map(|(task, _)| *task).collect();
        for task in finding {
            let why = "the server is older than this program and does not say who has such files; say from whom, with --from NAME";
            self.fail_many(task, why);
        }
    }
}

impl Many {
    /// Takes the holders: those who are here first, because the others send nothing now. The event says who is left out.
    fn take_holders(
        &mut self,
        hits: Vec<Hit>,
        total: u64,
        me: &PeerName,
        left_out: &mut Option<Event>,
    ) -> Result<(), String> {
        let unnamed = total.saturating_sub(hits.len() as u64);
        for Hit { peer, online, .. } in hits {
            // A server could send anything.
            let is_known = self.holders.iter().any(|holder| same_name(&holder.name, &peer));
            if !is_known && !same_name(&peer, me) {
                self.holders.push(Holder { is_here: online, ..Holder::new(peer) });
            }
        }
        if self.holders.is_empty() {
            return Err(self.nobody());
        }
        self.holders.sort_by_key(|holder| !holder.is_here);
        let others = self.holders.split_off(self.holders.len().min(HOLDERS_MAX));
        if !others.is_empty() {
            let (here, all) =
                (others.iter().filter(|other| other.is_here).count(), others.len() as u64 + unnamed);
            *left_out = Some(Event::error(format!(
                "{all} peer(s) who have files that are called like {} are left out, {here} of them here now, because one command \
                 looks at {HOLDERS_MAX} peers at most; narrow the pattern, or fetch what such a peer has with --from NAME",
                Escaped(self.pattern.as_str())
            )));
        }
        self.stage = Stage::Listing(0);
        Ok(())
    }

    /// The stage is [`Stage::Preparing`] after the last part of the last list. The event says that this holder is left out.
    fn take_list(
        &mut self,
        at: HolderId,
        hits: Vec<Hit>,
        total: u64,
        me: &PeerName,
        left_out: &mut Option<Event>,
    ) -> Result<(), String> {
        let is_only = self.holders.len() == 1;
        let is_first = self.holders[at].total.replace(total).is_none();
        // The long lists come again after the short ones, so that nobody's short one is left out because of them.
        let comes_again = is_first && !is_only && (hits.len() as u64) < total;
        if !comes_again {
            self.holders[at].has_list = !self.add_part(at, hits, total);
        }
        let count = total.max(self.listed.len() as u64);
        if count > FILES_MAX && is_only {
            return Err(format!(
                "{count} files are called like that; one command fetches at most {FILES_MAX}, so narrow the pattern"
            ));
        }
        if count > FILES_MAX {
            *left_out = Some(self.leave_out(at, total));
        }
        match self.next_list(at) {
            Some(next) => {
                self.stage = Stage::Listing(next);
                Ok(())
            }
            None => {
                self.stage = Stage::Preparing;
                self.check_listed(me)
            }
        }
    }

    /// Adds a part of a list. Returns whether another part follows.
    fn add_part(&mut self, at: HolderId, hits: Vec<Hit>, total: u64) -> bool {
        let before = self.holders[at].listed;
        for Hit { peer, file, online, address } in hits.into_iter().take(PAGE_FILES as usize) {
            let holder = &mut self.holders[at];
            let fits = holder.last.as_ref().is_none_or(|last| *last < file.name);
            // A server could send anything.
            if !fits || !same_name(&peer, &holder.name) {
                continue;
            }
            (holder.name, holder.is_here, holder.address) = (peer, online, address);
            holder.last = Some(file.name.clone());
            holder.listed += 1;
            self.add_listed(at, PublishedFile { keywords: Vec::new(), ..file });
        }
        let listed = self.holders[at].listed;
        before < listed && listed < total
    }

    /// Whose list is asked for next: the rest of one that has begun, then those of which nothing is known, then the shortest.
    fn next_list(&self, at: HolderId) -> Option<HolderId> {
        let is_open = |id: &HolderId| !self.holders[*id].has_list;
        let begun = Some(at).filter(is_open).filter(|at| self.holders[*at].listed > 0);
        begun.or_else(|| {
            (0..self.holders.len()).filter(is_open).min_by_key(|id| self.holders[*id].total.unwrap_or(0))
        })
    }

    /// Forgets a holder whose list is too long, and all that came from it. It is the last one of which something was added.
    fn leave_out(&mut self, at: HolderId, total: u64) -> Event {
        let holder = &mut self.holders[at];
        (holder.has_list, holder.standing) = (true, Standing::Dropped);
        self.listed.retain(|_, listed| {
            listed.holders = listed.holders.without(at);
            listed.others = listed.others.without(at);
            !listed.holders.is_empty()
        });
        let (from, pattern) = (self.holders[at].name.clone(), Escaped(self.pattern.as_str()));
        let why = if total > FILES_MAX {
            format!(
                "{total} of its files are called like {pattern}, and one command fetches at most {FILES_MAX}; fetch them with narrower \
                 patterns and --from {from}"
            )
        } else {
            format!(
                "with its {total}, more than {FILES_MAX} files would be called like {pattern}, and one command fetches no more; fetch \
                 them alone, with --from {from}"
            )
        };
        let reason = format!("{from} is left out: {why}");
        Event::FileHolderDropped { name: self.name(), from, fault: HolderFault::LeftOut, piece: None, reason }
    }

    fn add_listed(&mut self, from: HolderId, file: PublishedFile) {
        match self.listed.entry(file.name.clone()) {
            Entry::Vacant(new) => {
                new.insert(Listed { file, holders: Holders::of([from]), others: Holders::of([]) });
            }
            Entry::Occupied(there) => {
                let there = there.into_mut();
                let is_same = (there.file.sha256, there.file.bytes) == (file.sha256, file.bytes);
                let holders = if is_same { &mut there.holders } else { &mut there.others };
                *holders = holders.with(from);
            }
        }
    }

    /// Whether there is something to fetch, and somebody who is here.
    fn check_listed(&self, me: &PeerName) -> Result<(), String> {
        let pattern = Escaped(self.pattern.as_str());
        match &self.from {
            Some(from) if same_name(from, me) => Err(format!("{pattern}: these files are this peer's own")),
            _ if self.listed.is_empty() && self.counts.left_out > 0 => Err(format!(
                "nobody is left who has files that are called like {pattern}; narrow the pattern"
            )),
            _ if self.listed.is_empty() => Err(self.nobody()),
            _ if !self.usable().is_empty() => Ok(()),
            Some(from) => Err(format!("{from} is not here now; try again when they are")),
            None => Err(format!(
                "nobody who has files that are called like {pattern} is here now; try again when they are"
            )),
        }
    }

    fn nobody(&self) -> String {
        let pattern = Escaped(self.pattern.as_str());
        let whom = match &self.from {
            Some(from) => format!("{from} shares no file"),
            None => "nobody else shares a file".to_owned(),
        };
        format!("{whom} that is called like {pattern} with you; look for it with search")
    }
}
