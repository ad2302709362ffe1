//! Mailboxes: bounded, drained in batches, with a second lane for the answers to an actor's own requests.
//!
//! The owner's thread parks while both lanes are empty. The channels' own blocking `recv` is not used for that, because it
//! calls `sched_yield` several times first. With more runnable threads than processors each of these calls puts the actor
//! behind all others, and whoever waits for it too.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, unbounded};

use super::bell::Bell;
use super::{NoAnswer, Reply, reply};

/// The actor behind an address has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Closed;

/// A command that was not taken, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsent<C> {
    Full(C),
    Closed(C),
}

impl<C> Unsent<C> {
    pub fn into_command(self) -> C {
        match self {
            Self::Full(command) | Self::Closed(command) => command,
        }
    }
}

#[derive(Debug)]
enum Letter<C> {
    Command(C),
    /// The actor must end, even if addresses of it remain.
    End,
}

/// How senders wake the owner of a mailbox.
#[derive(Debug, Default)]
struct Waker {
    bell: Bell,
    /// Set before the owner parks for the first time.
    owner: OnceLock<Thread>,
}

impl Waker {
    /// Called after a letter was added.
    fn ring(&self) {
        if self.bell.must_wake()
            && let Some(owner) = self.owner.get()
        {
            owner.unpark();
        }
    }

    /// Parks the calling thread, which is always the same, until a sender rings or until `until`, unless `is_empty` says
    /// that there is a letter. May also return early.
    fn park(&self, until: Option<Instant>, is_empty: impl FnOnce() -> bool) {
        self.owner.get_or_init(std::thread::current);
        if !self.bell.park(is_empty) {
            return;
        }
        match until {
            None => std::thread::park(),
            Some(until) => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
        }
        self.bell.unpark();
    }
}

/// The sending end of an actor's mailbox.
#[derive(Debug)]
pub struct Address<C> {
    letters: Sender<Letter<C>>,
    waker: Arc<Waker>,
}

impl<C> Clone for Address<C> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<C> Address<C> {
    /// Puts a command into the mailbox, and waits while it is full. Use it only along the order of blocking in
    /// ARCHITECTURE.md.
    ///
    /// # Errors
    /// [`Closed`] when the actor has ended; the command is dropped, and with it any [`super::Reply`] inside.
    pub fn send(&self, command: C) -> Result<(), Closed> {
        self.letters.send(Letter::Command(command)).map_err(|_| Closed)?;
        self.waker.ring();
        Ok(())
    }

    /// Puts a command into the mailbox if there is room, and never waits.
    ///
    /// # Errors
    /// [`Unsent`] with the command.
    pub fn offer(&self, command: C) -> Result<(), Unsent<C>> {
        self.letters.try_send(Letter::Command(command)).map_err(|e| match e {
            TrySendError::Full(Letter::Command(command)) => Unsent::Full(command),
            TrySendError::Disconnected(Letter::Command(command)) => Unsent::Closed(command),
            _ => unreachable!("the channel hands back what it was offered"),
        })?;
        self.waker.ring();
        Ok(())
    }

    /// Sends a request and waits for the answer, at most `timeout`. It does not wait for a full mailbox.
    pub fn ask<T>(&self, timeout: Duration, request: impl FnOnce(Reply<T>) -> C) -> Result<T, NoAnswer> {
        let (reply, pending) = reply();
        self.offer(request(reply.until(Instant::now() + timeout))).map_err(|e| match e {
            Unsent::Full(_) => NoAnswer::Busy,
            Unsent::Closed(_) => NoAnswer::Dropped,
        })?;
        pending.wait(timeout)
    }

    /// Ends the actor when it has handled what is in its mailbox now.
    pub(super) fn end(&self) {
        // Fails when it has ended already.
        let _ = self.letters.send(Letter::End);
        self.waker.ring();
    }
}

/// The address of an actor's second lane, for the results of what it has asked others to do. The lane has its own capacity,
/// so whoever reports a result never waits for an actor that may be waiting for it.
pub type Answers<C> = Address<C>;

/// The receiving end of a mailbox. Others post `P`; the second lane carries `C`, to which a `P` is converted.
#[derive(Debug)]
pub struct Mailbox<P, C = P> {
    letters: Receiver<Letter<P>>,
    answers: Receiver<Letter<C>>,
    waker: Arc<Waker>,
}

