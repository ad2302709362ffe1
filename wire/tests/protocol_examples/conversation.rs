//! Openings, sealed messages and receipts, each checked with the bare algorithms.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use rsa::Oaep;
use sha2::Sha256;
use wire::Digest;
use wire::conversation::{Incoming, MessageId, Opening, Outgoing};
use wire::protocol::{Kind, TransferId};
use wire::signal::{
    self, Complaint, FileAnswer, FileRequest, Reason, Receipt, Route, Verdict, Wish, Withdrawal,
};

use crate::layout::{Layout, values};
use crate::people::{People, Person, check_signature, signature_of};

/// When A opened its conversation; B answered two seconds later.
const OPENED_AT: u64 = 1_800_000_100;

/// The transfer in the examples.
pub(crate) const TRANSFER: TransferId =
    [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf];
/// The secret of the transfer in the examples.
pub(crate) const TRANSFER_SECRET: [u8; 32] = [0x5e; 32];
pub(crate) const TRANSFER_SALT: [u8; 16] = [0x5a; 16];
/// The file in the examples.
pub(crate) const FILE_NAME: &str = "tide.csv";
/// What is in it.
pub(crate) const FILE: &[u8] = b"hour,level\n0,1.8\n6,4.1\n";

/// Sealed bytes that other examples put into envelopes.
pub(crate) struct Talk {
    pub(crate) opening: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) opening_back: Vec<u8>,
    pub(crate) receipt: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

/// A conversation as the bare algorithms derive it.
struct ByHand {
    id: Digest,
    messages_key: Vec<u8>,
    signals_key: Vec<u8>,
}

fn derive(salt: &[u8], secret: &[u8], info: &str) -> Vec<u8> {
    let mut key = vec![0; 32];
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info.as_bytes(), &mut key).expect("32 bytes are few");
    key
}

/// Pads as PROTOCOL.md specifies: 0x80, then zeros up to a power of two, at least 128.
fn padded(content: &[u8]) -> Vec<u8> {
    let mut plaintext = [content, &[0x80]].concat();
    let mut length = 128;
    while length < plaintext.len() {
        length *= 2;
    }
    plaintext.resize(length, 0);
    plaintext
}

