//! Tests of the grammar of searches.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn text(word: &str) -> Node {
    Node::Term(Term::Text(word.into()))
}

fn prefix(word: &str) -> Node {
    Node::Term(Term::Prefix(word.into()))
}

fn all<const N: usize>(wanted: [Node; N]) -> Node {
    Node::All { wanted: wanted.into(), excluded: Vec::new() }
}

fn either<const N: usize>(nodes: [Node; N]) -> Node {
    Node::Any(nodes.into())
}

fn size(compare: Compare, bytes: u64) -> Node {
    Node::Term(Term::Size(Size { compare, bytes }))
}

fn extension(of: &str) -> Node {
    Node::Term(Term::Extension(of.into()))
}

#[test]
fn words_phrases_and_operators() {
    let file = |name: &str| Node::Term(Term::File(name.parse().expect("a good name")));
    for (typed, meant) in [
        ("sea", text("sea")),
        (" SEA,tide , Moon  ", all([text("sea"), text("tide"), text("moon")])),
        ("\"High  water\" sea", all([text("high water"), text("sea")])),
        ("\"a \"\"b\"\"\" 5\"disk", all([text("a \"b\""), text("5\"disk")])),
        ("net*", prefix("net")),
        ("a | b|c d", all([either([text("a"), text("b"), text("c")]), text("d")])),
        ("(a b)|(c)", either([all([text("a"), text("b")]), text("c")])),
        ("((a))", text("a")),
        ("foo(1)", all([text("foo"), text("1")])),
        ("co-op 10:30", all([text("co-op"), text("10:30")])),
        ("http://x", text("http://x")),
        ("\"file:x\" \"-x\" \"net*\"", all([text("file:x"), text("-x"), text("net*")])),
        ("ext:PDF", extension("pdf")),
        ("Ext:.tar.gz", extension("tar.gz")),
        ("ext:\"c d\"|ext:c", either([extension("c d"), extension("c")])),
        ("from:Ann", Node::Term(Term::From("Ann".parse().expect("a good name")))),
        ("file: two words.txt", file("two words.txt")),
        ("x file:\"two words.txt\"", all([text("x"), file("two words.txt")])),
    ] {
        assert_eq!(typed.parse(), Ok(Search(meant)), "{typed}");
    }
    let excluding =
        Node::All { wanted: vec![text("a")], excluded: vec![text("b"), either([text("c"), prefix("d")])] };
    assert_eq!("a -b -(c|d*)".parse(), Ok(Search(excluding.clone())));
    assert_eq!("-b a, -(c | d*)".parse(), Ok(Search(excluding)));
    let digest = Digest::of(b"abc");
    let spaced = format!("{digest}").replacen('b', "b ", 1);
    for typed in [format!("sha256:{digest}"), format!(" SHA256:{spaced} ")] {
        assert_eq!(typed.parse(), Ok(Search(Node::Term(Term::Content(digest)))), "{typed}");
    }
}

#[test]
fn sizes_have_units() {
    for (typed, meant) in [
        ("size>1M", size(Compare::More, 1 << 20)),
        ("SIZE>=2kB", size(Compare::AtLeast, 2 << 10)),
        ("size<1.5GiB", size(Compare::Less, 3 << 29)),
        ("size<=0", size(Compare::AtMost, 0)),
        ("size=17b", size(Compare::Equal, 17)),
        ("size=16777215T", size(Compare::Equal, 16_777_215 << 40)),
    ] {
        assert_eq!(typed.parse(), Ok(Search(meant)), "{typed}");
    }
    let admitted = |compare| (0..=2).filter(|n| Size { compare, bytes: 1 }.admits(*n)).collect::<Vec<_>>();
    assert_eq!(admitted(Compare::Less), [0]);
    assert_eq!(admitted(Compare::AtMost), [0, 1]);
    assert_eq!(admitted(Compare::Equal), [1]);
    assert_eq!(admitted(Compare::AtLeast), [1, 2]);
    assert_eq!(admitted(Compare::More), [2]);
}

