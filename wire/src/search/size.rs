//! Conditions on the size of a file: `size>1M`.

use std::fmt;

/// How a size is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// The operators, each before those that are its start.
const OPERATORS: [(&str, Compare); 5] = [
    ("<=", Compare::AtMost),
    (">=", Compare::AtLeast),
    ("<", Compare::Less),
    (">", Compare::More),
    ("=", Compare::Equal),
];

/// The units, each 1,024 times the one before.
const UNITS: [char; 5] = ['b', 'k', 'm', 'g', 't'];

/// A condition on the size of a file in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub compare: Compare,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSize {
    #[error("write size and one of < <= = >= >, for example size>1M")]
    Operator,
    #[error(
        "expected a number of bytes, of K, M, G or T (1024 each time), for example size>1M or size<=1.5G"
    )]
    Number,
    #[error("no file has so many bytes")]
    TooLarge,
}

impl Size {
    /// Whether a file of this size meets the condition.
    pub fn admits(self, bytes: u64) -> bool {
        match self.compare {
            Compare::Less => bytes < self.bytes,
            Compare::AtMost => bytes <= self.bytes,
            Compare::Equal => bytes == self.bytes,
            Compare::AtLeast => bytes >= self.bytes,
            Compare::More => bytes > self.bytes,
        }
    }

    /// Whether a word is a condition on the size, right or wrong.
    pub(super) fn is_meant(word: &str) -> bool {
        after_size(word).is_some_and(|rest| rest.starts_with(['<', '>', '=', ':']))
    }

    /// Reads `size`, an operator and a number. An error comes with its place, in bytes.
    pub(super) fn parse(word: &str) -> Result<Self, (usize, BadSize)> {
        let rest = after_size(word).unwrap_or_default();
        let found = OPERATORS.iter().find_map(|(text, compare)| Some((rest.strip_prefix(text)?, *compare)));
        let Some((number, compare)) = found else {
            return Err((word.len() - rest.len(), BadSize::Operator));
        };
        let bytes = parse_bytes(number).map_err(|bad| (word.len() - number.len(), bad))?;
        Ok(Self { compare, bytes })
    }
}

fn after_size(word: &str) -> Option<&str> {
    let (size, rest) = word.split_at_checked(4)?;
    size.eq_ignore_ascii_case("size").then_some(rest)
}

/// Reads a number of bytes with a unit: `500`, `64K`, `1.5G`. A fraction is cut off to whole bytes.
///
/// # Errors
/// [`BadSize::Number`], [`BadSize::TooLarge`].
pub fn parse_bytes(text: &str) -> Result<u64, BadSize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = match unit.as_str() {
        "" => 'b',
        unit => {
            let letter = unit.strip_suffix("ib").or(unit.strip_suffix('b').filter(|u| !u.is_empty()));
            let mut letters = letter.unwrap_or(unit).chars();
            letters.next().filter(|_| letters.next().is_none()).ok_or(BadSize::Number)?
        }
    };
    let power = UNITS.iter().position(|known| *known == unit).ok_or(BadSize::Number)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Nine digits of a fraction are exact to a byte in units up to G.
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > 9 {
        return Err(BadSize::Number);
    }
    let shift = 10 * u32::try_from(power).expect("there are five units");
    let whole: u128 = whole.parse().map_err(|_| BadSize::TooLarge)?;
    let parts: u128 = fraction.parse().map_err(|_| BadSize::Number)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).expect("at most nine"));
    let scaled =
        whole.checked_shl(shift).filter(|scaled| scaled >> shift == whole).ok_or(BadSize::TooLarge)?;
    let bytes = scaled.checked_add((parts << shift) / scale).ok_or(BadSize::TooLarge)?;
    u64::try_from(bytes).map_err(|_| BadSize::TooLarge)
}

impl fmt::Display for Size {
    /// In the largest unit without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, _) =
            OPERATORS.iter().find(|(_, compare)| *compare == self.compare).expect("all are listed");
        let (mut number, mut power) = (self.bytes, 0);
        while number != 0 && number.is_multiple_of(1024) && power + 1 < UNITS.len() {
            (number, power) = (number / 1024, power + 1);
        }
        write!(f, "size{text}{number}")?;
        if power > 0 { write!(f, "{}", UNITS[power].to_ascii_uppercase()) } else { Ok(()) }
    }
}
