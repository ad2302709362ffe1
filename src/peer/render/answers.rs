//! Formats the answers to commands for people.

use std::fmt::{self, Write as _};
use std::path::Path;

use wire::escape::Escaped;
use wire::protocol::KnownPeer;
use wire::share::{Hit, PublishedFile};
use wire::{PeerName, Search};

use super::{Chat, date};
use crate::peer::comparison::{Comparison, NamedKey};
use crate::peer::event::{Answer, OutboxState};
use crate::peer::records::{Direction, HistoryRecord};
use crate::terminal;

pub(super) fn write(answer: &Answer, out: &mut String) -> fmt::Result {
    match answer {
        Answer::File { hit, holders, is_copy } => file_text(hit, *holders, *is_copy, out),
        Answer::Found { total, skip, shown, instead, no_condition } => {
            found_text(*total, *skip, *shown, instead.as_ref(), out)?;
            match no_condition {
                Some(word) => no_condition_text(word, out),
                None => Ok(()),
            }
        }
        Answer::Fetched { from, peers, files, files_done, here, failed, bytes } => {
            write!(out, "{} of {files} file(s) fetched", files_done - here)?;
            match from {
                _ if *peers > 1 => write!(out, " from {peers} peers")?,
                Some(from) => write!(out, " from {from}")?,
                None => {}
            }
            write!(out, ", {here} here before, {failed} failed; {bytes} bytes are here")
        }
        Answer::Peer { peer: KnownPeer { name, fingerprint, online }, compared } => {
            let (online, compared) = (presence(*online), if *compared { "  compared" } else { "" });
            write!(out, "{name:<32}  {online}  {fingerprint}{compared}")
        }
        Answer::Card { card, .. } => write!(out, "{}", card.trim_end()),
        Answer::TrustedServer { server, fingerprint } => {
            let what = if server.starts_with("tls:") { "certificate" } else { "key" };
            write!(out, "the server {} is trusted with {what} {fingerprint}", Escaped(server))
        }
        Answer::Trusted { name, fingerprint } => write!(out, "{name} is trusted with key {fingerprint}"),
        Answer::NewKey { name, old, new } => {
            write!(out, "{name} has a new identity key {new}, ")?;
            writeln!(out, "signed by the old one {old}, which is destroyed.")?;
            write!(out, "The server and your contacts accept it when they see your new card.")
        }
        Answer::Exported { path, queued } => exported_text(path, *queued, out),
        Answer::Imported { name, fingerprint } => {
            writeln!(out, "This directory has the identity of {name} now, with key {fingerprint}.")?;
            write!(out, "Do not use it in the other place any more: ")?;
            write!(out, "when both connect, the newest connection takes over.")
        }
        Answer::Limit { option, limit, refused } => {
            write!(out, "{option} {limit}  {refused} conversation(s) put off since the start")
        }
        Answer::Passphrase { is_set } => out.write_str(if *is_set {
            "the private keys and messages are encrypted under the new passphrase; give it from now on"
        } else {
            "the private keys and messages are not encrypted any more; no passphrase is needed"
        }),
        Answer::Comparison(comparison) => comparison_text(comparison, out),
        Answer::Compared { name, .. } => write!(out, "the key of {name} is marked as compared"),
        Answer::Blocked { name, is_blocked: true } => {
            write!(out, "{name} is blocked: what it sends is ignored until you unblock it")
        }
        Answer::Blocked { name, is_blocked: false } => write!(out, "{name} is not blocked any more"),
        Answer::Forgotten { name, undelivered } => forgotten_text(name, *undelivered, out),
        Answer::History(record) => history_text(record, out),
        Answer::Outbox { to, number, text, queued_at, state } => {
            let (queued_at, state) = (date(*queued_at), outbox_state(*state));
            write!(out, "{queued_at}  to {to} #{number} ({state}): {}", Chat(text))
        }
        Answer::NothingQueued => {
            write!(
                out,
                "no message waits for a receipt; those that do are listed here until their recipients have them"
            )
        }
        Answer::NoHistory { with } => {
            let with = with.as_ref().map(|with| format!(" with {with}")).unwrap_or_default();
            write!(
                out,
                "no messages{with} are kept here; messages are kept when they are sent or received, unless with --no-history"
            )
        }
        Answer::Cancelled { to, number } => write!(out, "#{number} to {to} is cancelled; it was never sent"),
        Answer::Sharing { file, only } => {
            let (name, keywords) = (Escaped(file.name.as_str()), keywords(file));
            write!(out, "{name}  {} bytes  [{}]", file.bytes, Escaped(&keywords))?;
            match only {
                Some(names) => write!(out, "  only for {}", in_a_row(names)),
                None => Ok(()),
            }
        }
        Answer::NothingShared => {
            write!(
                out,
                "nothing is shared yet; put a file into this peer's directory and type /share FILE KEYWORD..., or /share * for \
                 all files there, or write `keyword, file;` into keyword.txt there"
            )
        }
        Answer::Published { files, pairs } => {
            write!(out, "sharing {files} file(s) under {pairs} pair(s) of keyword and file")
        }
        Answer::Problem { problem } => write!(out, "not shared: {problem}"),
    }
}

