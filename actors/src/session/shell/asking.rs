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
        let is_whole = writer.write(&frame, |written| {
            encoded.answer(Encoded { frame: frame.clone(), written });
            written == frame.len()
        });
        if !is_whole {
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
