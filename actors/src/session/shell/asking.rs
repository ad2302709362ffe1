//! Questions of a session to other actors.
//!
//! While the Index looks for files, the session waits for its socket, which it lends to the Index. The Index writes the answer
//! there itself, and the session learns of it when it is woken for something else. Each answer then costs one wake-up of a
//! thread fewer. If the answer cannot be written whole, the Index wakes the session, which writes the rest.

use std::time::Duration;

use bytes::Bytes;
use wire::frame;
use wire::protocol::ToPeer;

use super::SessionShell;
use crate::commands::direct::{AnswerWriter, DirectReader};
use crate::commands::index::{self, AskerSees};
use crate::commands::network::Network;
use crate::commands::router::Command;
use crate::commands::session::{EndReason, SessionMailbox};
use crate::runtime::{Pending, PollWaker, Reply, reply};
use crate::session::core::questions::{found, matches};
use crate::session::{Answer, Encoded, Question, SearchFor};

/// How long a question to the Router or the Index may take. Both answer from memory.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a publication may take. It is answered when it is on disk.
const PUBLISH_WAIT: Duration = Duration::from_secs(15);

/// A search whose answer the Index is about to write; without anything to wait for if it has ended.
pub(super) struct Asked(Option<Pending<Encoded>>);

impl Asked {
    /// Waits for the outcome, which is there if this session was woken by the peer that has read the answer.
    pub(super) fn wait(&self) -> Option<Answer> {
        self.0.as_ref()?.wait(ANSWER_WAIT).ok().map(Answer::Found)
    }
}

/// Takes the answer in the thread of the Index.
struct Answerer {
    /// If the Index writes it itself; with what wakes the session if that is not possible.
    direct: Option<(AnswerWriter, PollWaker<EndReason>)>,
    encoded: Reply<Encoded>,
}

impl Answerer {
    fn answer(self, message: &ToPeer) {
        let (frame, encoded) = (Bytes::from(frame::frame(message)), self.encoded);
        let Some((writer, waker)) = self.direct else {
            return encoded.answer(Encoded { frame, written: 0 });
        };
        let connection = writer.borrow();
        // If the session has stopped waiting, it has told its peer so. It does not stop while the connection is borrowed.
        if !encoded.is_awaited() {
            return;
        }
        let (length, written) = (frame.len(), connection.as_ref().map_or(0, |it| it.write(&frame)));
        encoded.answer(Encoded { frame, written });
        // Only now, so that the session finds the outcome as soon as it goes on.
        drop(connection);
        if written < length {
            waker.wake();
        }
    }
}

/// A search that the Index answers on the connection.
pub(super) struct Search(u32, SearchFor);

