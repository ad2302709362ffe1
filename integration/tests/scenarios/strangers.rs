//! Peers that the user has never written to: what they leave on the disk of a peer.

use std::time::{SystemTime, UNIX_EPOCH};

use integration::{Character, Peer, RawConnection, Sandbox, Server};
use wire::card::{CARD_VALID_SECONDS_MAX, Card, Term};
use wire::conversation::Outgoing;
use wire::keys::EncryptionKey;
use wire::protocol::{Envelope, Kind, ToPeer, ToServer};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// A member with one key and many names.
struct Crowd {
    first: Character,
    encryption: EncryptionKey,
}

/// A session under one of the names.
struct Stranger {
    character: Character,
    connection: RawConnection,
    outgoing: Outgoing,
}

impl Crowd {
    fn new() -> Self {
        let encryption = EncryptionKey::generate(2048, &mut rand::rng()).expect("the size is a good one");
        Self { first: Character::new("stranger"), encryption }
    }

    /// Joins under a new name and opens a conversation with `to`.
    fn opens(&self, server: &Server, number: usize, to: &str) -> Stranger {
        let term = Term::starting(now(), CARD_VALID_SECONDS_MAX, None);
        let name = format!("stranger{number}").parse().expect("a good name");
        let identity = self.first.identity.clone();
        let card = Card::issue(name, &identity, self.encryption.public(), term, &mut rand::rng());
        let character = Character { identity, card };
        let mut connection = RawConnection::join(server.address(), &character);
        connection.say(&ToServer::Lookup { name: to.parse().expect("a good name") });
        let card = loop {
            if let ToPeer::Card { card } = connection.next_message() {
                break Card::from_bytes(&card).expect("the server shows good cards");
            }
        };
        let Character { identity, card: own } = &character;
        let outgoing = Outgoing::open(identity, own, &card, 1, now(), &mut rand::rng());
        let opening = outgoing.opening().as_bytes().to_vec();
        let mut stranger = Stranger { character, connection, outgoing };
        stranger.send(to, Kind::Opening, 1, &opening);
        stranger
    }
}

impl Stranger {
    /// Sends an envelope, and waits for its outcome.
    fn send(&mut self, to: &str, kind: Kind, number: u64, sealed: &[u8]) {
        let from = self.character.card.name.as_str();
        self.connection.say(&ToServer::Envelope(Envelope { from, to, kind, number, sealed }));
        while !matches!(self.connection.next_message(), ToPeer::Routed { .. }) {}
    }

    fn writes(&mut self, to: &str, number: u64, text: &str) {
        let id = [u8::try_from(number).unwrap_or_default(); 16];
        let sealed = self.outgoing.seal_message(number, &id, now(), text);
        self.send(to, Kind::Message, number, &sealed.bytes);
    }
}

/// The names of the peers whose key is pinned on disk.
fn pinned(peer: &Peer) -> Vec<String> {
    let pins = peer.dir.join(".switchboard/known_peers");
    let pins = std::fs::read_to_string(pins).unwrap_or_default();
    pins.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn strangers_leave_something_on_the_disk_only_when_they_write_and_can_be_forgotten() {
    const STRANGERS: usize = 12;
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let b = sandbox.peer("B", server.address());
    let listening = b.start(&["listen"]);
    listening.event("joined", |_| true);
    let crowd = Crowd::new();
    let mut strangers: Vec<Stranger> = (0..STRANGERS).map(|at| crowd.opens(&server, at, "B")).collect();
    listening.wait("conversations", |lines| {
        let opened = lines.iter().filter(|line| line.contains(r#""event":"conversation""#));
        (opened.count() == STRANGERS).then_some(())
    });
    assert_eq!(pinned(&b), [] as [String; 0]);
    strangers[3].writes("B", 1, "let me in");
    listening.event("message", |_| true);
    assert_eq!(pinned(&b), ["stranger3"]);

    let forgotten = b.run(&["forget", "stranger3"]).expect(0);
    assert_eq!(forgotten.answers("forgotten")[0]["undelivered"], 0);
    assert_eq!(b.run(&["history"]).expect(0).answers("history").len(), 0);
    b.run(&["forget", "stranger4"]).expect(0);
    let refused = b.run(&["forget", "stranger4"]).expect(1);
    assert!(refused.stderr.contains("no other peer of the name stranger4"), "{}", refused.stderr);
    assert_eq!(pinned(&b), ["stranger3"], "the key stays pinned");
}
