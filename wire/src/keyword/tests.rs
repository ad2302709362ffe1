use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn keyword(text: &str) -> Keyword {
    text.parse().expect("a good keyword")
}

fn pair(word: &str, file: &str) -> (Keyword, FileName) {
    (keyword(word), file.parse().expect("a good file name"))
}

#[test]
fn a_keyword_is_one_clean_phrase() {
    assert_eq!(keyword("  two \t\r\n words ").as_str(), "two words");
    assert_eq!(keyword("Straße ÄÖ").folded(), "straße äö");
    assert_eq!(keyword("Sea").folded(), keyword("sEA").folded());
    assert_eq!(keyword("caf\u{e9}").folded(), keyword("CAFE\u{301}").folded(), "an accent, composed or not");
    assert_eq!(keyword(&"x".repeat(128)).as_str().len(), 128);
    for (bad, why) in [
        ("", BadKeyword::Empty),
        (" \n ", BadKeyword::Empty),
        ("a\u{1b}b", BadKeyword::Character('\u{1b}')),
        ("\u{feff}a", BadKeyword::Character('\u{feff}')),
        (&"x".repeat(129), BadKeyword::TooLong(129)),
        (&"é".repeat(65), BadKeyword::TooLong(130)),
    ] {
        assert_eq!(bad.parse::<Keyword>(), Err(why), "{bad:?}");
    }
}

#[test]
fn reads_the_example_of_the_grammar() {
    let parsed = parse("key1, filename1; key2, filename2; key3, filename1;");
    assert_eq!(
        parsed.pairs,
        [pair("key1", "filename1"), pair("key2", "filename2"), pair("key3", "filename1")]
    );
    assert_eq!(parsed.problems, []);
}

#[test]
fn layout_is_free() {
    let parsed = parse("\u{feff}\r\n ;; sea ,\r\n  the tide.txt\r\n;\tSEA,the tide.txt;a  b\n c,x;;\n");
    assert_eq!(parsed.pairs, [pair("sea", "the tide.txt"), pair("a b c", "x")]);
    assert_eq!(parsed.problems, []);
}

#[test]
fn names_what_is_broken_and_keeps_the_rest() {
    let parsed = parse("sea, a.txt;\n\n  nothing;\nsky, ../b;\r\n, c; d, ;\ne, f, g\nh, i; end, z.txt");
    assert_eq!(parsed.pairs, [pair("sea", "a.txt"), pair("end", "z.txt")]);
    let named: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.reason.clone())).collect();
    assert_eq!(
        named,
        [
            (3, 3, BadEntry::NoComma),
            (4, 6, BadEntry::FileName(BadFileName::LeadingDot)),
            (5, 1, BadEntry::Keyword(BadKeyword::Empty)),
            (5, 9, BadEntry::FileName(BadFileName::Empty)),
            (6, 5, BadEntry::SecondComma),
        ]
    );
    assert_eq!(
        parsed.problems[1].to_string(),
        "line 4, column 6: a shared file's name must not start with a dot: sky, ../b"
    );
}

#[test]
fn separators_and_quotes_stand_in_quotes() {
    let parsed = parse(
        "\"salt, pepper\" , \"a;b.txt\"\r\n; 5\" disk,c \"d\".txt;\"\"\"quoted\"\"\",\"e.txt\";\"#1\", f.txt",
    );
    assert_eq!(parsed.problems, []);
    let expected = [
        pair("salt, pepper", "a;b.txt"),
        pair("5\" disk", "c \"d\".txt"),
        pair("\"quoted\"", "e.txt"),
        pair("#1", "f.txt"),
    ];
    assert_eq!(parsed.pairs, expected);
}

#[test]
fn a_bad_quote_costs_its_own_entry_only() {
    let parsed = parse("\"sea, a.txt;\nb, \"b.txt\" x; \"c\"d, e; end, z.txt");
    assert_eq!(parsed.pairs, [pair("end", "z.txt")]);
    let named: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.reason.clone())).collect();
    let expected =
        [(1, 1, BadEntry::OpenQuote), (2, 12, BadEntry::AfterQuote('x')), (2, 18, BadEntry::AfterQuote('d'))];
    assert_eq!(named, expected);
}

