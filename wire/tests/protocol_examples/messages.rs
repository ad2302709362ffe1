//! Each message between a peer and the server, as a frame.

use std::fmt::Write as _;

use wire::Digest;
use wire::frame::{self, CALLBACK_PREFACE, FILE_PREFACE, LENGTH_BYTES, PREFACE};
use wire::invitation::{Invitation, prove_known};
use wire::keys::Purpose;
use wire::protocol::{
    ChannelBinding, Envelope, ErrorCode, Greeting, Kind, KnownPeer, Outcome, Refusal, Side, ToPeer, ToServer,
    decode_envelope, join_proof_text,
};
use wire::server_key::ServerKey;

use crate::conversation::{TRANSFER, Talk};
use crate::layout::{Layout, values, varint};
use crate::people::{People, check_signature};
use crate::searches;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The server's values in the examples.
const NONCE: [u8; 32] = [0x6e; 32];
const SERVER: [u8; 16] = [0x5a; 16];
const SEED: [u8; 32] = [0x5e; 32];
const ECHO: [u8; 32] = [0xec; 32];
const BINDING: ChannelBinding = ChannelBinding([0xcb; 32]);

pub(crate) fn to_server(text: &mut String, title: &str, layout: Layout, message: &ToServer<'_>) {
    let frame = frame::frame(message);
    let title = format!("ToServer {title}");
    layout.framed().show(text, &title, "", &frame);
    assert_eq!(ToServer::decode(&frame[LENGTH_BYTES..]).as_ref(), Ok(message), "{title}");
}

pub(crate) fn to_peer(text: &mut String, title: &str, layout: Layout, message: &ToPeer<'_>) {
    let frame = frame::frame(message);
    let title = format!("ToPeer {title}");
    layout.framed().show(text, &title, "", &frame);
    assert_eq!(ToPeer::decode(&frame[LENGTH_BYTES..]).as_ref(), Ok(message), "{title}");
}

/// Appends what A signs when it joins over TLS. `plain` is what it signs without TLS.
fn joining_over_tls(people: &People, text: &mut String, plain: &[u8], bound: &[u8]) {
    assert_eq!(bound, [plain, &BINDING.0].concat());
    // A generator of its own, so that the other examples do not depend on this one.
    let proof = people.a.identity.sign(Purpose::Join, bound, &mut StdRng::seed_from_u64(1));
    check_signature(&people.a.identity_bare, "switchboard/1 join", bound, &proof);
    values(
        text,
        "The bytes that A signs to join over TLS",
        "The same 112 bytes and the channel binding of the TLS connection: `tls-exporter` (RFC 9266), 32 bytes that TLS exports \
         with the label `EXPORTER-Channel-Binding` and an empty context.",
        &[
            ("the 112 bytes that it signs without TLS", plain),
            ("channel binding", &BINDING.0),
            ("a signature over `switchboard/1 join`, a zero byte, and these 144 bytes", &proof),
        ],
    );
}

