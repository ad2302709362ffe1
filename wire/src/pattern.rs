//! Patterns for names of files, such as `lectures/*.pdf`. PROTOCOL.md, section 14.

use std::str::FromStr;

use crate::FileName;
use crate::checked_text::checked_text;
use crate::file_name::{BadFileName, FILE_NAME_BYTES_MAX};

const STAR: char = '*';

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("a pattern has at least one *")]
    NoStar,
    #[error(transparent)]
    Name(#[from] BadFileName),
}

/// A pattern for names of files: the name of a file in which `*` stands for any characters but `/`, also for none, and `**` for
/// any characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

checked_text!(Pattern);

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        text.parse::<FileName>()?;
        if text.contains(STAR) { Ok(Self(text.into())) } else { Err(BadPattern::NoStar) }
    }
}

impl Pattern {
    /// How all names begin and end that it describes. To look at that first is far faster than to match each name.
    pub fn ends(&self) -> (&str, &str) {
        let start = self.0.split(STAR).next().unwrap_or_default();
        (start, self.0.rsplit(STAR).next().unwrap_or_default())
    }
}

/// Enough bits for each place between the characters of the longest pattern.
const WORDS: usize = FILE_NAME_BYTES_MAX / 64 + 1;

/// A set of places in a pattern: before a character, or at the end.
type Places = [u64; WORDS];

/// A pattern prepared for many names: an automaton that is in a set of places at the same time. So the time for a name is in
/// proportion to its length, whatever the pattern is, because other peers choose both.
pub struct Matcher {
    /// For each byte the places before it.
    before: Box<[Places; 256]>,
    /// The places at which any bytes but `/` can follow, and those at which any bytes can.
    one_folder: Places,
    any_folder: Places,
    end: usize,
}

impl Matcher {
    pub fn new(pattern: &Pattern) -> Self {
        let mut matcher = Self {
            before: Box::new([[0; WORDS]; 256]),
            one_folder: [0; WORDS],
            any_folder: [0; WORDS],
            end: 0,
        };
        let mut rest = pattern.0.as_bytes();
        while let Some(byte) = rest.first() {
            let stars = rest.iter().take_while(|byte| **byte == b'*').count();
            let places = match stars {
                0 => &mut matcher.before[usize::from(*byte)],
                1 => &mut matcher.one_folder,
                _ => &mut matcher.any_folder,
            };
            add(places, matcher.end);
            matcher.end += usize::from(stars == 0);
            rest = &rest[stars.max(1)..];
        }
        matcher
    }

    pub fn matches(&self, name: &str) -> bool {
        let mut places = [0; WORDS];
        add(&mut places, 0);
        for byte in name.bytes() {
            let before = &self.before[usize::from(byte)];
            let stays = if byte == b'/' { &[0; WORDS] } else { &self.one_folder };
            let (mut carry, mut is_dead) = (0, true);
            for (word, place) in places.iter_mut().enumerate() {
                let goes_on = *place & before[word];
                *place = (*place & (stays[word] | self.any_folder[word])) | (goes_on << 1) | carry;
                carry = goes_on >> 63;
                is_dead &= *place == 0;
            }
            if is_dead {
                return false;
            }
        }
        places[self.end / 64] & (1 << (self.end % 64)) != 0
    }
}

fn add(places: &mut Places, place: usize) {
    places[place / 64] |= 1 << (place % 64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let _: FileName = name.parse().expect("a good name");
        Matcher::new(&pattern.parse().expect("a good pattern")).matches(name)
    }

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        for (pattern, name, expected) in [
            ("*", "a.txt", true),
            ("*", "a/b.txt", false),
            ("**", "a/b.txt", true),
            ("lectures/*", "lectures/a.pdf", true),
            ("lectures/*", "lectures/week 1/a.pdf", false),
            ("lectures/*", "lectures", false),
            ("lectures/**", "lectures/week 1/a.pdf", true),
            ("lectures/*.pdf", "lectures/a.txt", false),
            ("*/*.pdf", "lectures/a.pdf.pdf", true),
            ("**.pdf", "a/b/c.pdf", true),
            ("**/c.pdf", "a/b/c.pdf", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyy", false),
            ("a*", "a", true),
            ("*ü*", "über", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let (long, other) = ("x".repeat(255), format!("{}y", "x".repeat(254)));
        let pattern = format!("{long}/*{}", "x".repeat(254));
        assert!(matches(&pattern, &format!("{long}/{long}")));
        assert!(!matches(&pattern, &format!("{long}/{other}")));
        assert_eq!("a.txt".parse::<Pattern>(), Err(BadPattern::NoStar));
        assert_eq!("../*".parse::<Pattern>(), Err(BadPattern::Name(BadFileName::LeadingDot)));
    }

    /// The same, too simple to be wrong.
    fn model(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', ..] => {
                let rest: &[u8] = &pattern[pattern.iter().take_while(|byte| **byte == b'*').count()..];
                (0..=name.len()).any(|at| model(rest, &name[at..]))
            }
            [b'*', rest @ ..] => {
                let most = name.iter().take_while(|byte| **byte != b'/').count();
                (0..=most).any(|at| model(rest, &name[at..]))
            }
            [byte, rest @ ..] => name.first() == Some(byte) && model(rest, &name[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn names_match_as_in_the_model(pattern in "[ab*/]{1,9}", name in "[ab/]{1,9}") {
            if let Ok(parsed) = pattern.parse::<Pattern>() {
                let matches = Matcher::new(&parsed).matches(&name);
                prop_assert_eq!(matches, model(pattern.as_bytes(), name.as_bytes()));
                let (start, end) = parsed.ends();
                prop_assert!(!matches || (name.starts_with(start) && name.ends_with(end)));
                prop_assert!(pattern.starts_with(start) && pattern.ends_with(end));
            }
        }
    }
}
