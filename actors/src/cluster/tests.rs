//! The cluster's core alone: claims, presences, and links that lose what they carry.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::PeerName;
use wire::card::{Card, Term};
use wire::frame::frame;
use wire::keys::{EncryptionKey, IdentityKey};
use wire::protocol::{Envelope, Kind, ToPeer};

use super::core::{Cluster, OnDisk};
use super::interface::{Effect, Here, Input, Revision};
use super::link::{Inbound, Outbound};
use super::packet::{Body, Handled, Item, Packet, decode};
use crate::commands::cluster::{BatchId, Command, Forwarded, Incarnation, Window};
use crate::commands::network::Network;
use crate::commands::router::{JoinRefused, Member, MemberCommand, PeerKey};
use crate::commands::session::{Delivery, SessionId};
use crate::commands::store::{Frames, Origin};
use crate::config::PeerLimits;
use crate::runtime::{Core as _, NoAnswer, Now, Pending, reply};

mod addresses;
mod expired;
// It waits for futures.
#[cfg(feature = "cluster")]
mod import;
mod kept;
mod links;
mod mail;
mod newcomers;
mod published;
mod release;
mod transfers;
#[cfg(feature = "cluster")]
mod versions;

const ME: Incarnation = Incarnation(1);
const OTHER: Incarnation = Incarnation(2);
const ALIVE: Body<'static> = Body::Alive { store: [2; 16] };
const THERE: Here = Here { server: OTHER, session: 70, address: None };

static KEYS: LazyLock<[IdentityKey; 2]> =
    LazyLock::new(|| [(); 2].map(|()| IdentityKey::generate(2048, &mut rand::rng()).expect("a good size")));
static ENCRYPTION: LazyLock<EncryptionKey> =
    LazyLock::new(|| EncryptionKey::generate(2048, &mut rand::rng()).expect("a good size"));

fn mine(session: SessionId) -> Here {
    Here { server: ME, session, address: None }
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a good name")
}

fn card(text: &str, key: usize, sequence: u64) -> Card {
    let term = Term { sequence, ..Term::starting(1, u64::from(u32::MAX), None) };
    Card::issue(name(text), &KEYS[key], ENCRYPTION.public(), term, &mut rand::rng())
}

fn bytes(card: &Card) -> Bytes {
    Bytes::copy_from_slice(card.as_bytes())
}

fn envelopes(from: &str, count: u64) -> Bytes {
    let one = |number| {
        frame(&ToPeer::Envelope(Envelope { from, to: "B", kind: Kind::Message, number, sealed: b"opaque" }))
    };
    (0..count).flat_map(one).collect::<Vec<u8>>().into()
}

fn delivery(first: u64, is_stored: bool, frames: Bytes) -> Box<Delivery> {
    let origin = Origin { peer: PeerKey(1), session: 5, first };
    Box::new(Delivery { first, is_stored, is_kept: true, origin, frames: Frames::of(frames) })
}

