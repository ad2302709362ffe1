//! Tests of a session's core, without socket and thread.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use wire::Digest;
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES};
use wire::invitation::Invitation;
use wire::keys::{EncryptionKey, IdentityKey, Purpose};
use wire::protocol::{
    ChannelBinding, Envelope, ErrorCode, Greeting, Kind, KnownPeer, Outcome, PING_NAMES_MAX, Refusal, Side,
    ToPeer, ToServer, join_proof_text,
};
use wire::server_key::ServerKey;

use super::core::questions;
use super::core::{RELAYED_WAIT, Session};
use super::interface::{Answer, Effect, Encoded, Input, Question, SearchFor};
use super::watch::Terms;
use crate::commands::admission::{Claim, NotAdmitted};
use crate::commands::index::{Found, Published};
use crate::commands::router::{JoinRefused, MemberCommand, PeerKey};
use crate::commands::session::{Delivery, EndReason, SessionCommand};
use crate::commands::store::{Frames, Origin};
use crate::runtime::{Core as _, Now};

mod joining;
mod routes;
mod slow;

static KEY: LazyLock<Arc<ServerKey>> = LazyLock::new(|| Arc::new(ServerKey::from_seed(&[5; 32])));

fn greeting() -> Greeting {
    Greeting { nonce: [9; 32], server: [7; 16], key: KEY.public() }
}

const TAKEN_TIMEOUT: Duration = Duration::from_secs(20);

fn terms() -> Terms {
    Terms {
        read_timeout: Duration::from_secs(30),
        taken_timeout: TAKEN_TIMEOUT,
        mail_rate: 1 << 20,
        counts: Arc::default(),
        feed: None,
    }
}

static KEYS: LazyLock<(IdentityKey, Card)> = LazyLock::new(|| {
    let rng = &mut rand::rng();
    let identity = IdentityKey::generate(2048, rng).expect("a good size");
    let encryption = EncryptionKey::generate(2048, rng).expect("a good size");
    let card = Card::issue(
        "A".parse().expect("a good name"),
        &identity,
        encryption.public(),
        term(Now::read().unix()),
        rng,
    );
    (identity, card)
});

fn term(issued_at: u64) -> Term {
    Term::starting(issued_at, CARD_VALID_SECONDS_MAX, None)
}

/// A session and its effects.
struct Bench {
    session: Session,
    now: Now,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(already: &[u8]) -> Self {
        Self::bound(already, None)
    }

    /// A session on the TLS connection with this binding.
    fn bound(already: &[u8], binding: Option<ChannelBinding>) -> Self {
        let now = Now::read();
        let seen_at = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            session: Session::new(terms(), 3, Arc::clone(&KEY), (greeting(), binding), seen_at, already, now),
            now,
            effects: Vec::new(),
        }
    }

    /// A session whose peer has joined, with no output left.
    fn joined() -> Self {
        let mut bench = Self::new(&join());
        bench.take(Input::Received(0));
        assert!(matches!(bench.effects[..], [Effect::Join(_, None)]), "{:?}", bench.effects);
        bench.take(Input::Joined(Some(Ok(PeerKey(5)))));
        bench.take(Input::CardWritten(true));
        assert!(matches!(bench.told()[..], [ToPeer::Hello { .. }, ToPeer::Welcome { .. }]));
        bench.effects.clear();
        bench
    }

    fn take(&mut self, input: Input) {
        self.session.handle(self.now, input, &mut self.effects);
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.session.incoming.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.take(Input::Received(count));
        }
    }

    /// The messages to the peer since the last call, with those that wait a little.
    fn told(&mut self) -> Vec<ToPeer<'static>> {
        let later = Now { instant: self.now.instant + RELAYED_WAIT, ..self.now };
        self.session.handle(later, Input::Tick, &mut self.effects);
        let bytes = self.written();
        frames(&bytes).into_iter().filter_map(|body| ToPeer::decode(body.to_vec().leak()).ok()).collect()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.session.outgoing.bytes() > 0 {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = self.session.outgoing.slices(&mut slices);
            let before = bytes.len();
            slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.session.outgoing.advance(bytes.len() - before);
        }
        self.take(Input::Written);
        bytes
    }

    /// The error with which the session has ended.
    fn refusal(&mut self) -> ErrorCode {
        assert!(matches!(self.effects.last(), Some(Effect::End { is_refused: true })), "{:?}", self.effects);
        match self.told().pop() {
            Some(ToPeer::Error { code, .. }) => code,
            other => panic!("no error but {other:?}"),
        }
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

/// The bodies of the frames.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Ok(Some(body)) = frame::split(bytes, BODY_BYTES_MAX) {
        bytes = &bytes[LENGTH_BYTES + body.len()..];
        bodies.push(body);
    }
    bodies
}

