//! Switchboard: peers that publish and search (PROTOCOL.md, section 14).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use integration::{Character, RawConnection};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::protocol::{ToPeer, ToServer};
use wire::share::PublishedFile;
use wire::{Digest, Keyword, Query};

use super::Questions;
use super::corpus::Corpus;
use crate::interrupt::Interrupt;
use crate::load::{Connection, Load, Wire};
use crate::servers::Server;

/// As many results as a person sees at once.
const LIMIT: u32 = 20;
const LOAD_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// How files are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// With exactly these keywords.
    Search,
    /// As people type it, best matches first.
    Find,
}

/// All peers are at one address here.
pub(super) fn options() -> [&'static str; 6] {
    ["--index-pairs", "20000000", "--index-pairs-per-address", "20000000", "--new-names-per-hour", "100000"]
}

/// Lets each peer join, publish and leave. Returns how long all the publications took, without the joins.
pub(super) fn publish(server: &Server, corpus: &Corpus, interrupt: &Interrupt) -> Result<Duration> {
    let first = Character::new("p0");
    let mut took = Duration::ZERO;
    for peer in 0..corpus.peers() {
        interrupt.check()?;
        let mut connection = RawConnection::join(server.address, &first.renamed(&format!("p{peer}")));
        let files = corpus.of(peer).map(|(name, words)| file(&name, &words)).collect::<Result<_>>()?;
        let message = frame::frame(&ToServer::Publish { part: 0, last: true, files });
        let begun = Instant::now();
        connection.say_bytes(&message);
        match connection.next_message() {
            ToPeer::Published { .. } => took += begun.elapsed(),
            other => bail!("the server answers a publication with {other:?}"),
        }
    }
    Ok(took)
}

fn file(name: &str, words: &[String]) -> Result<PublishedFile> {
    Ok(PublishedFile {
        name: name.parse()?,
        bytes: name.len() as u64,
        sha256: Digest::of(name.as_bytes()),
        keywords: words.iter().map(|word| Ok(word.parse()?)).collect::<Result<_>>()?,
    })
}

/// Asks until the answer has something.
pub(super) fn wait_until_loaded(server: &Server, corpus: &Corpus) -> Result<()> {
    let mut connection = RawConnection::join(server.address, &Character::new("waits"));
    // Until the server has read all lists, searches fail.
    let begun = Instant::now();
    let (name, _) = corpus.of(0).next().context("a peer has files")?;
    let query = Query::File(name.parse()?);
    loop {
        connection.say(&ToServer::Search { id: 1, query: query.clone(), limit: 1 });
        let why = match connection.next_message() {
            ToPeer::Found { total: 1.., .. } => return Ok(()),
            ToPeer::Found { .. } => "a file is missing".to_owned(),
            ToPeer::Failed { detail, .. } => detail,
            other => bail!("the server answers a search with {other:?}"),
        };
        ensure!(begun.elapsed() < LOAD_WAIT, "the files are not there after {LOAD_WAIT:?}: {why}");
        thread::sleep(LOOK);
    }
}

/// Joins clients, with names that begin with `prefix`, that ask for files with as many keywords.
pub(super) fn load(
    server: &Server,
    corpus: &Corpus,
    prefix: &str,
    (question, keywords): (Question, usize),
    clients: usize,
) -> Result<Load> {
    let mut rng = StdRng::seed_from_u64(2);
    let first = Character::new(&format!("{prefix}-0"));
    let senders = (0..clients).map(|client| {
        let stream =
            RawConnection::join(server.address, &first.renamed(&format!("{prefix}-{client}"))).into_stream();
        let questions = Questions::new(corpus, &mut rng, keywords, |words| encode(question, words))?;
        Ok(Connection::new(stream, Box::new(Ours { questions, is_checked: false })))
    });
    Ok(Load { senders: senders.collect::<Result<_>>()?, answerers: Vec::new(), window: 1 })
}

fn encode(question: Question, words: &[String]) -> Result<Vec<u8>> {
    let keywords = || words.iter().map(|word| Ok(word.parse::<Keyword>()?)).collect::<Result<Vec<_>>>();
    Ok(match question {
        Question::Search => {
            let query = Query::Keywords(keywords()?.try_into()?);
            frame::frame(&ToServer::Search { id: 1, query, limit: LIMIT })
        }
        Question::Find => {
            frame::frame(&ToServer::Find { id: 1, text: words.join(" "), skip: 0, limit: LIMIT })
        }
    })
}

/// The kinds of the answers to the two questions (PROTOCOL.md, section 7.2).
const FOUND: u8 = 7;
const MATCHES: u8 = 16;

struct Ours {
    questions: Questions,
    /// Whether the first answer was decoded whole. Of the others only the number of results is read, because a client that decodes
    /// them takes from the server a third of the processors, and that of Redis reads no more either.
    is_checked: bool,
}

impl Ours {
    /// The number of results of an answer; `None` if it is another message.
    fn results(&mut self, body: &[u8]) -> Result<Option<usize>> {
        if self.is_checked && matches!(body.first(), Some(&(FOUND | MATCHES))) {
            let ((_, _, results), _) = postcard::take_from_bytes::<(u8, u32, u32)>(body)?;
            return Ok(Some(results as usize));
        }
        let results = match ToPeer::decode(body)? {
            ToPeer::Found { hits, .. } => hits.len(),
            ToPeer::Matches { matches, .. } => matches.len(),
            ToPeer::Failed { detail, .. } => bail!("the server says {detail}"),
            _ => return Ok(None),
        };
        self.is_checked = true;
        Ok(Some(results))
    }
}

impl Wire for Ours {
    fn message(&mut self) -> &[u8] {
        self.questions.next()
    }

    fn read(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<(usize, usize)> {
        let (mut used, mut answers) = (0, 0);
        while let Some(body) = frame::split(&bytes[used..], BODY_BYTES_MAX)? {
            used += LENGTH_BYTES + body.len();
            if let Some(results) = self.results(body)? {
                ensure!(results > 0, "the server does not find what is there");
                answers += 1;
            }
        }
        Ok((used, answers))
    }
}