impl SessionShell<'_> {
    /// Returns a question that the Index may answer on the connection: a search, if the session has nothing to write before the
    /// answer, and nothing of its peer to handle after it.
    pub(super) fn direct_search(&self, question: Question) -> Result<Search, Question> {
        let is_free = self.direct.is_some()
            && self.services.index.is_loaded()
            && self.session.outgoing.bytes() == 0
            && self.session.has_room()
            && self.session.incoming.received().is_empty();
        match question {
            Question::Search(id, what) if is_free => Ok(Search(id, what)),
            question => Err(question),
        }
    }

    /// Sends a search that the Index answers on the connection, which has been lent.
    pub(super) fn ask_directly(&self, Search(id, what): Search) -> Asked {
        let (encoded, pending) = reply();
        let writer = self.direct.as_ref().map(DirectReader::answer_writer);
        let direct = writer.zip(self.mailbox.as_ref().map(SessionMailbox::waker));
        let is_sent = self.services.index.send(self.search(id, what, Answerer { direct, encoded })).is_ok();
        Asked(is_sent.then_some(pending))
    }

    /// Asks another actor and waits for its answer.
    pub(super) fn ask(&self, question: Question) -> Option<Answer> {
        let index = &self.services.index;
        match question {
            Question::Who => {
                let (reply, pending) = reply();
                self.services.router.send(Command::Who(reply)).ok()?;
                pending.wait(ANSWER_WAIT).ok().map(Answer::Known)
            }
            Question::Search(id, what) => {
                let request = |encoded| self.search(id, what, Answerer { direct: None, encoded });
                index.ask(ANSWER_WAIT, request).ok().map(Answer::Found)
            }
            Question::Publish { part, last, files } => {
                let peer = (self.session.name()?.clone(), Network::of(self.session.seen_at()));
                index.publish(peer, part, last, files, PUBLISH_WAIT).ok().map(Answer::Published)
            }
            Question::Change(difference) => {
                let peer = (self.session.name()?.clone(), Network::of(self.session.seen_at()));
                index.change(peer, difference, PUBLISH_WAIT).ok().map(Answer::Published)
            }
        }
    }

    /// The command for a search.
    fn search(&self, id: u32, what: SearchFor, answerer: Answerer) -> index::Command {
        let asker = AskerSees { from: self.session.seen_at(), name: self.session.name().cloned() };
        match what {
            SearchFor::Query(query, limit) => {
                let reply = Reply::calling(move |answer| answerer.answer(&found(id, answer)));
                index::Command::Search { query, limit, asker, reply }
            }
            SearchFor::Text(search, page) => {
                let reply = Reply::calling(move |answer| answerer.answer(&matches(id, answer)));
                index::Command::Find { search, page, asker, reply }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;
    use crate::commands::direct::direct;
    use crate::runtime::poll_mailbox;

    /// A session that waits for its socket, and for the answer to a search.
    struct Waiting {
        mailbox: SessionMailbox,
        direct: DirectReader,
        asked: Asked,
        peer: TcpStream,
    }

    fn waiting() -> (Waiting, Answerer) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        peer.set_nonblocking(true).expect("it is open");
        let (socket, _) = listener.accept().expect("somebody connects");
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, 4 << 10).expect("it is a size");
        let (_, direct) = direct(Arc::new(socket));
        let (_, mailbox) = poll_mailbox(1).expect("there is a descriptor");
        let (encoded, pending) = reply();
        let answerer = Answerer { direct: Some((direct.answer_writer(), mailbox.waker())), encoded };
        direct.lend(&mailbox);
        (Waiting { mailbox, direct, asked: Asked(Some(pending)), peer }, answerer)
    }

    impl Waiting {
        fn is_woken(&self) -> bool {
            let event = self.mailbox.event();
            let mut event = [PollFd::new(&event, PollFlags::IN)];
            rustix::event::poll(&mut event, Some(&Timespec::default())).expect("it is open") > 0
        }

        /// What of the answer is written, and its length.
        fn written(&self) -> (usize, usize) {
            self.direct.take_back();
            match self.asked.wait() {
                Some(Answer::Found(Encoded { frame, written })) => (written, frame.len()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn message(bytes: usize) -> ToPeer<'static> {
        ToPeer::Failed { id: 1, detail: "x".repeat(bytes) }
    }

    #[test]
    fn a_session_is_woken_for_what_the_connection_has_no_room_for_and_not_otherwise() {
        let (session, answerer) = waiting();
        answerer.answer(&message(10));
        assert!(!session.is_woken());
        let (written, length) = session.written();
        assert_eq!(written, length);

        let (session, answerer) = waiting();
        answerer.answer(&message(16 << 20));
        assert!(session.is_woken());
        let (written, length) = session.written();
        assert!(0 < written && written < length, "{written} of {length}");

        let (session, answerer) = waiting();
        session.direct.take_back();
        answerer.answer(&message(10));
        assert!(session.is_woken());
        assert_eq!(session.written().0, 0);
    }

    #[test]
    fn an_answer_for_which_nobody_waits_any_more_is_not_written() {
        let (Waiting { mailbox, direct, asked, mut peer }, answerer) = waiting();
        direct.take_back();
        drop(asked);
        direct.lend(&mailbox);
        answerer.answer(&message(10));
        let error = peer.read(&mut [0]).expect_err("nothing is written");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}
