//! Formats events for people and for programs.

mod answers;
mod progress;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wire::escape::{Escaped, EscapedJson, Readable};
use wire::transfer::CHUNK_BYTES;
use wire::{Digest, PeerName};

use super::event::{
    ConnectionState, ConversationEvent, Event, FileRequestEvent, FileRoute, FilesRequestEvent, HolderPart,
    MessageEvent, Sealed, SentEvent,
};
use super::records::Direction;
use crate::terminal;
use progress::Progress;

/// A message that was written longer ago than this is shown with its time of writing.
const LATE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One JSON object per line.
    Json,
    /// Text, with every step of encryption, transmission and decryption.
    Trace,
    /// Text, with messages and answers only.
    Quiet,
}

/// Prints events on standard output, and errors on standard error.
pub struct Renderer {
    style: Style,
    colour: bool,
    /// Whether a line is being typed below the output. A progress bar would cover it, so lines are printed instead.
    pub(super) is_at_prompt: bool,
    progress: Progress,
    /// Lines that were not written to standard output yet.
    lines: String,
}

impl Renderer {
    /// Creates a renderer for this process's standard output.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            colour: terminal::wants_colour(),
            is_at_prompt: false,
            progress: Progress::default(),
            lines: String::new(),
        }
    }

    /// Turns the trace on or off. With `--json` it changes nothing.
    pub fn trace(&mut self, on: bool) {
        if self.style != Style::Json {
            self.style = if on { Style::Trace } else { Style::Quiet };
        }
    }

    /// Prints an event at once.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show(&mut self, event: &Event) -> io::Result<()> {
        self.add(event)?;
        self.flush()
    }

    /// Prints an event with the next [`Self::flush`].
    ///
    /// # Errors
    /// Standard output or standard error cannot be written.
    pub fn add(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Error { message } = event {
            // What happened before the error is printed before it.
            self.flush()?;
            writeln!(io::stderr(), "peer: {message}")?;
        }
        if let Some(text) = self.text(event) {
            self.lines.push_str(&text);
            self.lines.push('\n');
        }
        Ok(())
    }

    /// Writes the lines of the added events to standard output.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.lines);
        terminal::write(&lines)
    }

    /// Formats an event, without the last line break. `None` if this style does not show it.
    pub fn text(&mut self, event: &Event) -> Option<String> {
        if self.style == Style::Json {
            let json = serde_json::to_string(event).expect("events are plain data with text keys");
            // Escaped, because standard output may be a terminal. A program that parses the JSON gets the same value.
            return Some(EscapedJson(&json).to_string());
        }
        match event {
            Event::FileProgress { name, done, total } => {
                return self.progress.of_file(self.is_at_prompt, "", name, (*done, *total));
            }
            Event::FileHashing { name, done, total } => {
                return self.progress.of_file(self.is_at_prompt, "reading ", name, (*done, *total));
            }
            Event::FilesProgress { files_done, files, bytes_done, bytes, .. } => {
                return self.progress.of_many(
                    self.is_at_prompt,
                    (*files_done, *files),
                    (*bytes_done, *bytes),
                );
            }
            event => self.progress.before_text(event),
        }
        let mut out = String::new();
        self.write(event, &mut out).expect("a String takes all that is written");
        (!out.is_empty()).then_some(out)
    }

    fn write(&self, event: &Event, out: &mut String) -> fmt::Result {
        let trace = self.style == Style::Trace;
        match event {
            Event::Joined { name, server, fingerprint, server_key, pinned_certificate } if trace => {
                let mark = self.mark("joined", 32);
                write!(out, "{mark} as {name} at {server}, proved key {fingerprint}; ")?;
                write!(out, "the server proved {server_key}")?;
                pinned_certificate.iter().try_for_each(|certificate| {
                    let what =
                        format_args!("the server's certificate {certificate}, seen for the first time");
                    step(out, "pinned", what)
                })
            }
            Event::Connection { state, server, reason, retry_ms } => {
                self.connection(*state, server, reason.as_deref(), *retry_ms, out)
            }
            Event::Waiting { reason, .. } => write!(out, "{} {}", self.mark("waiting", 33), Escaped(reason)),
            Event::Conversation(event) if trace => self.conversation(event, out),
            Event::Queued { to, number, text, sha256 } if trace => {
                write!(out, "{} #{number} to {to}: {}", self.mark("queued", 36), Chat(text))?;
                step(out, "SHA-256 of the text", sha256)
            }
            Event::Relayed(sent) if trace => {
                self.sent("relayed", format_args!("handed to {}, who is connected", sent.to), sent, out)
            }
            Event::Stored(sent) if trace => self.sent(
                "stored",
                format_args!("on the server's disk until {} connects", sent.to),
                sent,
                out,
            ),
            Event::Delivered { to, number, conversation, count, running_hash } if trace => {
                write!(out, "{} #{number} to {to}", self.mark("delivered", 32))?;
                let receipt = format_args!("{count} message(s) of conversation {}", conversation.short());
                step(out, "receipt verified", receipt)?;
                step(out, "running hash", format_args!("{running_hash}, equal at both ends"))
            }
            Event::Relayed(sent) => write!(out, "#{} to {} relayed", sent.number, sent.to),
            Event::Stored(sent) => write!(out, "#{} to {} stored on the server", sent.number, sent.to),
            Event::Delivered { to, number, .. } => write!(out, "#{number} to {to} delivered"),
            Event::Message(message) => self.message(message, trace, out),
            Event::Refused { with, number, reason } => {
                let number = number.map(|n| format!(" #{n}")).unwrap_or_default();
                write!(out, "{} {with}{number}: {}", self.mark("refused", 31), Escaped(reason))
            }
            Event::Succeeded { with, old, new } => {
                write!(
                    out,
                    "{} {with} has a new key {new}, signed by the old one {old}",
                    self.mark("new key", 33)
                )
            }
            Event::Result(answer) => answers::write(answer, out),
            Event::FileRequest(request) if trace => self.request(request, out),
            Event::FilesRequest(request) if trace => self.request_for_many(request, out),
            Event::FileQueued { name, from, place } => {
                let (name, place) = (Escaped(name.as_str()), Ordinal(*place));
                write!(out, "{} {name} is {place} in the queue of {from}", self.mark("waiting", 33))
            }
            Event::FileHolderDropped { reason, .. } => {
                write!(out, "{} {}", self.mark("dropped", 33), Escaped(reason))
            }
            Event::FileHolders { holders, .. } => self.holders(holders, out),
            Event::FileSent { to, name, bytes, sha256, route } if trace => {
                let (name, how) = (Escaped(name.as_str()), how_moved(*route));
                write!(out, "{} {name} to {to}, {how}, {bytes} bytes", self.mark("sent", 34))?;
                step(out, "SHA-256 of the file", sha256)
            }
            Event::FileDone { path, bytes, sha256, from, peers, route } => {
                self.fetched(path, *bytes, sha256, (from.as_ref(), *peers), *route, out)
            }
            _ => Ok(()),
        }
    }

    /// Who has sent how much of a file.
    fn holders(&self, holders: &[HolderPart], out: &mut String) -> fmt::Result {
        write!(out, "{}", self.mark("from", 34))?;
        for (at, HolderPart { from, bytes, route }) in holders.iter().enumerate() {
            let comma = if at == 0 { "" } else { ";" };
            write!(out, "{comma} {from}, {}, {bytes} bytes", how_moved(*route))?;
        }
        Ok(())
    }

    fn connection(
        &self,
        state: ConnectionState,
        server: &str,
        reason: Option<&str>,
        retry_ms: Option<u64>,
        out: &mut String,
    ) -> fmt::Result {
        let reason = reason.map(|reason| format!(" ({})", Escaped(reason))).unwrap_or_default();
        let retry = match retry_ms {
            Some(ms) => format!("in {:.1} s", Duration::from_millis(ms).as_secs_f64()),
            None => "at once".into(),
        };
        let server = Escaped(server);
        match state {
            ConnectionState::Lost => {
                write!(out, "{} {server}{reason}; trying again {retry}", self.mark("lost", 31))
            }
            ConnectionState::Trying => {
                write!(out, "{} {server} again{reason}", self.mark("trying", 33))
            }
            ConnectionState::Back => write!(out, "{} at {server}", self.mark("back", 32)),
        }
    }

    fn fetched(
        &self,
        path: &Path,
        bytes: u64,
        sha256: &Digest,
        (from, peers): (Option<&PeerName>, usize),
        route: FileRoute,
        out: &mut String,
    ) -> fmt::Result {
        let how = how_moved(route);
        let how = match from {
            // Who has sent how much, and how, was said before.
            Some(_) if peers > 1 => format!(" from {peers} peers"),
            Some(from) => format!(" from {from}, {how}"),
            None => format!(", {how}"),
        };
        let path = path.display().to_string();
        write!(out, "{} {}{how}, {bytes} bytes", self.mark("fetched", 32), Escaped(&path))?;
        // Of many files the digests would be half of the lines. Each was verified all the same.
        if self.style == Style::Quiet && self.progress.is_of_many() {
            return Ok(());
        }
        step(out, "SHA-256 verified", sha256)
    }

    fn request(&self, request: &FileRequestEvent, out: &mut String) -> fmt::Result {
        let FileRequestEvent { with, name, offset, route, transfer, salt, .. } = request;
        let (name, how) = (Escaped(name.as_str()), how_moved(*route));
        let asked = match request.direction {
            Direction::Sent => format!("{} {name} from {with}", self.mark("requested", 36)),
            Direction::Received => format!("{} {name} by {with}", self.mark("requested", 36)),
        };
        write!(out, "{asked}, {how}, from byte {offset} on")?;
        step(out, "SHA-256 of the file", request.sha256)?;
        step(out, "transfer", format_args!("{transfer}, drawn by the receiver"))?;
        step(out, "secret", "32 bytes, drawn by the receiver, sealed in its request")?;
        step(out, "salt", format_args!("{salt}, drawn by the holder, sealed in its answer"))?;
        step(
            out,
            "key",
            "HKDF-SHA256 of the secret, salted with transfer and salt, for \"switchboard/1 file\"",
        )?;
        let records = format_args!(
            "a header and {} chunk(s) of at most {CHUNK_BYTES} bytes, each under AES-256-GCM",
            request.chunks
        );
        step(out, "records", records)?;
        step(out, "nonces", "the number of the record from 0, and 1 for the last one")
    }

    fn request_for_many(&self, request: &FilesRequestEvent, out: &mut String) -> fmt::Result {
        let FilesRequestEvent { with, direction, files, route, transfer, salt } = request;
        let (mark, how) = (self.mark("requested", 36), how_moved(*route));
        match direction {
            Direction::Sent => write!(out, "{mark} {files} file(s) from {with}, {how}")?,
            Direction::Received => write!(out, "{mark} {files} file(s) by {with}, {how}")?,
        }
        step(out, "transfer", format_args!("{transfer}, drawn by the receiver"))?;
        step(out, "salt", format_args!("{salt}, drawn by the holder, sealed in its answer"))?;
        step(out, "records", "a header and the chunks of each file, one after the other, under one key")
    }

    fn conversation(&self, event: &ConversationEvent, out: &mut String) -> fmt::Result {
        let ConversationEvent { with, conversation, sender_key, wrapped_for, .. } = event;
        let (word, id) = (self.mark("conversation", 35), conversation.short());
        match event.direction {
            Direction::Sent => {
                write!(out, "{word} {id} opened towards {with}")?;
                step(out, "drawn", "a 32-byte key for this conversation")?;
                let wrapped = format_args!("RSAES-OAEP (SHA-256) for {with}'s encryption key {wrapped_for}");
                step(out, "wrapped", wrapped)?;
                step(out, "wrapped key", &event.wrapped_key)?;
                step(out, "commitment", event.commitment)?;
                let signed = format_args!("RSASSA-PSS (SHA-256) by our identity key {sender_key}");
                step(out, "signed", signed)?;
            }
            Direction::Received => {
                write!(out, "{word} {id} accepted from {with}")?;
                if event.pinned_now {
                    step(out, "pinned", format_args!("{with}'s identity key, seen for the first time"))?;
                }
                let signed = format_args!("RSASSA-PSS (SHA-256) by {with}'s identity key {sender_key}");
                step(out, "signature verified", signed)?;
                step(out, "wrapped key", &event.wrapped_key)?;
                let unwrapped = format_args!("RSAES-OAEP (SHA-256) with our encryption key {wrapped_for}");
                step(out, "unwrapped", unwrapped)?;
                step(out, "commitment verified", event.commitment)?;
            }
        }
        step(out, "opening", &event.opening)
    }

    fn sent(
        &self,
        word: &str,
        meaning: fmt::Arguments<'_>,
        sent: &SentEvent,
        out: &mut String,
    ) -> fmt::Result {
        write!(out, "{} #{} to {}: {meaning}", self.mark(word, 34), sent.number, sent.to)?;
        step(out, "sealed", how_sealed(&sent.sealed))?;
        step(out, "ciphertext", &sent.sealed.ciphertext)?;
        step(out, "SHA-256 of it", sent.sealed.ciphertext_sha256)?;
        step(out, "running hash", sent.sealed.running_hash)
    }

    fn message(&self, message: &MessageEvent, trace: bool, out: &mut String) -> fmt::Result {
        let MessageEvent { from, number, text, sha256, .. } = message;
        if let (true, Some(arrival)) = (trace, &message.arrival) {
            write!(out, "{} #{number} from {from}", self.mark("received", 34))?;
            step(out, "ciphertext", &arrival.ciphertext)?;
            step(out, "SHA-256 of it", arrival.ciphertext_sha256)?;
            step(out, "opened", how_sealed(arrival))?;
            step(out, "SHA-256 of the text", format_args!("{sha256}, equal to the one sealed inside"))?;
            let Sealed { place, running_hash, .. } = arrival;
            let order = format_args!("place {place} of its conversation, running hash {running_hash}");
            step(out, "in order", order)?;
            let receipt = format_args!("a receipt over this running hash goes back to {from}");
            step(out, "acknowledged", receipt)?;
            out.push('\n');
        }
        let compared = if message.compared { " (compared)" } else { "" };
        let name = self.mark(&format!("{from}{compared} #{number}"), 1);
        let time = chat_time(Timestamp::now(), message.written_at, &TimeZone::system());
        write!(out, "{} {name}{}: {}", time.now, time.written, Chat(text))
    }

    fn mark(&self, word: &str, colour: u8) -> String {
        if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

/// Writes one step of an event on its own line.
fn step(out: &mut String, label: &str, value: impl fmt::Display) -> fmt::Result {
    write!(out, "\n    {label:<20} {value}")
}

/// A place in a row: 1st, 2nd, 3rd.
struct Ordinal(u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 100, self.0 % 10) {
            (11..=13, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}

fn how_moved(route: FileRoute) -> &'static str {
    match route {
        FileRoute::Direct => "directly",
        FileRoute::Server => "through the server",
        FileRoute::Here => "was here already",
    }
}

fn how_sealed(sealed: &Sealed) -> String {
    let Sealed { conversation, place, bytes, .. } = sealed;
    format!("AES-256-GCM under conversation {}, nonce {place}, {bytes} bytes", conversation.short())
}

/// A text that a person has written. Its further lines are marked, so that none of them looks like a line of this
/// program.
struct Chat<'a>(&'a str);

impl fmt::Display for Chat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.0.lines().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "\n    | " }, Readable(line))?;
        }
        Ok(())
    }
}

/// The times of a line of chat.
#[derive(Debug, PartialEq, Eq)]
struct ChatTime {
    now: String,
    /// When the message was written, if that is long ago; else empty.
    written: String,
}

/// The local time, and the time at which a message was written (in seconds since 1970) if that is longer ago than
/// [`LATE_AFTER`].
fn chat_time(now: Timestamp, written_at: u64, zone: &TimeZone) -> ChatTime {
    let written = i64::try_from(written_at).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let late = written.filter(|written| now.duration_since(*written).unsigned_abs() > LATE_AFTER);
    let written = late.map(|written| {
        let (written, today) = (written.to_zoned(zone.clone()), now.to_zoned(zone.clone()).date());
        let format = if written.date() == today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        format!(" (written {})", written.strftime(format))
    });
    ChatTime {
        now: now.to_zoned(zone.clone()).strftime("%H:%M").to_string(),
        written: written.unwrap_or_default(),
    }
}

/// Formats a time in UTC.
fn date(unix: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(unix.min(253_402_300_799)))
        .map_or_else(|| unix.to_string(), httpdate::fmt_http_date)
}