fn only(names: &[&str]) -> Audience {
    Audience::only(names.iter().map(|name| name.parse().expect("a good name"))).expect("few enough")
}

fn limits(parsed: &Parsed) -> Vec<(&str, Audience)> {
    parsed.limits.iter().map(|(file, audience)| (file.as_str(), audience.clone())).collect()
}

#[test]
fn an_entry_limits_its_file_to_names() {
    let parsed = parse(
        "sea, a.txt, @Ann @ben; tide, a.txt; *, exams/**,@ann,\r\n @ben;\nsky, b.txt, @carl; SEA, a.txt, @dora; @x, c.txt",
    );
    assert_eq!(parsed.problems, []);
    let pairs = [pair("sea", "a.txt"), pair("tide", "a.txt"), pair("*", "exams/**"), pair("sky", "b.txt")];
    assert_eq!(parsed.pairs, [&pairs[..], &[pair("@x", "c.txt")]].concat());
    let (both, carl, dora) = (only(&["ann", "ben"]), only(&["carl"]), only(&["dora"]));
    let expected = [("a.txt", both.clone()), ("exams/**", both.clone()), ("b.txt", carl), ("a.txt", dora)];
    assert_eq!(limits(&parsed), expected, "also that of a repeated pair");
    assert_eq!(write_limited([(&keyword("sea"), &pairs[0].1)], &both), "sea, a.txt, @ann @ben;\n",);
    let full = parse_at_most(1, "k, 0; k, 1; k, 2, @ann; k, 0, @ben");
    assert_eq!(limits(&full), [("2", only(&["ann"])), ("0", only(&["ben"]))], "no limit is lost");
    assert_eq!((full.pairs.len(), full.problems.len()), (1, 1));
}

#[test]
fn a_limit_that_cannot_be_read_admits_nobody() {
    let parsed = parse(
        "a, 1, @a/b; b, 2, @;\nc, 3, @ann ben; d, 4, @ann, e, 5; f, 6, \"@ann;\n g, 7, h, 8; i, 9, \"@ann\"; end, 10",
    );
    assert_eq!(parsed.pairs, [pair("end", "10")]);
    let nobody = ["1", "2", "3", "4", "6", "7", "9"].map(|file| (file, Audience::nobody()));
    assert_eq!(limits(&parsed), nobody);
    let found: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.reason.to_string())).collect();
    let parts = ["'/'", "1 to 32", "\"ben\"", "\"e\"", "@ann", "second comma", "@ann"];
    assert_eq!(found.len(), parts.len(), "{found:?}");
    for ((.., reason), part) in found.iter().zip(parts) {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!((found[0].0, found[0].1, found[2].0, found[2].1), (1, 7, 2, 7));
    assert!(found[0].2.contains("nobody may fetch"), "{found:?}");
    let (left, removed) = without("a, 1, @a/b; b, 1, @ann; c, 2, @x;", |_, file| file.as_str() == "1");
    assert_eq!((left.as_str(), removed), ("c, 2, @x;", 2));
}

#[test]
fn a_limit_without_its_comma_or_mark_admits_nobody() {
    let text = "exam, exams/** @ben @Ann;\nexam, a.txt, ben; k, \"notes @home page.txt\"; \"k\", \"n @home\"; sea, b.txt\nsky, c.txt;";
    let parsed = parse(text);
    assert_eq!(parsed.pairs, [pair("k", "notes @home page.txt"), pair("k", "n @home")]);
    assert_eq!(limits(&parsed), [("exams/**", Audience::nobody()), ("a.txt", Audience::nobody())]);
    let found: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column, p.reason.clone())).collect();
    let no_comma = BadEntry::NoCommaBefore("@ben".into());
    assert_eq!(found, [(1, 16, no_comma), (2, 12, BadEntry::SecondComma), (3, 4, BadEntry::SecondComma)]);
    let written = write([(&keyword("k @x"), &pair("k", "n @home").1)]);
    assert_eq!(written, "\"k @x\", \"n @home\";\n");
    let (left, removed) =
        without("k, a.txt, x, b.txt; k, a.txt @ben; k, c.txt", |_, file| file.as_str() == "a.txt");
    assert_eq!((left.as_str(), removed), ("k, a.txt, x, b.txt; k, c.txt", 1), "b.txt may be another entry");
}

