//! Events for people and for programs.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use wire::escape::Escaped;

use super::event::{Answer, ConversationEvent, Event, FileRoute, MessageEvent, Sealed, SentEvent};
use super::records::Direction;
use crate::terminal;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One JSON object a line.
    Json,
    /// For people, with every step of encryption, transmission and decryption.
    Trace,
    /// For people, messages and answers only.
    Quiet,
}

/// Shows events on standard output, and errors on standard error.
pub struct Renderer {
    style: Style,
    colour: bool,
    bar: Option<ProgressBar>,
}

impl Renderer {
    /// A renderer for this process's standard output.
    pub fn new(style: Style) -> Self {
        Self { style, colour: terminal::wants_colour(), bar: None }
    }

    /// Changes what is shown from now on; `--json` stays as it is.
    pub fn trace(&mut self, on: bool) {
        if self.style != Style::Json {
            self.style = if on { Style::Trace } else { Style::Quiet };
        }
    }

    /// Shows an event.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn show(&mut self, event: &Event) -> io::Result<()> {
        let text = self.text(event);
        if let Event::Error { message } = event {
            writeln!(io::stderr(), "peer: {message}")?;
        }
        match text {
            Some(text) => terminal::print_line(&text),
            None => Ok(()),
        }
    }

    /// An event as text, without the end of its last line; `None` if this style leaves it out.
    pub fn text(&mut self, event: &Event) -> Option<String> {
        if self.style == Style::Json {
            return Some(serde_json::to_string(event).expect("events are plain data with text keys"));
        }
        if let Event::FileProgress { done, total, .. } = event {
            self.progress(*done, *total);
            return None;
        }
        if matches!(event, Event::FileDone { .. } | Event::Error { .. })
            && let Some(bar) = self.bar.take()
        {
            bar.finish_and_clear();
        }
        let mut out = String::new();
        self.write(event, &mut out).expect("a String takes all that is written");
        (!out.is_empty()).then_some(out)
    }

    /// A bar on standard error, if that is a terminal.
    fn progress(&mut self, done: u64, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            ProgressBar::new(total)
                .with_style(ProgressStyle::with_template(style).expect("the template is valid"))
        });
        bar.set_position(done);
    }

    fn write(&self, event: &Event, out: &mut String) -> fmt::Result {
        let trace = self.style == Style::Trace;
        match event {
            Event::Joined { name, server, fingerprint } if trace => {
                write!(out, "{} as {name} at {server}, proved key {fingerprint}", self.mark("joined", 32))
            }
            Event::Waiting { reason, .. } => write!(out, "{} {}", self.mark("waiting", 33), Escaped(reason)),
            Event::Conversation(event) if trace => self.conversation(event, out),
            Event::Queued { to, number, text, sha256 } if trace => {
                writeln!(out, "{} #{number} to {to}: {}", self.mark("queued", 36), Escaped(text))?;
                write!(out, "    SHA-256 of the text  {sha256}")
            }
            Event::Relayed(sent) if trace => self.sent("relayed", "handed to them, who is here", sent, out),
            Event::Stored(sent) if trace => {
                self.sent("stored", "on the server's disk until they come", sent, out)
            }
            Event::Delivered { to, number, conversation, count, running_hash } if trace => {
                writeln!(out, "{} #{number} to {to}", self.mark("delivered", 32))?;
                writeln!(
                    out,
                    "    receipt verified     {count} message(s) of conversation {}",
                    conversation.short()
                )?;
                write!(out, "    running hash         {running_hash}, equal at both ends")
            }
            Event::Relayed(sent) => write!(out, "#{} to {} relayed", sent.number, sent.to),
            Event::Stored(sent) => write!(out, "#{} to {} stored on the server", sent.number, sent.to),
            Event::Delivered { to, number, .. } => write!(out, "#{number} to {to} delivered"),
            Event::Message(message) => self.message(message, trace, out),
            Event::Refused { with, number, reason } => {
                let number = number.map(|n| format!(" #{n}")).unwrap_or_default();
                write!(out, "{} {with}{number}: {}", self.mark("refused", 31), Escaped(reason))
            }
            Event::Result(answer) => answer_text(answer, out),
            Event::FileDone { path, bytes, sha256, from, route } => {
                let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
                let how = match route {
                    FileRoute::Direct => "straight",
                    FileRoute::Server => "through the server",
                    FileRoute::Here => "was here already",
                };
                let path = path.display().to_string();
                writeln!(out, "{} {}{from}, {how}, {bytes} bytes", self.mark("fetched", 32), Escaped(&path))?;
                write!(out, "    SHA-256 verified     {sha256}")
            }
            _ => Ok(()),
        }
    }

    fn conversation(&self, event: &ConversationEvent, out: &mut String) -> fmt::Result {
        let ConversationEvent { with, conversation, sender_key, wrapped_for, .. } = event;
        let id = conversation.short();
        match event.direction {
            Direction::Sent => {
                writeln!(out, "{} {id} opened towards {with}", self.mark("conversation", 35))?;
                writeln!(out, "    drawn                a 32-byte key for this conversation")?;
                writeln!(
                    out,
                    "    wrapped              RSAES-OAEP (SHA-256) for {with}'s encryption key {wrapped_for}"
                )?;
                writeln!(out, "    wrapped key          {}", event.wrapped_key)?;
                writeln!(out, "    commitment           {}", event.commitment)?;
                writeln!(
                    out,
                    "    signed               RSASSA-PSS (SHA-256) by our identity key {sender_key}"
                )?;
                write!(out, "    opening              {}", event.opening)
            }
            Direction::Received => {
                writeln!(out, "{} {id} accepted from {with}", self.mark("conversation", 35))?;
                if event.pinned_now {
                    writeln!(out, "    pinned               {with}'s identity key, seen for the first time")?;
                }
                writeln!(
                    out,
                    "    signature verified   RSASSA-PSS (SHA-256) by {with}'s identity key {sender_key}"
                )?;
                writeln!(out, "    wrapped key          {}", event.wrapped_key)?;
                writeln!(
                    out,
                    "    unwrapped            RSAES-OAEP (SHA-256) with our encryption key {wrapped_for}"
                )?;
                writeln!(out, "    commitment verified  {}", event.commitment)?;
                write!(out, "    opening              {}", event.opening)
            }
        }
    }

    fn sent(&self, word: &str, meaning: &str, sent: &SentEvent, out: &mut String) -> fmt::Result {
        let SentEvent { to, number, sealed: Sealed { conversation, place, bytes, .. } } = sent;
        writeln!(out, "{} #{number} to {to}: {meaning}", self.mark(word, 34))?;
        writeln!(
            out,
            "    sealed               AES-256-GCM under conversation {}, nonce {place}, {bytes} bytes",
            conversation.short()
        )?;
        writeln!(out, "    ciphertext           {}", sent.sealed.ciphertext)?;
        writeln!(out, "    SHA-256 of it        {}", sent.sealed.ciphertext_sha256)?;
        write!(out, "    running hash         {}", sent.sealed.running_hash)
    }

    fn message(&self, message: &MessageEvent, trace: bool, out: &mut String) -> fmt::Result {
        let MessageEvent { from, number, text, sha256, .. } = message;
        let text = Escaped(text);
        let (true, Some(arrival)) = (trace, &message.arrival) else {
            return write!(out, "{}: {text}", self.mark(&format!("{from} #{number}"), 1));
        };
        let Sealed { conversation, place, bytes, ciphertext, ciphertext_sha256, running_hash } = arrival;
        writeln!(out, "{} #{number} from {from}", self.mark("received", 34))?;
        writeln!(out, "    ciphertext           {ciphertext}")?;
        writeln!(out, "    SHA-256 of it        {ciphertext_sha256}")?;
        writeln!(
            out,
            "    opened               AES-256-GCM under conversation {}, nonce {place}, {bytes} bytes",
            conversation.short()
        )?;
        writeln!(out, "    SHA-256 of the text  {sha256}, equal to the one sealed inside")?;
        writeln!(
            out,
            "    in order             place {place} of its conversation, running hash {running_hash}"
        )?;
        writeln!(out, "    acknowledged         a receipt over this running hash goes back to {from}")?;
        write!(out, "{}: {text}", self.mark(&format!("{from} #{number}"), 1))
    }

    fn mark(&self, word: &str, colour: u8) -> String {
        if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

fn answer_text(answer: &Answer, out: &mut String) -> fmt::Result {
    match answer {
        Answer::File(hit) => {
            let keywords: Vec<String> = hit.file.keywords.iter().map(ToString::to_string).collect();
            let online = if hit.online { "here" } else { "away" };
            let name = hit.file.name.as_str();
            write!(out, "{}  {} bytes  at {} ({online})  ", Escaped(name), hit.file.bytes, hit.peer)?;
            write!(out, "[{}]  sha256:{}", Escaped(&keywords.join(", ")), hit.file.sha256)
        }
        Answer::Found { total } => write!(out, "{total} found"),
        Answer::Peer { name, fingerprint, online } => {
            write!(out, "{name:<32}  {}  {fingerprint}", if *online { "here" } else { "away" })
        }
        Answer::Card { card, .. } => write!(out, "{}", card.trim_end()),
        Answer::Trusted { name, fingerprint } => write!(out, "{name} is trusted with key {fingerprint}"),
        Answer::History { with, direction, number, written_at, text, delivered } => {
            let when = date(*written_at);
            let text = Escaped(text);
            match direction {
                Direction::Received => write!(out, "{when}  {with} #{number}: {text}"),
                Direction::Sent => {
                    let open = if *delivered { "" } else { "  (not yet delivered)" };
                    write!(out, "{when}  to {with} #{number}: {text}{open}")
                }
            }
        }
        Answer::Sharing { name, bytes, keywords, .. } => {
            write!(out, "{}  {bytes} bytes  [{}]", Escaped(name.as_str()), Escaped(&keywords.join(", ")))
        }
        Answer::Published { files, pairs } => {
            write!(out, "sharing {files} file(s) under {pairs} pair(s) of keyword and file")
        }
        Answer::Problem { problem } => write!(out, "not shared: {problem}"),
    }
}

/// A time as people write it, in UTC.
fn date(unix: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(unix.min(253_402_300_799)))
        .map_or_else(|| unix.to_string(), httpdate::fmt_http_date)
}
