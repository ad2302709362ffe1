//! Peers at other servers of a cluster.

use super::*;
use crate::commands::cluster::{self, BatchId, Forwarded, Incarnation, cluster_mailbox};

const REMOTE: SessionId = 1 << 63 | 4;

/// The Router is told that a peer is connected to another server.
fn appear(world: &mut World, text: &str) -> (Arc<FakePort>, Option<Member>) {
    let (reply, pending) = reply();
    let port = Arc::<FakePort>::default();
    world.handle(Command::Appear { name: name(text), session: REMOTE, port: port.clone(), reply });
    (port, pending.wait(SOON).expect("it is answered at once"))
}

fn forwarded(to: &str, session: SessionId, text: &'static str) -> Forwarded {
    let frames = one(Bytes::from_static(text.as_bytes()));
    Forwarded { from: name("Far"), to: name(to), session, is_kept: true, stored: None, frames }
}

/// Gives the Router a batch, and returns the places that it refuses.
fn forward(world: &mut World, batch: Vec<Forwarded>) -> Vec<u32> {
    let (handle, mut mailbox) = cluster_mailbox();
    let id = BatchId { server: Incarnation(2), epoch: 1, number: 0 };
    world.handle(Command::Forwarded(batch, handle.reply_to(id)));
    match mailbox.try_recv() {
        Ok(cluster::Command::Forwarded { batch, refused }) if batch == id => refused,
        other => panic!("the batch is answered at once, not {other:?}"),
    }
}

#[test]
fn a_peer_at_another_server_gets_envelopes_by_its_port_and_its_mail_after_that() {
    let mut world = World::new();
    world.join(0);
    assert_eq!(appear(&mut world, "B").1, None, "nobody knows the owner");
    world.handle(Command::Learn(Box::new(card_of("B"))));
    world.send(0, 1, 1);
    world.complete(usize::MAX);
    let (port, member) = appear(&mut world, "b");
    let member = member.expect("the owner is known");
    world.complete(usize::MAX);
    world.send(0, 1, 1);
    let got = |port: &FakePort| -> Vec<(bool, Vec<u8>)> {
        let mut session = port.lock();
        session
            .mailbox
            .drain(..)
            .map(|command| match command {
                SessionCommand::Deliver(delivery) => (delivery.is_stored, delivery.frames.bytes.to_vec()),
                other => panic!("only envelopes leave the server, not {other:?}"),
            })
            .collect()
    };
    assert_eq!(got(&port), [(true, b"A>B:0000".to_vec()), (false, b"A>B:0001".to_vec())]);
    assert!(find(&mut world, "B").expect("it is known").online);
    // Its join here ends the presence there, although ids of sessions here are lower.
    world.join(1);
    assert_eq!(port.lock().ended, Some(EndReason::Superseded));
    world.handle(Command::From(member, MemberCommand::HandBack(Vec::new())));
    // A later join there ends the session here.
    let here = world.peers[1].session.as_ref().expect("it has joined").port.clone();
    assert!(appear(&mut world, "B").1.is_some());
    assert_eq!(here.lock().ended, Some(EndReason::Superseded));
}

#[test]
fn envelopes_of_another_server_are_relayed_to_their_session_or_refused() {
    let mut world = World::new();
    world.join(1);
    let session = world.peers[1].session.as_ref().expect("it has joined").member.session;
    assert_eq!(forward(&mut world, vec![forwarded("B", session, "one"), forwarded("C", 77, "nobody")]), [1]);
    assert_eq!(forward(&mut world, vec![forwarded("B", session + 1, "of an earlier session")]), [0]);
    // The mailbox has room for three: what is behind a refused one is refused, and nothing is stored.
    let batch = ["two", "three", "four", "five"].map(|text| forwarded("B", session, text));
    assert_eq!(forward(&mut world, batch.to_vec()), [2, 3]);
    assert!(world.store.0.borrow().mail.is_empty());
    // What was relayed and is not taken is stored here, in the name of its sender.
    world.leave(1);
    let stored = world.store.0.borrow().mail.values().map(|m| m.sender.name.clone()).collect::<Vec<_>>();
    assert_eq!(stored, [name("far"), name("far"), name("far")]);
}

#[test]
fn what_the_cluster_knows_of_a_name_does_not_change_its_owner_here() {
    let mut world = World::new();
    world.handle(Command::Learn(Box::new(card_of("A"))));
    let owner = find(&mut world, "A").expect("it is known").fingerprint;
    world.handle(Command::Learn(Box::new(card_of_another("a"))));
    assert_eq!(find(&mut world, "A").map(|known| known.fingerprint), Some(owner));
    world.join(0);
    assert!(world.store.0.borrow().cards.contains_key("a"), "a join here writes the card");
}

fn find(world: &mut World, text: &str) -> Option<KnownPeer> {
    let (reply, pending) = reply();
    world.handle(Command::Find(name(text), reply));
    pending.wait(SOON).expect("it is answered")
}

#[test]
fn a_name_that_only_had_mail_is_shown_as_its_owner_at_another_server_spells_it() {
    let mut world = World::new();
    let mailbox = crate::commands::store::MailboxSize { name: name("far"), end: 1, amounts: Vec::new() };
    world.router.restore(mailbox);
    world.handle(Command::Learn(Box::new(card_of("Far"))));
    assert_eq!(find(&mut world, "far").map(|known| known.name), Some(name("Far")));
    let (reply, pending) = reply();
    world.handle(Command::Who(reply));
    let known = pending.wait(SOON).expect("it is answered at once");
    assert_eq!(known.iter().map(|known| known.name.as_str()).collect::<Vec<_>>(), ["Far"]);
}
