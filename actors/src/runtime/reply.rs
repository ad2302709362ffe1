//! One-shot replies: a request carries a [`Reply`], whoever ends up with it answers, the asker holds the [`Pending`].

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The reply was dropped: the actor has ended or could not take the request.
    #[error("the request was dropped unanswered")]
    Dropped,
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
}

/// The right to answer one request once. Dropping it unanswered is an error at the asker, never a hang.
#[derive(Debug)]
pub struct Reply<T>(Sender<T>);

/// The answer to come.
#[derive(Debug)]
pub struct Pending<T>(Receiver<T>);

/// Makes the two ends of one answer.
pub fn reply<T>() -> (Reply<T>, Pending<T>) {
    let (sender, receiver) = bounded(1);
    (Reply(sender), Pending(receiver))
}

impl<T> Reply<T> {
    /// Answers. It never waits; if the asker is gone the answer is dropped.
    pub fn answer(self, answer: T) {
        // Nobody listens any more, so nobody misses it.
        let _ = self.try_answer(answer);
    }

    /// Answers. It never waits.
    ///
    /// # Errors
    /// Hands the answer back if the asker is gone.
    pub fn try_answer(self, answer: T) -> Result<(), T> {
        // The channel has room for the one answer that can ever be sent, so this fails only when nobody listens.
        self.0.try_send(answer).map_err(TrySendError::into_inner)
    }
}

impl<T> Pending<T> {
    /// Waits for the answer, at most `timeout`.
    ///
    /// # Errors
    /// [`NoAnswer`] when the reply was dropped or did not come in time.
    pub fn wait(self, timeout: Duration) -> Result<T, NoAnswer> {
        self.wait_once(timeout)
    }

    /// As [`Pending::wait`], for those who look at something else in between and wait on.
    ///
    /// # Errors
    /// [`NoAnswer`]; after [`NoAnswer::TimedOut`] the answer may still come.
    pub fn wait_once(&self, timeout: Duration) -> Result<T, NoAnswer> {
        self.0.recv_timeout(timeout).map_err(|e| match e {
            RecvTimeoutError::Timeout => NoAnswer::TimedOut,
            RecvTimeoutError::Disconnected => NoAnswer::Dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