/// The inputs and the result of sealing.
struct Sealing {
    nonce: Vec<u8>,
    associated_data: Vec<u8>,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl ByHand {
    /// Takes an opening apart, checks each part, and shows it.
    fn open(text: &mut String, title: &str, opening: &Opening, from: &Person, to: &Person) -> Self {
        let names = (from.card.name.as_str(), to.card.name.as_str());
        let bytes = opening.as_bytes();
        let body = Layout::new()
            .given(from.card.as_bytes(), &format!("sender_card: the card of {}", names.0))
            .fixed(
                &from.identity.public().fingerprint().0,
                &format!("sender: fingerprint of {}'s identity", names.0),
            )
            .fixed(
                &to.identity.public().fingerprint().0,
                &format!("recipient: fingerprint of {}'s identity", names.1),
            )
            .fixed(
                &to.encryption.public().fingerprint().0,
                &format!("recipient_key: of {}'s encryption key", names.1),
            )
            .sized(&opening.wrapped_key, "wrapped_key")
            .fixed(&opening.commitment.0, "commitment")
            .number(opening.opened_at, "opened_at")
            .number(opening.first_number, "first_number");
        let body_bytes = body.bytes();
        body.show(text, &format!("The body of {title}"), "", &bytes[2..2 + body_bytes.len()]);
        let signature = signature_of(bytes);
        check_signature(&from.identity_bare, "switchboard/1 opening", &body_bytes, signature);
        Layout::new()
            .given(&body_bytes, &format!("body: the body of {title}"))
            .sized(signature, "signature")
            .show(
                text,
                &title.replacen("the", "The", 1),
                "The signature is over `switchboard/1 opening`, a zero byte, and the body.",
                bytes,
            );
        let padding = Oaep::<Sha256>::new_with_label(b"switchboard/1 conversation key".as_slice());
        let secret = to.encryption_bare.decrypt(padding, &opening.wrapped_key).expect("it unwraps");
        let commitment = Digest::of(&[b"switchboard/1 commitment\0", secret.as_slice()].concat());
        assert_eq!(commitment, opening.commitment, "the commitment of {title}");
        let id = Digest::of(&body_bytes);
        assert_eq!(id, opening.id, "the id of {title}");
        let messages_key = derive(&id.0, &secret, "switchboard/1 messages");
        let signals_key = derive(&id.0, &secret, "switchboard/1 signals");
        values(
            text,
            &format!("The keys of {title}"),
            "The secret is unwrapped from `wrapped_key`. The commitment is the SHA-256 of `switchboard/1 commitment`, a zero \
             byte, and the secret. The keys are derived with HKDF-SHA256: the id is the salt, the secret the input key \
             material, and `switchboard/1 messages` or `switchboard/1 signals` the info.",
            &[
                ("secret", &secret),
                ("commitment", &commitment.0),
                ("id: SHA-256 of the body", &id.0),
                ("key of messages", &messages_key),
                ("key of signals", &signals_key),
            ],
        );
        Self { id, messages_key, signals_key }
    }

    fn seal(&self, kind: Kind, number: u64, place: u64, content: &[u8]) -> Sealing {
        let key = if kind == Kind::Message { &self.messages_key } else { &self.signals_key };
        let nonce = [[0; 4].as_slice(), &place.to_be_bytes()].concat();
        let associated_data = [self.id.0.as_slice(), &[kind as u8], &number.to_le_bytes()].concat();
        let plaintext = padded(content);
        let payload = Payload { msg: &plaintext, aad: &associated_data };
        let ciphertext = Aes256Gcm::new_from_slice(key)
            .expect("the key has 32 bytes")
            .encrypt(&Nonce::try_from(nonce.as_slice()).expect("a nonce has 12 bytes"), payload)
            .expect("it is short");
        Sealing { nonce, associated_data, plaintext, ciphertext }
    }

    /// Seals with the bare algorithms, shows inputs and result, and compares the result with the library's.
    fn show(&self, text: &mut String, what: &Sealed<'_>, made_by_library: &[u8]) {
        let Sealed { title, kind, number, place, content } = what;
        let sealing = self.seal(*kind, *number, *place, content);
        let key = if *kind == Kind::Message {
            ("key of messages", self.messages_key.as_slice())
        } else {
            ("key of signals", self.signals_key.as_slice())
        };
        values(
            text,
            &format!("Sealing {title}"),
            &format!("Kind {}, number {number}, place {place}.", *kind as u8),
            &[
                key,
                ("nonce: four zeros, place", &sealing.nonce),
                ("associated data: id, kind, number", &sealing.associated_data),
                ("content", content),
                ("plaintext: content, 80, zeros", &sealing.plaintext),
            ],
        );
        let (ciphertext, tag) = sealing.ciphertext.split_at(sealing.ciphertext.len() - 16);
        Layout::new()
            .fixed(&self.id.0, "id")
            .fixed(&place.to_le_bytes(), "place")
            .fixed(ciphertext, "ciphertext")
            .fixed(tag, "tag")
            .show(text, &format!("Sealed: {title}"), "This is `sealed` in the envelope.", made_by_library);
    }
}

struct Sealed<'a> {
    title: &'a str,
    kind: Kind,
    number: u64,
    place: u64,
    content: &'a [u8],
}

fn message_content(written_at: u64, id: &MessageId, words: &str) -> Vec<u8> {
    [written_at.to_le_bytes().as_slice(), &Digest::of(words.as_bytes()).0, id, words.as_bytes()].concat()
}