/// A core, and a clock that the test moves.
struct Bench {
    core: Cluster,
    now: Now,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            core: Cluster::new(ME, &PeerLimits::default(), OnDisk::default()),
            now: Now::read(),
            effects: Vec::new(),
        };
        bench.take(Input::Connected(true));
        bench.effects.clear();
        bench
    }

    fn take(&mut self, input: Input) {
        self.core.handle(self.now, input, &mut self.effects);
        self.core.settle(self.now, &mut self.effects);
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.take(Input::Tick);
    }

    fn hear(&mut self, body: Body<'_>) {
        self.take(Input::Packet(Packet { from: OTHER, body }.encode().into()));
    }

    fn claim(&mut self, card: &Card) -> Pending<Result<(), JoinRefused>> {
        let (reply, pending) = reply();
        let (card, network) = (Box::new(card.clone()), Network::UNKNOWN);
        self.take(Input::Command(Command::Claim { card, network, reply }));
        pending
    }

    fn presence(&mut self, text: &str, session: SessionId, is_online: bool) {
        self.take(Input::Command(Command::Presence { name: name(text), session, is_online, address: None }));
    }

    fn here(&mut self, text: &str, here: Option<Here>, revision: Revision) {
        self.take(Input::Here { name: name(text).folded(), here, revision });
    }

    /// B is connected to the other server, and the Router knows it.
    fn with_b() -> (Self, SessionId, Member) {
        let mut bench = Self::new();
        bench.take(Input::Card { name: name("b"), card: bytes(&card("B", 1, 1)), revision: 1 });
        bench.here("b", Some(THERE), 2);
        assert_eq!(bench.appeared(), None, "the other server was not heard of");
        bench.hear(ALIVE);
        let (session, member) = bench.appear();
        (bench, session, member)
    }

    /// The presence that the Router is told of.
    fn appeared(&mut self) -> Option<SessionId> {
        let mut effects = std::mem::take(&mut self.effects).into_iter();
        effects.find_map(|effect| match effect {
            Effect::Appear { name, session, .. } if name.as_str() == "B" => Some(session),
            _ => None,
        })
    }

    #[track_caller]
    fn appear(&mut self) -> (SessionId, Member) {
        let session = self.appeared().expect("the Router is told of B");
        let member = Member { peer: PeerKey(9), session };
        self.take(Input::Appeared { session, member: Some(member) });
        (session, member)
    }

    fn deliver(&mut self, session: SessionId, delivery: Box<Delivery>) {
        self.take(Input::Command(Command::Deliver { session, delivery }));
    }

    /// What is told to the Router in the name of B.
    fn told(&mut self) -> Vec<MemberCommand> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        effects
            .filter_map(|effect| if let Effect::Tell(_, command) = effect { Some(command) } else { None })
            .collect()
    }

    /// The number of the last part and the items of each batch that was sent to the other server, in one part each.
    fn sent(&mut self) -> Vec<(u64, u64, Vec<Item>)> {
        let mut batches = Vec::new();
        self.effects.retain(|effect| {
            let Effect::Send { to: Some(OTHER), packet } = effect else { return true };
            if let Some(Packet { body: Body::Part { epoch, number, is_last: true, bytes, .. }, .. }) =
                decode(packet)
            {
                batches.push((epoch, number, wire::frame::decode(bytes).expect("it is a batch")));
            }
            false
        });
        batches
    }
}

fn is_erased(effects: &[Effect], revision: Revision) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Erase { revision: found, .. } if *found == revision))
}

fn puts(effects: &[Effect]) -> Vec<SessionId> {
    let put = |effect: &Effect| if let Effect::Put { here, .. } = effect { Some(here.session) } else { None };
    effects.iter().filter_map(put).collect()
}

#[test]
fn the_first_writer_in_the_bucket_owns_a_name() {
    let (mut bench, ours, theirs) = (Bench::new(), card("A", 0, 1), card("a", 1, 1));
    let (mine, same, foreign) = (bench.claim(&ours), bench.claim(&ours), bench.claim(&theirs));
    let creations = bench.effects.iter().filter(|effect| matches!(effect, Effect::Create { .. })).count();
    assert_eq!(creations, 1, "one operation answers all who wait for the name");
    assert_eq!(mine.wait(Duration::ZERO), Err(NoAnswer::TimedOut));
    bench.take(Input::Claimed { name: name("a"), found: Some((bytes(&ours), 1)) });
    let answers = [mine, same, foreign].map(|pending| pending.wait(Duration::ZERO));
    assert_eq!(answers, [Ok(Ok(())), Ok(Ok(())), Ok(Err(JoinRefused::NameTaken))]);
    // From now on the bucket need not be asked.
    bench.effects.clear();
    assert_eq!(bench.claim(&ours).wait(Duration::ZERO), Ok(Ok(())));
    assert_eq!(bench.claim(&theirs).wait(Duration::ZERO), Ok(Err(JoinRefused::NameTaken)));
    assert!(bench.effects.is_empty(), "{:?}", bench.effects);
    // A newer card of the same owner takes the place of the older one.
    assert_eq!(bench.claim(&card("A", 0, 2)).wait(Duration::ZERO), Ok(Ok(())));
    assert!(matches!(bench.effects[..], [Effect::Update { revision: 1, .. }]), "{:?}", bench.effects);
}

