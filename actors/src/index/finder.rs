//! Finds the files that a search describes.
//!
//! Of the parts that a file must have, the one with the fewest files is listed, and the others are looked up for these files
//! only. So the time depends on the rarest part.

use std::cell::Cell;

use wire::Digest;
use wire::FileName;
use wire::search::{Node, Size, Term};
use wire::words::{folded, has_extension, words};

use super::access::Viewer;
use super::catalog::{Catalog, FileId, OwnerId};
use super::peers::Peers;
use super::posting::Posting;

/// The maximum number of files that one search looks at, some of them several times, its correction included. Other searches wait
/// meanwhile.
const STEPS_MAX: usize = 4_000_000;

/// About how many files could be looked at in the time that it takes to rank one: a million took 1.4 s.
const RANK_STEPS: usize = 20;

/// How many texts with a prefix are counted to estimate its files.
const PREFIX_COUNTED_MAX: usize = 256;

/// About how many files it costs to compare the texts of one.
const TEXT_STEPS: usize = 8;

/// A file, and how well it matches: the sum over the texts that it has.
pub(super) type Scored = (FileId, u32);

/// The search would look at too many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooBroad;

pub(super) struct Finder<'i> {
    catalog: &'i Catalog,
    peers: &'i Peers,
    viewer: Viewer<'i>,
    steps_left: Cell<usize>,
}