/// Appends how numbers are written, and how A joins.
pub(crate) fn joining(people: &mut People, text: &mut String) {
    text.push_str("\n## Numbers\n\n| number | bytes |\n|---|---|\n");
    for number in [0, 1, 127, 128, 300, 16_383, 16_384, 1_800_000_000, u64::MAX] {
        assert_eq!(postcard::to_stdvec(&number), Ok(varint(number)));
        let hex = data_encoding::HEXLOWER.encode(&varint(number));
        let _ = writeln!(text, "| {number} | `{hex}` |");
    }
    text.push_str("\n## Joining\n");
    values(
        text,
        "First bytes of connections",
        "The last two are followed by a challenge and by a transfer.",
        &[
            ("from a peer to a server: SWB2", &PREFACE),
            (
                "from a server that calls back: SWBC, challenge",
                &[CALLBACK_PREFACE.as_slice(), &ECHO].concat(),
            ),
            (
                "from a peer that fetches a file: SWBF, transfer",
                &[FILE_PREFACE.as_slice(), &TRANSFER].concat(),
            ),
        ],
    );
    let key = ServerKey::from_seed(&SEED);
    let greeting = Greeting { nonce: NONCE, server: SERVER, key: key.public() };
    values(
        text,
        "The key of the server",
        "An Ed25519 key (RFC 8032). Its fingerprint is the SHA-256 digest of the 32 bytes of the public key.",
        &[
            ("private key (seed)", &SEED),
            ("public key", &key.public().0),
            ("fingerprint", &key.public().fingerprint().0),
        ],
    );
    to_peer(
        text,
        "1, Hello",
        Layout::new()
            .variant(1, "Hello")
            .fixed(&NONCE, "nonce")
            .fixed(&SERVER, "server")
            .fixed(&key.public().0, "key: the public key of the server"),
        &ToPeer::Hello(greeting),
    );
    let card = people.a.card.as_bytes().to_vec();
    let proof_text = [NONCE.as_slice(), &SERVER, &key.public().0, &Digest::of(&card).0].concat();
    assert_eq!(proof_text, join_proof_text(&greeting, &card, None));
    values(
        text,
        "The bytes that A signs to join",
        "The signature is over `switchboard/1 join`, a zero byte, and these 112 bytes.",
        &[
            ("nonce of the server", &NONCE),
            ("server: which store it has", &SERVER),
            ("public key of the server", &key.public().0),
            ("SHA-256 of the card of A", &Digest::of(&card).0),
        ],
    );
    joining_over_tls(people, text, &proof_text, &join_proof_text(&greeting, &card, Some(&BINDING)));
    let proof = people.a.identity.sign(Purpose::Join, &proof_text, &mut people.rng);
    check_signature(&people.a.identity_bare, "switchboard/1 join", &proof_text, &proof);
    let invitation = Invitation::new(*b"invite one peer!", &key.public().fingerprint());
    let claim = invitation.claim(&proof_text);
    values(
        text,
        "An invitation",
        "Its text is the base32 (RFC 4648, section 6) of the secret and the first 16 bytes of the server's fingerprint. The MAC is \
         HMAC-SHA256 under the secret, over the same 112 bytes.",
        &[
            ("text", invitation.to_string().as_bytes()),
            ("secret", invitation.secret()),
            (
                "id: the first 8 bytes of SHA-256 of `switchboard/1 invitation`, a zero byte, secret",
                &claim.id,
            ),
            ("mac, for the join of A", &claim.mac),
        ],
    );
    let join = Layout::new().variant(1, "Join").given(&card, "card: the card of A").sized(&proof, "proof");
    let without = join.clone().fixed(&[0], "no invitation");
    to_server(
        text,
        "1, Join",
        without,
        &ToServer::Join { card: card.clone(), proof: proof.clone(), invitation: None },
    );
    let with = join.fixed(&[1], "an invitation follows").fixed(&claim.id, "id").fixed(&claim.mac, "mac");
    let welcome = key.welcome(&proof);
    to_server(
        text,
        "1, Join, with an invitation",
        with,
        &ToServer::Join { card: card.clone(), proof: proof.clone(), invitation: Some(claim) },
    );
    let elsewhere = Layout::new().variant(15, "JoinInvited").given(&card, "card: the card of A");
    let elsewhere = elsewhere.sized(&proof, "proof").fixed(&claim.id, "id").fixed(&claim.mac, "mac");
    to_server(
        text,
        "15, JoinInvited, if the invitation names another server",
        elsewhere,
        &ToServer::JoinInvited { card, proof, invitation: claim },
    );
    let known = prove_known(invitation.secret(), &proof_text);
    to_peer(
        text,
        "18, Invited",
        Layout::new().variant(18, "Invited").fixed(
            &known,
            "proof: HMAC-SHA256 under the secret, over `switchboard/1 known invitation`, a zero byte, and the 112 bytes",
        ),
        &ToPeer::Invited { proof: known },
    );
    to_peer(
        text,
        "2, Welcome",
        Layout::new().variant(2, "Welcome").text("A", "name").sized(
            &welcome,
            "proof: signature over `switchboard/1 welcome`, a zero byte, and SHA-256 of the proof in the Join",
        ),
        &ToPeer::Welcome { name: "A".parse().expect("a good name"), proof: welcome.clone() },
    );
}