#[test]
fn a_mistake_in_names_without_a_comma_closes_every_file_that_could_be_meant() {
    let nobody =
        |files: &[&'static str]| files.iter().map(|file| (*file, Audience::nobody())).collect::<Vec<_>>();
    for (entry, column, files) in [
        ("exam, a @x y.txt @ben", 9, &["a", "a @x y.txt", "a @x y.txt @ben"][..]),
        ("exam, a.txt @ben ann", 13, &["a.txt", "a.txt @ben ann"]),
        ("exam, a.txt @be/n", 13, &["a.txt", "a.txt @be/n"]),
        ("exam, a.txt @", 13, &["a.txt", "a.txt @"]),
        ("exam, a.txt\t@\u{1b}ben", 13, &["a.txt"]),
        ("exam, a.txt @@ben, @ann", 13, &["a.txt", "a.txt @@ben"]),
        ("exam, a.txt @ben, @ann", 13, &["a.txt"]),
    ] {
        let text = format!("sea, b.txt;\n{entry};\nsky, c.txt;");
        let parsed = parse(&text);
        assert_eq!(parsed.pairs, [pair("sea", "b.txt"), pair("sky", "c.txt")], "{entry}");
        assert_eq!(limits(&parsed), nobody(files), "{entry}");
        let places: Vec<_> = parsed.problems.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(2, column)], "{entry}");
        let said = parsed.problems[0].to_string();
        assert!(said.contains("expected a comma before @") && !said.contains('\u{1b}'), "{said}");
        let (left, _) = without(&text, |_, file| file.as_str() == "a.txt");
        assert_eq!(left == text, files.len() > 1, "it may be for another file: {left}");
    }
    let many = format!("k, {}", "a @".repeat(1 << 20));
    assert!(limits(&parse(&many)).len() < 512, "not as many as there are marks");
}

#[test]
fn comments_are_skipped() {
    let parsed = parse("# my files, all; of them\nsea, a.txt; # and one more\r\n  # \"\nsky, b#1.txt;#end");
    assert_eq!(parsed.pairs, [pair("sea", "a.txt"), pair("sky", "b#1.txt")]);
    assert_eq!(parsed.problems, []);
}

#[test]
fn a_binary_file_does_not_become_a_million_problems() {
    let parsed = parse(&"\u{1};".repeat(PROBLEMS_NAMED_MAX + 7));
    assert_eq!(parsed.problems.len(), PROBLEMS_NAMED_MAX);
    assert_eq!(parsed.problems_unnamed, 7);
    let long = parse(&"x".repeat(10_000));
    assert_eq!(long.problems[0].entry.len(), ENTRY_SHOWN_CHARS);
}

#[test]
fn pairs_and_bytes_are_bounded() {
    let all = parse_at_most(3, "k,0; k,1; k,2; k,0;");
    assert_eq!((all.pairs.len(), all.problems.len()), (3, 0));
    let too_many = parse_at_most(3, "k,0; k,1; k,2; k,0; k,3; k,4;");
    assert_eq!((too_many.pairs.len(), too_many.problems.len()), (3, 1));
    assert_eq!(too_many.problems[0].reason, BadEntry::TooManyPairs);

    let too_large = parse(&" ".repeat(KEYWORD_TEXT_BYTES_MAX + 1));
    assert_eq!(too_large.problems[0].reason, BadEntry::TooLarge(KEYWORD_TEXT_BYTES_MAX + 1));
}

