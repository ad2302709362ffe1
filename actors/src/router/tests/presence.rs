//! The owners of names, and who is notified of what.

use wire::succession::Succession;

use super::*;
use crate::commands::admission::Entry;

#[test]
fn a_name_has_one_owner_whatever_the_case() {
    let mut world = World::new();
    world.join(0);
    let (reply, pending) = reply();
    let (card, port) = (Box::new(card_of_another("a")), Arc::<FakePort>::default());
    world.handle(Command::Join { session: 99, card, network: network(2), token: TOKEN, port, reply });
    let answer = pending.wait(SOON).expect("it is answered at once");
    assert_eq!(answer.err(), Some(JoinRefused::NameTaken));
}

#[test]
fn a_successor_takes_the_name_over_and_the_earlier_key_cannot_join_any_more() {
    let mut world = World::new();
    let (old, _) = join_as(&mut world, 50, card_of("A"));
    let (identity, rng) =
        (IdentityKey::generate(2048, &mut rand::rng()).expect("a good size"), &mut rand::rng());
    let successor = identity.public().fingerprint();
    let card = |statements: &[Succession]| {
        let term = Term::starting(2, 1, None);
        Card::issue_for_successor(name("a"), &identity, KEYS.1.public(), term, statements, &mut rand::rng())
    };
    assert_eq!(join_as(&mut world, 51, card(&[])).1, Some(JoinRefused::NameTaken), "without a statement");
    let by_another = Succession::sign(&identity, &name("A"), successor, 2, rng);
    assert_eq!(join_as(&mut world, 52, card(&[by_another])).1, Some(JoinRefused::NameTaken));
    let statement = Succession::sign(&KEYS.0, &name("A"), successor, 2, rng);
    assert_eq!(join_as(&mut world, 53, card(&[statement])).1, None);
    assert_eq!(old.lock().ended, Some(EndReason::Superseded));
    assert_eq!(join_as(&mut world, 54, card_of("A")).1, Some(JoinRefused::NameTaken));
}

#[test]
fn a_join_that_comes_late_does_not_end_a_newer_connection() {
    let mut world = World::new();
    let (newer, _) = join_as(&mut world, 51, card_of("A"));
    assert_eq!(join_as(&mut world, 50, card_of("A")).1, Some(JoinRefused::Superseded));
    assert_eq!(newer.lock().ended, None);
    assert_eq!(join_as(&mut world, 52, card_of("A")).1, None);
    assert_eq!(newer.lock().ended, Some(EndReason::Superseded));
}

#[test]
fn a_name_whose_card_is_damaged_stays_reserved_and_keeps_its_mail() {
    let amounts = vec![(sender("a"), Amount { envelopes: 2, bytes: 20 })];
    let mailbox = store::MailboxSize { name: name("b"), amounts, end: 2 };
    let inventory = Inventory {
        cards: vec![("b".parse().expect("a good name"), b"not a card".to_vec())],
        mailboxes: vec![mailbox],
        ..Inventory::default()
    };
    let mut world = World::new();
    world.router = Router::new(PeerLimits::default(), inventory, world.store.clone(), Deaf::default());
    for card in [card_of("B"), card_of_another("b")] {
        let (reply, pending) = reply();
        let port = Arc::<FakePort>::default();
        world.handle(Command::Join {
            session: 9,
            card: Box::new(card),
            network: network(2),
            token: TOKEN,
            port,
            reply,
        });
        assert_eq!(pending.wait(SOON).expect("it is answered").err(), Some(JoinRefused::NameTaken));
    }
    // New mail is stored behind what is there, and a message that cannot be stored does not free the name.
    world.join(0);
    world.send(0, 1, 1);
    let mail: Vec<_> = world.store.0.borrow().mail.keys().cloned().collect();
    assert_eq!(mail, [("b".to_owned(), 2)]);
    let (reply, pending) = reply();
    let card = Box::new(card_of_another("B"));
    world.handle(Command::Join {
        session: 10,
        card,
        network: network(2),
        token: TOKEN,
        port: Arc::<FakePort>::default(),
        reply,
    });
    assert_eq!(pending.wait(SOON).expect("it is answered").err(), Some(JoinRefused::NameTaken));
}

#[test]
fn the_newest_join_takes_over() {
    let mut world = World::new();
    world.join(0);
    let first = world.peers[0].session.as_ref().expect("it has joined").port.clone();
    world.join(0);
    assert_eq!(first.lock().ended, Some(EndReason::Superseded));
}