fn join() -> Vec<u8> {
    let (identity, card) = &*KEYS;
    let text = join_proof_text(&greeting(), card.as_bytes(), None);
    let proof = identity.sign(Purpose::Join, &text, &mut rand::rng());
    frame::frame(&ToServer::Join { card: card.as_bytes().to_vec(), proof, invitation: None })
}

fn envelope(from: &str, to: &str, kind: Kind, number: u64) -> Vec<u8> {
    frame::frame(&ToServer::Envelope(Envelope { from, to, kind, number, sealed: b"sealed" }))
}

fn delivery(first: u64, is_stored: bool, count: usize) -> Box<Delivery> {
    let frame = envelope("B", "A", Kind::Message, first);
    let lengths = vec![u32::try_from(frame.len()).expect("a short frame"); count];
    let frames = Frames { lengths, bytes: frame.repeat(count).into() };
    let origin = Origin { peer: PeerKey(1), session: 1, first: 0 };
    Box::new(Delivery { first, is_stored, is_kept: true, origin, frames })
}

#[test]
fn a_connection_that_says_nothing_is_ended_in_time() {
    let mut bench = Bench::new(&[]);
    let deadline = bench.session.deadline().expect("there is one");
    bench.written();
    bench.now.instant = deadline - Duration::from_nanos(1);
    bench.take(Input::Tick);
    assert!(bench.effects.is_empty());
    bench.now.instant = deadline;
    bench.take(Input::Tick);
    assert_eq!(bench.refusal(), ErrorCode::TimedOut);
    bench.take(Input::Received(0));
    bench.take(Input::Tick);
    assert_eq!(bench.effects.len(), 1, "it ends once");
}

#[test]
fn only_a_good_join_or_a_splice_comes_first() {
    let mut bad_proof = join();
    // The last byte says that there is no invitation.
    let at = bad_proof.len() - 2;
    bad_proof[at] ^= 1;
    let cases = [
        (bad_proof, ErrorCode::BadProof),
        (frame::frame(&ToServer::Who { id: 1 }), ErrorCode::OutOfPlace),
        (vec![1, 0, 0, 0, 250], ErrorCode::UnknownKind),
        (vec![255, 255, 0, 0], ErrorCode::TooLong),
        (vec![2, 0, 0, 0, 1, 0], ErrorCode::Malformed),
    ];
    for (bytes, code) in cases {
        let mut bench = Bench::new(&[]);
        bench.receive(&bytes);
        assert_eq!(bench.refusal(), code, "{bytes:?}");
    }
    let mut bench = Bench::new(&[]);
    let member = "A".parse().expect("a good name");
    let splice = ToServer::Splice { transfer: [1; 16], side: Side::Sender, member, token: [2; 32] };
    bench.receive(&frame::frame(&splice));
    let [Effect::Splice(end)] = &bench.effects()[..] else { panic!("no splice") };
    assert_eq!((end.session, end.side, end.token), (3, Side::Sender, [2; 32]));
}

#[test]
fn frames_that_came_with_the_join_wait_until_the_peer_is_welcomed() {
    let together = [join(), envelope("A", "B", Kind::Message, 1)].concat();
    let mut bench = Bench::new(&together);
    bench.take(Input::Received(0));
    bench.take(Input::Joined(Some(Ok(PeerKey(5)))));
    assert!(matches!(bench.effects()[..], [Effect::Join(..)]));
    bench.take(Input::CardWritten(true));
    assert!(matches!(&bench.effects()[..], [Effect::Tell(MemberCommand::Route(runs))] if runs.len() == 1));
}

