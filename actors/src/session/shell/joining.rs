//! Joining: the waits for Admission, the Router and the store, and the work that only joining needs.

use std::sync::Arc;
use std::time::Duration;

use wire::card::Card;
use wire::invitation::KnownProof;
use wire::succession::Succession;

use super::{Next, SessionShell};
use crate::commands::admission::{self, Candidate, Claim, NotAdmitted};
use crate::commands::direct::{DirectWriter, direct};
use crate::commands::network::Network;
use crate::commands::router::{Command, JoinRefused, Joined};
use crate::commands::session::{MAILBOX_COMMANDS, SessionPort};
use crate::runtime::{Core as _, Now, Pending, poll_mailbox, reply};
use crate::session::{Effect, Input, Session};

/// How long each step of joining may take: the Router's answer, and writing the card.
const JOIN_WAIT: Duration = Duration::from_secs(10);

impl SessionShell<'_> {
    /// Whether the peer may join, and the proof that it asks for; none if Admission has not answered in time.
    fn admit(
        &self,
        card: &Card,
        claim: Option<Box<Claim>>,
    ) -> Option<Result<Option<KnownProof>, JoinRefused>> {
        let Some(admission) = &self.services.admission else {
            // Nobody was invited here.
            let is_astray = claim.is_some_and(|claim| claim.is_elsewhere);
            let refused = JoinRefused::NotAdmitted(NotAdmitted::NoInvitation);
            return Some(if is_astray { Err(refused) } else { Ok(None) });
        };
        let candidate = Candidate {
            name: card.name.clone(),
            fingerprint: card.fingerprint(),
            predecessors: card.succeeds.iter().map(Succession::predecessor).collect(),
            claim: claim.map(|claim| *claim),
        };
        let answer = admission.ask(|reply| admission::Command::Admit(candidate, reply)).ok()?;
        Some(answer.map_err(JoinRefused::NotAdmitted))
    }

    /// Prepares that the sessions of senders write to the connection while this one waits.
    fn let_write(&mut self) -> Option<DirectWriter> {
        let (writer, reader) =
            self.transport.is_plain().then(|| direct(Arc::clone(self.transport.socket())))?;
        self.direct = Some(reader);
        Some(writer)
    }

    /// Whether the name is the peer's in the whole cluster, if there is one.
    fn claim(&self, card: &Card) -> Result<(), JoinRefused> {
        let Some(cluster) = &self.services.cluster else { return Ok(()) };
        let claimed = cluster.claim(Box::new(card.clone()), Network::of(self.session.seen_at()));
        claimed.unwrap_or(Err(JoinRefused::NoCluster))
    }

    pub(super) fn join(&mut self, card: Box<Card>, claim: Option<Box<Claim>>) -> Option<Next> {
        let admitted = match self.admit(&card, claim) {
            Some(Ok(proof)) => Some(self.claim(&card).map(|()| proof)),
            refused => refused,
        };
        match admitted {
            Some(Ok(None)) => {}
            Some(Ok(Some(proof))) => {
                self.session.handle(Now::read(), Input::Invited(proof), &mut self.effects);
            }
            Some(Err(refused)) => return self.take_in(Input::Joined(Some(Err(refused)))),
            None => return self.take_in(Input::Joined(None)),
        }
        let Ok((port, mailbox)) = poll_mailbox(MAILBOX_COMMANDS) else {
            return self.take_in(Input::Joined(None));
        };
        let port = Arc::new(SessionPort::new(port, self.held.clone(), self.let_write()));
        let (reply, pending) = reply();
        let network = Network::of(self.session.seen_at());
        let join = Command::Join { session: self.id, card, network, token: self.token, port, reply };
        self.mailbox = Some(mailbox);
        let answer: Option<Result<Joined, JoinRefused>> =
            self.services.router.send(join).ok().and_then(|()| pending.wait(JOIN_WAIT).ok());
        let (answer, written) = match answer {
            Some(Ok(Joined { peer, written })) => (Some(Ok(peer)), written),
            Some(Err(refused)) => (Some(Err(refused)), None),
            None => (None, None),
        };
        let is_written = |written: Pending<()>| written.wait(JOIN_WAIT).is_ok();
        let next = self.take_in(Input::Joined(answer));
        if let (Some(feed), Some(name)) = (&self.services.feed, self.session.name()) {
            feed.joined(name.clone());
        }
        next.or_else(|| self.take_in(Input::CardWritten(written.is_none_or(is_written))))
    }
}

/// Lets the session handle an input on a thread that ends afterwards. To join, it verifies and makes signatures, which use
/// some 20 KiB of stack, and the thread of a session would keep them as long as its peer stays.
pub(super) fn handle_apart(session: &mut Session, input: Input, effects: &mut Vec<Effect>) {
    let span = tracing::Span::current();
    let mut input = Some(input);
    let mut handle = || {
        if let Some(input) = input.take() {
            span.in_scope(|| session.handle(Now::read(), input, effects));
        }
    };
    let is_done = std::thread::scope(|scope| {
        let apart = std::thread::Builder::new().name("greeting".into()).spawn_scoped(scope, &mut handle);
        apart.map(|apart| apart.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).is_ok()
    });
    if !is_done {
        // There is no thread to be had.
        handle();
    }
}