#[test]
fn who_asked_for_a_card_gets_it_when_its_owner_joins() {
    let mut world = World::new();
    world.join(0);
    let joint = world.peers[0].session.as_ref().expect("it has joined");
    let (by, port) = (joint.member, joint.port.clone());
    let name: PeerName = "B".parse().expect("a good name");
    world.handle(Command::From(by, MemberCommand::Lookup(name.clone())));
    assert_eq!(port.lock().mailbox.pop_front(), Some(SessionCommand::Unknown(name)));
    world.join(1);
    let shown = port.lock().mailbox.pop_front();
    assert!(matches!(shown, Some(SessionCommand::Card(_))), "{shown:?}");
}

#[test]
fn a_pong_names_the_peers_that_are_connected() {
    let mut world = World::new();
    world.join(0);
    world.join(1);
    let joint = world.peers[0].session.as_ref().expect("it has joined");
    let (by, port) = (joint.member, joint.port.clone());
    let name = |name: &str| -> PeerName { name.parse().expect("a good name") };
    let names = vec![name("b"), name("C"), name("never-seen")];
    let ping = |id| Command::From(by, MemberCommand::Ping { id, names: names.clone() });
    world.handle(ping(7));
    let answer = port.lock().mailbox.pop_front();
    assert_eq!(answer, Some(SessionCommand::Pong { id: 7, present: vec![name("b")] }));
    world.leave(1);
    world.handle(ping(8));
    let answer = port.lock().mailbox.pop_front();
    assert_eq!(answer, Some(SessionCommand::Pong { id: 8, present: vec![] }));
}

#[test]
fn requests_to_absent_peers_are_refused_and_not_stored() {
    let mut world = World::new();
    world.join(0);
    let joint = world.peers[0].session.as_ref().expect("it has joined");
    let (from, port) = (joint.member, joint.port.clone());
    let frames = one(Bytes::from_static(b"request"));
    let run = Run {
        to: "B".parse().expect("a good name"),
        kept: false,
        first: 0,
        openings: 0,
        wants_route: false,
        frames,
    };
    world.handle(Command::From(from, MemberCommand::Route(vec![run])));
    let outcome = Outcome::Refused(Refusal::Absent);
    let told = port.lock().mailbox.pop_front();
    assert_eq!(told, Some(SessionCommand::Routed { first: 0, count: 1, outcome }));
    assert!(world.store.0.borrow().mail.is_empty());
}

