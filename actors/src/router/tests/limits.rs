//! The limits for each sender, for each address and in all.

use super::*;
use crate::commands::cluster::Offered;
use crate::commands::router::{Partner, SpliceEnd, SpliceRefused};
use crate::commands::store::Counted;
use crate::config::Quota;
use crate::runtime::Pending;
use wire::protocol::{Side, Token};

/// Sends one envelope. Returns the outcome, or `None` if the envelope went to the store.
fn route_one(world: &mut World, at: usize, to: &str, bytes: &'static [u8]) -> Option<Outcome> {
    route(world, at, to, 0, bytes)
}

/// The same for an envelope that counts as so many openings.
fn route(world: &mut World, at: usize, to: &str, openings: u32, bytes: &'static [u8]) -> Option<Outcome> {
    let joint = world.peers[at].session.as_mut().expect("it has joined");
    let (from, port, first) = (joint.member, joint.port.clone(), joint.sent);
    joint.sent += 1;
    let run = Run {
        to: name(to),
        kept: true,
        first,
        openings,
        wants_route: false,
        frames: one(Bytes::from_static(bytes)),
    };
    world.handle(Command::From(from, MemberCommand::Route(vec![run])));
    let told = port.lock().mailbox.pop_front();
    told.map(|command| match command {
        SessionCommand::Routed { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    })
}

const KIB: u64 = 1 << 10;

#[test]
fn a_full_mailbox_on_the_server_is_refused_and_loses_nothing() {
    // Room for two envelopes, each of which counts 1 KiB and its size.
    let limits = PeerLimits { mail_bytes_per_recipient: 2 * KIB + 20, ..PeerLimits::default() };
    let mut world = World::with_limits(limits);
    world.join(0);
    world.join(1);
    assert_eq!(route_one(&mut world, 0, "X", b"ten bytes."), None);
    assert_eq!(route_one(&mut world, 1, "X", b"ten bytes."), None);
    let full = Some(Outcome::Refused(Refusal::MailboxFull));
    assert_eq!(route_one(&mut world, 0, "X", b"1"), full);
    assert_eq!(world.store.0.borrow().mail.len(), 2);
    world.complete(2);
}

#[test]
fn what_other_servers_of_a_cluster_keep_for_a_mailbox_counts_too() {
    let limits = PeerLimits { mail_bytes_per_recipient: 4 * KIB, ..PeerLimits::default() };
    let mut world = World::with_limits(limits);
    world.join(0);
    let elsewhere = |world: &mut World, bytes| {
        world.handle(Command::KeptElsewhere(vec![(Counted::Recipient(name("x")), bytes)]));
    };
    elsewhere(&mut world, 3 * KIB);
    let full = Some(Outcome::Refused(Refusal::MailboxFull));
    assert_eq!(route_one(&mut world, 0, "X", b"1"), full);
    assert_eq!(route_one(&mut world, 0, "Y", b"1"), None, "others have their own mailbox");
    elsewhere(&mut world, 2 * KIB);
    assert_eq!(route_one(&mut world, 0, "X", b"1"), None);
}

#[test]
fn mail_of_a_server_that_is_gone_expires_as_that_of_this_one() {
    let mut world = World::new();
    world.join(0);
    let notice = || Some(one(Bytes::from_static(b"notice")));
    let expired =
        |sender: &str| Command::Expired { sender: name(sender), name: name("x"), count: 2, notice: notice() };
    world.handle(expired("A"));
    world.handle(expired("nobody-at-all"));
    world.leave(0);
    world.handle(expired("A"));
    let stored: Vec<_> = world.store.0.borrow().mail.keys().map(|(name, _)| name.clone()).collect();
    assert_eq!(stored, ["a", "a"], "one was handed back, and nobody else is told");
}

#[test]
fn a_flood_of_mail_fills_the_share_of_its_sender_only() {
    let mail_bytes = Quota { per_sender: 3 * KIB + 3, per_address: 100 * KIB, in_all: 100 * KIB };
    let mut world = World::with_limits(PeerLimits { mail_bytes, ..PeerLimits::default() });
    world.join(0);
    world.join(1);
    for to in ["X", "Y", "Z"] {
        assert_eq!(route_one(&mut world, 0, to, b"1"), None);
    }
    let full = Some(Outcome::Refused(Refusal::SenderFull));
    assert_eq!(route_one(&mut world, 0, "X", b"1"), full, "whoever it is for");
    assert_eq!(route_one(&mut world, 1, "X", b"1"), None, "others have their own share");
    // Delivered mail makes room, even if the store forgets only a part of it.
    world.router.handle(
        Now::read(),
        Command::Completed(Completion::Forgotten {
            name: name("x"),
            places: 0..1,
            amounts: vec![(sender("a"), Amount { envelopes: 1, bytes: 1 })],
        }),
        &mut (),
    );
    world.complete(usize::MAX);
    world.peers[0].session.as_ref().expect("it has joined").port.lock().mailbox.clear();
    assert_eq!(route_one(&mut world, 0, "Y", b"1"), None);
}

/// The next command in the mailbox of a peer's session.
fn next_told(world: &World, at: usize) -> Option<SessionCommand> {
    let joint = world.peers[at].session.as_ref().expect("it has joined");
    joint.port.lock().mailbox.pop_front()
}

fn look_up(world: &mut World, at: usize, text: &str) -> [Option<SessionCommand>; 2] {
    let by = world.peers[at].session.as_ref().expect("it has joined").member;
    world.handle(Command::From(by, MemberCommand::Lookup(name(text))));
    [next_told(world, at), next_told(world, at)]
}

#[test]
fn made_up_names_use_up_the_places_of_their_sender_only_and_it_is_told() {
    let waiting_names = Quota { per_sender: 3, per_address: 100, in_all: 100 };
    let limits = PeerLimits { waiting_names, ..PeerLimits::default() };
    let mut world = World::with_limits(limits.clone());
    world.join(0);
    world.join(1);
    for to in ["X", "Y", "Z"] {
        assert_eq!(route_one(&mut world, 0, to, b"1"), None);
    }
    let full = Some(Outcome::Refused(Refusal::SenderNames));
    assert_eq!(route_one(&mut world, 0, "W", b"1"), full);
    assert_eq!(route_one(&mut world, 0, "B", b"1"), Some(Outcome::Relayed), "known names are not charged");
    let unknown = |text: &str| Some(SessionCommand::Unknown(name(text)));
    let unwatched = Some(SessionCommand::Unwatched(name("W"), Refusal::SenderNames));
    assert_eq!(look_up(&mut world, 0, "W"), [unwatched.clone(), None]);
    next_told(&world, 1);
    assert_eq!(look_up(&mut world, 1, "V"), [unknown("V"), None], "others have their own places");
    assert_eq!(look_up(&mut world, 0, "V"), [unknown("V"), None], "a name is charged once");

    // After a restart the names are still charged to their sender, and one is freed when its peer joins.
    let amounts = vec![(sender("a"), Amount { envelopes: 1, bytes: 1 })];
    let mailboxes =
        ["c", "y", "z"].map(|text| store::MailboxSize { name: name(text), amounts: amounts.clone(), end: 1 });
    let inventory = Inventory { mailboxes: mailboxes.into(), ..Inventory::default() };
    let mut world = World::with_limits(limits.clone());
    world.router = Router::new(limits, inventory, world.store.clone(), Deaf::default());
    world.join(0);
    world.join(1);
    assert_eq!(look_up(&mut world, 0, "W"), [unwatched, None]);
    assert_eq!(look_up(&mut world, 1, "W"), [unknown("W"), None]);
    world.join(2);
    assert_eq!(look_up(&mut world, 0, "U"), [unknown("U"), None]);
}

#[test]
fn a_session_that_watches_too_many_names_is_told() {
    let mut world = World::with_limits(PeerLimits { watched_names: 1, ..PeerLimits::default() });
    world.join(0);
    world.join(1);
    assert!(matches!(look_up(&mut world, 0, "B"), [Some(SessionCommand::Card(_)), None]));
    let unwatched = Some(SessionCommand::Unwatched(name("X"), Refusal::Watching));
    assert_eq!(look_up(&mut world, 0, "X"), [unwatched, None]);
    assert_eq!(world.router.ledger.all(), Usage::default(), "a name that is not watched is not charged");
}

#[test]
fn old_mail_is_dropped_and_its_sender_is_told_now_or_when_it_joins() {
    const LIFETIME: Duration = Duration::from_secs(1000);
    let mut world = World::with_limits(PeerLimits { mail_lifetime: LIFETIME, ..PeerLimits::default() });
    let start = Now::read();
    let after = |seconds| {
        let more = Duration::from_secs(seconds);
        Now { instant: start.instant + more, time: start.time + more }
    };
    assert_eq!(world.router.sweep(start), None, "there is no mail");
    world.join(0);
    world.join(1);
    assert_eq!(route_one(&mut world, 0, "X", b"by A"), None);
    assert_eq!(route_one(&mut world, 1, "X", b"by B"), None);
    world.complete(usize::MAX);
    world.leave(1);
    let due = world.router.sweep(start).expect("there is mail");
    assert!(due <= start.instant + LIFETIME / 50, "it is looked at often enough");
    assert_eq!(world.router.sweep(after(900)), None, "it asks the store");
    world.complete(usize::MAX);
    assert_eq!(world.store.0.borrow().mail.len(), 2, "not old enough");
    assert_eq!(world.router.sweep(after(1002)), None, "it asks the store");
    world.complete(usize::MAX);
    let told: Vec<_> = std::iter::from_fn(|| next_told(&world, 0)).collect();
    let Some(SessionCommand::Deliver(notice)) = told.last() else { panic!("{told:?}") };
    assert_eq!(&notice.frames.bytes[..], b"expired: b\"by A\"");
    // What is left is the notice for B.
    world.settle();
    assert_eq!(world.peers[1].taken, ["expired: b\"by B\""]);
    assert_eq!(world.router.ledger.all(), Usage::default());
}

/// Sends one end of a transfer to the Router.
fn splice(world: &mut World, end: SpliceEnd) -> Pending<Partner> {
    let (reply, pending) = reply();
    world.handle(Command::Splice { end, reply });
    pending
}

fn end(session: SessionId, transfer: u8, side: Side, member: &str) -> SpliceEnd {
    let network = network(if member == "A" { 1 } else { 2 });
    let (transfer, member) = ([transfer; 16], name(member));
    SpliceEnd { session, network, transfer, side, member, token: TOKEN, guest: None }
}

fn refused(pending: &Pending<Partner>) -> Option<SpliceRefused> {
    match pending.wait(Duration::ZERO) {
        Ok(Partner::Refused(refused)) => Some(refused),
        _ => None,
    }
}

#[test]
fn only_members_transfer_files_and_have_places_of_their_own() {
    let transfers = Quota { per_sender: 2, per_address: 3, in_all: 100 };
    let mut world = World::with_limits(PeerLimits { transfers, ..PeerLimits::default() });
    let stranger = splice(&mut world, end(100, 1, Side::Sender, "A"));
    assert_eq!(refused(&stranger), Some(SpliceRefused::NoMember), "it has not joined");
    world.join(0);
    world.join(1);
    let thief = SpliceEnd { token: [5; 32], ..end(101, 1, Side::Sender, "A") };
    assert_eq!(refused(&splice(&mut world, thief)), Some(SpliceRefused::NoMember), "anybody can say a name");
    // Lonely ends use up the places of their member only.
    let lonely: Vec<_> = [1, 2].map(|n| splice(&mut world, end(n.into(), n, Side::Sender, "A"))).into();
    let full = splice(&mut world, end(3, 3, Side::Sender, "A"));
    assert_eq!(refused(&full), Some(SpliceRefused::MemberFull));
    let again = splice(&mut world, end(4, 1, Side::Sender, "B"));
    assert_eq!(refused(&again), Some(SpliceRefused::Occupied));
    let receiver = splice(&mut world, end(5, 1, Side::Receiver, "B"));
    assert!(matches!(receiver.wait(Duration::ZERO), Ok(Partner::Carries(_))));
    assert!(matches!(lonely[0].wait(Duration::ZERO), Ok(Partner::Comes(..))));
    // Ends that are closed make room: the first one carries the transfer, so both of its ends are free again.
    let full = splice(&mut world, end(6, 3, Side::Sender, "A"));
    assert_eq!(refused(&full), Some(SpliceRefused::MemberFull));
    world.handle(Command::SpliceEnded(1));
    assert_eq!(refused(&splice(&mut world, end(7, 3, Side::Sender, "A"))), None);
    world.handle(Command::SpliceEnded(2));
    let free = splice(&mut world, end(8, 2, Side::Sender, "B"));
    assert_eq!(refused(&free), None, "the place in the transfer is free as well");
}

#[test]
fn the_ends_of_a_transfer_meet_although_they_are_at_different_servers() {
    const SECRET: Token = [8; 32];
    let transfers = Quota { per_sender: 2, per_address: 100, in_all: 100 };
    let mut world = World::with_limits(PeerLimits { transfers, ..PeerLimits::default() });
    world.join(0);
    // Here is the sending end. The other server comes as its guest, for a peer that has not joined here.
    let host = SpliceEnd { guest: Some(SECRET), ..end(1, 1, Side::Sender, "A") };
    let waiting = splice(&mut world, host.clone());
    assert_eq!(world.router.index.0, [Some(WaitingEnd::Sender { guest: SECRET })]);
    let guest = |session, token| SpliceEnd { token, ..end(session, 1, Side::Receiver, "B") };
    let thief = splice(&mut world, guest(2, TOKEN));
    assert_eq!(refused(&thief), Some(SpliceRefused::NoMember), "it does not know the secret");
    let sender = SpliceEnd { side: Side::Sender, ..guest(2, SECRET) };
    assert_eq!(refused(&splice(&mut world, sender)), Some(SpliceRefused::NoMember), "a guest receives only");
    let came = splice(&mut world, guest(3, SECRET));
    assert!(matches!(came.wait(Duration::ZERO), Ok(Partner::Carries(_))));
    assert!(matches!(waiting.wait(Duration::ZERO), Ok(Partner::Comes(..))));
    assert_eq!(world.router.index.0.last(), Some(&None), "it does not wait any more");
    let full = splice(&mut world, end(4, 2, Side::Sender, "A"));
    assert_eq!(refused(&full), Some(SpliceRefused::MemberFull), "the guest counts as an end of A");
    assert_eq!(refused(&splice(&mut world, guest(5, SECRET))), Some(SpliceRefused::NoMember), "it came once");
    world.handle(Command::SpliceEnded(1));
    // Here is the receiving end.
    let receiver = splice(&mut world, end(6, 3, Side::Receiver, "A"));
    assert_eq!(world.router.index.0.last(), Some(&Some(WaitingEnd::Receiver)));
    let offered = Offered { address: "192.0.2.7:6789".to_owned(), secret: SECRET };
    world.handle(Command::Elsewhere { transfer: [3; 16], offered: Some(offered.clone()) });
    let answer = receiver.wait(Duration::ZERO);
    assert!(matches!(&answer, Ok(Partner::Elsewhere(there)) if *there == offered), "{answer:?}");
    world.handle(Command::SpliceEnded(6));
    let receiver = splice(&mut world, end(7, 4, Side::Receiver, "A"));
    world.handle(Command::Elsewhere { transfer: [4; 16], offered: None });
    assert_eq!(refused(&receiver), Some(SpliceRefused::NotAdvertised));
    let sender = splice(&mut world, end(8, 5, Side::Sender, "A"));
    world.handle(Command::Elsewhere { transfer: [5; 16], offered: None });
    assert_eq!(refused(&sender), None, "a sending end waits for its guest");
}

#[test]
fn an_address_has_only_so_many_ends_whatever_its_names() {
    let transfers = Quota { per_sender: 2, per_address: 3, in_all: 100 };
    let mut world = World::with_limits(PeerLimits { transfers, ..PeerLimits::default() });
    world.join(0);
    world.join(1);
    let mut open = |n: u8, member: &str| {
        let end = SpliceEnd { network: network(9), ..end(n.into(), n, Side::Sender, member) };
        refused(&splice(&mut world, end))
    };
    assert_eq!([open(1, "A"), open(2, "A"), open(3, "B")], [None; 3]);
    assert_eq!(open(4, "B"), Some(SpliceRefused::AddressFull));
}

#[test]
fn a_sender_opens_only_so_many_conversations_in_a_minute_also_after_it_has_joined_again() {
    let mut world = World::with_limits(PeerLimits { openings_per_minute: 3, ..PeerLimits::default() });
    world.join(0);
    world.join(1);
    let refused = Some(Outcome::Refused(Refusal::SenderOpenings));
    assert_eq!(route(&mut world, 0, "X", 2, b"opening, message, opening"), None);
    assert_eq!(route(&mut world, 0, "Y", 2, b"opening, opening"), refused, "whoever it is for");
    assert_eq!(route(&mut world, 0, "Y", 1, b"opening"), None, "a smaller part goes");
    assert_eq!(route(&mut world, 0, "Y", 1, b"opening"), refused);
    assert_eq!(route_one(&mut world, 0, "Y", b"message"), None, "messages are not counted");
    assert_eq!(route(&mut world, 1, "Y", 1, b"opening"), None, "others have their own share");
    world.join(0);
    assert_eq!(route(&mut world, 0, "Y", 1, b"opening"), refused);
    let reached = world.router.counts().reached().find(|(option, _)| *option == "openings-per-minute");
    assert_eq!(reached.map(|(_, count)| count), Some(3));
}

#[test]
fn an_address_registers_only_so_many_names_and_known_ones_join_all_the_same() {
    let mut world = World::with_limits(PeerLimits { new_names_per_hour: 2, ..PeerLimits::default() });
    let join = |world: &mut World, text: &str, address: u8| {
        let (reply, pending) = reply();
        let (card, port) = (Box::new(card_of(text)), Arc::<FakePort>::default());
        world.handle(Command::Join {
            session: 50,
            card,
            network: network(address),
            token: TOKEN,
            port,
            reply,
        });
        pending.wait(SOON).expect("it is answered at once").err()
    };
    assert_eq!([join(&mut world, "A", 1), join(&mut world, "B", 1)], [None, None]);
    assert_eq!(join(&mut world, "C", 1), Some(JoinRefused::TooManyNames));
    assert_eq!(join(&mut world, "a", 1), None, "it is not new");
    assert_eq!(join(&mut world, "C", 2), None);
}