/// Makes a mailbox with room for `capacity` commands.
pub fn mailbox<P, C: From<P>>(capacity: usize) -> (Address<P>, Mailbox<P, C>) {
    let (sender, letters) = bounded(capacity);
    let waker = Arc::<Waker>::default();
    let address = Address { letters: sender, waker: Arc::clone(&waker) };
    (address, Mailbox { letters, answers: never(), waker })
}

impl<P, C: From<P>> Mailbox<P, C> {
    /// Opens the second lane, with room for `capacity` answers or without a bound.
    pub fn answers(&mut self, capacity: Option<usize>) -> Answers<C> {
        let (sender, answers) = capacity.map_or_else(unbounded, bounded);
        self.answers = answers;
        Address { letters: sender, waker: Arc::clone(&self.waker) }
    }

    /// Waits for a command or an answer, at most until `until`, and moves into `batch` all answers and at most `commands_max`
    /// commands. Returns false when the actor is to end; `batch` then has what was sent before. The thread that calls it
    /// first is the only one that may.
    pub fn wait(&mut self, until: Option<Instant>, commands_max: usize, batch: &mut Vec<C>) -> bool {
        loop {
            let answers = self.answers.try_iter().take(self.answers.len());
            batch.extend(answers.filter_map(|letter| command_of(Some(letter))));
            if !self.take_commands(commands_max, batch) {
                return false;
            }
            if !batch.is_empty() || until.is_some_and(|until| until <= Instant::now()) {
                return true;
            }
            self.waker.park(until, || self.letters.is_empty() && self.answers.is_empty());
        }
    }

    fn take_commands(&self, commands_max: usize, batch: &mut Vec<C>) -> bool {
        for letter in self.letters.try_iter().take(commands_max) {
            match letter {
                Letter::Command(command) => batch.push(command.into()),
                Letter::End => return false,
            }
        }
        true
    }

    /// The next command, without waiting.
    pub fn try_next(&self) -> Option<P> {
        command_of(self.letters.try_recv().ok())
    }

    /// Waits for the next command. `None` if the actor must end or all addresses are gone.
    pub fn next(&self) -> Option<P> {
        command_of(self.letters.recv().ok())
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}

fn command_of<P>(letter: Option<Letter<P>>) -> Option<P> {
    match letter? {
        Letter::Command(command) => Some(command),
        Letter::End => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_wake_takes_all_that_is_there_up_to_the_bound() {
        let (address, mut mailbox) = mailbox::<i32, i32>(8);
        for n in 0..5 {
            address.send(n).expect("the mailbox is open");
        }
        let mut batch = Vec::new();
        assert!(mailbox.wait(None, 3, &mut batch));
        assert_eq!(batch, [0, 1, 2]);
        batch.clear();
        assert!(mailbox.wait(None, 3, &mut batch));
        assert_eq!(batch, [3, 4]);
    }

    #[test]
    fn a_full_mailbox_hands_the_command_back() {
        let (address, mailbox) = mailbox::<char, char>(1);
        address.offer('a').expect("there is room for one");
        assert_eq!(address.offer('b'), Err(Unsent::Full('b')));
        drop(mailbox);
        assert_eq!(address.offer('c'), Err(Unsent::Closed('c')));
    }

    #[test]
    fn what_was_sent_before_the_end_is_still_taken_whoever_has_an_address() {
        let (address, mut mailbox) = mailbox::<i32, i32>(4);
        let kept = address.clone();
        address.send(1).expect("the mailbox is open");
        address.end();
        kept.send(2).expect("the mailbox is open");
        let mut batch = Vec::new();
        assert!(!mailbox.wait(None, 4, &mut batch));
        assert_eq!(batch, [1]);
    }

    #[test]
    fn answers_have_room_of_their_own_and_come_first() {
        let (address, mut mailbox) = mailbox::<i32, i32>(1);
        let answers = mailbox.answers(None);
        address.send(1).expect("the mailbox is open");
        answers.send(2).expect("the mailbox is open");
        answers.send(3).expect("the mailbox is open");
        let mut batch = Vec::new();
        assert!(mailbox.wait(None, 4, &mut batch));
        assert_eq!(batch, [2, 3, 1]);
    }

    #[test]
    fn a_wait_ends_at_its_time_and_with_an_answer() {
        let (_address, mut mailbox) = mailbox::<u8, u8>(1);
        let answers = mailbox.answers(Some(1));
        let mut batch = Vec::new();
        assert!(mailbox.wait(Some(Instant::now() + Duration::from_millis(1)), 4, &mut batch));
        assert!(batch.is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| answers.send(7));
            assert!(mailbox.wait(None, 4, &mut batch));
        });
        assert_eq!(batch, [7]);
    }
}