#[test]
fn envelopes_for_one_recipient_go_as_one_run_and_are_counted() {
    let mut bench = Bench::joined();
    let bytes = [
        envelope("A", "B", Kind::Message, 1),
        envelope("A", "B", Kind::Receipt, 2),
        envelope("A", "C", Kind::Message, 1),
        envelope("A", "C", Kind::Request, 2),
    ]
    .concat();
    bench.receive(&bytes[..bytes.len() - 1]);
    let runs = match bench.effects().pop() {
        Some(Effect::Tell(MemberCommand::Route(runs))) => runs,
        other => panic!("{other:?}"),
    };
    let seen: Vec<_> = runs.iter().map(|run| (run.to.as_str(), run.first, run.frames.count())).collect();
    assert_eq!(seen, [("B", 0, 2), ("C", 2, 1)]);
    bench.receive(&bytes[bytes.len() - 1..]);
    let Some(Effect::Tell(MemberCommand::Route(runs))) = bench.effects().pop() else { panic!("no run") };
    assert_eq!((runs[0].first, runs[0].kept), (3, false), "a request is not kept for somebody who is away");
    bench.receive(&envelope("Z", "B", Kind::Message, 1));
    assert_eq!(bench.refusal(), ErrorCode::BadEnvelope);
}

#[test]
fn answers_come_in_the_order_of_their_questions() {
    let mut bench = Bench::joined();
    let publish = |part, last| frame::frame(&ToServer::Publish { part, last, files: Vec::new() });
    let bytes = [
        frame::frame(&ToServer::Who { id: 8 }),
        publish(0, false),
        publish(1, true),
        frame::frame(&ToServer::Search {
            id: 9,
            query: wire::Query::File("f".parse().expect("a good name")),
            limit: 1,
        }),
        envelope("A", "B", Kind::Message, 1),
    ]
    .concat();
    bench.receive(&bytes);
    assert!(matches!(bench.effects()[..], [Effect::Ask(Question::Who)]));
    assert!(!bench.session.may_read(), "nothing more is read until it is answered");
    bench.take(Input::Answered(None));
    assert!(matches!(bench.told()[..], [ToPeer::Failed { id: 8, .. }]));
    assert!(matches!(bench.effects()[..], [Effect::Ask(Question::Publish { part: 0, last: false, .. })]));
    let published = Published { files: 1, pairs: 2 };
    bench.take(Input::Answered(Some(Answer::Published(Ok(published)))));
    assert!(bench.told().is_empty(), "only the last part is answered");
    bench.effects.clear();
    bench.take(Input::Answered(Some(Answer::Published(Ok(published)))));
    assert!(matches!(bench.told()[..], [ToPeer::Published { files: 1, pairs: 2 }]));
    assert!(matches!(bench.effects()[..], [Effect::Ask(Question::Search(9, SearchFor::Query(_, 1)))]));
    let found = frame::frame(&questions::found(9, Ok(Found::default())));
    bench.take(Input::Answered(Some(Answer::Found(Encoded { frame: found.into(), written: 0 }))));
    assert!(matches!(bench.told()[..], [ToPeer::Found { id: 9, total: 0, .. }]));
    assert!(matches!(bench.effects()[..], [Effect::Tell(MemberCommand::Route(_))]));
}

#[test]
fn a_ping_is_answered_by_the_router_and_is_bounded() {
    let mut bench = Bench::joined();
    let names = |count: usize| vec!["B".parse::<wire::PeerName>().expect("a good name"); count];
    let ping = |count| frame::frame(&ToServer::Ping { id: 3, names: names(count) });
    bench.receive(&ping(PING_NAMES_MAX));
    let asked = bench.effects().pop();
    assert!(
        matches!(&asked, Some(Effect::Tell(MemberCommand::Ping { id: 3, names })) if names.len() == PING_NAMES_MAX),
        "{asked:?}"
    );
    bench.take(Input::Command(SessionCommand::Pong { id: 3, present: names(1) }));
    assert!(matches!(&bench.told()[..], [ToPeer::Pong { id: 3, present }] if present.len() == 1));
    bench.receive(&ping(PING_NAMES_MAX + 1));
    assert_eq!(bench.refusal(), ErrorCode::Malformed);
}

