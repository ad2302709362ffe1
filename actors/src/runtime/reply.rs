//! One-shot replies: a request carries a [`Reply`], which the actor that has the answer consumes. The asker waits for the
//! [`Pending`], or has given a function that takes the answer in the thread of that actor. The channel is one whose receiver parks at once; see `mailbox.rs` for why.

use std::fmt;
use std::time::{Duration, Instant};

use oneshot::{Receiver, RecvTimeoutError, SendError, Sender};

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The mailbox of the actor is full.
    #[error("too many requests are waiting")]
    Busy,
    /// The reply was dropped: the actor has ended or could not take the request.
    #[error("the request was dropped unanswered")]
    Dropped,
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
}

/// The right to answer one request once. Dropping it unanswered is an error at the asker, never a hang.
#[derive(Debug)]
pub struct Reply<T> {
    to: To<T>,
    /// When the asker stops waiting, if that is known.
    deadline: Option<Instant>,
}

enum To<T> {
    Channel(Sender<T>),
    Function(Box<dyn FnOnce(T) + Send + Sync>),
}

impl<T> fmt::Debug for To<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel(_) => "Channel",
            Self::Function(_) => "Function",
        })
    }
}

/// The asker's end of a [`Reply`].
#[derive(Debug)]
pub struct Pending<T>(Receiver<T>);

/// Makes the two ends of one answer.
pub fn reply<T>() -> (Reply<T>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    (Reply { to: To::Channel(sender), deadline: None }, Pending(receiver))
}

impl<T> Reply<T> {
    /// Calls a function with the answer, in the thread of the actor that answers. The function must not wait.
    pub(crate) fn calling(function: impl FnOnce(T) + Send + Sync + 'static) -> Self {
        Self { to: To::Function(Box::new(function)), deadline: None }
    }

    /// With the time at which the asker stops waiting.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Whether the asker has stopped waiting. An overloaded actor skips such requests: answering them would delay the others.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the asker waits for the answer, as far as that is known.
    pub(crate) fn is_awaited(&self) -> bool {
        match &self.to {
            To::Channel(sender) => !sender.is_closed(),
            To::Function(_) => true,
        }
    }

    /// Answers without waiting. If the asker is gone the answer is dropped.
    pub fn answer(self, answer: T) {
        let _ = self.try_answer(answer);
    }

    /// Answers without waiting.
    ///
    /// # Errors
    /// Returns the answer if the asker is gone.
    pub fn try_answer(self, answer: T) -> Result<(), T> {
        match self.to {
            To::Channel(sender) => sender.send(answer).map_err(SendError::into_inner),
            To::Function(function) => {
                function(answer);
                Ok(())
            }
        }
    }
}

impl<T> Pending<T> {
    /// Waits for the answer, at most `timeout`.
    ///
    /// # Errors
    /// [`NoAnswer`]. After [`NoAnswer::TimedOut`] the answer can still come, so the asker may wait again.
    pub fn wait(&self, timeout: Duration) -> Result<T, NoAnswer> {
        self.0.recv_timeout(timeout).map_err(|e| match e {
            RecvTimeoutError::Timeout => NoAnswer::TimedOut,
            RecvTimeoutError::Disconnected => NoAnswer::Dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Address, mailbox};

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_dropped_reply_is_an_error_not_a_hang() {
        let (reply, pending) = reply::<u8>();
        drop(reply);
        assert_eq!(pending.wait(SOON), Err(NoAnswer::Dropped));
    }

    #[test]
    fn an_answer_arrives_from_another_thread() {
        let (reply, pending) = reply();
        std::thread::scope(|scope| {
            scope.spawn(|| reply.answer(7));
            assert_eq!(pending.wait(SOON), Ok(7));
        });
    }

    fn ask(address: &Address<Reply<u8>>, timeout: Duration) -> Result<u8, NoAnswer> {
        address.ask(timeout, |reply| reply)
    }

    #[test]
    fn who_asks_learns_of_an_answer_a_full_mailbox_and_the_end() {
        let (address, mailbox) = mailbox::<Reply<u8>, Reply<u8>>(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&address, SOON));
            while mailbox.is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(ask(&address, SOON), Err(NoAnswer::Busy));
            mailbox.next().expect("a request is there").answer(7);
            assert_eq!(waiting.join().expect("it does not panic"), Ok(7));
        });
        let timeout = Duration::from_millis(1);
        let before = Instant::now();
        assert_eq!(ask(&address, timeout), Err(NoAnswer::TimedOut));
        let request = mailbox.next().expect("a request is there");
        assert!(!request.has_expired(before), "the asker waits until its timeout");
        assert!(request.has_expired(Instant::now()), "the asker has stopped waiting");
        drop(mailbox);
        assert_eq!(ask(&address, SOON), Err(NoAnswer::Dropped));
    }
}
