//! Redis: a set for each keyword, with the peers and names of its files. Its protocol is RESP2,
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::Questions;
use super::corpus::Corpus;
use crate::load::{Connection, Load, Wire};
use crate::servers::Server;

/// How many commands are sent before their answers are read.
const BATCH: usize = 10_000;

/// Starts Redis without persistence and fills it.
pub(super) fn start(program: &Path, folder: &Path, corpus: &Corpus) -> Result<Server> {
    let server = Server::redis(program, folder)?;
    let mut stream = TcpStream::connect(server.address).context("cannot connect to Redis")?;
    let (mut commands, mut waiting) = (Vec::new(), 0);
    for (peer, file, words) in corpus.all() {
        let member = format!("p{peer}/{file}");
        for word in words {
            command(&["SADD", &word, &member], &mut commands);
            waiting += 1;
        }
        if waiting >= BATCH {
            send(&mut stream, &mut commands, &mut waiting)?;
        }
    }
    send(&mut stream, &mut commands, &mut waiting)?;
    Ok(server)
}

fn send(stream: &mut TcpStream, commands: &mut Vec<u8>, waiting: &mut usize) -> Result<()> {
    stream.write_all(commands)?;
    commands.clear();
    let mut bytes = [0; 1 << 16];
    while *waiting > 0 {
        let count = stream.read(&mut bytes)?;
        ensure!(count > 0, "Redis has closed the connection");
        ensure!(!bytes[..count].contains(&b'-'), "Redis does not take a set");
        // Each answer is one line.
        *waiting -= bytes[..count].iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(())
}

fn command(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Connects clients that intersect as many sets.
pub(super) fn load(server: &Server, corpus: &Corpus, keywords: usize, clients: usize) -> Result<Load> {
    let mut rng = StdRng::seed_from_u64(2);
    let senders = (0..clients).map(|_| {
        let stream = TcpStream::connect(server.address).context("cannot connect to Redis")?;
        stream.set_nodelay(true)?;
        let questions = Questions::new(corpus, &mut rng, keywords, |words| {
            let words: Vec<&str> = ["SINTER"].into_iter().chain(words.iter().map(String::as_str)).collect();
            let mut bytes = Vec::new();
            command(&words, &mut bytes);
            Ok(bytes)
        })?;
        Ok(Connection::new(stream, Box::new(Redis(questions))))
    });
    Ok(Load { senders: senders.collect::<Result<_>>()?, answerers: Vec::new(), window: 1 })
}

struct Redis(Questions);

impl Wire for Redis {
    fn message(&mut self) -> &[u8] {
        self.0.next()
    }

    fn read(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<(usize, usize)> {
        let (mut used, mut answers) = (0, 0);
        while let Some(length) = array(&bytes[used..])? {
            used += length;
            answers += 1;
        }
        Ok((used, answers))
    }
}

/// The length of a complete array of strings, which has at least one.
fn array(bytes: &[u8]) -> Result<Option<usize>> {
    let Some((count, mut used)) = number(bytes, b'*')? else { return Ok(None) };
    ensure!(count > 0, "Redis does not find what is there");
    for _ in 0..count {
        let Some((length, line)) = number(&bytes[used..], b'$')? else { return Ok(None) };
        used += line + length + 2;
    }
    Ok((used <= bytes.len()).then_some(used))
}

/// The number in the first line, which begins with `kind`, and the length of that line.
fn number(bytes: &[u8], kind: u8) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = bytes[..end].trim_ascii_end();
    match line.split_first() {
        Some((first, digits)) if *first == kind => Ok(Some((std::str::from_utf8(digits)?.parse()?, end + 1))),
        _ => bail!("Redis says {}", String::from_utf8_lossy(line)),
    }
}