/// Appends two messages. Returns the first one, sealed, and the running hash after both.
fn describe_messages(
    text: &mut String,
    outgoing: &mut Outgoing,
    incoming: &mut Incoming,
    by_hand: &ByHand,
) -> (Vec<u8>, Digest) {
    let mut hash = by_hand.id;
    let mut first = Vec::new();
    for (title, number, words) in [("the first message", 1, "Hello, B!"), ("the second message", 2, "é")] {
        let written_at = OPENED_AT + number;
        let id = [u8::try_from(number).expect("there are two"); 16];
        let sealed = outgoing.seal_message(number, &id, written_at, words);
        let content = message_content(written_at, &id, words);
        let what = Sealed { title, kind: Kind::Message, number, place: number - 1, content: &content };
        by_hand.show(text, &what, &sealed.bytes);
        hash = Digest::of(&[hash.0.as_slice(), &sealed.bytes].concat());
        assert_eq!(hash, sealed.running_hash, "the running hash after {title}");
        let opened = incoming.open_message(number, &sealed.bytes).expect("it opens");
        assert_eq!((opened.text.as_str(), opened.sent_at), (words, written_at));
        values(
            text,
            &format!("The content of {title}, and the running hash after it"),
            &format!(
                "The text is {words:?}. The running hash is the SHA-256 of the previous hash (at first the id) and the whole \
                 sealed message."
            ),
            &[
                ("time, 8 bytes, little-endian", &written_at.to_le_bytes()),
                ("SHA-256 of the text", &Digest::of(words.as_bytes()).0),
                ("id", &id),
                ("text", words.as_bytes()),
                ("running hash", &hash.0),
            ],
        );
        if first.is_empty() {
            first = sealed.bytes;
        }
    }
    (first, hash)
}

/// Appends a conversation from A to B and one from B to A.
pub(crate) fn describe(people: &mut People, text: &mut String) -> Talk {
    text.push_str("\n## A conversation from A to B\n");
    let (a, b) = (&people.a, &people.b);
    let mut there = Outgoing::open(&a.identity, &a.card, &b.card, 1, OPENED_AT, &mut people.rng);
    let opening = Opening::from_bytes(there.opening().as_bytes()).expect("what was issued reads");
    let by_hand = ByHand::open(text, "the opening from A to B", &opening, a, b);
    let mut at_b =
        Incoming::accept(&opening, &b.encryption, None, &mut people.rng).expect("it is for this key");

    let (first, hash) = describe_messages(text, &mut there, &mut at_b, &by_hand);
    let answer_content = signal::encode(&FileAnswer {
        transfer: TRANSFER,
        verdict: Verdict::Ready { bytes: FILE.len() as u64, salt: TRANSFER_SALT },
    });
    let answer = there.seal_signal(Kind::Answer, 0, &answer_content);

    text.push_str("\n## A conversation from B to A\n");
    let mut back = Outgoing::open(&b.identity, &b.card, &a.card, 1, OPENED_AT + 2, &mut people.rng);
    let opening_back = Opening::from_bytes(back.opening().as_bytes()).expect("what was issued reads");
    let back_by_hand = ByHand::open(text, "the opening from B to A", &opening_back, b, a);
    let mut at_a =
        Incoming::accept(&opening_back, &a.encryption, None, &mut people.rng).expect("it is for this key");
    let signals = signals(by_hand.id, hash);
    let mut sealed = Vec::new();
    for (place, (title, kind, number, layout, made)) in (0..).zip(signals) {
        layout.show(text, &format!("The content of {title}"), "", &made);
        let bytes = back.seal_signal(kind, number, &made);
        let what = Sealed { title, kind, number, place, content: &made };
        back_by_hand.show(text, &what, &bytes);
        let opened = at_a.open_signal(kind, number, &bytes).expect("it opens");
        assert_eq!(opened, made);
        sealed.push(bytes);
    }

    text.push_str("\n## The answer, under the conversation from A to B\n");
    Layout::new()
        .fixed(&TRANSFER, "transfer")
        .variant(0, "verdict: Ready")
        .number(FILE.len() as u64, "bytes")
        .fixed(&TRANSFER_SALT, "salt")
        .show(text, "The content of the answer", "", &answer_content);
    let what =
        Sealed { title: "the answer", kind: Kind::Answer, number: 0, place: 0, content: &answer_content };
    by_hand.show(text, &what, &answer);
    assert_eq!(at_b.open_signal(Kind::Answer, 0, &answer), Ok(answer_content.clone()));
    assert!(signal::decode::<FileAnswer>(&answer_content).is_ok());

    describe_queue(text);

    Talk {
        opening: opening.as_bytes().to_vec(),
        message: first,
        opening_back: opening_back.as_bytes().to_vec(),
        receipt: sealed[0].clone(),
        request: sealed[2].clone(),
        answer,
    }
}

