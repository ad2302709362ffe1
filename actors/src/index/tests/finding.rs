//! Searches as people type them: against a model that scans all files, and what a person sees.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use wire::Search;
use wire::search::{Node, Term};
use wire::share::{Hit, MATCH_HITS_MAX, Match};
use wire::words::{folded, words};

use super::*;
use crate::commands::index::{FIND_MATCHES_MAX, FindAnswer, FindRefused, Matches, Page};

fn find(core: &mut Core, typed: &str, page: Page) -> Matches {
    answer(core, typed, page, FAR).expect("it is not too broad")
}

pub(super) fn answer(core: &mut Core, typed: &str, page: Page, asker: AskerSees) -> FindAnswer {
    let search = typed.parse().unwrap_or_else(|e| panic!("{typed}: {e}"));
    let (reply, pending) = reply();
    let keep = handle(core, Command::Find { search, page, asker, reply });
    assert!(keep.is_none(), "a search has no effect outside");
    pending.wait(NOW).expect("it is answered at once")
}

pub(super) const ALL: Page = Page { skip: 0, limit: 1000 };

/// Who has what, match by match.
fn found(core: &mut Core, typed: &str) -> Vec<Vec<(String, String)>> {
    let of_hit = |hit: &Hit| (hit.peer.to_string(), hit.file.name.to_string());
    find(core, typed, ALL).matches.iter().map(|one| one.hits.iter().map(of_hit).collect()).collect()
}

/// The names of the files, match by match.
fn files(core: &mut Core, typed: &str) -> Vec<String> {
    found(core, typed).into_iter().map(|hits| hits[0].1.clone()).collect()
}

#[test]
fn each_kind_of_term_finds() {
    let mut core = Core::default();
    let shared = vec![
        file("tides.pdf", &["High Water", "sea"]),
        file("report 2026.tar.gz", &[]),
        file("network.txt", &["network", "C++"]),
        file("netting.TXT", &["fishing net"]),
        file("tagged.pdf", &["Höhe"]),
    ];
    publish(&mut core, "Ann", shared);
    publish(&mut core, "bob", vec![file("x", &["sea-salt"])]);
    for (typed, expected) in [
        ("water", &["tides.pdf"][..]),
        ("\"high water\"", &["tides.pdf"]),
        ("\"water high\"", &[]),
        ("sea", &["tides.pdf", "x"]),
        ("sea -salt", &["tides.pdf"]),
        ("sea-salt", &["x"]),
        ("2026", &["report 2026.tar.gz"]),
        ("tagged", &[]),
        ("file:tagged.pdf", &["tagged.pdf"]),
        ("net*", &["network.txt", "netting.TXT"]),
        ("rep*", &["report 2026.tar.gz"]),
        ("net", &["netting.TXT"]),
        ("c++", &["network.txt"]),
        ("ho\u{308}HE", &["tagged.pdf"]),
        ("ext:txt", &["netting.TXT", "network.txt"]),
        ("ext:tar.gz", &["report 2026.tar.gz"]),
        ("ext:gz ext:tar.gz", &["report 2026.tar.gz"]),
        ("ext:xtar.gz", &[]),
        ("size>11", &["report 2026.tar.gz"]),
        ("size<=9 from:ANN", &["tides.pdf"]),
        ("from:bob", &["x"]),
        ("from:nobody", &[]),
        ("from:ann (net*|sea) -ext:pdf", &["network.txt", "netting.TXT"]),
        ("from:ann -(net*|sea) size>10", &["report 2026.tar.gz"]),
    ] {
        let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let mut found = files(&mut core, typed);
        if typed.starts_with("ext") {
            found.sort();
        }
        assert_eq!(found, expected, "{typed}");
    }
    let digest = Digest::of(b"x");
    assert_eq!(files(&mut core, &format!("sha256:{digest}")), ["x"]);
}

