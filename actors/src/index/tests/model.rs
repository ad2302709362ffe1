//! The core against a model that is too simple to be wrong: a list of files that is scanned from end to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use wire::share::{Difference, Hit, ListDigest};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A share, and the number of files in each of its parts.
    Publish(PeerName, Vec<ListedFile>, usize),
    /// Names that are gone, if the peer has shared anything, and files that are new or replace others.
    Change(PeerName, Vec<&'static str>, Vec<ListedFile>),
    Presence(Presence),
    Search(Query, u32, AskerSees),
}

#[derive(Debug, Default)]
struct Model {
    /// By folded name: the latest spelling of the name, and the files.
    shares: BTreeMap<PeerName, (PeerName, Vec<ListedFile>)>,
    online: BTreeMap<PeerName, Option<SocketAddr>>,
}

impl Model {
    fn search(&self, query: &Query, limit: u32, asker: &AskerSees) -> Found {
        let mut hits = Vec::new();
        for (folded, (peer, files)) in &self.shares {
            for ListedFile { file, .. } in files.iter().filter(|listed| matches(&listed.file, query)) {
                let address = self.online.get(folded).copied().flatten();
                hits.push(Hit {
                    peer: peer.clone(),
                    file: file.clone(),
                    online: self.online.contains_key(folded),
                    address: address.filter(|a| !a.ip().is_loopback() || *asker == NEAR),
                });
            }
        }
        hits.sort_by_key(|hit| (!hit.online, hit.file.name.clone(), hit.peer.folded()));
        let total = hits.len() as u64;
        hits.truncate(limit as usize);
        Found { hits, total }
    }
}

fn matches(file: &PublishedFile, query: &Query) -> bool {
    match query {
        Query::File(name) => file.name == *name,
        Query::Digest(digest) => file.sha256 == *digest,
        Query::Names { .. } | Query::Holders { .. } => false,
        Query::Keywords(wanted) => wanted.as_slice().iter().all(|wanted| {
            let wanted = wanted.as_str().to_lowercase();
            file.keywords.iter().any(|k| k.as_str().to_lowercase() == wanted)
        }),
    }
}

const WORDS: [&str; 7] = ["sea", "Sea", "SEA", "tide", "wind", "höhe", "HÖHE"];
const FILES: [&str; 5] = ["a", "b", "B", "two words", "ü"];

fn peers() -> impl Strategy<Value = PeerName> {
    select(vec!["a", "A", "b", "c", "C"]).prop_map(peer)
}

/// Files by name, whose content is one of three.
fn shares() -> impl Strategy<Value = Vec<ListedFile>> {
    let content = (select(WORDS[..3].to_vec()), vec(select(WORDS.to_vec()), 0..5));
    btree_map(select(FILES.to_vec()), content, 0..5).prop_map(|files| {
        let one =
            |(name, (content, words)): (&str, (&str, Vec<&str>))| with_content(content, file(name, &words));
        files.into_iter().map(one).collect()
    })
}

fn queries() -> impl Strategy<Value = Query> {
    prop_oneof![
        4 => vec(select(WORDS.to_vec()), 1..4).prop_map(|words| keywords(&words)),
        1 => select(FILES.to_vec()).prop_map(|name| Query::File(name.parse().expect("a good name"))),
        1 => select(WORDS[..3].to_vec()).prop_map(|w| Query::Digest(Digest::of(w.as_bytes()))),
    ]
}

fn presences() -> impl Strategy<Value = Presence> {
    let addresses = select(vec![None, Some("127.0.0.1:1"), Some("192.0.2.1:1")]);
    (peers(), any::<bool>(), addresses).prop_map(|(name, online, address)| {
        if online { here(name.as_str(), address) } else { gone(name.as_str()) }
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (peers(), shares(), 1..3usize).prop_map(|(p, files, size)| Step::Publish(p, files, size)),
        3 => (peers(), vec(select(FILES.to_vec()), 0..4), shares()).prop_map(|(p, gone, new)| Step::Change(p, gone, new)),
        2 => presences().prop_map(Step::Presence),
        4 => (queries(), 0..6u32, select(vec![NEAR, FAR])).prop_map(|(q, n, asker)| Step::Search(q, n, asker)),
    ]
}

/// Publishes in parts of `size` files, the last of which may be empty.
fn in_parts(core: &mut Core, name: &PeerName, files: &[ListedFile], size: usize) {
    let mut part = 0;
    for chunk in files.chunks(size) {
        assert!(answered(core, name.as_str(), part, false, chunk.to_vec()).is_ok());
        part += 1;
    }
    match publish_part(core, name.as_str(), part, true, Vec::new()) {
        Outcome::ToKeep(keep, _) => kept(core, keep.held),
        Outcome::Answered(answer) => panic!("a good share was not taken: {answer:?}"),
    }
}

/// Publishes a difference, and applies it to the files of the model.
fn in_a_difference(
    core: &mut Core,
    name: &PeerName,
    there: &mut Vec<ListedFile>,
    removed: &[&str],
    files: Vec<ListedFile>,
) {
    let is_new = |name: &str| files.iter().any(|listed| listed.file.name.as_str() == name);
    let mut removed: Vec<&str> = removed.iter().copied().filter(|name| !is_new(name)).collect();
    removed.sort_unstable();
    removed.dedup();
    let difference = Difference {
        base: ListDigest::of(there.iter()),
        removed: removed.iter().map(|name| name.parse().expect("a good name")).collect(),
        files: files.clone(),
    };
    let is_empty = removed.is_empty() && files.is_empty();
    match changes::change(core, name.as_str(), difference) {
        Outcome::ToKeep(keep, _) => kept(core, keep.held),
        Outcome::Answered(Ok(_)) if is_empty => {}
        Outcome::Answered(answer) => panic!("a good difference was not taken: {answer:?}"),
    }
    there.retain(|listed| {
        let name = listed.file.name.as_str();
        !removed.contains(&name) && !is_new(name)
    });
    there.extend(with_pairs_once(files));
}

/// As the Index stores it: a repeated pair counts once, in its first spelling.
fn with_pairs_once(mut files: Vec<ListedFile>) -> Vec<ListedFile> {
    for ListedFile { file, .. } in &mut files {
        let mut seen = Vec::new();
        file.keywords.retain(|keyword| {
            let folded = keyword.as_str().to_lowercase();
            let new = !seen.contains(&folded);
            seen.push(folded);
            new
        });
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_core_answers_as_the_model_does(steps in vec(steps(), 1..40)) {
        let mut core = Core::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Publish(name, files, size) => {
                    in_parts(&mut core, &name, &files, size);
                    model.shares.insert(name.folded(), (name, with_pairs_once(files)));
                }
                Step::Change(name, removed, files) => {
                    let Some((_, there)) = model.shares.get_mut(&name.folded()) else { continue };
                    if !there.is_empty() {
                        in_a_difference(&mut core, &name, there, &removed, files);
                    }
                }
                Step::Presence(presence) => {
                    match presence.online {
                        true => model.online.insert(presence.peer.folded(), presence.address),
                        false => model.online.remove(&presence.peer.folded()),
                    };
                    tell(&mut core, presence);
                }
                Step::Search(query, limit, asker) => {
                    let expected = model.search(&query, limit, &asker);
                    prop_assert_eq!(search(&mut core, &query, limit, asker), expected);
                }
            }
        }
        for name in ["a", "b", "c"] {
            tell(&mut core, gone(name));
            publish(&mut core, name, Vec::new());
        }
        prop_assert!(core.is_empty());
    }
}