#[test]
fn an_error_names_its_column() {
    let seventeen = ["x"; 17].join(" ");
    let deep = format!("{}x{}", "(".repeat(9), ")".repeat(9));
    let long = "x".repeat(SEARCH_BYTES_MAX + 1);
    for (typed, column, reason) in [
        ("", 1, Reason::Empty),
        (" , ,", 5, Reason::Empty),
        (seventeen.as_str(), 33, Reason::TooManyTerms),
        (deep.as_str(), 9, Reason::TooDeep),
        (long.as_str(), 1, Reason::TooLong(SEARCH_BYTES_MAX + 1)),
        ("sea (tide", 5, Reason::OpenParenthesis),
        ("sea) tide", 4, Reason::NoParenthesis),
        ("sea ()", 5, Reason::EmptyParentheses),
        ("| sea", 1, Reason::NoAlternative),
        ("sea |", 5, Reason::NoAlternative),
        ("sea || tide", 5, Reason::NoAlternative),
        ("sea | -tide", 7, Reason::ExcludedAlternative),
        ("sea -tide | moon", 5, Reason::ExcludedAlternative),
        ("sea - tide", 5, Reason::NothingExcluded),
        ("sea --tide", 5, Reason::NothingExcluded),
        ("-sea", 1, Reason::OnlyExclusions),
        ("sea | (-tide)", 8, Reason::OnlyExclusions),
        ("meer s*a", 7, Reason::Star),
        ("*", 1, Reason::Star),
        ("über \"high water", 6, Reason::OpenQuote),
        ("\"über\"x", 7, Reason::AfterQuote('x')),
        ("\"\"", 1, Reason::Keyword(BadKeyword::Empty)),
        ("x a\u{feff}b", 3, Reason::Keyword(BadKeyword::Character('\u{feff}'))),
        ("x ext:", 7, Reason::NoExtension),
        ("size:1M", 5, Reason::Size(BadSize::Operator)),
        ("x size>1X", 8, Reason::Size(BadSize::Number)),
        ("size>.5K", 6, Reason::Size(BadSize::Number)),
        ("size>16777216T", 6, Reason::Size(BadSize::TooLarge)),
        ("x from:a/b", 8, Reason::Name("a/b".parse::<PeerName>().expect_err("a bad name"))),
        ("file:../x", 6, Reason::FileName(BadFileName::LeadingDot)),
        ("x sha256:12", 10, Reason::Digest("12".parse::<Digest>().expect_err("too short"))),
    ] {
        assert_eq!(typed.parse::<Search>(), Err(BadSearch { column, reason }), "{typed}");
    }
    assert!(["x"; 16].join(",").parse::<Search>().is_ok());
    assert!(format!("{}x{}", "(".repeat(8), ")".repeat(8)).parse::<Search>().is_ok());
    // The upper case has 2 bytes, the lower case 3.
    assert!("\u{130}".repeat(64).parse::<Search>().is_err());
}

#[test]
fn wanted_texts_are_replaced() {
    let search: Search = "sae -sae (tied|net*)".parse().expect("a good search");
    let mended = |word: &str| match word {
        "sae" => Some("sea".to_owned()),
        "tied" => Some("high tide".to_owned()),
        _ => None,
    };
    let other = search.with_texts(mended).expect("two are replaced");
    assert_eq!(other.to_string(), "sea \"high tide\"|net* -sae");
    assert_eq!(other.with_texts(|_| None), None);
    assert_eq!(other.with_texts(|_| Some("x".repeat(200))), None);
}

fn terms() -> impl Strategy<Value = Term> {
    let word = "[^\\p{Cc}]{1,8}".prop_filter_map("a text", |word| {
        let quoted = format!("\"{}\"", word.replace('"', "\"\""));
        match quoted.parse::<Search>() {
            Ok(Search(Node::Term(Term::Text(text)))) => Some(text),
            _ => None,
        }
    });
    let name = "[^\\p{Cc}/\\\\]{1,8}".prop_filter_map("a file name", |n| n.parse().ok());
    let compare =
        select(vec![Compare::Less, Compare::AtMost, Compare::Equal, Compare::AtLeast, Compare::More]);
    let bytes = prop_oneof![any::<u64>(), (0..1u64 << 20, 0..5).prop_map(|(n, power)| n << (10 * power))];
    prop_oneof![
        4 => word.prop_map(Term::Text),
        1 => "[a-zé\"<=:]{0,3}[a-z]".prop_filter_map("a prefix", |w| match format!("{w}*").parse::<Search>() {
            Ok(Search(Node::Term(Term::Prefix(text)))) => Some(Term::Prefix(text)),
            _ => None,
        }),
        1 => "[a-z |.\"]{0,4}[a-z]".prop_map(|e| Term::Extension(e.trim_start_matches([' ', '.']).split_whitespace().collect::<Vec<_>>().join(" ").into())),
        1 => (compare, bytes).prop_map(|(compare, bytes)| Term::Size(Size { compare, bytes })),
        1 => "[A-Za-z0-9._-]{1,8}".prop_map(|n| Term::From(n.parse().expect("a good name"))),
        1 => any::<[u8; 32]>().prop_map(|bytes| Term::Content(Digest(bytes))),
        1 => name.prop_map(Term::File),
    ]
}

