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
        let taken = match many.stage {
            Stage::Finding => many.take_holders(hits, &self.local.name),
            Stage::Listing(at) => many.take_list(at, hits, total, &self.local.name),
            Stage::Preparing | Stage::Moving => return true,
        };
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
        for (name, Listed { file, holders, is_ambiguous }) in std::mem::take(&mut many.listed) {
            many.counts.files += 1;
            many.counts.bytes += file.bytes;
            if is_ambiguous {
                ambiguous.push(name);
            } else {
                many.items.push(Item { file, holders });
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
    fn take_holders(&mut self, hits: Vec<Hit>, me: &PeerName) -> Result<(), String> {
        for Hit { peer, .. } in hits {
            // A server could send anything.
            let is_known = self.holders.iter().any(|holder| same_name(&holder.name, &peer));
            if !is_known && !same_name(&peer, me) {
                self.holders.push(Holder::new(peer));
            }
        }
        let pattern = Escaped(self.pattern.as_str());
        if self.holders.len() > HOLDERS_MAX {
            return Err(format!(
                "more than {HOLDERS_MAX} peers have files that are called like {pattern}; narrow the pattern, or say from whom, \
                 with --from NAME"
            ));
        }
        if self.holders.is_empty() {
            return Err(self.nobody());
        }
        self.stage = Stage::Listing(0);
        Ok(())
    }

    /// The stage is [`Stage::Preparing`] after the last part of the last list.
    fn take_list(&mut self, at: HolderId, hits: Vec<Hit>, total: u64, me: &PeerName) -> Result<(), String> {
        let before = self.holders[at].listed;
        for Hit { peer, file, online, address } in hits {
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
        let count = total.max(self.listed.len() as u64);
        if count > FILES_MAX {
            return Err(format!(
                "{count} files are called like that; one command fetches at most {FILES_MAX}, so narrow the pattern"
            ));
        }
        let listed = self.holders[at].listed;
        if before < listed && listed < total {
            return Ok(());
        }
        if at + 1 < self.holders.len() {
            self.stage = Stage::Listing(at + 1);
            return Ok(());
        }
        self.stage = Stage::Preparing;
        self.check_listed(me)
    }

    fn add_listed(&mut self, from: HolderId, file: PublishedFile) {
        match self.listed.entry(file.name.clone()) {
            Entry::Vacant(new) => {
                new.insert(Listed { file, holders: Holders::of([from]), is_ambiguous: false });
            }
            Entry::Occupied(there) => {
                let there = there.into_mut();
                if (there.file.sha256, there.file.bytes) == (file.sha256, file.bytes) {
                    there.holders = there.holders.with(from);
                } else {
                    there.is_ambiguous = true;
                }
            }
        }
    }

    /// Whether there is something to fetch, and somebody who is here.
    fn check_listed(&self, me: &PeerName) -> Result<(), String> {
        let pattern = Escaped(self.pattern.as_str());
        match &self.from {
            Some(from) if same_name(from, me) => Err(format!("{pattern}: these files are this peer's own")),
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