#[test]
fn the_best_match_comes_first_then_who_is_here_then_what_many_have() {
    let mut core = Core::default();
    let many = || with_content("many", file("many", &["sea"]));
    publish(&mut core, "a", vec![file("as a word", &["deep sea"]), many(), file("other", &["sea"])]);
    publish(&mut core, "b", vec![many()]);
    publish(&mut core, "c", vec![file("both", &["sea", "tide"]), file("sea", &[])]);
    publish(&mut core, "here", vec![file("with here", &["sea"]), file("z here", &["deep sea"])]);
    tell(&mut core, here("here", None));
    assert_eq!(
        files(&mut core, "sea|tide"),
        ["with here", "many", "both", "other", "z here", "as a word", "sea"]
    );
    assert_eq!(files(&mut core, "sea tide"), ["both"]);
    tell(&mut core, here("b", None));
    assert_eq!(found(&mut core, "sea")[0], [("b".into(), "many".into()), ("a".into(), "many".into())]);
    let first = &find(&mut core, "sea", Page { skip: 0, limit: 1 }).matches[0];
    assert_eq!((first.holders, first.hits.len()), (2, 2));
}

#[test]
fn a_misspelt_word_is_corrected_if_that_finds_something() {
    let mut core = Core::default();
    publish(
        &mut core,
        "a",
        vec![file("x", &["picture", "sea"]), file("y", &["high water"]), file("report.txt", &[])],
    );
    let mut instead = |typed| find(&mut core, typed, ALL).instead.map(|search| search.to_string());
    for (typed, expected) in [
        ("pitcure", Some("picture")),
        ("sae pictre -tide", Some("sea picture -tide")),
        ("\"hihg water\"", Some("\"high water\"")),
        ("reprot", Some("report")),
        ("sae water", None),
        ("submarine", None),
        ("sea water", None),
        ("sea", None),
    ] {
        assert_eq!(instead(typed).as_deref(), expected, "{typed}");
    }
}