#[test]
fn requests_to_made_up_names_leave_nothing_behind() {
    let mut world = World::new();
    world.join(0);
    let joint = world.peers[0].session.as_ref().expect("it has joined");
    let (from, port) = (joint.member, joint.port.clone());
    let route = |world: &mut World, first: u64, kept: bool| {
        let to = format!("made-up-{first}").parse().expect("a good name");
        let run =
            Run { to, kept, first, openings: 0, wants_route: false, frames: one(Bytes::from_static(b"x")) };
        world.handle(Command::From(from, MemberCommand::Route(vec![run])));
        let told = port.lock().mailbox.pop_front();
        told.map(|command| match command {
            SessionCommand::Routed { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        })
    };
    for first in 0..20_000 {
        assert_eq!(route(&mut world, first, false), Some(Outcome::Refused(Refusal::Absent)));
    }
    assert_eq!(route(&mut world, 20_000, true), None, "mail for somebody new goes to the store");
    world.complete(1);
    assert_eq!(world.store.0.borrow().mail.len(), 1);
}

#[test]
fn the_answer_to_who_is_sorted_and_shared_until_something_changes() {
    let mut world = World::new();
    let who = |world: &mut World| {
        let (reply, pending) = reply();
        world.handle(Command::Who(reply));
        pending.wait(SOON).expect("it is answered at once")
    };
    let told = |known: &[KnownPeer]| -> Vec<(String, bool)> {
        known.iter().map(|peer| (peer.name.to_string(), peer.online)).collect()
    };
    assert!(who(&mut world).is_empty());
    for at in [2, 0, 1] {
        world.join(at);
    }
    world.leave(0);
    let first = who(&mut world);
    assert_eq!(told(&first), [("B".into(), true), ("C".into(), true), ("A".into(), false)]);
    assert!(Arc::ptr_eq(&first, &who(&mut world)), "asking again makes no new list");
    world.leave(1);
    world.join(0);
    assert_eq!(told(&who(&mut world)), [("A".into(), true), ("C".into(), true), ("B".into(), false)]);
    // Superseded by a newer session of the same peer.
    world.join(2);
    assert_eq!(told(&who(&mut world)), [("A".into(), true), ("C".into(), true), ("B".into(), false)]);
    // Somebody who is only written to is not known.
    world.send(0, 1, 1);
    assert_eq!(who(&mut world).len(), 3);
}

fn join_as(world: &mut World, session: u64, card: Card) -> (Arc<FakePort>, Option<JoinRefused>) {
    let (reply, pending) = reply();
    let port = Arc::<FakePort>::default();
    let (card, network) = (Box::new(card), network(2));
    world.handle(Command::Join { session, card, network, token: TOKEN, port: port.clone(), reply });
    (port, pending.wait(SOON).expect("it is answered at once").err())
}

fn release(world: &mut World, text: &str, drops_mail: bool) -> bool {
    let (reply, pending) = reply();
    world.handle(Command::Release { name: name(text), drops_mail, reply });
    pending.wait(SOON).expect("it is answered")
}

fn find(world: &mut World, text: &str) -> Option<KnownPeer> {
    let (reply, pending) = reply();
    world.handle(Command::Find(name(text), reply));
    pending.wait(SOON).expect("it is answered")
}

#[test]
fn a_released_name_is_free_for_another_key() {
    let mut world = World::new();
    let (port, refused) = join_as(&mut world, 50, card_of("A"));
    assert_eq!(refused, None);
    assert!(find(&mut world, "a").is_some_and(|peer| peer.online));
    assert!(release(&mut world, "a", false));
    assert_eq!(port.lock().ended, Some(EndReason::NameReleased));
    assert_eq!(find(&mut world, "A"), None);
    assert!(world.store.0.borrow().cards.is_empty(), "nor after a restart");
    assert!(!release(&mut world, "A", false), "nobody owns it");
    let (_, refused) = join_as(&mut world, 51, card_of_another("A"));
    assert_eq!(refused, None);
}

#[test]
fn mail_for_a_released_name_goes_with_it_only_if_asked() {
    for drops_mail in [false, true] {
        let mut world = World::new();
        let (_, refused) = join_as(&mut world, 50, card_of("B"));
        assert_eq!(refused, None);
        let of_b = world.router.table.find("b").expect("it has joined");
        let member = Member { peer: of_b, session: 50 };
        world.handle(Command::From(member, MemberCommand::Leave));
        world.handle(Command::From(member, MemberCommand::HandBack(Vec::new())));
        world.join(0);
        world.send(0, 1, 1);
        world.complete(usize::MAX);
        assert_eq!(world.store.0.borrow().mail.len(), 1);
        assert!(release(&mut world, "B", drops_mail));
        world.complete(usize::MAX);
        assert_eq!(world.store.0.borrow().mail.len(), usize::from(!drops_mail));
        assert_eq!(world.router.ledger.all().mail_bytes > 0, !drops_mail);
    }
}

/// The place of a name in the table is used again, so a session that hands mail back must find its own there.
#[test]
fn what_a_session_of_a_released_name_hands_back_reaches_nobody_else() {
    let mut world = World::new();
    assert_eq!(join_as(&mut world, 50, card_of("A")).1, None);
    let key = world.router.table.find("a").expect("it has joined");
    assert!(release(&mut world, "A", true));
    assert_eq!(join_as(&mut world, 51, card_of("C")).1, None);
    assert_ne!(world.router.table.find("c"), Some(key), "its place is not free yet");
    world.handle(Command::From(Member { peer: key, session: 50 }, MemberCommand::HandBack(Vec::new())));
    assert_eq!(world.router.table.find("a"), None, "now it is forgotten");
}

#[test]
fn whoever_is_expelled_leaves_and_keeps_the_name() {
    let mut world = World::new();
    let (port, _) = join_as(&mut world, 50, card_of("A"));
    let (stays, _) = join_as(&mut world, 52, card_of("B"));
    let of_b = Entry::Member { fingerprint: card_of("B").fingerprint(), name: Some(name("b")) };
    world.handle(Command::Expel([&of_b].into_iter().collect()));
    assert_eq!(port.lock().ended, Some(EndReason::Expelled));
    assert_eq!(stays.lock().ended, None);
    assert_eq!(join_as(&mut world, 51, card_of_another("A")).1, Some(JoinRefused::NameTaken));
}