/// Searches as the parser makes them: no part of one part only.
fn nodes() -> impl Strategy<Value = Node> {
    terms().prop_map(Node::Term).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Node::Any),
            (vec(inner.clone(), 1..3), vec(inner, 1..3))
                .prop_map(|(wanted, excluded)| Node::All { wanted, excluded }),
        ]
    })
}

/// A search over the words a to f, made by hand: the files that it finds are the sets of words that `finds` accepts.
#[derive(Debug, Clone)]
enum Model {
    Word(char),
    All(Vec<Model>, Vec<Model>),
    Any(Vec<Model>),
}

impl Model {
    fn finds(&self, file: &BTreeSet<char>) -> bool {
        match self {
            Self::Word(word) => file.contains(word),
            Self::Any(models) => models.iter().any(|model| model.finds(file)),
            Self::All(wanted, excluded) => {
                wanted.iter().all(|model| model.finds(file))
                    && !excluded.iter().any(|model| model.finds(file))
            }
        }
    }

    /// The text, with more parentheses and separators than it needs.
    fn typed(&self, gap: &str) -> String {
        let list = |models: &[Self], between: &str| {
            models.iter().map(|model| model.typed(gap)).collect::<Vec<_>>().join(between)
        };
        match self {
            Self::Word(word) => word.to_string(),
            Self::Any(models) => {
                format!("({gap}{}{gap})", list(models, &format!("{gap}|{gap}")))
            }
            Self::All(wanted, excluded) => {
                let excluded: String =
                    excluded.iter().map(|model| format!(" -{}{gap}", model.typed(gap))).collect();
                format!("({gap}{}{gap}{excluded})", list(wanted, &format!("{gap} ")))
            }
        }
    }
}

fn models() -> impl Strategy<Value = Model> {
    select(vec!['a', 'b', 'c', 'd', 'e', 'f']).prop_map(Model::Word).prop_recursive(3, 14, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Model::Any),
            (vec(inner.clone(), 1..3), vec(inner, 0..3))
                .prop_map(|(wanted, excluded)| Model::All(wanted, excluded)),
        ]
    })
}

fn finds(node: &Node, file: &BTreeSet<char>) -> bool {
    match node {
        Node::Term(Term::Text(text)) => file.iter().any(|word| word.to_string() == **text),
        Node::Term(term) => panic!("{term} was not typed"),
        Node::Any(nodes) => nodes.iter().any(|node| finds(node, file)),
        Node::All { wanted, excluded } => {
            wanted.iter().all(|node| finds(node, file)) && !excluded.iter().any(|node| finds(node, file))
        }
    }
}

#[test]
fn a_word_that_looks_like_a_condition_is_found() {
    for (text, found) in [
        ("type:pdf", Some("type:pdf")),
        ("sea (tide|Kind:5) -x", Some("kind:5")),
        ("ext:pdf size>1 from:ann sea", None),
        ("12:30 https://a std::fs re: :x", None),
        ("sea -type:pdf", None),
    ] {
        let search: Search = text.parse().expect(text);
        assert_eq!(search.unknown_condition(), found, "{text}");
    }
}

proptest! {
    #[test]
    fn a_search_reads_as_it_displays(node in nodes()) {
        let search = Search(node);
        let typed = search.to_string();
        match typed.parse::<Search>() {
            Err(BadSearch { reason: Reason::TooManyTerms | Reason::TooLong(_), .. }) => {}
            read => prop_assert_eq!(read, Ok(search), "{}", typed),
        }
    }

    #[test]
    fn a_search_means_what_was_typed(model in models(), gap in select(vec!["", " ", "  "]), files in vec(0..64u8, 8)) {
        let typed = model.typed(gap);
        let read = match typed.parse::<Search>() {
            Err(BadSearch { reason: Reason::TooManyTerms | Reason::TooDeep, .. }) => return Ok(()),
            read => read.map_err(|bad| TestCaseError::fail(format!("{typed}: {bad}")))?,
        };
        for bits in files {
            let file: BTreeSet<char> = ('a'..='f').enumerate().filter(|(n, _)| (bits >> n) & 1 == 1).map(|(_, c)| c).collect();
            prop_assert_eq!(finds(read.root(), &file), model.finds(&file), "{} with {:?}", typed, file);
        }
    }

    #[test]
    fn any_text_is_read_or_its_error_has_a_place(typed in "[-a-z *|(),\":<>=é1Ksizefrom]{0,40}|.{0,40}") {
        match typed.parse::<Search>() {
            Ok(search) => prop_assert_eq!(search.to_string().parse(), Ok(search)),
            Err(bad) => prop_assert!((1..=typed.chars().count() + 1).contains(&bad.column), "{}", bad),
        }
    }
}