/// A part of a search, with what the index has for it.
enum Plan<'i> {
    /// The files of one list.
    Listed(&'i Posting),
    /// Words that follow each other: their lists, the shortest first.
    Phrase(Vec<&'i Posting>, &'i str),
    Prefix(&'i str),
    /// The list for the last part of the extension, and the extension.
    Extension(&'i Posting, &'i str),
    Size(Size),
    From(OwnerId),
    Content(Digest),
    File(&'i FileName),
    All(Vec<Plan<'i>>, Vec<Plan<'i>>),
    Any(Vec<Plan<'i>>),
    /// No file.
    Nothing,
}

impl<'i> Finder<'i> {
    pub(super) fn new(viewer: Viewer<'i>) -> Self {
        let Viewer { catalog, peers, .. } = viewer;
        Self { catalog, peers, viewer, steps_left: Cell::new(STEPS_MAX) }
    }

    /// The files that a search describes and the asker may see, in ascending order of their ids; not more than can be ranked in time.
    pub(super) fn find(&self, search: &'i Node) -> Result<Vec<Scored>, TooBroad> {
        let mut found = self.list(&self.plan(search))?;
        found.retain(|(id, _)| self.viewer.sees(*id));
        self.spend(found.len() * RANK_STEPS)?;
        Ok(found)
    }

    /// Whether a file that the asker may see has this text.
    pub(super) fn has(&self, text: &str) -> Result<bool, TooBroad> {
        match self.plan_text(text) {
            Plan::Listed(posting) => Ok(self.viewer.sees_one_of(posting)),
            plan => Ok(self.list(&plan)?.iter().any(|(id, _)| self.viewer.sees(*id))),
        }
    }

    fn spend(&self, steps: usize) -> Result<(), TooBroad> {
        let left = self.steps_left.get().checked_sub(steps).ok_or(TooBroad)?;
        self.steps_left.set(left);
        Ok(())
    }

    fn plan(&self, node: &'i Node) -> Plan<'i> {
        let plans = |nodes: &'i [Node]| nodes.iter().map(|node| self.plan(node)).collect::<Vec<_>>();
        match node {
            Node::Term(term) => self.plan_term(term),
            Node::Any(nodes) => Plan::Any(plans(nodes)),
            Node::All { wanted, excluded } => {
                let mut wanted = plans(wanted);
                // Lists come before conditions of the same size, because looking up in them is cheap.
                wanted.sort_by_key(|plan| (self.estimate(plan), !matches!(plan, Plan::Listed(_))));
                Plan::All(wanted, plans(excluded))
            }
        }
    }

    fn plan_term(&self, term: &'i Term) -> Plan<'i> {
        match term {
            Term::Text(text) => self.plan_text(text),
            Term::Prefix(prefix) => Plan::Prefix(prefix),
            Term::Extension(extension) => match self.catalog.with_extension(extension) {
                Some(posting) => Plan::Extension(posting, extension),
                None => Plan::Nothing,
            },
            Term::Size(size) => Plan::Size(*size),
            Term::From(name) => self.peers.find(name).map_or(Plan::Nothing, Plan::From),
            Term::Content(digest) => Plan::Content(*digest),
            Term::File(name) => Plan::File(name),
        }
    }

    fn plan_text<'t>(&self, text: &'t str) -> Plan<'t>
    where
        'i: 't,
    {
        let vocabulary = self.catalog.vocabulary();
        let words: Vec<&str> = words(text).collect();
        if words.is_empty() || words == [text] {
            return vocabulary.find(text).map_or(Plan::Nothing, Plan::Listed);
        }
        let postings: Option<Vec<_>> = words.into_iter().map(|word| vocabulary.find(word)).collect();
        let Some(mut postings) = postings else { return Plan::Nothing };
        postings.sort_by_key(|posting| posting.len());
        Plan::Phrase(postings, text)
    }

    /// At most how many files a part has, about.
    fn estimate(&self, plan: &Plan<'_>) -> usize {
        match plan {
            Plan::Listed(posting) | Plan::Extension(posting, _) => posting.len(),
            Plan::Phrase(postings, _) => postings.first().map_or(0, |posting| posting.len()),
            Plan::Prefix(prefix) => {
                let mut postings = self.catalog.vocabulary().with_prefix(prefix);
                let sum: usize = postings.by_ref().take(PREFIX_COUNTED_MAX).map(Posting::len).sum();
                if postings.next().is_some() { self.catalog.len() } else { sum }
            }
            Plan::Size(_) => self.catalog.len(),
            Plan::From(owner) => self.peers.get(*owner).files.len(),
            // Mostly few; counting them would be as much work as listing them.
            Plan::Content(_) | Plan::File(_) => 1,
            Plan::All(wanted, _) => wanted.first().map_or(0, |plan| self.estimate(plan)),
            Plan::Any(plans) => plans.iter().map(|plan| self.estimate(plan)).sum(),
            Plan::Nothing => 0,
        }
    }

    /// The files of a part, in ascending order.
    fn list(&self, plan: &Plan<'_>) -> Result<Vec<Scored>, TooBroad> {
        let unscored = |ids: Vec<FileId>| ids.into_iter().map(|id| (id, 0)).collect::<Vec<_>>();
        match plan {
            Plan::Listed(posting) => self.entries([*posting]),
            Plan::Phrase(postings, _) => {
                let shortest = postings.first().map_or(0, |posting| posting.len());
                self.spend(shortest)?;
                let candidates = postings.iter().take(1).flat_map(|posting| posting.iter());
                self.check(plan, candidates.map(|(id, _)| (id, 0)).collect())
            }
            Plan::Prefix(prefix) => self.entries(self.catalog.vocabulary().with_prefix(prefix)),
            Plan::Extension(posting, _) => {
                self.spend(posting.len())?;
                self.check(plan, posting.iter().map(|(id, _)| (id, 0)).collect())
            }
            Plan::Size(size) => {
                self.spend(self.catalog.len())?;
                let ids = self.catalog.ids().filter(|id| size.admits(self.catalog.bytes(*id)));
                Ok(unscored(ids.collect()))
            }
            Plan::From(owner) => {
                let mut ids: Vec<FileId> = self.peers.get(*owner).files.iter().copied().collect();
                self.spend(ids.len())?;
                ids.sort_unstable();
                Ok(unscored(ids))
            }
            Plan::Content(digest) => Ok(unscored(self.catalog.of_content(*digest))),
            Plan::File(name) => Ok(unscored(self.catalog.of_name(name))),
            Plan::All(wanted, excluded) => {
                let Some((rarest, others)) = wanted.split_first() else { return Ok(Vec::new()) };
                let mut found = self.list(rarest)?;
                for other in others {
                    found = self.check(other, found)?;
                }
                for excluded in excluded {
                    self.spend(found.len() * cost(excluded))?;
                    found.retain(|(id, _)| self.score(excluded, *id).is_none());
                }
                Ok(found)
            }
            Plan::Any(plans) => {
                let lists: Result<Vec<_>, _> = plans.iter().map(|plan| self.list(plan)).collect();
                Ok(united(lists?.concat()))
            }
            Plan::Nothing => Ok(Vec::new()),
        }
    }

    fn entries<'p>(&self, postings: impl IntoIterator<Item = &'p Posting>) -> Result<Vec<Scored>, TooBroad> {
        let mut found = Vec::new();
        let mut lists = 0;
        for posting in postings {
            self.spend(posting.len() + 1)?;
            found.extend(posting.iter().map(|(id, how)| (id, how as u32)));
            lists += 1;
        }
        Ok(if lists > 1 { united(found) } else { found })
    }

    /// Those of some files that a part has too, in ascending order.
    fn check(&self, plan: &Plan<'_>, mut found: Vec<Scored>) -> Result<Vec<Scored>, TooBroad> {
        self.spend(found.len() * cost(plan))?;
        if let Plan::Listed(posting) = plan {
            let mut scan = posting.scan();
            found.retain_mut(|(id, score)| {
                let how = scan.find(*id);
                *score += how.map_or(0, |how| how as u32);
                how.is_some()
            });
            return Ok(found);
        }
        found.retain_mut(|(id, score)| {
            let more = self.score(plan, *id);
            *score += more.unwrap_or_default();
            more.is_some()
        });
        Ok(found)
    }

    /// How well a file matches a part; `None` if it does not.
    fn score(&self, plan: &Plan<'_>, id: FileId) -> Option<u32> {
        let catalog = self.catalog;
        let if_so = |is_so: bool| is_so.then_some(0);
        match plan {
            Plan::Listed(posting) => posting.find(id).map(|how| how as u32),
            Plan::Phrase(postings, text) => {
                let has_all = postings.iter().skip(1).all(|posting| posting.find(id).is_some());
                if has_all { catalog.phrase(id, text).map(|how| how as u32) } else { None }
            }
            Plan::Prefix(prefix) => catalog.prefix(id, prefix).map(|how| how as u32),
            Plan::Extension(_, extension) => if_so(has_extension(&folded(catalog.name(id)), extension)),
            Plan::Size(size) => if_so(size.admits(catalog.bytes(id))),
            Plan::From(owner) => if_so(catalog.owner(id) == *owner),
            Plan::Content(digest) => if_so(catalog.digest(id) == digest),
            Plan::File(name) => if_so(catalog.name(id) == name.as_str()),
            Plan::All(wanted, excluded) => {
                let scores = wanted.iter().map(|plan| self.score(plan, id)).sum::<Option<u32>>()?;
                let is_excluded = excluded.iter().any(|plan| self.score(plan, id).is_some());
                (!is_excluded).then_some(scores)
            }
            Plan::Any(plans) => plans.iter().filter_map(|plan| self.score(plan, id)).max(),
            Plan::Nothing => None,
        }
    }
}

/// About how many steps it takes to look up a part for one file.
fn cost(plan: &Plan<'_>) -> usize {
    match plan {
        Plan::Phrase(..) | Plan::Prefix(_) | Plan::Extension(..) => TEXT_STEPS,
        Plan::All(wanted, excluded) => wanted.iter().chain(excluded).map(cost).sum(),
        Plan::Any(plans) => plans.iter().map(cost).sum(),
        _ => 1,
    }
}

/// Sorts files, and keeps the best score of each.
fn united(mut found: Vec<Scored>) -> Vec<Scored> {
    found.sort_unstable_by(|(a, score_a), (b, score_b)| a.cmp(b).then(score_b.cmp(score_a)));
    found.dedup_by_key(|(id, _)| *id);
    found
}