#[test]
fn without_nats_known_owners_join_and_new_names_wait() {
    let mut bench = Bench::new();
    bench.take(Input::Card { name: name("a"), card: bytes(&card("A", 0, 1)), revision: 1 });
    let lost = bench.claim(&card("new", 0, 1));
    bench.take(Input::Claimed { name: name("new"), found: None });
    assert_eq!(lost.wait(Duration::ZERO), Ok(Err(JoinRefused::NoCluster)));
    bench.take(Input::Connected(false));
    assert_eq!(bench.claim(&card("A", 0, 1)).wait(Duration::ZERO), Ok(Ok(())));
    assert_eq!(bench.claim(&card("A", 1, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::NameTaken)));
    assert_eq!(bench.claim(&card("new", 0, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::NoCluster)));
}

#[test]
fn a_card_on_the_disk_counts_until_the_bucket_can_be_asked() {
    let known = OnDisk { cards: vec![card("A", 0, 1)], ..OnDisk::default() };
    let mut bench = Bench { core: Cluster::new(ME, &PeerLimits::default(), known), ..Bench::new() };
    assert_eq!(bench.claim(&card("A", 1, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::NameTaken)));
    assert_eq!(bench.claim(&card("A", 0, 1)).wait(Duration::ZERO), Ok(Ok(())));
    bench.presence("A", 7, true);
    bench.effects.clear();
    bench.take(Input::Connected(true));
    assert!(matches!(bench.effects[0], Effect::Create { .. }), "{:?}", bench.effects);
    // Somebody else has claimed it at another server before.
    bench.take(Input::Claimed { name: name("a"), found: Some((bytes(&card("a", 1, 1)), 9)) });
    assert_eq!(bench.claim(&card("A", 0, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::NameTaken)));
}

#[test]
fn one_address_claims_a_limited_number_of_new_names() {
    let limits = PeerLimits { new_names_per_hour: 1, ..PeerLimits::default() };
    let mut bench = Bench { core: Cluster::new(ME, &limits, OnDisk::default()), ..Bench::new() };
    bench.take(Input::Connected(true));
    let first = bench.claim(&card("one", 0, 1));
    assert_eq!(first.wait(Duration::ZERO), Err(NoAnswer::TimedOut), "it waits for the bucket");
    assert_eq!(bench.claim(&card("two", 0, 1)).wait(Duration::ZERO), Ok(Err(JoinRefused::TooManyNames)));
}

#[test]
fn a_join_here_is_written_and_erased_when_the_session_ends() {
    let mut bench = Bench::new();
    bench.presence("A", 7, true);
    assert_eq!(puts(&bench.effects), [7]);
    // It ends while the write is under way, and somebody joins again.
    bench.presence("A", 7, false);
    bench.presence("A", 8, true);
    assert_eq!(puts(&bench.effects), [7], "one operation for a name at a time");
    bench.take(Input::Put { name: name("a"), here: mine(7), revision: Some(3) });
    bench.here("a", Some(mine(7)), 3);
    assert_eq!(puts(&bench.effects), [7, 8]);
    bench.take(Input::Put { name: name("a"), here: mine(8), revision: None });
    bench.pass(Duration::from_secs(1));
    assert_eq!(puts(&bench.effects), [7, 8, 8], "a failed write is tried again");
    bench.take(Input::Put { name: name("a"), here: mine(8), revision: Some(4) });
    bench.presence("A", 8, false);
    assert!(!is_erased(&bench.effects, 3), "the bucket is known to have a later one");
    bench.here("a", Some(mine(8)), 4);
    assert!(is_erased(&bench.effects, 4));
}