/// Appends all other messages.
pub(crate) fn describe(people: &People, talk: &Talk, text: &mut String) {
    text.push_str("\n## Envelopes\n\nAn envelope has the same bytes in both directions.\n");
    let envelopes = [
        ("the opening from A to B", "A", "B", Kind::Opening, 1, &talk.opening),
        ("the first message", "A", "B", Kind::Message, 1, &talk.message),
        ("the opening from B to A", "B", "A", Kind::Opening, 1, &talk.opening_back),
        ("the receipt", "B", "A", Kind::Receipt, 2, &talk.receipt),
        ("the request for a file", "B", "A", Kind::Request, 0, &talk.request),
        ("the answer", "A", "B", Kind::Answer, 0, &talk.answer),
    ];
    for (what, from, to, kind, number, sealed) in envelopes {
        let given = match kind {
            Kind::Opening => format!("sealed: {what}"),
            _ => format!("sealed: see \"Sealed: {what}\""),
        };
        let layout = Layout::new()
            .variant(0, "Envelope")
            .text(from, "from")
            .text(to, "to")
            .variant(kind as u64, &format!("kind: {}", kind.as_str()))
            .number(number, "number")
            .given(sealed, &given);
        let envelope = Envelope { from, to, kind, number, sealed };
        let frame = frame::frame(&ToPeer::Envelope(envelope.clone()));
        assert_eq!(decode_envelope(&frame[LENGTH_BYTES..]), Some(Ok(envelope.clone())));
        to_server(
            text,
            &format!("0 and ToPeer 0, Envelope with {what}"),
            layout,
            &ToServer::Envelope(envelope),
        );
    }
    text.push_str("\n## Other messages to the server\n");
    describe_to_server(text);
    text.push_str("\n## Other messages to a peer\n");
    describe_to_peer(people, text);
}

fn describe_to_server(text: &mut String) {
    to_server(
        text,
        "2, Taken",
        Layout::new().variant(2, "Taken").number(300, "count"),
        &ToServer::Taken { count: 300 },
    );
    to_server(
        text,
        "3, Lookup",
        Layout::new().variant(3, "Lookup").text("B", "name"),
        &ToServer::Lookup { name: "B".parse().expect("a good name") },
    );
    let (file, layout) = searches::published();
    let publish = Layout::new()
        .variant(4, "Publish")
        .number(0, "part")
        .fixed(&[1], "last: true")
        .number(1, "number of files");
    to_server(
        text,
        "4, Publish",
        layout(publish),
        &ToServer::Publish { part: 0, last: true, files: vec![file] },
    );
    searches::to_the_server(text);
    to_server(
        text,
        "6, Listening",
        Layout::new().variant(6, "Listening").number(40_000, "port"),
        &ToServer::Listening { port: 40_000 },
    );
    to_server(
        text,
        "7, CalledBack",
        Layout::new().variant(7, "CalledBack").fixed(&ECHO, "echo"),
        &ToServer::CalledBack { echo: ECHO },
    );
    to_server(text, "8, Who", Layout::new().variant(8, "Who").number(8, "id"), &ToServer::Who { id: 8 });
    to_server(
        text,
        "9, Splice",
        Layout::new()
            .variant(9, "Splice")
            .fixed(&TRANSFER, "transfer")
            .variant(1, "side: Receiver")
            .text("A", "member")
            .fixed(&NONCE, "token: the nonce in the Hello on the connection on which A has joined"),
        &ToServer::Splice {
            transfer: TRANSFER,
            side: Side::Receiver,
            member: "A".parse().expect("a good name"),
            token: NONCE,
        },
    );
    to_server(
        text,
        "10, Ping",
        Layout::new().variant(10, "Ping").number(8, "id").number(1, "number of names").text("B", "name"),
        &ToServer::Ping { id: 8, names: vec!["B".parse().expect("a good name")] },
    );
    searches::find(text);
    searches::change(text);
    searches::limits(text);
}

