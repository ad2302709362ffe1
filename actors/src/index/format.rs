//! The two text files of one share: `<name>.txt` in the grammar of `keyword.txt`, and `<name>.files` with the digest
//! and length of each file:
//!
//! ```text
//! # switchboard files 3          2 without limited files
//! # owner Alice 192.0.2.7        with the address, or IPv6 network, from where it was published, if that is known
//! # keywords sha256 HEX of <name>.txt
//! # replaces sha256 HEX          of the <name>.changes that it replaces, if there were any (see [`super::journal`])
//! HEX  BYTES  FILE NAME          one line a file, in order of names
//! # only NAME NAME...            behind the line of a limited file: who may see it
//! # end sha256 HEX of all lines above
//! ```
//!
//! The digests reveal damage, and say which `<name>.txt` belongs to the list.

use std::fmt::Write as _;

use wire::file_name::BadFileName;
use wire::keyword::{self, Problem};
use wire::share::{ListedFile, PublishedFile};
use wire::{Audience, Digest, FileName, PeerName};

use crate::commands::index::Share;
use crate::commands::network::Network;

/// With limited files. A server that does not know them must not read the list, because it would show them to everyone.
const VERSION_LINE: &str = "# switchboard files 3";
/// Without limited files.
const VERSION_2_LINE: &str = "# switchboard files 2";
/// In version 1, the keywords had neither quotes nor comments.
const VERSION_1_LINE: &str = "# switchboard files 1";
const OWNER: &str = "# owner ";
const KEYWORDS: &str = "# keywords sha256 ";
const REPLACES: &str = "# replaces sha256 ";
const END: &str = "# end sha256 ";
/// Who may see the file in the line before.
pub(super) const ONLY: &str = "# only";

/// Why a share on the disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("the list of files is missing")]
    NoList,
    #[error("the keywords are missing")]
    NoKeywords,
    #[error("it is longer than a share can be")]
    TooLong,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("line {0} of the list of files is not what the server writes")]
    Line(usize),
    #[error("a name in the list of files is bad: {0}")]
    Name(#[from] BadFileName),
    #[error("the list of files was changed or cut off")]
    ListDigest,
    #[error("the keywords were changed or cut off")]
    KeywordsDigest,
    #[error("the list of files belongs to {0}")]
    Owner(PeerName),
    #[error("an earlier version has written it, with keywords that mean something else now")]
    Version,
    #[error("a change of it was changed or cut off")]
    Changes,
    #[error("keywords: {0}")]
    Keywords(Problem),
    #[error("keywords: {0:?} is not in the list of files")]
    NoSuchFile(FileName),
}

/// The two texts of a share.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) keywords: String,
    pub(super) list: String,
}

/// A list of files that has been verified, still without keywords.
#[derive(Debug)]
pub(super) struct List {
    share: Share,
    is_version_1: bool,
    /// The digest of the keywords file that belongs to it.
    pub(super) keywords_sha256: Digest,
    /// The digest of the list itself.
    pub(super) digest: Digest,
}

/// `replaced` is the digest of the changes that the share replaces. With it, the list differs from all that had changes.
pub(super) fn render(share: &Share, replaced: Option<Digest>) -> Texts {
    let files = share.files.iter().map(|listed| &listed.file);
    let pairs = files.flat_map(|file| file.keywords.iter().map(move |keyword| (keyword, &file.name)));
    let keywords = keyword::write(pairs);
    let digest = Digest::of(keywords.as_bytes());
    let mut owner = share.owner.to_string();
    if share.network != Network::UNKNOWN {
        // Writing to a String cannot fail.
        let _ = write!(owner, " {}", share.network);
    }
    let is_limited = share.files.iter().any(|listed| !listed.audience.is_everyone());
    let version = if is_limited { VERSION_LINE } else { VERSION_2_LINE };
    let mut list = format!("{version}\n{OWNER}{owner}\n{KEYWORDS}{digest}\n");
    if let Some(replaced) = replaced {
        let _ = writeln!(list, "{REPLACES}{replaced}");
    }
    for ListedFile { file, audience } in &share.files {
        // Writing to a String cannot fail.
        let _ = writeln!(list, "{}  {}  {}", file.sha256, file.bytes, file.name);
        write_only(audience, &mut list);
    }
    let digest = Digest::of(list.as_bytes());
    let _ = writeln!(list, "{END}{digest}");
    Texts { keywords, list }
}