#[test]
fn many_questions_at_once_are_answered_as_fast_as_the_answers_are_read() {
    const QUESTIONS: u32 = 100;
    let mut bench = Bench::joined();
    let bytes: Vec<u8> = (0..QUESTIONS).flat_map(|id| frame::frame(&ToServer::Who { id })).collect();
    bench.receive(&bytes);
    let known =
        KnownPeer { name: "B".parse().expect("a good name"), fingerprint: Digest([1; 32]), online: true };
    let known: Arc<[KnownPeer]> = vec![known; 10_000].into();
    let mut answered = 0;
    while answered < QUESTIONS {
        while matches!(bench.effects.pop(), Some(Effect::Ask(Question::Who))) {
            bench.take(Input::Answered(Some(Answer::Known(Arc::clone(&known)))));
        }
        assert!(bench.session.outgoing.bytes() < 6 << 20, "the answers that wait are bounded");
        let told = frames(&bench.written()).len();
        assert!(told > 0, "it goes on after {answered}");
        answered += u32::try_from(told).expect("a small number");
    }
}

#[test]
fn acknowledged_mail_is_reported_and_the_rest_is_handed_back() {
    let mut bench = Bench::joined();
    bench.take(Input::Command(SessionCommand::Deliver(delivery(4, true, 2))));
    bench.take(Input::Command(SessionCommand::Deliver(delivery(6, false, 2))));
    bench.receive(&frame::frame(&ToServer::Taken { count: 3 }));
    let Some(Effect::Tell(MemberCommand::Taken(taken))) = bench.effects().pop() else {
        panic!("nothing told")
    };
    assert_eq!(taken, 6, "the place behind the last stored one");
    bench.receive(&frame::frame(&ToServer::Taken { count: 9 }));
    assert_eq!(bench.refusal(), ErrorCode::Malformed);
    // Envelopes that arrive after the end are handed back too.
    bench.session.hear(bench.now, SessionCommand::Deliver(delivery(8, false, 1)));
    let rest = bench.session.part([SessionCommand::Deliver(delivery(9, false, 1))]);
    assert_eq!(
        rest.iter().map(|d| (d.first, d.frames.count())).collect::<Vec<_>>(),
        [(7, 1), (8, 1), (9, 1)]
    );
}

#[test]
fn a_session_that_the_router_ends_tells_its_peer_why() {
    let cases = [
        (Input::Released(EndReason::Superseded), ErrorCode::Superseded),
        (Input::Released(EndReason::Busy), ErrorCode::Busy),
        (Input::Released(EndReason::Left), ErrorCode::ShuttingDown),
        (Input::Closed { is_stopping: true }, ErrorCode::ShuttingDown),
    ];
    for (input, code) in cases {
        let mut bench = Bench::joined();
        bench.take(input);
        assert_eq!(bench.refusal(), code);
    }
    let mut bench = Bench::joined();
    bench.take(Input::HasRoom);
    bench.take(Input::Closed { is_stopping: false });
    assert!(matches!(
        bench.effects()[..],
        [Effect::Tell(MemberCommand::Drained), Effect::End { is_refused: false }]
    ));
}

#[test]
fn a_call_back_is_requested_and_its_outcome_reported() {
    let mut bench = Bench::joined();
    bench.receive(&frame::frame(&ToServer::Listening { port: 4000 }));
    bench.receive(&frame::frame(&ToServer::CalledBack { echo: [3; 32] }));
    assert!(matches!(bench.effects()[..], [Effect::Call(4000), Effect::Heard([3, ..])]));
    bench.take(Input::Called(None));
    assert!(bench.effects().is_empty(), "the Router is not told of a call that failed");
    let address = "192.0.2.1:4000".parse().expect("an address");
    bench.take(Input::Called(Some(address)));
    assert!(matches!(bench.effects()[..], [Effect::Tell(MemberCommand::Reachable(at))] if at == address));
    assert!(matches!(
        bench.told()[..],
        [ToPeer::Reachable { address: None }, ToPeer::Reachable { address: Some(_) }]
    ));
}