fn file_text(hit: &Hit, holders: u32, is_copy: bool, out: &mut String) -> fmt::Result {
    let keywords = keywords(&hit.file);
    let (name, online) = (Escaped(hit.file.name.as_str()), presence(hit.online));
    if is_copy {
        return write!(out, "    also at {} ({online}): {name}  [{}]", hit.peer, Escaped(&keywords));
    }
    write!(out, "{name}  {} bytes  at {} ({online})  ", hit.file.bytes, hit.peer)?;
    if holders > 1 {
        write!(out, "one of {holders} holders  ")?;
    }
    write!(out, "[{}]  sha256:{}", Escaped(&keywords), hit.file.sha256)
}

fn found_text(total: u64, skip: u64, shown: u64, instead: Option<&Search>, out: &mut String) -> fmt::Result {
    if shown == total || total == 0 {
        write!(out, "{total} found")?;
    } else if shown == 0 {
        write!(out, "{total} found, none of them after the first {skip}")?;
    } else {
        write!(out, "{} to {} of {total} found", skip + 1, skip + shown)?;
        if skip + shown < total {
            write!(out, "; --skip {} shows the next, or /more at the prompt", skip + shown)?;
        }
    }
    match instead {
        Some(search) => write!(out, "; did you mean: {}", Escaped(&search.to_string())),
        None => Ok(()),
    }
}

fn no_condition_text(word: &str, out: &mut String) -> fmt::Result {
    let condition = word.split(':').next().unwrap_or_default();
    write!(
        out,
        "; {} was searched for as text, because there is no condition {}: (there are ext: from: file: sha256: and size)",
        Escaped(word),
        Escaped(condition)
    )
}

fn exported_text(path: &Path, queued: usize, out: &mut String) -> fmt::Result {
    let path = path.display().to_string();
    writeln!(out, "{} has the keys, pins, blocked peers and message numbers of this peer.", Escaped(&path))?;
    write!(
        out,
        "Not carried over: {queued} queued message(s), messages that were not shown yet, the history, "
    )?;
    write!(out, "shared files. From now on use the identity in one place only.")
}

fn outbox_state(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Queued => "not sent",
        OutboxState::Sent => "sent",
        OutboxState::Relayed => "relayed",
        OutboxState::Stored => "stored on the server",
    }
}

fn forgotten_text(name: &PeerName, undelivered: usize, out: &mut String) -> fmt::Result {
    write!(out, "the messages, conversations and the card of {name} are deleted here; ")?;
    if undelivered > 0 {
        write!(out, "{undelivered} of the messages had no receipt and may not arrive; ")?;
    }
    write!(out, "its pinned key and the ids of its messages are kept, so that none is shown twice")
}

fn history_text(record: &HistoryRecord, out: &mut String) -> fmt::Result {
    let HistoryRecord { with, direction, number, written_at, text, delivered, .. } = record;
    let when = date(*written_at);
    let text = Chat(text);
    match direction {
        Direction::Received => write!(out, "{when}  {with} #{number}: {text}"),
        Direction::Sent => {
            let open = if *delivered { "" } else { "  (not yet delivered)" };
            write!(out, "{when}  to {with} #{number}: {text}{open}")
        }
    }
}

fn comparison_text(comparison: &Comparison, out: &mut String) -> fmt::Result {
    const WORDS_A_LINE: usize = 6;
    let with = &comparison.with;
    for NamedKey { name, fingerprint, words } in &comparison.keys {
        writeln!(out, "{name}  {fingerprint}")?;
        let words: Vec<&str> = words.split(' ').collect();
        for (line, words) in words.chunks(WORDS_A_LINE).enumerate() {
            write!(out, "  {:>2} ", line * WORDS_A_LINE + 1)?;
            words.iter().try_for_each(|word| write!(out, " {word:<8}"))?;
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    writeln!(out, "{}", terminal::qr_code(&comparison.code).unwrap_or_default())?;
    let compared = if comparison.compared { " You have compared these keys before." } else { "" };
    write!(
        out,
        "Compare the words or the code with what {with} sees, in person or on the telephone.{compared}\n\
         If they are equal, confirm it with `verify {with} --yes`, or `/verify {with} yes` at the prompt."
    )
}

fn presence(is_online: bool) -> &'static str {
    if is_online { "here" } else { "away" }
}

fn keywords(file: &PublishedFile) -> String {
    in_a_row(&file.keywords)
}

fn in_a_row(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
