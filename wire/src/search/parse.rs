//! Reads the text of a search.

use super::size::Size;
use super::{BadSearch, Node, Reason, SEARCH_BYTES_MAX, SEARCH_DEPTH_MAX, SEARCH_TERMS_MAX, Term};
use crate::keyword::{BadKeyword, KEYWORD_BYTES_MAX};
use crate::words::folded;
use crate::{Digest, Keyword};

/// An error and its place, in bytes.
type Misplaced = (usize, Reason);

pub(super) fn parse(text: &str) -> Result<Node, BadSearch> {
    let mut parser = Parser { text, at: 0, terms: 0 };
    parser.search().map_err(|(at, reason)| BadSearch { column: text[..at].chars().count() + 1, reason })
}

struct Parser<'t> {
    text: &'t str,
    /// The byte to read next.
    at: usize,
    terms: usize,
}

/// A term up to the next separator.
enum Word<'t> {
    Bare(&'t str),
    Quoted(String),
}

impl<'t> Parser<'t> {
    fn search(&mut self) -> Result<Node, Misplaced> {
        if self.text.len() > SEARCH_BYTES_MAX {
            return Err((0, Reason::TooLong(self.text.len())));
        }
        if let Some(node) = self.whole_text()? {
            return Ok(node);
        }
        let node = self.all(0)?;
        match self.next() {
            Some(_) => Err((self.at, Reason::NoParenthesis)),
            None => node.ok_or((self.at, Reason::Empty)),
        }
    }

    /// Reads the forms that take the whole text: a name of a file without quotes, and a digest with spaces in it.
    fn whole_text(&self) -> Result<Option<Node>, Misplaced> {
        let start = self.text.len() - self.text.trim_start().len();
        let after = |qualifier| after_qualifier(self.text.trim(), qualifier);
        if let Some(name) = after("file").filter(|rest| !rest.starts_with('"')) {
            let at = start + "file:".len() + (name.len() - name.trim_start().len());
            let name = name.trim().parse().map_err(|bad| (at, Reason::FileName(bad)))?;
            return Ok(Some(Node::Term(Term::File(name))));
        }
        let digest = after("sha256").and_then(|rest| rest.parse::<Digest>().ok());
        Ok(digest.map(|digest| Node::Term(Term::Content(digest))))
    }

    fn next(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        self.at = self.text.len() - self.text[self.at..].trim_start_matches(is_skipped).len();
    }

    /// Reads everything up to the end or the parenthesis that closes it. `None` if nothing is there.
    fn all(&mut self, depth: usize) -> Result<Option<Node>, Misplaced> {
        let start = self.at;
        let (mut wanted, mut excluded) = (Vec::new(), Vec::new());
        loop {
            self.skip(separates);
            match self.next() {
                None | Some(')') => break,
                Some('-') => excluded.push(self.exclusion(depth)?),
                Some(_) => wanted.push(self.alternatives(depth)?),
            }
        }
        if wanted.is_empty() && !excluded.is_empty() {
            return Err((start, Reason::OnlyExclusions));
        }
        if wanted.len() == 1 && excluded.is_empty() {
            return Ok(wanted.pop());
        }
        Ok((!wanted.is_empty()).then_some(Node::All { wanted, excluded }))
    }

    fn exclusion(&mut self, depth: usize) -> Result<Node, Misplaced> {
        let start = self.at;
        self.at += 1;
        match self.next() {
            None | Some('-' | ')' | '|') => return Err((start, Reason::NothingExcluded)),
            Some(c) if separates(c) => return Err((start, Reason::NothingExcluded)),
            Some(_) => {}
        }
        let node = self.one(depth)?;
        self.skip(char::is_whitespace);
        if self.next() == Some('|') { Err((start, Reason::ExcludedAlternative)) } else { Ok(node) }
    }

    /// Reads one or more alternatives with `|` between them.
    fn alternatives(&mut self, depth: usize) -> Result<Node, Misplaced> {
        if self.next() == Some('|') {
            return Err((self.at, Reason::NoAlternative));
        }
        let first = self.one(depth)?;
        let mut nodes = vec![first];
        loop {
            self.skip(char::is_whitespace);
            if self.next() != Some('|') {
                break;
            }
            let bar = self.at;
            self.at += 1;
            self.skip(char::is_whitespace);
            match self.next() {
                None | Some(')' | '|' | ',') => return Err((bar, Reason::NoAlternative)),
                Some('-') => return Err((self.at, Reason::ExcludedAlternative)),
                Some(_) => nodes.push(self.one(depth)?),
            }
        }
        if nodes.len() > 1 {
            return Ok(Node::Any(nodes));
        }
        Ok(nodes.remove(0))
    }

