//! Hostile members of an honest server: what they can make another peer do is limited, and other peers do not
//! notice.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::{Character, PATIENCE, Peer, RawConnection, Sandbox, Server};
use wire::Digest;
use wire::card::Card;
use wire::conversation::{Opening, Outgoing};
use wire::frame;
use wire::protocol::{Envelope, Kind, ToPeer, ToServer};
use wire::signal::{self, Complaint, Receipt};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// A hostile member.
struct Mallory {
    character: Character,
    connection: RawConnection,
}

impl Mallory {
    fn join(server: &Server) -> Self {
        let character = Character::new("Mallory");
        let connection = RawConnection::join(server.address(), &character);
        Self { character, connection }
    }

    fn card_of(&mut self, name: &str) -> Card {
        self.connection.say(&ToServer::Lookup { name: name.parse().expect("a good name") });
        loop {
            let body = self.connection.next().expect("the server answers");
            if let Ok(ToPeer::Card { card }) = ToPeer::decode(&body) {
                return Card::from_bytes(&card).expect("the server shows good cards");
            }
        }
    }

    fn opens(&self, to: &Card) -> Outgoing {
        let Character { identity, card } = &self.character;
        Outgoing::open(identity, card, to, 1, now(), &mut rand::rng())
    }

    fn send(&mut self, to: &Card, kind: Kind, number: u64, sealed: &[u8]) {
        let to = to.name.as_str();
        self.connection.say(&ToServer::Envelope(Envelope { from: "Mallory", to, kind, number, sealed }));
    }
}

/// Sends a message from A to B and returns how long its receipt took.
fn round_trip(a: &Peer) -> Duration {
    let start = Instant::now();
    a.run(&["send", "B", "how are you", "--wait", "60"]).expect(0);
    start.elapsed()
}

#[test]
fn a_member_who_complains_about_everything_gets_few_envelopes() {
    const MESSAGES: usize = 100;
    const FOR: Duration = Duration::from_secs(8);
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut mallory = Mallory::join(&server);
    let a = sandbox.peer("A", server.address());
    let mut sending = a.start(&["send", "Mallory", "-", "--wait", "60"]);
    (0..MESSAGES).for_each(|number| sending.type_line(&format!("message {number}")));
    sending.event("queued", |_| true);

    let card = mallory.card_of("A");
    let mut outgoing = mallory.opens(&card);
    let opening = outgoing.opening().as_bytes().to_vec();
    mallory.send(&card, Kind::Opening, 1, &opening);
    let (mut envelopes, mut complaints) = (0_u64, 0_u64);
    let end = Instant::now() + FOR;
    while Instant::now() < end {
        let body = mallory.connection.next().expect("Mallory stays connected");
        let Ok(ToPeer::Envelope(envelope)) = ToPeer::decode(&body) else { continue };
        envelopes += 1;
        if envelope.kind == Kind::Opening {
            let (conversation, _) = Opening::peek(envelope.sealed).expect("it is one");
            let complaint =
                Receipt::Refused { conversation, count: 0, reason: Complaint::UnknownConversation };
            let sealed = outgoing.seal_signal(Kind::Receipt, 0, &signal::encode(&complaint));
            mallory.send(&card, Kind::Receipt, 0, &sealed);
            complaints += 1;
        }
    }
    println!("{complaints} complaints in {FOR:?} led to {envelopes} envelopes");
    assert!(complaints > 2, "complaints are answered, but more and more slowly");
    // At first everything is sent, and once more after the first complaint. From then on only one message at a time is
    // sent.
    let expected = 2 * (MESSAGES as u64 + 1) + 2 * complaints + 10;
    assert!(envelopes <= expected, "{envelopes} envelopes, {complaints} complaints");
    assert!(complaints < 60, "{complaints} complaints");
}