/// Appends what peers say to each other when no upload slot is free.
fn describe_queue(text: &mut String) {
    text.push_str("\n## Waiting for a file\n");
    let request = FileRequest {
        transfer: TRANSFER,
        secret: TRANSFER_SECRET,
        name: FILE_NAME.parse().expect("a good name"),
        sha256: Digest::of(FILE),
        offset: 300,
        wish: Wish::Queue(Route::Server),
    };
    let layout = Layout::new()
        .fixed(&TRANSFER, "transfer")
        .fixed(&TRANSFER_SECRET, "secret")
        .text(FILE_NAME, "name")
        .fixed(&Digest::of(FILE).0, "sha256")
        .number(300, "offset")
        .variant(2, "wish: Queue")
        .variant(1, "route: Server");
    layout.show(text, "The content of a request that may wait", "", &signal::encode(&request));
    let mut of_pieces = request.clone();
    (of_pieces.offset, of_pieces.wish) = (3 << 20, Wish::Pieces(Route::Direct, 5 << 20));
    let layout = Layout::new()
        .fixed(&TRANSFER, "transfer")
        .fixed(&TRANSFER_SECRET, "secret")
        .text(FILE_NAME, "name")
        .fixed(&Digest::of(FILE).0, "sha256")
        .number(3 << 20, "offset")
        .variant(3, "wish: Pieces")
        .variant(0, "route: Direct")
        .number(5 << 20, "end");
    layout.show(text, "The content of a request for two pieces", "", &signal::encode(&of_pieces));
    let answer = signal::encode(&FileAnswer { transfer: TRANSFER, verdict: Verdict::Queued { place: 3 } });
    let layout = Layout::new().fixed(&TRANSFER, "transfer").variant(4, "verdict: Queued").number(3, "place");
    layout.show(text, "The content of the answer to it", "", &answer);
    let withdrawal = signal::encode(&Withdrawal { transfer: TRANSFER, reason: Reason::DiskFull });
    let layout = Layout::new().fixed(&TRANSFER, "transfer").variant(1, "reason: DiskFull");
    layout.show(text, "The content of the request that takes it back", "", &withdrawal);
    assert!(signal::decode::<FileRequest>(&withdrawal).is_err(), "the length tells them apart");
    assert!(signal::decode::<Withdrawal>(&signal::encode(&request)).is_err());
}

type Signal = (&'static str, Kind, u64, Layout, Vec<u8>);

/// The signals of B: a receipt for both messages, a complaint, and a request for a file.
fn signals(conversation: Digest, running_hash: Digest) -> [Signal; 3] {
    let receipt = Receipt::Received { conversation, count: 2, running_hash, last_number: 2 };
    let complaint = Receipt::Refused { conversation, count: 2, reason: Complaint::Gap };
    let request = FileRequest {
        transfer: TRANSFER,
        secret: TRANSFER_SECRET,
        name: FILE_NAME.parse().expect("a good name"),
        sha256: Digest::of(FILE),
        offset: 0,
        wish: Wish::Direct,
    };
    let made = (signal::encode(&receipt), signal::encode(&complaint), signal::encode(&request));
    assert_eq!(signal::decode(&made.0), Ok(receipt));
    assert_eq!(signal::decode(&made.1), Ok(complaint));
    assert!(signal::decode::<FileRequest>(&made.2).is_ok_and(|read| read == request));
    [
        (
            "the receipt",
            Kind::Receipt,
            2,
            Layout::new()
                .variant(0, "Received")
                .fixed(&conversation.0, "conversation: the one from A to B")
                .number(2, "count")
                .fixed(&running_hash.0, "running_hash")
                .number(2, "last_number"),
            made.0,
        ),
        (
            "a complaint",
            Kind::Receipt,
            2,
            Layout::new()
                .variant(1, "Refused")
                .fixed(&conversation.0, "conversation: the one from A to B")
                .number(2, "count")
                .variant(2, "reason: Gap"),
            made.1,
        ),
        (
            "the request for a file",
            Kind::Request,
            0,
            Layout::new()
                .fixed(&TRANSFER, "transfer")
                .fixed(&TRANSFER_SECRET, "secret")
                .text(FILE_NAME, "name")
                .fixed(&Digest::of(FILE).0, "sha256")
                .number(0, "offset")
                .variant(0, "wish: Direct"),
            made.2,
        ),
    ]
}
