//! Questions of the peer to other actors, and their answers.

use wire::Search;
use wire::protocol::ToPeer;
use wire::search::BadSearch;

use super::super::interface::{Answer, Effect, Encoded, Question, SearchFor};
use super::{Asked, Session};
use crate::commands::index::{FindAnswer, Found, Matches, Page, SearchAnswer};

/// The message with what a search has found.
pub(in crate::session) fn found(id: u32, answer: SearchAnswer) -> ToPeer<'static> {
    match answer {
        Ok(Found { hits, total }) => ToPeer::Found { id, hits, total },
        Err(refused) => ToPeer::Failed { id, detail: refused.to_string() },
    }
}

/// The same for a search as people type it.
pub(in crate::session) fn matches(id: u32, answer: FindAnswer) -> ToPeer<'static> {
    match answer {
        Ok(Matches { matches, total, instead }) => {
            ToPeer::Matches { id, matches, total, instead: instead.map(|search| search.to_string()) }
        }
        Err(refused) => ToPeer::Failed { id, detail: refused.to_string() },
    }
}

impl Session {
    pub(super) fn ask(&mut self, id: u32, is_last: bool, question: Question, out: &mut Vec<Effect>) {
        self.asked = Some(Asked { id, is_last });
        out.push(Effect::Ask(question));
    }

    pub(super) fn find(&mut self, id: u32, text: &str, (skip, limit): (u32, u32), out: &mut Vec<Effect>) {
        let refused = match (text.parse::<Search>(), Page::new(skip, limit)) {
            (Ok(search), Ok(page)) => {
                return self.ask(id, true, Question::Search(id, SearchFor::Text(search, page)), out);
            }
            (Err(BadSearch { column, reason }), _) => {
                let column = u32::try_from(column).unwrap_or(u32::MAX);
                ToPeer::BadSearch { id, column, detail: reason.to_string() }
            }
            (Ok(_), Err(refused)) => ToPeer::Failed { id, detail: refused.to_string() },
        };
        self.outgoing.push_message(&refused);
    }

    pub(super) fn answered(&mut self, answer: Option<Answer>) {
        let Some(Asked { id, is_last }) = self.asked.take() else { return };
        let message = match answer {
            Some(Answer::Known(peers)) => ToPeer::Known { id, peers: peers.to_vec() },
            Some(Answer::Found(Encoded { frame, written })) => {
                self.outgoing.push(frame);
                self.outgoing.advance(written);
                return;
            }
            Some(Answer::Published(Ok(published))) if is_last => {
                let files = u32::try_from(published.files).unwrap_or(u32::MAX);
                let pairs = u32::try_from(published.pairs).unwrap_or(u32::MAX);
                ToPeer::Published { files, pairs }
            }
            Some(Answer::Published(Ok(_))) => return,
            Some(Answer::Published(Err(refused))) => {
                refused.limit().into_iter().for_each(|limit| self.counts.count(limit));
                ToPeer::Failed { id, detail: refused.to_string() }
            }
            None => ToPeer::Failed { id, detail: "the server is busy; try again".into() },
        };
        self.outgoing.push_message(&message);
    }
}
