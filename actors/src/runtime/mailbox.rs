//! Bounded mailboxes, drained in batches.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Most commands that one wake takes out of a mailbox, so that effects are flushed and time is read in between.
const BATCH_COMMANDS_MAX: usize = 1024;

/// The actor behind an address has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Closed;

/// Why a command was not taken; it is handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsent<C> {
    /// The mailbox is full.
    Full(C),
    /// The actor has ended.
    Closed(C),
}

/// Where commands for one actor are sent. Dropping the last one closes the mailbox, which ends the actor.
#[derive(Debug)]
pub struct Address<C>(Sender<C>);

impl<C> Clone for Address<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Address<C> {
    /// Puts a command into the mailbox and waits while it is full. Only along the order of blocking in ARCHITECTURE.md.
    ///
    /// # Errors
    /// [`Closed`] when the actor has ended; the command is dropped, and with it any [`super::Reply`] inside.
    pub fn send(&self, command: C) -> Result<(), Closed> {
        self.0.send(command).map_err(|_| Closed)
    }

    /// Puts a command into the mailbox if there is room, and never waits.
    ///
    /// # Errors
    /// [`Unsent`] with the command.
    pub fn offer(&self, command: C) -> Result<(), Unsent<C>> {
        self.0.try_send(command).map_err(|e| match e {
            TrySendError::Full(command) => Unsent::Full(command),
            TrySendError::Disconnected(command) => Unsent::Closed(command),
        })
    }
}

/// The receiving end of a mailbox.
#[derive(Debug)]
pub struct Mailbox<C>(Receiver<C>);

/// Makes a mailbox with room for `capacity` commands.
pub fn mailbox<C>(capacity: usize) -> (Address<C>, Mailbox<C>) {
    let (sender, receiver) = bounded(capacity);
    (Address(sender), Mailbox(receiver))
}

impl<C> Mailbox<C> {
    /// Waits for at least one command and moves all that are there, up to a bound, into `batch`.
    /// Returns false once the mailbox is closed and empty.
    pub fn drain(&self, batch: &mut Vec<C>) -> bool {
        match self.0.recv() {
            Ok(command) => self.take_rest(command, batch),
            Err(_) => false,
        }
    }

    fn take_rest(&self, first: C, batch: &mut Vec<C>) -> bool {
        batch.push(first);
        batch.extend(self.0.try_iter().take(BATCH_COMMANDS_MAX - 1));
        true
    }

    /// The channel itself, for actors that wait for several things at once.
    pub fn receiver(&self) -> &Receiver<C> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_takes_all_that_is_there() {
        let (address, mailbox) = mailbox(8);
        for n in 0..5 {
            address.send(n).expect("the mailbox is open");
        }
        let mut batch = Vec::new();
        assert!(mailbox.drain(&mut batch));
        assert_eq!(batch, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_mailbox_hands_the_command_back() {
        let (address, mailbox) = mailbox(1);
        address.offer('a').expect("there is room for one");
        assert_eq!(address.offer('b'), Err(Unsent::Full('b')));
        drop(mailbox);
        assert_eq!(address.offer('c'), Err(Unsent::Closed('c')));
    }

    #[test]
    fn what_was_sent_before_the_end_is_still_taken() {
        let (address, mailbox) = mailbox(4);
        address.send(1).expect("the mailbox is open");
        drop(address);
        let mut batch = Vec::new();
        assert!(mailbox.drain(&mut batch));
        assert!(!mailbox.drain(&mut batch));
        assert_eq!(batch, [1]);
    }
}