/// Writes who may see a file, if not everyone may.
pub(super) fn write_only(audience: &Audience, text: &mut String) {
    if let Some(names) = audience.names() {
        text.push_str(ONLY);
        for name in names {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name}");
        }
        text.push('\n');
    }
}

/// Reads what is behind [`ONLY`].
pub(super) fn read_only(names: &str) -> Option<Audience> {
    let names: Result<Vec<PeerName>, _> = names.split_whitespace().map(str::parse).collect();
    Audience::only(names.ok()?).ok()
}

/// Parses and verifies a list of files.
pub(super) fn read_list(text: &str) -> Result<List, Damage> {
    let (body, end) = text
        .strip_suffix('\n')
        .and_then(|lines| lines.rfind('\n'))
        .map(|at| text.split_at(at + 1))
        .ok_or(Damage::ListDigest)?;
    let digest = Digest::of(body.as_bytes());
    if digest_after(END, end.trim_end()) != Some(digest) {
        return Err(Damage::ListDigest);
    }
    let mut lines = body.lines().peekable();
    let is_version_1 = match lines.next() {
        Some(VERSION_LINE | VERSION_2_LINE) => false,
        Some(VERSION_1_LINE) => true,
        _ => return Err(Damage::Line(1)),
    };
    let owner = lines.next().and_then(|line| line.strip_prefix(OWNER));
    let (owner, network) = owner.and_then(read_owner).ok_or(Damage::Line(2))?;
    let keywords_sha256 = lines.next().and_then(|line| digest_after(KEYWORDS, line));
    let keywords_sha256 = keywords_sha256.ok_or(Damage::Line(3))?;
    let replaces = lines.next_if(|line| line.starts_with(REPLACES));
    let before = if replaces.is_some() { 5 } else { 4 };
    let mut files: Vec<ListedFile> = Vec::new();
    for (n, line) in lines.enumerate() {
        let damage = || Damage::Line(n + before);
        match line.strip_prefix(ONLY) {
            Some(names) => {
                let last = files.last_mut().ok_or_else(damage)?;
                last.audience = read_only(names).ok_or_else(damage)?;
            }
            None => files.push(read_line(line).ok_or_else(damage)??.into()),
        }
    }
    let share = Share { owner, network, files };
    Ok(List { share, is_version_1, keywords_sha256, digest })
}

fn read_owner(text: &str) -> Option<(PeerName, Network)> {
    match text.split_once(' ') {
        Some((name, network)) => Some((name.parse().ok()?, network.parse().ok()?)),
        None => Some((text.parse().ok()?, Network::UNKNOWN)),
    }
}

/// The digest in the last line of a list, of which `tail` is the end.
pub(super) fn list_digest(tail: &str) -> Option<Digest> {
    digest_after(END, tail.strip_suffix('\n')?.rsplit('\n').next()?)
}

/// The length of the last line of a list, in bytes.
pub(super) const END_BYTES: u64 = END.len() as u64 + 2 * size_of::<Digest>() as u64 + 1;

pub(super) fn digest_after(prefix: &str, line: &str) -> Option<Digest> {
    line.strip_prefix(prefix)?.parse().ok()
}

pub(super) fn read_line(line: &str) -> Option<Result<PublishedFile, Damage>> {
    let mut items = line.splitn(3, "  ");
    let sha256 = items.next()?.parse().ok()?;
    let bytes = items.next()?.parse().ok()?;
    let file = |name| PublishedFile { name, bytes, sha256, keywords: Vec::new() };
    Some(items.next()?.parse().map(file).map_err(Damage::Name))
}

impl List {
    /// The owner's name, as the owner writes it.
    pub(super) fn owner(&self) -> &PeerName {
        &self.share.owner
    }

    /// Verifies the keywords and adds them to the files.
    pub(super) fn with_keywords(self, text: &str) -> Result<Share, Damage> {
        if Digest::of(text.as_bytes()) != self.keywords_sha256 {
            return Err(Damage::KeywordsDigest);
        }
        if self.is_version_1 && text.contains(['"', '#']) {
            return Err(Damage::Version);
        }
        let mut parsed = keyword::parse(text);
        if !parsed.problems.is_empty() {
            return Err(Damage::Keywords(parsed.problems.swap_remove(0)));
        }
        let mut share = self.share;
        for (keyword, name) in parsed.pairs {
            match share.files.binary_search_by(|listed| listed.file.name.cmp(&name)) {
                Ok(at) => share.files[at].file.keywords.push(keyword),
                Err(_) => return Err(Damage::NoSuchFile(name)),
            }
        }
        Ok(share)
    }
}
