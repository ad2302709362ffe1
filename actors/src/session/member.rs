//! The session of a peer that has joined: one loop, one `poll(2)`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use wire::card::Card;
use wire::protocol::{ErrorCode, ToPeer};

use super::Services;
use super::callback::Callback;
use super::greeting::refuse;
use super::link::{Link, ReadOutcome};
use super::transmissions::Transmissions;
use super::untaken::Untaken;
use crate::commands::router::{Command, JoinRefused, Member};
use crate::commands::session::{
    Delivery, EndReason, MAILBOX_COMMANDS, SessionCommand, SessionId, SessionMailbox,
};
use crate::runtime::{poll_mailbox, reply};

/// Beyond this nothing more is taken out of the mailbox, which then fills, and what follows goes to the store.
const UNTAKEN_BYTES_MAX: usize = 4 << 20;
/// Beyond this a peer that does not read is not read from either.
const OUTGOING_BYTES_MAX: usize = 4 << 20;
/// With so many envelopes on their way whose outcome the Router has not said, a peer is not read from: they would only queue
/// up, and so would the answers.
const UNHEARD_MAX: u64 = 8_192;
/// How long a peer may let what is written to it stand before its connection ends.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long to wait for the outcome of a peer's last envelopes: a commit of the store.
const OUTCOME_WAIT: Duration = Duration::from_secs(1);
/// How long joining may take: the card is on disk by then.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// Why a session's loop ends.
pub(super) type Ended = (ErrorCode, String);

/// A peer's session.
pub(super) struct MemberSession<'a> {
    pub(super) services: &'a Services,
    pub(super) member: Member,
    pub(super) card: Box<Card>,
    pub(super) link: Link,
    pub(super) seen_at: IpAddr,
    /// How many envelopes have come from the peer.
    pub(super) sent: u64,
    /// What became of envelopes is known up to this one.
    heard: u64,
    pub(super) untaken: Untaken,
    pub(super) transmissions: Option<Transmissions>,
    pub(super) callback: Option<Callback>,
}

/// Joins, and serves the peer until it leaves. Whatever happens, what it has not taken is handed back.
pub(super) fn serve(
    id: SessionId,
    mut link: Link,
    card: Box<Card>,
    seen_at: SocketAddr,
    services: &Services,
) -> io::Result<()> {
    let (port, inbox) = poll_mailbox(MAILBOX_COMMANDS)?;
    let (reply, pending) = reply();
    let join = Command::Join { session: id, card: card.clone(), port, reply };
    let joined = match services.router.send(join).ok().and_then(|()| pending.wait(JOIN_WAIT).ok()) {
        Some(Ok(joined)) => joined,
        Some(Err(JoinRefused::NameTaken)) => {
            let detail =
                format!("the name {} belongs to another key here; choose another with --name", card.name);
            return refuse(&mut link, ErrorCode::NameTaken, &detail);
        }
        _ => {
            return refuse(&mut link, ErrorCode::Busy, "the server cannot take anybody on now; try again");
        }
    };
    let member = Member { peer: joined.peer, session: id };
    let transmissions = Transmissions::new(card.name.clone());
    let mut session = MemberSession {
        services,
        member,
        card,
        link,
        seen_at: seen_at.ip().to_canonical(),
        sent: 0,
        heard: 0,
        untaken: Untaken::default(),
        transmissions,
        callback: None,
    };
    let parting = Parting { session: &mut session, inbox: Some(inbox) };
    if joined.written.is_some_and(|written| written.wait(JOIN_WAIT).is_err()) {
        let detail = "the server could not write your card to its disk; tell whoever runs it";
        return refuse(&mut parting.session.link, ErrorCode::Busy, detail);
    }
    let inbox = parting.inbox.as_ref().expect("it is there until the session parts");
    parting.session.run(inbox)
}

/// Leaves in order when dropped, also when the session panics.
struct Parting<'s, 'a> {
    session: &'s mut MemberSession<'a>,
    inbox: Option<SessionMailbox>,
}

