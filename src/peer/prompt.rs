//! The commands of the prompt, which are also read from standard input when it is not a terminal.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::{Context, Helper, Hinter, Validator};
use wire::{Audience, FileName, Fingerprint, PeerName};

use super::command::{Command, Existing, ShareChange, Until, Wanted};
use super::searching;
use super::server_address::ServerAddress;

/// What `/help` prints.
pub(super) const HELP: &str = "\
/msg NAME TEXT            send a message
/search WORD...           search for files with all these words; also one|other, -without, \"a phrase\", begin*, ext:pdf,
                          size>1M, from:NAME, file:NAME, sha256:HEX, and (parentheses)
/more                     show the next matches of the last search
/get FILE [from NAME]     fetch a file; FILE may be sha256:HEX; Ctrl-C cancels it. At the end of the line: --overwrite
                          replaces an existing file, --keep-both adds a number to the new one's name
/get FOLDER/* [from NAME] fetch the files of a folder; FOLDER/** also those in its sub-folders, FOLDER/*.pdf some of them
/who                      list the peers that the server knows
/files                    list the files that this peer shares
/share FILE KEYWORD...    share a file in this peer's directory, or add keywords to it; /tag does the same
                          At the end of the line: --with NAME,NAME lets only these peers find and fetch it, --with * everyone
/share FOLDER/* [KEYWORD...]  share the files of a folder, also those to come; FOLDER/** also those in its sub-folders
/unshare FILE [KEYWORD...]  share a file no more, or not under these keywords; the file stays
/trust NAME FINGERPRINT   accept a peer's new identity key, or a server's (HOST:PORT)
/verify NAME              compare keys; then /verify NAME yes
/block NAME               ignore what a peer sends; /unblock NAME undoes it
/forget NAME              delete your messages with a peer, and its card
/card                     print your contact card
/history [NAME]           list the messages of the past
/outbox                   list the messages that have no receipt yet
/cancel NUMBER [NAME]     remove a message that was not sent yet
/limits                   list the limits for other peers, and how often they were exceeded
/trace on|off             print every step, or messages only
/help                     print this list
/quit                     end the program";

/// The commands, for completion.
const COMMANDS: &[&str] = &[
    "/msg ",
    "/search ",
    "/more",
    "/get ",
    "/who",
    "/files",
    "/share ",
    "/tag ",
    "/unshare ",
    "/trust ",
    "/verify ",
    "/block ",
    "/unblock ",
    "/forget ",
    "/card",
    "/history",
    "/outbox",
    "/cancel ",
    "/limits",
    "/trace ",
    "/help",
    "/quit",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Command(Command),
    Trace(bool),
    Help,
    /// The next matches of the last search.
    More,
    /// Ctrl-C at the prompt.
    Interrupt,
    Quit,
    Empty,
}

/// Splits input that was typed or pasted into commands. A pasted line that does not begin with a command continues the
/// message before it.
pub(super) fn commands(input: &str) -> Vec<String> {
    let begins = |line: &str| {
        let word = line.split_whitespace().next().unwrap_or("");
        word == "/exit" || COMMANDS.iter().any(|command| command.trim_end() == word)
    };
    let mut commands: Vec<String> = Vec::new();
    for line in input.lines() {
        match commands.last_mut() {
            Some(command) if !begins(line) => {
                command.push('\n');
                command.push_str(line);
            }
            _ => commands.push(line.to_owned()),
        }
    }
    commands
}

pub(super) fn parse(line: &str) -> Result<Line, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let command = match word {
        "" => return Ok(Line::Empty),
        "/quit" | "/exit" => return Ok(Line::Quit),
        "/help" => return Ok(Line::Help),
        "/trace" => {
            return match rest {
                "on" => Ok(Line::Trace(true)),
                "off" => Ok(Line::Trace(false)),
                _ => Err("usage: /trace on|off".into()),
            };
        }
        "/msg" => message(rest)?,
        "/search" if rest.is_empty() => return Err("usage: /search WORD...".into()),
        "/search" => {
            Command::Search { search: searching::read(rest)?, skip: 0, limit: searching::MATCHES_SHOWN }
        }
        "/more" => return Ok(Line::More),
        "/get" => get(rest)?,
        "/who" => Command::Who,
        "/files" => Command::Files,
        "/share" | "/tag" => share(rest)?,
        "/unshare" => unshare(rest)?,
        "/trust" => trust(rest)?,
        "/verify" => verify(rest)?,
        "/block" => Command::Block { name: name(rest)?, is_blocked: true },
        "/unblock" => Command::Block { name: name(rest)?, is_blocked: false },
        "/forget" => Command::Forget { name: name(rest)? },
        "/card" => Command::Card,
        "/outbox" => Command::Outbox,
        "/limits" => Command::Limits,
        "/cancel" => cancel(rest)?,
        "/history" => Command::History { with: if rest.is_empty() { None } else { Some(name(rest)?) } },
        _ if word.starts_with('/') => return Err(format!("{word} is not a command; /help lists them")),
        _ => return Err("write /msg NAME TEXT to send a message; /help lists all commands".into()),
    };
    Ok(Line::Command(command))
}

fn name(text: &str) -> Result<PeerName, String> {
    text.parse().map_err(|e| format!("{text:?}: {e}"))
}

fn message(rest: &str) -> Result<Command, String> {
    match rest.split_once(char::is_whitespace) {
        Some((to, text)) if !text.trim().is_empty() => {
            Ok(Command::Send { to: name(to)?, texts: vec![text.trim().to_owned()], until: Until::Queued })
        }
        _ => Err("usage: /msg NAME TEXT".into()),
    }
}

/// Parses the file to fetch: a file name, a pattern for several, or `sha256:HEX`.
pub(super) fn wanted(text: &str) -> Result<Wanted, String> {
    if text.starts_with("sha256:") {
        return text.parse().map(Wanted::Digest).map_err(|e| format!("{text}: {e}"));
    }
    if text.contains('*') {
        return text.parse().map(Wanted::Pattern).map_err(|e| format!("{text:?}: {e}"));
    }
    text.parse::<FileName>().map(Wanted::Name).map_err(|e| format!("{text:?}: {e}"))
}

pub(super) fn existing(overwrites: bool, keeps_both: bool) -> Existing {
    match (overwrites, keeps_both) {
        (true, _) => Existing::Overwrite,
        (false, true) => Existing::KeepBoth,
        (false, false) => Existing::Refuse,
    }
}

fn get(rest: &str) -> Result<Command, String> {
    let without = |option| rest.strip_suffix(option).filter(|rest| rest.ends_with(char::is_whitespace));
    let (overwrites, keeps_both) = (without("--overwrite"), without("--keep-both"));
    let existing = existing(overwrites.is_some(), keeps_both.is_some());
    let rest = overwrites.or(keeps_both).unwrap_or(rest).trim_end();
    let (file, from) = match rest.rsplit_once(" from ") {
        Some((file, from)) => (file.trim(), Some(name(from.trim())?)),
        None => (rest, None),
    };
    // Quotes around a name with spaces are optional here.
    let file = file.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')).unwrap_or(file);
    if file.is_empty() {
        return Err("usage: /get FILE [from NAME] [--overwrite|--keep-both]".into());
    }
    Ok(Command::Get { wanted: wanted(file)?, from, output: None::<PathBuf>, existing })
}

fn share(rest: &str) -> Result<Command, String> {
    let usage = "usage: /share FILE KEYWORD... [--with NAME,NAME]; put names and keywords with spaces in double quotes";
    let mut words = words(rest).ok_or(usage)?;
    let mut audience = None;
    if let Some(at) = words.iter().position(|word| word == "--with") {
        audience = Some(with(&words.split_off(at)[1..].join(","))?);
    }
    let mut words = words.into_iter();
    let file = words.next().ok_or(usage)?;
    let keywords: Vec<String> = words.collect();
    // The files of a folder can be found by the words of their names, and a shared file has keywords already.
    if keywords.is_empty() && !file.ends_with('*') && audience.is_none() {
        return Err(usage.into());
    }
    Ok(Command::ChangeShare(ShareChange::Add { file, keywords, audience }))
}

/// Parses who may find and fetch a file: names with commas in between, or `*` for everyone.
fn with(names: &str) -> Result<Audience, String> {
    if names == "*" {
        return Ok(Audience::Everyone);
    }
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names = names.map(|text| name(text.strip_prefix('@').unwrap_or(text)));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err(
            "say who may find and fetch it: --with NAME,NAME, or --with * for everyone; /unshare for nobody"
                .into(),
        );
    }
    Audience::only(names).map_err(|e| e.to_string())
}

fn unshare(rest: &str) -> Result<Command, String> {
    let usage = "usage: /unshare FILE [KEYWORD...]; put names and keywords with spaces in double quotes";
    let mut words = words(rest).ok_or(usage)?.into_iter();
    let file = words.next().ok_or(usage)?;
    Ok(Command::ChangeShare(ShareChange::Remove { file, keywords: words.collect() }))
}

/// Splits a line into words. A word in double quotes may have spaces. `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

fn cancel(rest: &str) -> Result<Command, String> {
    let (number, to) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let number = number.strip_prefix('#').unwrap_or(number).parse();
    let number = number.map_err(|_| "usage: /cancel NUMBER [NAME]; /outbox lists the numbers")?;
    let to = Some(to.trim()).filter(|to| !to.is_empty()).map(name).transpose()?;
    Ok(Command::Cancel { number, to })
}

fn verify(rest: &str) -> Result<Command, String> {
    match rest.split_once(char::is_whitespace) {
        None => Ok(Command::Verify { name: name(rest)? }),
        Some((who, answer)) if answer.trim() == "yes" => {
            Ok(Command::Compared { name: name(who)?, fingerprint: None })
        }
        Some(_) => Err("usage: /verify NAME, and if the keys are equal: /verify NAME yes".into()),
    }
}

fn trust(rest: &str) -> Result<Command, String> {
    let (who, fingerprint) = rest.split_once(char::is_whitespace).ok_or("usage: /trust NAME FINGERPRINT")?;
    let fingerprint = fingerprint.parse().map_err(|e| format!("{e}"))?;
    trust_command(who, fingerprint)
}

/// The command to trust the key of a peer or of a server. A server has a port (`HOST:PORT`), which no name of a peer
/// can have.
pub(super) fn trust_command(who: &str, fingerprint: Fingerprint) -> Result<Command, String> {
    if !who.contains(':') {
        return Ok(Command::Trust { name: name(who)?, fingerprint });
    }
    let server: ServerAddress = who.parse().map_err(|e| format!("{e}"))?;
    Ok(Command::TrustServer { server: server.to_string(), fingerprint })
}

/// The prompts have the same width, so that one can replace the other while a line is being typed.
const ONLINE: &str = "online > ";
const OFFLINE: &str = "offline> ";

/// Completes the names of commands, and shows in the prompt whether there is a connection to the server.
#[derive(Helper, Hinter, Validator)]
pub(super) struct Editing {
    is_online: Arc<AtomicBool>,
}

impl Editing {
    /// `is_online` must be updated by the receiver of connection events.
    pub(super) fn new(is_online: Arc<AtomicBool>) -> Self {
        Self { is_online }
    }

    pub(super) fn prompt(&self) -> &'static str {
        if self.is_online.load(Ordering::Relaxed) { ONLINE } else { OFFLINE }
    }
}

impl Highlighter for Editing {
    /// Called whenever the line is drawn again, which includes printing above it.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, is_default: bool) -> Cow<'b, str> {
        Cow::Borrowed(if is_default { self.prompt() } else { prompt })
    }
}

impl Completer for Editing {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let begun = &line[..at];
        let pairs = COMMANDS
            .iter()
            .filter(|command| command.starts_with(begun))
            .map(|command| Pair {
                display: command.trim_end().to_owned(),
                replacement: (*command).to_owned(),
            })
            .collect();
        Ok((0, pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands() {
        let to: PeerName = "B".parse().expect("a good name");
        let send = Command::Send { to: to.clone(), texts: vec!["hello  there".into()], until: Until::Queued };
        assert_eq!(parse("/msg B hello  there"), Ok(Line::Command(send)));
        let file: FileName = "low water.txt".parse().expect("a good name");
        let get = |from: Option<&PeerName>, existing| {
            let (wanted, from) = (Wanted::Name(file.clone()), from.cloned());
            Ok(Line::Command(Command::Get { wanted, from, output: None, existing }))
        };
        assert_eq!(parse("/get low water.txt"), get(None, Existing::Refuse));
        assert_eq!(parse("/get \"low water.txt\""), get(None, Existing::Refuse));
        assert_eq!(parse("/get low water.txt from B"), get(Some(&to), Existing::Refuse));
        assert_eq!(parse("/get low water.txt --overwrite"), get(None, Existing::Overwrite));
        assert_eq!(parse("/get low water.txt from B --keep-both"), get(Some(&to), Existing::KeepBoth));
        let pattern = Wanted::Pattern("lectures/*.pdf".parse().expect("a good pattern"));
        let many = Command::Get {
            wanted: pattern,
            from: Some(to.clone()),
            output: None,
            existing: Existing::Refuse,
        };
        assert_eq!(parse("/get lectures/*.pdf from B"), Ok(Line::Command(many)));
        let (file, keywords) = ("low water.txt".to_owned(), vec!["sea".to_owned(), "low tide".to_owned()]);
        let share = |audience| ShareChange::Add { file: file.clone(), keywords: keywords.clone(), audience };
        let limited =
            |names: &[&str]| Audience::only(names.iter().map(|name| name.parse().expect("a good name")));
        for (with, audience) in [
            ("Ann,ben", limited(&["ann", "ben"])),
            ("Ann, ben", limited(&["ann", "ben"])),
            ("@ann", limited(&["ann"])),
            ("*", Ok(Audience::Everyone)),
        ] {
            let line = format!("/share \"low water.txt\" sea \"low tide\" --with {with}");
            let shared = Command::ChangeShare(share(Some(audience.expect("few names"))));
            assert_eq!(parse(&line), Ok(Line::Command(shared)));
        }
        let limit = parse("/share x --with B");
        let is_limit =
            |change: &ShareChange| matches!(change, ShareChange::Add { keywords, .. } if keywords.is_empty());
        assert!(matches!(limit, Ok(Line::Command(Command::ChangeShare(change))) if is_limit(&change)));
        let share = share(None);
        let shared = Ok(Line::Command(Command::ChangeShare(share)));
        assert_eq!(parse("/share \"low water.txt\" sea \"low tide\""), shared);
        assert_eq!(parse("/tag \"low water.txt\" sea \"low tide\""), shared);
        for (line, keywords) in [
            ("/unshare \"low water.txt\" sea \"low tide\"", keywords),
            ("/unshare \"low water.txt\"", vec![]),
        ] {
            let unshare = ShareChange::Remove { file: file.clone(), keywords };
            assert_eq!(parse(line), Ok(Line::Command(Command::ChangeShare(unshare))));
        }
        let b = || "B".parse().expect("a good name");
        assert_eq!(parse("/verify B"), Ok(Line::Command(Command::Verify { name: b() })));
        let compared = Command::Compared { name: b(), fingerprint: None };
        assert_eq!(parse("/verify B yes"), Ok(Line::Command(compared)));
        assert_eq!(parse("  "), Ok(Line::Empty));
        assert_eq!(parse("/trace off"), Ok(Line::Trace(false)));
        let cancel = |to: Option<&str>| {
            let to = to.map(|to| to.parse().expect("a good name"));
            Ok(Line::Command(Command::Cancel { number: 7, to }))
        };
        assert_eq!([parse("/cancel 7"), parse("/cancel #7 B")], [cancel(None), cancel(Some("B"))]);
        assert_eq!(parse("/quit"), Ok(Line::Quit));
    }

    #[test]
    fn pasted_lines_are_commands_or_lines_of_a_message() {
        let pasted = "/msg B one\n  two\n/usr/bin\n/who\n/msg B three";
        assert_eq!(commands(pasted), ["/msg B one\n  two\n/usr/bin", "/who", "/msg B three"]);
        assert_eq!(commands("hello"), ["hello"]);
        let send = parse("/msg B one\n  two");
        assert!(matches!(send, Ok(Line::Command(Command::Send { texts, .. })) if texts == ["one\n  two"]));
    }

    #[test]
    fn the_prompt_shows_whether_there_is_a_connection() {
        let is_online = Arc::new(AtomicBool::new(false));
        let editing = Editing::new(Arc::clone(&is_online));
        assert_eq!(editing.highlight_prompt(ONLINE, true), OFFLINE);
        is_online.store(true, Ordering::Relaxed);
        assert_eq!(editing.highlight_prompt(OFFLINE, true), ONLINE);
        assert_eq!(editing.highlight_prompt("(reverse-i-search) ", false), "(reverse-i-search) ");
        assert_eq!(ONLINE.len(), OFFLINE.len(), "the cursor stays where it is");
    }

    #[test]
    fn bad_lines_say_what_would_be_right() {
        for (line, part) in [
            ("/msg B", "usage: /msg"),
            ("/msg b/c hello", "'/'"),
            ("/get", "usage: /get"),
            ("/get a\\x", "must not contain"),
            ("/share x", "usage: /share"),
            ("/share x sea --with", "--with NAME,NAME"),
            ("/share x sea --with a/b", "'/'"),
            ("/unshare ", "usage: /unshare"),
            ("/trust B xyz", "64 hexadecimal"),
            ("/search ", "usage: /search"),
            ("/search sea (tide", "column 5"),
            ("/cancel x", "usage: /cancel"),
            ("/verify B maybe", "/verify NAME yes"),
            ("/dance", "/help"),
            ("hello", "/msg NAME TEXT"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
