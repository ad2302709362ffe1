//! Waiting: the `poll(2)` of a session, and the loan of its socket meanwhile.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::SessionShell;
use crate::commands::direct::Written;
use crate::commands::session::SessionMailbox;
use crate::session::Input;
use crate::session::callback::Callback;

impl SessionShell<'_> {
    /// Waits until there is something to do. Returns whether the connection is readable, and whether it is closed.
    pub(super) fn wait(&mut self) -> io::Result<(bool, bool)> {
        let takes_commands = self.session.has_room();
        let can_be_written = self.session.has_joined() && self.session.outgoing.bytes() == 0;
        if let (Some(direct), Some(mailbox)) = (&self.direct, &self.mailbox)
            && takes_commands
            && can_be_written
        {
            direct.lend(mailbox);
        }
        if let Some(search) = self.to_search.take() {
            self.asked = Some(self.ask_directly(search));
        }
        if takes_commands && self.mailbox.as_ref().is_some_and(|mailbox| !mailbox.park()) {
            self.take_written();
            return Ok((false, false));
        }
        let ready = self.poll();
        if let Some(mailbox) = &self.mailbox {
            mailbox.unpark();
        }
        self.take_written();
        let [stream, bell, call] = ready?;
        if let Some(mailbox) = &self.mailbox
            && !bell.is_empty()
        {
            mailbox.clear_event();
        }
        let has_failed = !call.is_empty() && !self.callback.as_mut().is_some_and(Callback::advance);
        if has_failed || self.callback.as_ref().is_some_and(|call| call.deadline() <= Instant::now()) {
            // The peer is notified, and the session continues.
            let _ = self.end_call(None);
        }
        let is_closed = stream.intersects(PollFlags::HUP | PollFlags::ERR);
        Ok((is_closed || stream.contains(PollFlags::IN), is_closed))
    }

    fn poll(&self) -> io::Result<[PollFlags; 3]> {
        let mut wanted = PollFlags::empty();
        // A peer that sends something again has read the answer to its search.
        wanted.set(PollFlags::IN, self.session.may_read() || self.asked.is_some());
        wanted.set(PollFlags::OUT, self.session.outgoing.bytes() > 0 || self.transport.has_unsent());
        let stream = PollFd::new(&*self.transport, wanted);
        // Unused entries are copies of the first one and are not polled.
        let mut fds = [stream.clone(), stream.clone(), stream];
        let mut polled = 1;
        let bell = self.mailbox.as_ref().map(SessionMailbox::event);
        let bell_at =
            bell.as_ref().map(|bell| place(&mut fds, &mut polled, PollFd::new(bell, PollFlags::IN)));
        let call = self.callback.as_ref().and_then(Callback::waits_on);
        let call_at =
            call.as_ref().map(|call| place(&mut fds, &mut polled, PollFd::new(call, PollFlags::OUT)));
        match rustix::event::poll(&mut fds[..polled], self.patience().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {
                Ok([Some(0), bell_at, call_at]
                    .map(|at| at.map_or(PollFlags::empty(), |at| fds[at].revents())))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The timeout of the poll.
    fn patience(&self) -> Option<Timespec> {
        let call = self.callback.as_ref().map(Callback::deadline);
        // What is written directly is not acknowledged in time either if the session never learns of it.
        let learns = self.direct.as_ref().map(|_| Instant::now() + self.services.limits.taken_timeout);
        let due = self.session.deadline().into_iter().chain(call).chain(self.retry_at).chain(learns).min()?;
        // One millisecond more, so that the deadline has passed when the wait ends.
        (due.saturating_duration_since(Instant::now()) + Duration::from_millis(1)).try_into().ok()
    }

    /// Stops the sessions of senders from writing to the connection, and takes over what they have written.
    pub(super) fn take_written(&mut self) {
        let Some(direct) = self.direct.take() else { return };
        direct.take_back();
        while let Some(Written { delivery, bytes }) = direct.next() {
            let cost = delivery.cost();
            // Leads to no effect.
            let _ = self.take_in(Input::Delivered(delivery, bytes));
            self.counted += cost;
        }
        self.direct = Some(direct);
    }
}

/// Adds a descriptor and returns its index.
fn place<'a>(fds: &mut [PollFd<'a>; 3], polled: &mut usize, fd: PollFd<'a>) -> usize {
    fds[*polled] = fd;
    *polled += 1;
    *polled - 1
}
