use std::ops::Range;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{Parsed, parse, write_item};
use super::*;
use crate::Audience;

fn name(text: &str) -> FileName {
    text.parse().expect("a good file name")
}

/// Whether the file of an entry is this one, or its folder.
fn covers(entry: &str, file: &FileName) -> bool {
    let (folder, _) = file.split();
    match entry.rsplit_once('/').map_or((None, entry), |(folder, base)| (Some(folder), base)) {
        (entry, "*") => entry == folder,
        (None, "**") => true,
        (Some(entry), "**") => file.folder_paths().any(|path| path == entry),
        _ => entry == file.as_str(),
    }
}

/// Who may fetch a file if another entry shares all files.
fn audience(parsed: &Parsed, file: &FileName) -> Audience {
    if parsed.unclear.about(file).is_some() {
        return Audience::nobody();
    }
    let limits = parsed.limits.iter().filter(|(entry, _)| covers(entry.as_str(), file));
    limits.fold(Audience::Everyone, |all, (_, limit)| all.narrowed(limit))
}

#[test]
fn a_mistake_closes_the_file_that_is_meant_and_no_other() {
    for entry in [
        "a\u{1} b, secret.txt, @ben",
        "\"a b, secret.txt @ben",
        "\"a b, secret.txt, @ben",
        "a b secret.txt, @ben",
        "a b; secret.txt, @ben",
        "a b,secret.txt.@ben",
        "a b, secret.txt; @ben",
        "a b, secret.txt;, @ben",
        "a b, secret.txt,; @ben",
        "a b, secret.txt, \"@ben\"",
        "a b, \"secret.txt\" @ben",
        "a b, ../secret.txt, @ben",
        "a b, sec\\et.txt, @ben",
        "a b, se;ret.txt, @ben",
        "a b, @ecret.txt, @ben",
        "a b, secret.txt/, @ben",
        "a, x, b, secret.txt, @ben",
        "a b, x.txt, @ben, c, secret.txt, @ben",
        "- secret.txt",
    ] {
        let parsed = parse(&format!("*, **;\nsea, other.txt, @ann;\n{entry};\nsky, more.txt;"));
        assert!(!parsed.problems.is_empty() || entry.contains(".@"), "{entry}");
        assert_eq!(audience(&parsed, &name("secret.txt")), Audience::nobody(), "{entry}");
        for open in ["more.txt", "ecret.tx", "lectures/tides.pdf"] {
            assert_eq!(audience(&parsed, &name(open)), Audience::Everyone, "{entry}: {open}");
        }
        assert!(
            audience(&parsed, &name("other.txt")).names().is_some_and(|names| names.len() == 1),
            "{entry}"
        );
    }
    for harmless in ["sea secret.txt", "a, logo@2x.png", "\"salt, @home\", b.txt", "# a, secret.txt @ben\n"] {
        assert_eq!(audience(&parse(harmless), &name("secret.txt")), Audience::Everyone, "{harmless}");
    }
}

#[test]
fn a_mistake_closes_the_folder_that_is_meant_and_no_other() {
    let (exam, other, top) = (name("exams/2026/a.pdf"), name("lectures/a.pdf"), name("a.pdf"));
    for (entry, closed) in [
        ("exam exams/**, @ben", &[&exam][..]),
        ("exam, exams/2026/* @b/en", &[&exam]),
        ("exam, exams/**; @ben", &[&exam]),
        ("exam **, @ben", &[&exam, &other, &top]),
        ("exam, **; @ben", &[&exam, &other, &top]),
        ("exam *, @ben", &[&top]),
        ("*, exams/** @ben", &[&exam]),
    ] {
        let parsed = parse(entry);
        for file in [&exam, &other, &top] {
            assert_eq!(audience(&parsed, file).is_everyone(), !closed.contains(&file), "{entry}: {file}");
        }
    }
}

#[test]
fn too_much_that_is_unclear_closes_everything() {
    let broken = "exam a.txt, @ben;\n";
    let some = parse(&broken.repeat(BYTES_MAX / broken.len() - 1));
    assert_eq!(
        (some.unclear.about(&name("a.txt")).is_some(), some.unclear.about(&name("b.txt"))),
        (true, None)
    );
    let many = parse(&broken.repeat(BYTES_MAX / broken.len() + 2));
    assert_eq!(many.unclear.about(&name("b.txt")), Some(String::new()));
}

/// A `keyword.txt`, and where the files and the names of its entries are.
#[derive(Debug, Clone, Default)]
struct Written {
    text: String,
    entries: Vec<Place>,
    /// The line breaks that end comments.
    comment_ends: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Place {
    start: usize,
    name: String,
    file: Range<usize>,
    names: Range<usize>,
}

#[derive(Debug, Clone)]
struct Line {
    keyword: String,
    file: String,
    names: Option<Vec<&'static str>>,
    is_spaced: bool,
    after: &'static str,
}

impl Written {
    fn add(&mut self, line: &Line) {
        let start = self.text.len();
        write_item(&line.keyword, &mut self.text);
        let comma = if line.is_spaced { ", " } else { "," };
        self.text.push_str(comma);
        let file = self.item(&line.file);
        let mut names = self.text.len()..self.text.len();
        if let Some(list) = &line.names {
            self.text.push_str(comma);
            names.start = self.text.len();
            self.text.push_str(&list.join(if line.is_spaced { " " } else { "," }));
            names.end = self.text.len();
        }
        self.entries.push(Place { start, name: line.file.clone(), file, names });
        self.text.push(';');
        self.text.push_str(line.after);
        if line.after.ends_with('\n') && line.after.contains('#') {
            self.comment_ends.push(self.text.len() - 1);
        }
    }

