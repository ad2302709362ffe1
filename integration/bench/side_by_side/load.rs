//! The load generator: two threads, one for those that send, one for those that answer.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use measure::{Turn, percentile};
use rustix::event::{Timespec, epoll};

use crate::Extent;
use crate::interrupt::Interrupt;
use crate::servers::Server;

const READ_BYTES: usize = 256 << 10;
/// How often the end of a turn and Ctrl-C are noticed without traffic.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long the last messages of a turn may take.
const DRAIN_WAIT: Duration = Duration::from_secs(20);
/// Keeping the time of each message would cost memory and time.
const TIMES_MAX: usize = 4 << 20;

/// How a connection writes and reads messages.
pub(crate) trait Wire: Send {
    /// The bytes of the next message.
    fn message(&mut self) -> &[u8];

    /// Reads `bytes`, of which the last may be incomplete. Returns how many were used, and how many messages (for a sender of
    /// stored messages: acknowledgements) there were. What has to be answered to that goes to `reply`.
    fn read(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<(usize, usize)>;
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) wire: Box<dyn Wire>,
    pub(crate) unread: Vec<u8>,
}

/// The clients of a server.
pub(crate) struct Load {
    pub(crate) senders: Vec<Connection>,
    /// Answer each message with one. Empty if the server itself acknowledges.
    pub(crate) answerers: Vec<Connection>,
    pub(crate) window: usize,
}

/// The result of a turn.
pub(crate) struct Outcome {
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Load {
    /// Keeps `window` messages of each sender on their way for `time`.
    pub(crate) fn run(&mut self, time: Duration, interrupt: &Interrupt) -> Result<Outcome> {
        let window = self.window;
        self.with_answers(|senders| send(senders, window, time, interrupt))
    }

    /// Lets each sender send a message a second for `time`, one after the other at even distances.
    pub(crate) fn run_paced(&mut self, time: Duration, interrupt: &Interrupt) -> Result<Outcome> {
        self.with_answers(|senders| send_paced(senders, time, interrupt))
    }

    /// Measures a turn of `servers`, which use the servers in `beneath`. Each message has so many bytes of content.
    pub(crate) fn turn(
        &mut self,
        servers: &[&Server],
        beneath: &[&Server],
        content_bytes: usize,
        extent: &Extent,
        interrupt: &Interrupt,
    ) -> Result<Turn> {
        let cpu_time =
            |servers: &[&Server]| servers.iter().map(|server| server.cpu_time()).sum::<Result<Duration>>();
        let before = [cpu_time(servers)?, cpu_time(beneath)?];
        let result = self.run(Duration::from_secs(extent.seconds()), interrupt)?;
        let [cpu, cpu_beneath] = [cpu_time(servers)? - before[0], cpu_time(beneath)? - before[1]];
        let each = |time: Duration| time.as_secs_f64() * 1e6 / result.messages as f64;
        let per_second = result.messages as f64 / result.time.as_secs_f64();
        Ok(Turn {
            requests: result.messages,
            requests_per_second: per_second,
            bytes_per_second: per_second * content_bytes as f64,
            p50_us: result.p50.as_secs_f64() * 1e6,
            p99_us: result.p99.as_secs_f64() * 1e6,
            cpu_us_per_request: Some(each(cpu)),
            cpu_beneath_us_per_request: (!beneath.is_empty()).then(|| each(cpu_beneath)),
        })
    }

    fn with_answers(&mut self, send: impl FnOnce(&mut [Connection]) -> Result<Outcome>) -> Result<Outcome> {
        let is_over = AtomicBool::new(false);
        let (senders, answerers) = (&mut self.senders, &mut self.answerers);
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| answer(answerers, &is_over));
            let outcome = send(senders);
            is_over.store(true, Ordering::Relaxed);
            answering.join().expect("it does not panic")?;
            outcome
        })
    }
}

fn answer(connections: &mut [Connection], is_over: &AtomicBool) -> Result<()> {
    let mut poller = Poller::new(connections)?;
    let (mut bytes, mut out) = (vec![0; READ_BYTES], Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        for ready in poller.wait(LOOK)? {
            let connection = &mut connections[ready];
            out.clear();
            let count = connection.read(&mut bytes, &mut out)?;
            for _ in 0..count {
                out.extend_from_slice(connection.wire.message());
            }
            connection.stream.write_all(&out).context("cannot send an answer")?;
        }
    }
    Ok(())
}