#[test]
fn pages_follow_each_other_and_end() {
    let mut core = Core::default();
    publish(&mut core, "a", (0..25).map(|n| file(&format!("{n:02}"), &["k"])).collect());
    let mut names = Vec::new();
    for skip in [0, 10, 20, 30] {
        let page = find(&mut core, "k", Page { skip, limit: 10 });
        assert_eq!(page.total, 25);
        names.extend(page.matches.into_iter().map(|one| one.hits[0].file.name.to_string()));
    }
    assert_eq!(names, (0..25).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert_eq!(Page::new(FIND_MATCHES_MAX, 1), Err(FindRefused::TooFar));
    assert_eq!(Page::new(FIND_MATCHES_MAX - 1, 10), Ok(Page { skip: FIND_MATCHES_MAX - 1, limit: 1 }));
    assert_eq!(Page::new(0, u32::MAX), Ok(ALL));
}

#[test]
fn an_answer_is_bounded_however_many_have_the_same_content() {
    let mut core = Core::default();
    let widest = |name: &str| {
        let words: Vec<String> = (0..1024).map(|n| format!("k{n:0127}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["all"]).skip(1).collect();
        with_content("same", file(name, &words))
    };
    for n in 0..20 {
        publish(&mut core, &format!("small{n}"), vec![with_content("small", file("s", &["few"]))]);
        publish(&mut core, &format!("p{n}"), vec![widest("w")]);
    }
    let small = find(&mut core, "few", ALL).matches;
    assert_eq!((small.len(), small[0].holders, small[0].hits.len()), (1, 20, MATCH_HITS_MAX));
    let wide = find(&mut core, "all", ALL).matches;
    assert_eq!((wide.len(), wide[0].holders), (1, 20));
    assert!((1..5).contains(&wide[0].hits.len()), "{}", wide[0].hits.len());
}

/// All that is shared, and who is connected, by folded name.
#[derive(Debug, Default)]
struct Model {
    shares: BTreeMap<PeerName, (PeerName, Vec<ListedFile>)>,
    online: BTreeSet<PeerName>,
}

impl Model {
    fn find(&self, search: &Search, page: Page, asker: &AskerSees) -> (Vec<Match>, u64) {
        let mut contents: BTreeMap<Digest, Vec<(u32, Hit)>> = BTreeMap::new();
        for (folded, (peer, files)) in &self.shares {
            for ListedFile { file, audience } in files {
                let is_seen = match &asker.name {
                    Some(name) => audience.admits(name) || name.folded() == *folded,
                    None => audience.is_everyone(),
                };
                if !is_seen {
                    continue;
                }
                let Some(score) = score(search.root(), peer, file) else { continue };
                let (online, address) = (self.online.contains(folded), None);
                let hit = Hit { peer: peer.clone(), file: file.clone(), online, address };
                contents.entry(file.sha256).or_default().push((score, hit));
            }
        }
        let mut matches: Vec<_> = contents.into_values().map(ranked).collect();
        matches.sort_by_key(|(rank, one)| (*rank, one.hits[0].file.name.clone(), one.hits[0].file.sha256));
        let total = matches.len() as u64;
        let of_page = matches.into_iter().skip(page.skip as usize).take(page.limit as usize);
        (of_page.map(|(_, one)| one).collect(), total)
    }
}

type Rank = Reverse<(u32, bool, u32)>;

fn ranked(mut hits: Vec<(u32, Hit)>) -> (Rank, Match) {
    hits.sort_by_key(|(score, hit)| {
        (Reverse((hit.online, *score)), hit.file.name.clone(), hit.peer.folded())
    });
    let holders: BTreeSet<PeerName> = hits.iter().map(|(_, hit)| hit.peer.folded()).collect();
    let holders = u32::try_from(holders.len()).expect("few peers");
    let score = hits.iter().map(|(score, _)| *score).max().expect("a content has a file");
    let rank = Reverse((score, hits[0].1.online, holders));
    (rank, Match { holders, hits: hits.into_iter().map(|(_, hit)| hit).collect() })
}

fn score(node: &Node, peer: &PeerName, file: &PublishedFile) -> Option<u32> {
    match node {
        Node::Term(term) => term_score(term, peer, file),
        Node::Any(nodes) => nodes.iter().filter_map(|node| score(node, peer, file)).max(),
        Node::All { wanted, excluded } => {
            let scores: Option<Vec<u32>> = wanted.iter().map(|node| score(node, peer, file)).collect();
            let is_excluded = excluded.iter().any(|node| score(node, peer, file).is_some());
            scores.filter(|_| !is_excluded).map(|scores| scores.into_iter().sum())
        }
    }
}

fn term_score(term: &Term, peer: &PeerName, file: &PublishedFile) -> Option<u32> {
    let name = folded(file.name.as_str()).into_owned();
    let keywords: Vec<String> = file.keywords.iter().map(|k| k.folded().into_owned()).collect();
    let text_score = |is_whole: &dyn Fn(&str) -> bool, has: &dyn Fn(&[&str]) -> bool| {
        let has = |text: &str| has(&words(text).collect::<Vec<_>>());
        let of_keyword = |keyword: &String| match (is_whole(keyword), has(keyword)) {
            (true, _) => Some(3),
            (false, true) => Some(2),
            _ => None,
        };
        if keywords.is_empty() {
            has(&name).then_some(1)
        } else {
            keywords.iter().filter_map(of_keyword).max()
        }
    };
    let is_so = match term {
        Term::Text(text) => {
            let phrase: Vec<&str> = words(text).collect();
            let follow = |words: &[&str]| {
                !phrase.is_empty() && words.windows(phrase.len()).any(|window| window == phrase)
            };
            return text_score(&|keyword| keyword == &**text, &follow);
        }
        Term::Prefix(prefix) => {
            let begins = |words: &[&str]| words.iter().any(|word| word.starts_with(&**prefix));
            return text_score(&|keyword| keyword.starts_with(&**prefix), &begins);
        }
        Term::Extension(extension) => name.ends_with(&format!(".{extension}")),
        Term::Size(size) => size.admits(file.bytes),
        Term::From(from) => from.folded() == peer.folded(),
        Term::Content(digest) => file.sha256 == *digest,
        Term::File(name) => file.name == *name,
    };
    is_so.then_some(0)
}

const NAMES: [&str; 7] =
    ["net plan.TXT", "sea.tar.gz", "b.txt", "B.txt", "high-water sea.md", "x", "two words"];
const KEYWORDS: [&str; 8] = ["sea", "Sea", "High Water", "water-mark", "net", "network plan", "++", "höhe"];
const TERMS: [&str; 24] = [
    "sea",
    "SEA",
    "water",
    "\"high water\"",
    "high-water",
    "\"water mark\"",
    "net",
    "net*",
    "n*",
    "wat*",
    "water-*",
    "\"network plan\"",
    "\"++\"",
    "\"+\"",
    "höhe",
    "ext:txt",
    "ext:gz",
    "ext:tar.gz",
    "size>2",
    "size<=3",
    "from:A",
    "from:c",
    "file:\"b.txt\"",
    "gone",
];

/// Who may see a file, by folded name.
const AUDIENCES: [Option<&[&str]>; 6] = [None, None, None, Some(&[]), Some(&["a", "d"]), Some(&["c"])];

pub(super) fn shares() -> impl Strategy<Value = Vec<ListedFile>> {
    let words = vec(select(KEYWORDS.to_vec()), 0..4);
    let one = (select(vec!["1", "2", "3", "4"]), 0..5u64, words, select(AUDIENCES.to_vec()));
    btree_map(select(NAMES.to_vec()), one, 0..6).prop_map(|files| {
        type Made<'m> = (&'m str, u64, Vec<&'m str>, Option<&'m [&'m str]>);
        let one = |(name, (content, bytes, words, names)): (&str, Made<'_>)| {
            let mut seen = BTreeSet::new();
            let words: Vec<&str> =
                words.into_iter().filter(|word| seen.insert(folded(word).into_owned())).collect();
            let mut made = with_content(content, file(name, &words));
            made.file.bytes = bytes;
            names.map_or(made.clone(), |names| only(names, made))
        };
        files.into_iter().map(one).collect()
    })
}

pub(super) fn searches() -> impl Strategy<Value = String> {
    let term = select(TERMS.to_vec()).prop_map(str::to_owned);
    let digest = Just(format!("sha256:{}", Digest::of(b"1")));
    let leaf = prop_oneof![20 => term, 1 => digest];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" "))),
            vec(inner.clone(), 2..4).prop_map(|any| format!("({})", any.join("|"))),
            (inner.clone(), inner).prop_map(|(wanted, excluded)| format!("({wanted} -{excluded})")),
        ]
    })
}