#[test]
fn the_latest_join_in_the_bucket_is_the_presence() {
    let mut bench = Bench::new();
    bench.take(Input::Card { name: name("b"), card: bytes(&card("B", 1, 1)), revision: 1 });
    bench.hear(ALIVE);
    bench.presence("B", 7, true);
    bench.here("b", Some(THERE), 2);
    assert_eq!(bench.appeared(), None, "the join here may come after it");
    bench.take(Input::Put { name: name("b"), here: mine(7), revision: Some(3) });
    bench.here("b", Some(mine(7)), 3);
    assert_eq!(bench.appeared(), None, "it does");
    bench.here("b", Some(THERE), 4);
    assert!(bench.appeared().is_some(), "this one is later, so the Router ends the session here");
}

#[test]
fn envelopes_are_kept_until_the_other_server_has_relayed_them() {
    let (mut bench, session, member) = Bench::with_b();
    bench.deliver(session, delivery(0, true, envelopes("A", 2)));
    bench.deliver(session, delivery(2, false, envelopes("A", 1)));
    let sent = bench.sent();
    let items: Vec<&Item> = sent.iter().flat_map(|(_, _, items)| items).collect();
    let ends =
        items.iter().map(|item| (item.from.as_str(), item.to.as_str(), item.session)).collect::<Vec<_>>();
    assert_eq!(ends, [("A", "b", THERE.session); 2]);
    let (epoch, number, _) = sent[0];
    bench.hear(Body::Done(vec![Handled { epoch, number, refused: vec![] }]));
    assert!(bench.told().is_empty(), "the other server can still lose what it was given");
    bench.hear(Body::Taken { presence: session, count: 2 });
    assert!(matches!(bench.told()[..], [MemberCommand::Taken(2)]), "the store may drop what was taken");
    // The other server refuses the rest, so it goes back to the Router and B counts as absent for a while.
    bench.hear(Body::Done(vec![Handled { epoch, number: sent[1].1, refused: vec![0] }]));
    assert!(matches!(bench.told()[..], [MemberCommand::Leave]));
    bench.deliver(session, delivery(3, false, envelopes("A", 1)));
    assert_eq!(bench.sent().len(), 0, "what comes behind a refused one waits too");
    bench.take(Input::Command(Command::Closed { session }));
    let Some(MemberCommand::HandBack(back)) = bench.told().pop() else { panic!("it is handed back") };
    assert_eq!(back.iter().map(|delivery| delivery.first).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(bench.appeared(), None);
    bench.pass(Duration::from_secs(1));
    assert_ne!(bench.appear(), (session, member), "it is another presence");
}

#[test]
fn a_lost_outcome_ends_the_epoch_and_everything_goes_back() {
    for is_overdue in [false, true] {
        let (mut bench, session, _) = Bench::with_b();
        bench.deliver(session, delivery(0, false, envelopes("A", 1)));
        bench.deliver(session, delivery(1, false, envelopes("A", 1)));
        let sent = bench.sent();
        assert_eq!(
            sent.iter().map(|(epoch, number, _)| (*epoch, *number)).collect::<Vec<_>>(),
            [(1, 0), (1, 1)]
        );
        if is_overdue {
            bench.pass(Duration::from_secs(2));
        } else {
            bench.hear(Body::Done(vec![Handled { epoch: 1, number: 1, refused: vec![] }]));
        }
        assert!(matches!(bench.told()[..], [MemberCommand::Leave]));
        bench.take(Input::Command(Command::Closed { session }));
        let Some(MemberCommand::HandBack(back)) = bench.told().pop() else { panic!("it is handed back") };
        assert_eq!(back.len(), 2);
        bench.hear(ALIVE);
        bench.pass(Duration::from_secs(1));
        let (session, _) = bench.appear();
        bench.hear(Body::Done(vec![Handled { epoch: 1, number: 0, refused: vec![] }]));
        bench.deliver(session, delivery(0, true, envelopes("A", 1)));
        assert_eq!(bench.sent()[0].0, 2, "an outcome of the old epoch changes nothing");
    }
}

#[test]
fn the_peers_of_a_silent_server_are_absent_until_it_is_heard_again() {
    let (mut bench, session, _) = Bench::with_b();
    bench.pass(Duration::from_secs(5));
    assert!(bench.told().is_empty());
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.told()[..], [MemberCommand::Leave]));
    bench.take(Input::Command(Command::Closed { session }));
    bench.effects.clear();
    bench.hear(ALIVE);
    let (session, _) = bench.appear();
    bench.hear(Body::Ends);
    assert!(matches!(bench.told()[..], [MemberCommand::Leave]), "a server that says so ends at once");
    bench.take(Input::Command(Command::Closed { session }));
    bench.effects.clear();
    bench.pass(Duration::from_secs(130));
    bench.pass(Duration::from_secs(130));
    assert!(is_erased(&bench.effects, 2), "the presences of a server that does not come back are removed");
}

