//! The file format of the list of members: `FINGERPRINT [NAME]` for a member, `invitation SECRET UNTIL [NAME]` for an
//! open invitation.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use wire::escape::Escaped;

use crate::commands::admission::Entry;

const INVITATION: &str = "invitation";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Entry(Entry),
    /// A comment or an empty line, kept as it is.
    Other(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Other(text) => return f.write_str(text),
            Self::Entry(Entry::Member { fingerprint, name }) => {
                write!(f, "{fingerprint}")?;
                name
            }
            Self::Entry(Entry::Invitation { secret, until, name }) => {
                write!(f, "{INVITATION} {} {until}", HEXLOWER_PERMISSIVE.encode(secret))?;
                name
            }
        };
        name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// Parses the file.
///
/// All invalid lines, with their numbers and what is wrong. The text does not contain secrets.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut bad = Vec::new();
    for (index, text) in text.lines().enumerate() {
        match line(text) {
            Ok(line) => lines.push(line),
            Err(reason) => bad.push(format!("line {}: {reason}", index + 1)),
        }
    }
    if bad.is_empty() { Ok(lines) } else { Err(bad.join("; ")) }
}

fn line(text: &str) -> Result<Line, String> {
    if text.trim().is_empty() || text.trim_start().starts_with('#') {
        return Ok(Line::Other(text.to_owned()));
    }
    let mut words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
    let first = words.next().unwrap_or_default();
    let entry = if first.eq_ignore_ascii_case(INVITATION) {
        let secret = words.next().and_then(|word| HEXLOWER_PERMISSIVE.decode(word.as_bytes()).ok());
        let secret = secret.and_then(|bytes| bytes.try_into().ok());
        let secret = secret.ok_or("an invitation has a secret of 32 hexadecimal digits")?;
        let until = words.next().and_then(|word| word.parse().ok());
        let until = until.ok_or("the secret is not followed by a time in seconds since 1970")?;
        Entry::Invitation { secret, until, name: name(words.next())? }
    } else {
        let fingerprint = first.parse().map_err(|_| {
            format!("{:?} is not a fingerprint of 64 hexadecimal digits", Escaped(first).to_string())
        })?;
        Entry::Member { fingerprint, name: name(words.next())? }
    };
    match words.next() {
        Some(_) => Err("there is more than a name at its end".to_owned()),
        None => Ok(Line::Entry(entry)),
    }
}

fn name(word: Option<&str>) -> Result<Option<wire::PeerName>, String> {
    word.map(|word| word.parse().map_err(|e| format!("{:?}: {e}", Escaped(word).to_string()))).transpose()
}