fn send(
    connections: &mut [Connection],
    window: usize,
    time: Duration,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut poller = Poller::new(connections)?;
    let (mut bytes, mut out) = (vec![0; READ_BYTES], Vec::new());
    let (mut open, mut messages) = (Open::new(connections.len()), 0_u64);
    let start = Instant::now();
    for (connection, sent_at) in connections.iter_mut().zip(&mut open.sent_at) {
        out.clear();
        for _ in 0..window {
            out.extend_from_slice(connection.wire.message());
        }
        sent_at.extend(std::iter::repeat_n(Instant::now(), window));
        connection.stream.write_all(&out).context("cannot send messages")?;
    }
    let mut elapsed = None;
    while !open.is_empty() {
        interrupt.check()?;
        check(start.elapsed(), time)?;
        for ready in poller.wait(LOOK)? {
            let connection = &mut connections[ready];
            out.clear();
            let count = connection.read(&mut bytes, &mut out)?;
            let now = Instant::now();
            open.came(ready, count, now)?;
            if now - start < time {
                messages += count as u64;
                for _ in 0..count {
                    out.extend_from_slice(connection.wire.message());
                }
                open.sent_at[ready].extend(std::iter::repeat_n(now, count));
            } else {
                elapsed.get_or_insert(now - start);
            }
            connection.stream.write_all(&out).context("cannot send messages")?;
        }
    }
    open.outcome(messages, elapsed.unwrap_or(time))
}

fn send_paced(connections: &mut [Connection], time: Duration, interrupt: &Interrupt) -> Result<Outcome> {
    let mut poller = Poller::new(connections)?;
    let mut bytes = vec![0; READ_BYTES];
    let (mut open, mut messages) = (Open::new(connections.len()), 0);
    let distance = Duration::from_secs(1) / u32::try_from(connections.len())?;
    let (start, mut sent) = (Instant::now(), 0);
    loop {
        interrupt.check()?;
        let elapsed = start.elapsed();
        while distance * sent <= elapsed && elapsed < time {
            let at = usize::try_from(sent)? % connections.len();
            let connection = &mut connections[at];
            // When it was due, so that a late load generator does not hide a wait.
            open.sent_at[at].push_back(start + distance * sent);
            connection.stream.write_all(connection.wire.message()).context("cannot send a message")?;
            sent += 1;
        }
        if elapsed >= time && open.is_empty() {
            return open.outcome(messages, time);
        }
        check(elapsed, time)?;
        let due = (distance * sent).saturating_sub(elapsed);
        for ready in poller.wait(due.min(Duration::from_millis(20)).try_into()?)? {
            let mut taken = Vec::new();
            let count = connections[ready].read(&mut bytes, &mut taken)?;
            connections[ready].stream.write_all(&taken).context("cannot acknowledge")?;
            open.came(ready, count, Instant::now())?;
            messages += count as u64;
        }
    }
}

fn check(elapsed: Duration, time: Duration) -> Result<()> {
    ensure!(elapsed < time + DRAIN_WAIT, "messages were lost, or take longer than {DRAIN_WAIT:?}");
    Ok(())
}

/// The messages of each sender that have not come back, and how long the others took.
struct Open {
    sent_at: Vec<VecDeque<Instant>>,
    took: Vec<Duration>,
}

impl Open {
    fn new(senders: usize) -> Self {
        Self { sent_at: vec![VecDeque::new(); senders], took: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.sent_at.iter().all(VecDeque::is_empty)
    }

    /// Notes that `count` messages of a sender have come back.
    fn came(&mut self, sender: usize, count: usize, now: Instant) -> Result<()> {
        for _ in 0..count {
            let Some(sent) = self.sent_at[sender].pop_front() else { bail!("more comes back than was sent") };
            if self.took.len() < TIMES_MAX {
                self.took.push(now - sent);
            }
        }
        Ok(())
    }

    fn outcome(mut self, messages: u64, time: Duration) -> Result<Outcome> {
        self.took.sort_unstable();
        let at = |percent| percentile(&self.took, percent).context("no message came back");
        Ok(Outcome { messages, time, p50: at(50)?, p99: at(99)? })
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, wire: Box<dyn Wire>) -> Self {
        Self { stream, wire, unread: Vec::new() }
    }

    /// Reads once. Returns the number of messages.
    fn read(&mut self, buffer: &mut [u8], reply: &mut Vec<u8>) -> Result<usize> {
        let count = self.stream.read(buffer).context("cannot read")?;
        ensure!(count > 0, "the server has closed a connection");
        if self.unread.is_empty() {
            let (used, messages) = self.wire.read(&buffer[..count], reply)?;
            self.unread.extend_from_slice(&buffer[used..count]);
            return Ok(messages);
        }
        self.unread.extend_from_slice(&buffer[..count]);
        let (used, messages) = self.wire.read(&self.unread, reply)?;
        self.unread.drain(..used);
        Ok(messages)
    }
}

/// Waits for connections that can be read.
struct Poller {
    epoll: rustix::fd::OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    fn new(connections: &[Connection]) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, connection) in connections.iter().enumerate() {
            epoll::add(
                &epoll,
                &connection.stream,
                epoll::EventData::new_u64(at as u64),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(Self { epoll, events: Vec::with_capacity(connections.len().max(1)) })
    }

    /// The places of the connections that can be read.
    fn wait(&mut self, most: Timespec) -> Result<Vec<usize>> {
        self.events.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&most))?;
        let place = |event: &epoll::Event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
        Ok(self.events.iter().map(place).collect())
    }
}