fn describe_routed(text: &mut String) {
    let outcomes = [
        (Outcome::Relayed, Layout::new().variant(0, "outcome: Relayed")),
        (Outcome::Stored, Layout::new().variant(1, "outcome: Stored")),
        (
            Outcome::Refused(Refusal::MailboxFull),
            Layout::new().variant(2, "outcome: Refused").variant(0, "MailboxFull"),
        ),
    ];
    for (outcome, layout) in outcomes {
        let title = format!("3, Routed, {outcome:?}");
        let layout = Layout::new().variant(3, "Routed").number(0, "first").number(2, "count").then(layout);
        to_peer(text, &title, layout, &ToPeer::Routed { first: 0, count: 2, outcome });
    }
}

fn describe_to_peer(people: &People, text: &mut String) {
    describe_routed(text);
    let card = people.b.card.as_bytes().to_vec();
    to_peer(
        text,
        "4, Card",
        Layout::new().variant(4, "Card").given(&card, "card: the card of B"),
        &ToPeer::Card { card },
    );
    to_peer(
        text,
        "5, Unknown",
        Layout::new().variant(5, "Unknown").text("C", "name"),
        &ToPeer::Unknown { name: "C".parse().expect("a good name") },
    );
    to_peer(
        text,
        "6, Published",
        Layout::new().variant(6, "Published").number(1, "files").number(2, "pairs"),
        &ToPeer::Published { files: 1, pairs: 2 },
    );
    searches::found(text);
    describe_reachable(text);
    let fingerprint = people.b.card.fingerprint();
    to_peer(
        text,
        "9, Known",
        Layout::new()
            .variant(9, "Known")
            .number(8, "id")
            .number(1, "number of peers")
            .text("B", "name")
            .fixed(&fingerprint.0, "fingerprint")
            .fixed(&[1], "online: true"),
        &ToPeer::Known {
            id: 8,
            peers: vec![KnownPeer { name: "B".parse().expect("a good name"), fingerprint, online: true }],
        },
    );
    to_peer(
        text,
        "10, Failed",
        Layout::new().variant(10, "Failed").number(7, "id").text("the server is busy; try again", "detail"),
        &ToPeer::Failed { id: 7, detail: "the server is busy; try again".into() },
    );
    to_peer(text, "11, Spliced", Layout::new().variant(11, "Spliced"), &ToPeer::Spliced);
    to_peer(
        text,
        "12, Error",
        Layout::new().variant(12, "Error").variant(3, "code: OutOfPlace").text("join first", "detail"),
        &ToPeer::Error { code: ErrorCode::OutOfPlace, detail: "join first".into() },
    );
    to_peer(
        text,
        "13, Pong",
        Layout::new().variant(13, "Pong").number(8, "id").number(1, "number of names").text("B", "name"),
        &ToPeer::Pong { id: 8, present: vec!["B".parse().expect("a good name")] },
    );
    let c = || "C".parse().expect("a good name");
    to_peer(
        text,
        "14, Expired",
        Layout::new().variant(14, "Expired").text("C", "to").number(3, "first").number(5, "last"),
        &ToPeer::Expired { to: c(), first: 3, last: 5 },
    );
    to_peer(
        text,
        "15, Unwatched",
        Layout::new().variant(15, "Unwatched").text("C", "name").variant(6, "reason: SenderNames"),
        &ToPeer::Unwatched { name: c(), reason: Refusal::SenderNames },
    );
    searches::matches(text);
}

fn describe_reachable(text: &mut String) {
    let v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    to_peer(
        text,
        "8, Reachable, over IPv6",
        Layout::new()
            .variant(8, "Reachable")
            .fixed(&[1], "address: present")
            .variant(1, "IPv6")
            .fixed(&v6, "2001:db8::7")
            .number(40_000, "port"),
        &ToPeer::Reachable { address: Some((v6, 40_000).into()) },
    );
    to_peer(
        text,
        "8, Reachable, without an address",
        Layout::new().variant(8, "Reachable").fixed(&[0], "address: absent"),
        &ToPeer::Reachable { address: None },
    );
}