    /// Reads a term, or a search in parentheses.
    fn one(&mut self, depth: usize) -> Result<Node, Misplaced> {
        let start = self.at;
        if self.next() != Some('(') {
            return self.term().map(Node::Term);
        }
        if depth == SEARCH_DEPTH_MAX {
            return Err((start, Reason::TooDeep));
        }
        self.at += 1;
        let node = self.all(depth + 1)?;
        if self.next() != Some(')') {
            return Err((start, Reason::OpenParenthesis));
        }
        self.at += 1;
        node.ok_or((start, Reason::EmptyParentheses))
    }

    fn term(&mut self) -> Result<Term, Misplaced> {
        let start = self.at;
        if self.terms == SEARCH_TERMS_MAX {
            return Err((start, Reason::TooManyTerms));
        }
        self.terms += 1;
        for qualifier in ["ext", "from", "sha256", "file"] {
            if let Some(rest) = after_qualifier(&self.text[self.at..], qualifier) {
                self.at = self.text.len() - rest.len();
                let value_at = self.at;
                let value = match self.word()? {
                    Word::Bare(value) => value.to_owned(),
                    Word::Quoted(value) => value,
                };
                return qualified(qualifier, &value).map_err(|reason| (value_at, reason));
            }
        }
        match self.word()? {
            Word::Quoted(text) => searched(&text).map(Term::Text).map_err(|reason| (start, reason)),
            Word::Bare(word) if Size::is_meant(word) => {
                Size::parse(word).map(Term::Size).map_err(|(at, bad)| (start + at, bad.into()))
            }
            Word::Bare(word) => match word.split_once('*') {
                None => searched(word).map(Term::Text).map_err(|reason| (start, reason)),
                Some((word, "")) if !word.is_empty() => {
                    searched(word).map(Term::Prefix).map_err(|reason| (start, reason))
                }
                Some((before, _)) => Err((start + before.len(), Reason::Star)),
            },
        }
    }

    /// Reads a word in or without quotes, which may be empty.
    fn word(&mut self) -> Result<Word<'t>, Misplaced> {
        let rest = &self.text[self.at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            return self.quoted(quoted).map(Word::Quoted);
        }
        let word = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
        self.at += word.len();
        Ok(Word::Bare(word))
    }

    /// Reads a text after its opening quote.
    fn quoted(&mut self, mut rest: &'t str) -> Result<String, Misplaced> {
        let start = self.at;
        let mut text = String::new();
        loop {
            let (part, after) = rest.split_once('"').ok_or((start, Reason::OpenQuote))?;
            text.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    text.push('"');
                    rest = more;
                }
                None => {
                    self.at = self.text.len() - after.len();
                    return match self.next() {
                        Some(c) if !ends_word(c) => Err((self.at, Reason::AfterQuote(c))),
                        _ => Ok(text),
                    };
                }
            }
        }
    }
}

fn separates(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

fn ends_word(c: char) -> bool {
    separates(c) || matches!(c, '|' | '(' | ')')
}

/// What follows `qualifier:` at the start of a text, in any case.
fn after_qualifier<'t>(text: &'t str, qualifier: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(qualifier.len())?;
    rest.strip_prefix(':').filter(|_| start.eq_ignore_ascii_case(qualifier))
}

fn qualified(qualifier: &str, value: &str) -> Result<Term, Reason> {
    match qualifier {
        "ext" => {
            let extension = value.strip_prefix('.').unwrap_or(value);
            if extension.is_empty() || extension.ends_with('.') {
                return Err(Reason::NoExtension);
            }
            if extension.contains('*') {
                return Err(Reason::Star);
            }
            Ok(Term::Extension(searched(extension)?))
        }
        "from" => Ok(Term::From(value.parse()?)),
        "sha256" => Ok(Term::Content(value.parse()?)),
        _ => Ok(Term::File(value.parse()?)),
    }
}

/// A text to compare keywords with: under the rules of keywords, and folded.
fn searched(text: &str) -> Result<Box<str>, Reason> {
    let keyword: Keyword = text.parse()?;
    let folded = folded(keyword.as_str());
    // The lower case of some letters has more bytes.
    if folded.len() > KEYWORD_BYTES_MAX {
        return Err(BadKeyword::TooLong(folded.len()).into());
    }
    Ok(folded.into())
}