#[derive(Debug, Clone)]
enum Step {
    Publish(&'static str, Vec<ListedFile>),
    Presence(&'static str, bool),
    Find(String, Page, AskerSees),
}

pub(super) fn askers() -> impl Strategy<Value = AskerSees> {
    select(vec![FAR, asker("A"), asker("c"), asker("D"), asker("e")])
}

fn steps() -> impl Strategy<Value = Step> {
    let peers = || select(vec!["a", "A", "b", "C"]);
    prop_oneof![
        3 => (peers(), shares()).prop_map(|(peer, files)| Step::Publish(peer, files)),
        1 => (peers(), any::<bool>()).prop_map(|(peer, online)| Step::Presence(peer, online)),
        5 => (searches(), 0..3u32, 1..6u32, askers()).prop_map(|(typed, skip, limit, asker)| Step::Find(typed, Page { skip, limit }, asker)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn searches_find_what_a_scan_finds(steps in vec(steps(), 1..30)) {
        let mut core = Core::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Publish(name, files) => {
                    publish(&mut core, name, files.clone());
                    model.shares.insert(peer(name).folded(), (peer(name), files));
                }
                Step::Presence(name, online) => {
                    tell(&mut core, if online { here(name, None) } else { gone(name) });
                    match online {
                        true => model.online.insert(peer(name).folded()),
                        false => model.online.remove(&peer(name).folded()),
                    };
                }
                Step::Find(typed, page, asker) => {
                    let search = typed.parse().expect("a good search");
                    let expected = model.find(&search, page, &asker);
                    let Matches { matches, total, .. } = answer(&mut core, &typed, page, asker).expect("it is not too broad");
                    prop_assert_eq!((matches, total), expected, "{}", typed);
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

#[test]
fn a_search_that_too_many_files_match_is_refused_until_a_word_is_added() {
    let mut core = Core::default();
    let files = (0..195_000).map(|n| file(&format!("{n}"), if n == 7 { &["sea", "tide"] } else { &["sea"] }));
    let share = Share { owner: peer("A"), network: network(1), files: files.collect() };
    core.restore(&share, 0).expect("it fits");
    for typed in ["sea", "size>0", "from:A", "t*|sea"] {
        let refused = answer(&mut core, typed, ALL, FAR).expect_err(typed);
        assert_eq!(refused, FindRefused::TooBroad, "{typed}");
    }
    assert_eq!(self::files(&mut core, "sea tide size>0 from:A"), ["7"]);
}