impl Drop for Parting<'_, '_> {
    fn drop(&mut self) {
        let member = self.session.member;
        if let Some(inbox) = &self.inbox {
            self.session.hear_outcomes(inbox);
        }
        let router = &self.session.services.router;
        if router.send(Command::Leave(member)).is_err() {
            return;
        }
        let mut untaken: Vec<Delivery> = std::mem::take(&mut self.session.untaken).into_rest().collect();
        for command in self.inbox.take().into_iter().flat_map(SessionMailbox::into_rest) {
            match command {
                SessionCommand::Deliver(delivery) => untaken.push(delivery),
                SessionCommand::Routed { first, count, outcome } => {
                    if let Some(transmissions) = &mut self.session.transmissions {
                        transmissions.routed(first, count, outcome);
                    }
                }
                _ => {}
            }
        }
        // Fails only when the Router is gone; then the process ends and the senders keep what was not acknowledged.
        let _ = router.send(Command::HandBack { from: member, untaken });
        tracing::info!(target: "session", name = %self.session.card.name, "left");
    }
}

impl MemberSession<'_> {
    fn run(&mut self, inbox: &SessionMailbox) -> io::Result<()> {
        tracing::info!(target: "session", name = %self.card.name, key = %self.card.fingerprint(), "joined");
        self.link.stream().set_nonblocking(true)?;
        self.link.push_message(&ToPeer::Welcome { name: self.card.name.clone() });
        match self.serve(inbox) {
            Ok(None) => Ok(()),
            Ok(Some((code, detail))) => refuse(&mut self.link, code, &detail),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset || e.kind() == io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// `None` when the peer has closed the connection, else why the server does.
    fn serve(&mut self, inbox: &SessionMailbox) -> io::Result<Option<Ended>> {
        // Frames may have come together with the join.
        if let Err(ended) = self.take_frames() {
            return Ok(Some(ended));
        }
        let mut readable = true;
        let mut stalled_since = None;
        loop {
            self.take_commands(inbox);
            if let Some(reason) = inbox.closed() {
                return Ok(Some(explain(reason)));
            }
            if self.link.flush()? || self.link.outgoing_bytes() == 0 {
                stalled_since = None;
            }
            if readable && self.may_read() {
                let read = self.link.read()?;
                if let Err(ended) = self.take_frames() {
                    return Ok(Some(ended));
                }
                match read {
                    ReadOutcome::More => continue,
                    ReadOutcome::Drained => readable = false,
                    ReadOutcome::Closed if self.services.stopping.load(Ordering::Relaxed) => {
                        return Ok(Some((ErrorCode::ShuttingDown, "the server ends".into())));
                    }
                    ReadOutcome::Closed => return Ok(None),
                }
                // What was read may have called for answers.
                self.link.flush()?;
            }
            let now = Instant::now();
            if self.link.outgoing_bytes() > 0 && now - *stalled_since.get_or_insert(now) > WRITE_STALL {
                return Ok(Some((ErrorCode::TimedOut, "you do not read what is sent to you".into())));
            }
            readable |= self.wait(inbox, now)?;
        }
    }

    /// Whether more may come from the peer: it reads what it is told, and knows what became of what it has sent.
    fn may_read(&self) -> bool {
        self.link.outgoing_bytes() < OUTGOING_BYTES_MAX && self.sent.saturating_sub(self.heard) < UNHEARD_MAX
    }

    fn has_room(&self) -> bool {
        self.untaken.cost() < UNTAKEN_BYTES_MAX && self.link.outgoing_bytes() < OUTGOING_BYTES_MAX
    }

    fn take_commands(&mut self, inbox: &SessionMailbox) {
        while self.has_room() {
            let Some(command) = inbox.next() else {
                if inbox.take_refused() {
                    // Fails only when the server ends, which ends this session as well.
                    let _ = self.services.router.send(Command::Drained(self.member));
                }
                return;
            };
            self.command(command);
        }
    }

    fn command(&mut self, command: SessionCommand) {
        match command {
            SessionCommand::Deliver(delivery) => {
                self.link.push(delivery.frames.bytes.clone());
                self.untaken.delivered(delivery);
            }
            SessionCommand::Routed { first, count, outcome } => {
                self.heard = self.heard.max(first + count);
                if let Some(transmissions) = &mut self.transmissions {
                    transmissions.routed(first, count, outcome);
                }
                self.link.push_message(&ToPeer::Routed { first, count, outcome });
            }
            SessionCommand::Card(card) => self.link.push_message(&ToPeer::Card { card: card.to_vec() }),
            SessionCommand::Unknown(name) => self.link.push_message(&ToPeer::Unknown { name }),
        }
    }

    /// Waits until there is something to do. Returns whether the connection can be read.
    fn wait(&mut self, inbox: &SessionMailbox, now: Instant) -> io::Result<bool> {
        if self.has_room() && !inbox.park() {
            return Ok(false);
        }
        let ready = self.poll(inbox, now);
        inbox.unpark();
        let [stream, bell, call] = ready?;
        if !bell.is_empty() {
            inbox.clear_event();
        }
        if !call.is_empty() && !self.callback.as_mut().is_some_and(Callback::advance) {
            self.end_call(None);
        }
        if self.callback.as_ref().is_some_and(|call| call.deadline() <= Instant::now()) {
            self.end_call(None);
        }
        Ok(stream.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
    }

    fn poll(&self, inbox: &SessionMailbox, now: Instant) -> io::Result<[PollFlags; 3]> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.may_read());
        wanted.set(PollFlags::OUT, self.link.outgoing_bytes() > 0);
        let (stream, bell) = (&**self.link.stream(), inbox.event());
        let call = self.callback.as_ref().and_then(Callback::waits_on);
        // Without a call the third place repeats the second and is not polled.
        let third = call.unwrap_or(bell);
        let mut fds = [
            PollFd::new(stream, wanted),
            PollFd::new(&bell, PollFlags::IN),
            PollFd::new(&third, PollFlags::OUT),
        ];
        let polled = if call.is_some() { 3 } else { 2 };
        match rustix::event::poll(&mut fds[..polled], self.patience(now).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(std::array::from_fn(|at| fds[at].revents())),
            Err(e) => Err(e.into()),
        }
    }

    /// How long to wait at most: until a peer that does not read has had its time, or a call has failed.
    fn patience(&self, now: Instant) -> Option<Timespec> {
        let stall = (self.link.outgoing_bytes() > 0).then_some(WRITE_STALL);
        let call = self.callback.as_ref().map(|call| call.deadline().saturating_duration_since(now));
        let wait = stall.into_iter().chain(call).min()?;
        // A millisecond more, so that the time has come when the wait is over.
        (wait + Duration::from_millis(1)).try_into().ok()
    }

    /// Waits a little for what became of the peer's last envelopes, so that each transmission is printed with its
    /// outcome.
    fn hear_outcomes(&mut self, inbox: &SessionMailbox) {
        let deadline = Instant::now() + OUTCOME_WAIT;
        while self.transmissions.as_ref().is_some_and(|t| !t.is_empty()) {
            let Some(command) = inbox.next_by(deadline) else {
                return;
            };
            self.command(command);
        }
    }

    /// A call has been confirmed, or has failed.
    pub(super) fn end_call(&mut self, address: Option<SocketAddr>) {
        self.callback = None;
        if let Some(address) = address {
            // Fails only when the server ends.
            let _ = self.services.router.send(Command::Reachable { peer: self.member, address });
        }
        self.link.push_message(&ToPeer::Reachable { address });
    }
}

fn explain(reason: EndReason) -> Ended {
    match reason {
        EndReason::Superseded => {
            (ErrorCode::Superseded, "the same identity has joined from another place".into())
        }
        EndReason::Busy => (ErrorCode::Busy, "more waits for you than you take".into()),
        EndReason::Left => (ErrorCode::ShuttingDown, "the session has ended".into()),
    }
}