#[test]
fn removed_entries_leave_the_rest_as_it_is() {
    let of_a = |_: &Keyword, file: &FileName| file.as_str() == "a.txt";
    for (before, after, count) in [
        ("\u{feff}# mine\r\nsea, a.txt;\r\nsky, b.txt;\n", "\u{feff}# mine\r\nsky, b.txt;\n", 1),
        ("sea, a.txt; sky, b.txt; salt, \"a.txt\" ;  # tides\n", "sky, b.txt; # tides\n", 2),
        ("  sea,\n a.txt\n;\nbroken; x, y\nsalt, a.txt", "broken; x, y\nsalt, a.txt", 1),
        ("sky, b.txt; sea, a.txt;\nsalt, c.txt;\n", "sky, b.txt; \nsalt, c.txt;\n", 1),
        ("sky, b.txt;\nsea, a.txt", "sky, b.txt;\n", 1),
        ("\"; sea, a.txt\n;\"", "\"; \n\"", 1),
        ("\"sea, a.txt;\n# sea, a.txt;\n", "\"sea, a.txt;\n# sea, a.txt;\n", 0),
    ] {
        assert_eq!(without(before, of_a), (after.to_owned(), count), "{before:?}");
    }
}

fn keywords() -> impl Strategy<Value = Keyword> {
    "[^\\p{Cc}]{1,24}|[,;\"#@ a]{1,6}".prop_filter_map("a keyword", |text| text.parse().ok())
}

fn file_names() -> impl Strategy<Value = FileName> {
    "[^\\p{Cc}/\\\\]{1,24}|[,;\"#@ a]{1,6}".prop_filter_map("a file name", |text| text.parse().ok())
}

/// Pairs without repetitions, compared by the folded keyword.
fn distinct_pairs() -> impl Strategy<Value = Vec<(Keyword, FileName)>> {
    vec((keywords(), file_names()), 0..20).prop_map(|mut pairs| {
        let mut seen = HashSet::new();
        pairs.retain(|(keyword, file)| seen.insert((keyword.folded().into_owned(), file.clone())));
        pairs
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(pairs in distinct_pairs()) {
        let parsed = parse(&write(pairs.iter().map(|(keyword, file)| (keyword, file))));
        prop_assert_eq!(parsed.pairs, pairs);
        prop_assert!(parsed.problems.is_empty());
    }

    #[test]
    fn what_is_removed_is_not_read_again(pairs in distinct_pairs(), text in "[,;\"# ab\r\n]{0,60}") {
        let is_removed = |keyword: &Keyword, _: &FileName| keyword.as_str().len().is_multiple_of(2);
        for text in [write(pairs.iter().map(|(keyword, file)| (keyword, file))), text] {
            let mut expected = parse(&text);
            let removed = without(&text, is_removed);
            expected.pairs.retain(|(keyword, file)| !is_removed(keyword, file));
            let left = parse(&removed.0);
            prop_assert_eq!(left.pairs, expected.pairs, "{:?} -> {:?}", text, removed.0);
            prop_assert_eq!(left.problems.len(), expected.problems.len(), "{:?} -> {:?}", text, removed.0);
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), separators in "[,;\"# \r\n\\PC]{0,200}") {
        for text in [text, separators] {
            let parsed = parse(&text);
            for problem in &parsed.problems {
                prop_assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1);
            }
            let again = parse(&write(parsed.pairs.iter().map(|(keyword, file)| (keyword, file))));
            prop_assert_eq!(again.pairs, parsed.pairs);
        }
    }

    #[test]
    fn a_good_entry_survives_among_bad_ones(
        good in (keywords(), file_names()),
        before in vec("[^;#\"]{0,20}", 0..5),
        after in vec("[^;#\"]{0,20}", 0..5),
    ) {
        let middle = write([(&good.0, &good.1)]);
        let entries: Vec<String> = before.into_iter().chain([middle]).chain(after).collect();
        let found = parse(&entries.join(";")).pairs;
        // A neighbour can be the same pair in another case, which replaces it.
        prop_assert!(found.iter().any(|(k, f)| k.folded() == good.0.folded() && *f == good.1));
    }
}