#[test]
fn a_presence_survives_a_connection_that_was_lost_for_long() {
    // At the server that was cut off, the other's presence stays.
    let (mut bench, ..) = Bench::with_b();
    bench.take(Input::Connected(false));
    bench.pass(Duration::from_secs(130));
    bench.take(Input::Connected(true));
    bench.pass(Duration::from_secs(1));
    assert!(!is_erased(&bench.effects, 2), "the other server had no chance to be heard");
    // The other one has erased ours.
    bench.presence("A", 7, true);
    bench.take(Input::Put { name: name("a"), here: mine(7), revision: Some(3) });
    bench.here("a", Some(mine(7)), 3);
    bench.here("a", None, 4);
    assert_eq!(puts(&bench.effects), [7, 7]);
}

#[test]
fn a_window_refuses_what_it_has_no_room_for_and_says_when_it_has() {
    let (mut bench, session, _) = Bench::with_b();
    let window = Arc::new(Window::default());
    assert!(!window.has_room_again());
    let (handle, mut mailbox) = crate::commands::cluster::cluster_mailbox();
    let port = handle.port(session, Arc::clone(&window));
    let large = || delivery(0, false, vec![7; 4 << 20].into());
    let offer = || port.offer(crate::commands::session::SessionCommand::Deliver(large()));
    assert!(offer().is_ok() && offer().is_ok());
    assert!(offer().is_err());
    assert!(!window.has_room_again(), "it is full");
    let Ok(Command::Deliver { delivery, .. }) = mailbox.try_recv() else { panic!("it was taken") };
    window.release(2 * delivery.cost());
    assert!(window.has_room_again());
    assert!(!window.has_room_again(), "once");
    bench.effects.clear();
}

#[test]
fn the_router_gets_what_an_item_says() {
    let mut bench = Bench::new();
    let frames = envelopes("A", 2);
    let item = Item {
        from: name("A"),
        to: name("b"),
        session: 70,
        presence: 1,
        is_kept: false,
        is_stored: true,
        frames: frames.to_vec(),
    };
    let bytes = &wire::frame::body(&vec![item]);
    bench.hear(Body::Part { epoch: 1, number: 0, is_last: true, handled: vec![], bytes });
    let forward = bench.effects.iter().find_map(|effect| match effect {
        Effect::Forward(_, envelopes) => Some(envelopes.clone()),
        _ => None,
    });
    let frames = Frames::of(frames);
    let (from, to, is_kept, stored) = (name("A"), name("b"), false, Some(0));
    let wanted = Forwarded { from, to, session: 70, is_kept, stored, frames };
    assert_eq!(forward, Some(vec![wanted]));
}