    /// Where the item is, without its quotes.
    fn item(&mut self, item: &str) -> Range<usize> {
        let start = self.text.len();
        write_item(item, &mut self.text);
        let is_quoted = usize::from(self.text[start..] != *item);
        start + is_quoted..self.text.len() - is_quoted
    }
}

fn keyword_txt() -> impl Strategy<Value = Written> {
    // What begins or ends with a separator can without one of its quotes be read as other entries.
    let keywords = prop_oneof!["[a-c]{1,3}", "[a-c][ab ,;\"@]{0,4}[a-c]", Just("*".to_owned())]
        .prop_filter("a keyword as it is", |k| {
            k.parse::<super::super::Keyword>().is_ok_and(|p| p.as_str() == k)
        });
    let files = prop_oneof!["[d-f]{1,4}[.]txt", "[de@][de,;\"@ ./]{0,5}[de]", "(g|g/h)/[*]{1,2}", "[*]{1,2}"]
        .prop_filter("a file name", |file| file.parse::<FileName>().is_ok());
    let names = option::of(vec(select(&["@ann", "@ben", "@c"][..]), 1..3));
    let after = select(&["", " ", "\n", "\n", "\n# sea, x; of \"\n", "\r\n"][..]);
    let lines = (keywords, files, names, any::<bool>(), after)
        .prop_map(|(keyword, file, names, is_spaced, after)| Line { keyword, file, names, is_spaced, after });
    vec(lines, 1..5).prop_map(|lines| {
        let mut written = Written::default();
        lines.iter().for_each(|line| written.add(line));
        written
    })
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Missing,
    Wrong(char),
    TooMuch(char),
}

fn damage() -> impl Strategy<Value = Damage> {
    let character =
        || select(&[',', ';', '"', '@', '#', ' ', '\n', 'a', '.', '/', '\\', '\u{1}', '*', 'é', '-'][..]);
    prop_oneof![
        Just(Damage::Missing),
        character().prop_map(Damage::Wrong),
        character().prop_map(Damage::TooMuch)
    ]
}

impl Damage {
    fn of(self, text: &str, at: usize) -> String {
        let (before, after) = text.split_at(at);
        let mut rest = after.chars();
        match self {
            Self::Missing => drop(rest.next()),
            Self::Wrong(c) => {
                rest.next();
                return format!("{before}{c}{}", rest.as_str());
            }
            Self::TooMuch(c) => return format!("{before}{c}{after}"),
        }
        format!("{before}{}", rest.as_str())
    }

    /// Whether it makes a folder of a keyword: `a/**` of `a,**`.
    fn makes_folder(self, written: &Written, at: usize) -> bool {
        let is_slash = matches!(self, Self::Wrong('/') | Self::TooMuch('/'));
        is_slash
            && written
                .entries
                .iter()
                .any(|entry| entry.name.starts_with('*') && (entry.start..entry.file.start).contains(&at))
    }

    /// Whether it begins a comment, or joins the next line to one: what is in comments does not count.
    fn makes_comment(self, written: &Written, at: usize) -> bool {
        let is_begun = matches!(self, Self::Wrong('#') | Self::TooMuch('#'));
        let is_outside = written.text[..at].trim_end().ends_with(';') || written.text[..at].trim().is_empty();
        let is_in_place = is_outside || written.entries.iter().any(|entry| entry.start == at);
        let is_joined = written.comment_ends.contains(&at) && !matches!(self, Self::TooMuch(_));
        is_begun && is_in_place || is_joined
    }
}

/// A file that the entry shares.
fn shared_by(entry: &str) -> FileName {
    let folder = entry.trim_end_matches('*');
    if folder.is_empty() || folder.ends_with('/') { name(&format!("{folder}x")) } else { name(entry) }
}

proptest! {
    #[test]
    fn no_damaged_character_opens_a_limited_file(written in keyword_txt(), at in any::<Index>(), damage in damage()) {
        let places: Vec<usize> = written.text.char_indices().map(|(at, _)| at).collect();
        let at = *at.get(&places);
        if damage.makes_comment(&written, at) || damage.makes_folder(&written, at) {
            return Ok(());
        }
        let (before, after) = (parse(&written.text), parse(&damage.of(&written.text, at)));
        prop_assert!(before.problems.is_empty(), "{:?}", before.problems);
        let is_in = |place: &Range<usize>| place.contains(&at) || matches!(damage, Damage::TooMuch(_)) && place.end == at;
        for file in written.entries.iter().map(|entry| shared_by(&entry.name)) {
            // A quoted item can look like entries that lost a quote.
            if before.unclear.about(&file).is_some() {
                continue;
            }
            let (allowed, now) = (audience(&before, &file), audience(&after, &file));
            let mut of_file = written.entries.iter().filter(|entry| covers(&entry.name, &file)).peekable();
            let is_another_name = of_file.any(|entry| {
                // Also in front of it, with a quote between.
                let is_in_file = is_in(&entry.file) || (at + 1..=at + 2).contains(&entry.file.start);
                // Nothing can be told of a name that has one or two characters, or more than one separator.
                let cannot_be_told =
                    entry.name.chars().count() <= 2 || entry.name.matches([',', ';', '"']).count() > 1;
                is_in_file && (after.problems.is_empty() || cannot_be_told)
                    || (is_in(&entry.names) || entry.names.end == at) && !now.is_everyone()
            });
            let is_kept = match now.names() {
                None => allowed.is_everyone(),
                Some(names) => names.iter().all(|name| allowed.admits(name)),
            };
            prop_assert!(is_kept || is_another_name, "{:?} at {}: {:?} -> {:?} may fetch {}", damage, at, allowed, now, file);
        }
    }
}