#[test]
fn a_receipt_counts_only_with_the_right_running_hash() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let mut mallory = Mallory::join(&server);
    let a = sandbox.peer("A", server.address());
    a.run(&["who"]).expect(0);
    let card = mallory.card_of("A");
    let mut outgoing = mallory.opens(&card);
    let sending = a.start(&["send", "Mallory", "hello", "--wait", "60"]);
    sending.event("relayed", |_| true);
    let opening = outgoing.opening().as_bytes().to_vec();
    mallory.send(&card, Kind::Opening, 1, &opening);
    let (mut conversation, mut hash) = (None, None);
    while hash.is_none() {
        let body = mallory.connection.next().expect("Mallory stays connected");
        let Ok(ToPeer::Envelope(envelope)) = ToPeer::decode(&body) else { continue };
        match envelope.kind {
            Kind::Opening => conversation = Opening::peek(envelope.sealed).map(|(id, _)| id),
            // The running hash can be computed from what is on the wire, but a receipt must be sealed.
            Kind::Message => hash = conversation.map(|id| Digest::of(&[&id.0, envelope.sealed].concat())),
            _ => {}
        }
    }
    let (conversation, hash) = (conversation.expect("it came first"), hash.expect("it was computed"));
    let mut receipt = |running_hash| {
        let receipt = Receipt::Received { conversation, count: 1, running_hash, last_number: 1 };
        let sealed = outgoing.seal_signal(Kind::Receipt, 1, &signal::encode(&receipt));
        mallory.send(&card, Kind::Receipt, 1, &sealed);
    };
    receipt(Digest([0; 32]));
    let refused = sending.event("refused", |_| true);
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("running hash")), "{refused}");
    receipt(hash);
    let sent = sending.finish().expect(0);
    assert_eq!(sent.events("delivered").len(), 1);
}

#[test]
fn a_stranger_who_opens_a_thousand_conversations_delays_nobody() {
    const OPENINGS: usize = 1_000;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    // B has written to A, so A is no stranger.
    a.run(&["who"]).expect(0);
    b.run(&["send", "A", "hello"]).expect(0);
    round_trip(&a);
    let quiet = round_trip(&a);

    let mut mallory = Mallory::join(&server);
    let card = mallory.card_of("B");
    let openings: Vec<Vec<u8>> =
        (0..OPENINGS).map(|_| mallory.opens(&card).opening().as_bytes().to_vec()).collect();
    let mut bytes = Vec::new();
    for sealed in &openings {
        let envelope = Envelope { from: "Mallory", to: "B", kind: Kind::Opening, number: 1, sealed };
        frame::encode(&ToServer::Envelope(envelope), &mut bytes);
    }
    mallory.connection.say_bytes(&bytes);
    let busy = round_trip(&a);
    println!("a message and its receipt took {quiet:.1?} before the flood, and {busy:.1?} in it");
    assert!(busy < PATIENCE);
    let put_off = listening.event("error", |e| e["message"].as_str().is_some_and(|m| m.contains("put off")));
    assert!(put_off["message"].as_str().is_some_and(|message| message.contains("block NAME")), "{put_off}");
    let accepted = listening.wait("conversations", |lines| {
        let count = lines
            .iter()
            .filter(|line| line.contains(r#""event":"conversation""#) && line.contains("Mallory"));
        Some(count.count())
    });
    assert!(accepted < OPENINGS / 2, "{accepted} conversations were accepted");
}

#[test]
fn a_blocked_peer_is_ignored_and_its_mail_stays_with_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    a.run(&["send", "B", "before", "--wait", "60"]).expect(0);
    let blocked = b.run(&["block", "A"]).expect(0);
    assert_eq!(blocked.answers("blocked")[0]["is_blocked"], true);
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    sending.type_line("while blocked");
    sending.event("relayed", |_| true);
    // The third one comes after the second, so the second was not skipped.
    let c = sandbox.peer("C", server.address());
    c.run(&["send", "B", "of somebody else", "--wait", "60"]).expect(0);
    let seen = listening.events("message", 2);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[1]["from"], "C");
    b.run(&["unblock", "A"]).expect(0);
    sending.end_input();
    sending.finish().expect(0);
    let seen = listening.events("message", 3);
    assert_eq!(seen[2]["text"], "while blocked");
    server.stop();
}
