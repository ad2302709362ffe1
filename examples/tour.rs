//! The tour: a server and two peers in one terminal and a temporary directory. A writes before B has ever joined, then B
//! answers, and A searches for a file and fetches it. Every step is printed at all three.
//!
//! `cargo run --release --example tour` shows all steps of the first two messages each way and one line of the others;
//! with `-- --all`, every step of every message.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use actors::config::Listen;
use actors::site::SiteConfig;
use actors::{Config as ServerConfig, Server};
use anyhow::{Context, ensure};
use switchboard::peer::command::{Command, Ending, Existing, Until, Update, Wanted};
use switchboard::peer::engine::{Limits, Options};
use switchboard::peer::event::Event;
use switchboard::peer::home::Home;
use switchboard::peer::render::{Renderer, Style};
use switchboard::peer::runner::{Client, Config, Runner, Switch};

const MESSAGES: u64 = 50;
/// Every step is shown of this many messages.
const SHOWN: u64 = 2;
const WAIT_SECONDS: u64 = 30;

fn main() -> anyhow::Result<()> {
    let all = std::env::args().any(|argument| argument == "--all");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tempfile::tempdir()?;
    tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(|| Prefixed("server")).init();

    heading("The server starts, with an empty data directory.");
    let server = Server::start(&ServerConfig {
        listen: vec![Listen::Address("127.0.0.1:0".parse()?)],
        data: place.path().join("server_data"),
        sites: vec![SiteConfig { root: project.join("www"), ..SiteConfig::default() }],
        ..ServerConfig::default()
    })?;
    let address = server.addresses()[0].to_string();
    println!("server | listening on {address}");

    heading("A joins and writes 50 messages to B, who has never joined. A waits for the receipts.");
    let a = start("A", &project.join("client_data/A"), place.path(), &address)?;
    let writing = play(&a.switch(), 1, "A", all, send("B", "A"));

    heading("B joins for the first time, and receives, checks and acknowledges all of them.");
    let b = start("B", &project.join("client_data/B"), place.path(), &address)?;
    let listen = Command::Listen { count: Some(MESSAGES), timeout: Some(WAIT_SECONDS) };
    let reading = play(&b.switch(), 1, "B", all, listen.clone());
    finish(reading)?;
    finish(writing)?;

    heading("The same the other way.");
    let reading = play(&a.switch(), 2, "A", all, listen);
    finish(play(&b.switch(), 2, "B", all, send("A", "B")))?;
    finish(reading)?;

    heading("B shares its files; A looks for the keyword sea, and fetches what it finds.");
    let sharing = b.switch().client(3);
    sharing.command(Command::Share);
    wait_until_published(&sharing)?;
    finish(play(&a.switch(), 4, "A", all, Command::Search { search: "sea".parse()?, skip: 0, limit: 100 }))?;
    let wanted = Wanted::Name("sailing notes.md".parse()?);
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    finish(play(&a.switch(), 5, "A", all, get))?;

    heading("Everything was delivered, verified and acknowledged. The server ends.");
    drop(sharing);
    drop((a, b));
    drop(server);
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// Starts a peer in a copy of a directory of `client_data/`.
fn start(name: &str, from: &Path, place: &Path, server: &str) -> anyhow::Result<Runner> {
    let dir = place.join(name);
    std::fs::create_dir(&dir)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    let home = Home::open(&dir)?;
    let lock = home.try_lock()?.context("nobody else can know this directory")?;
    let options = Options {
        rekey_messages: 16_384,
        full_trace: false,
        key_times: switchboard::peer::home::KeyTimes::default(),
        invitation: None,
        limits: Limits::default(),
    };
    let config = Config {
        name: name.parse()?,
        servers: vec![server.parse().expect("the server has printed it")],
        remembers_server: false,
        ca: None,
        options,
        up_limit: None,
        down_limit: None,
        passphrase: None,
        keeps_history: true,
        trusts: None,
    };
    Ok(Runner::start(Arc::new(home), lock, config)?)
}

fn send(to: &str, from: &str) -> Command {
    let texts = (1..=MESSAGES).map(|number| format!("message {number} from {from}")).collect();
    Command::Send {
        to: to.parse().expect("a good name"),
        texts,
        until: Until::Delivered { seconds: WAIT_SECONDS },
    }
}

/// Sends a command, and prints its events on a new thread.
fn play(switch: &Switch, id: u64, who: &'static str, all: bool, command: Command) -> JoinHandle<Ending> {
    let client = switch.client(id);
    client.command(command);
    std::thread::spawn(move || {
        let (mut trace, mut quiet) = (Renderer::new(Style::Trace), Renderer::new(Style::Quiet));
        for update in client.updates.iter().flatten() {
            match update {
                Update::Done(ending) => return ending,
                Update::Event(event) => {
                    let is_message = matches!(event, Event::Message(_));
                    let renderer = if all || number(&event) <= SHOWN { &mut trace } else { &mut quiet };
                    if let Some(text) = renderer.text(&event) {
                        print_prefixed(who, &text);
                    }
                    if is_message {
                        client.shown(1);
                    }
                }
            }
        }
        Ending::Failed
    })
}

/// The number of the message of an event; 0 for other events.
fn number(event: &Event) -> u64 {
    match event {
        Event::Queued { number, .. } | Event::Delivered { number, .. } => *number,
        Event::Relayed(sent) | Event::Stored(sent) => sent.number,
        Event::Message(message) => message.number,
        _ => 0,
    }
}

fn finish(playing: JoinHandle<Ending>) -> anyhow::Result<()> {
    let ending = playing.join().ok().context("a thread of the tour panicked")?;
    ensure!(ending == Ending::Done, "a command of the tour has ended with {ending:?}");
    Ok(())
}

fn wait_until_published(client: &Client) -> anyhow::Result<()> {
    let mut renderer = Renderer::new(Style::Trace);
    for update in client.updates.iter().flatten() {
        let Update::Event(event) = update else { break };
        if let Some(text) = renderer.text(&event) {
            print_prefixed("B", &text);
        }
        if matches!(event, Event::Result(_)) {
            return Ok(());
        }
    }
    anyhow::bail!("B could not share its files")
}

fn print_prefixed(who: &str, text: &str) {
    let text: String = text.lines().map(|line| format!("{who:<6} | {line}\n")).collect();
    print!("{text}");
}

/// Writes log lines with a name in front of each.
struct Prefixed(&'static str);

impl std::io::Write for Prefixed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        print_prefixed(self.0, &String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
