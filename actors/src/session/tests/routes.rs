//! Envelopes that go past the Router.

use std::sync::Mutex;

use super::*;
use crate::commands::session::{Port, Route};
use crate::runtime::Lease;

/// The mailbox of a recipient.
#[derive(Debug, Default)]
struct FakeMailbox {
    lease: Lease,
    origins: Mutex<Vec<u64>>,
}

impl Port for FakeMailbox {
    fn offer(&self, command: SessionCommand) -> Result<(), SessionCommand> {
        let SessionCommand::Deliver(delivery) = command else { return Err(command) };
        let Delivery { is_kept, origin, .. } = *delivery;
        assert_eq!((is_kept, origin.peer, origin.session), (true, PeerKey(5), 3));
        self.origins.lock().expect("nobody panics with it").push(origin.first);
        Ok(())
    }

    fn close(&self, reason: EndReason) {
        unreachable!("a sender has ended the session of a recipient: {reason:?}");
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}

/// Sends a message to B. Returns whether the session asks the Router for a route with it; `None` if it has delivered it.
fn send(bench: &mut Bench, kind: Kind) -> Option<bool> {
    bench.receive(&envelope("A", "B", kind, 1));
    match bench.effects().pop() {
        Some(Effect::Tell(MemberCommand::Route(runs))) => Some(runs[0].wants_route),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn hear(bench: &mut Bench, first: u64, count: u64) {
    bench.take(Input::Command(SessionCommand::Routed { first, count, outcome: Outcome::Relayed }));
    assert!(matches!(bench.told()[..], [ToPeer::Routed { .. }]));
}

/// A session that has sent envelopes 0 and 1 through the Router and then got a route.
fn with_route() -> (Bench, Arc<FakeMailbox>) {
    let mut bench = Bench::joined();
    let mailbox = Arc::<FakeMailbox>::default();
    mailbox.lease.grant(0);
    assert_eq!(send(&mut bench, Kind::Message), Some(false), "many write to somebody only once");
    assert_eq!(send(&mut bench, Kind::Message), Some(true));
    let port: Arc<dyn Port> = mailbox.clone();
    let route = Route::to(&port);
    bench.take(Input::Command(SessionCommand::Route(Box::new(("B".parse().expect("a good name"), route)))));
    (bench, mailbox)
}

#[test]
fn with_a_route_envelopes_are_relayed_without_the_router_and_overtake_none() {
    let (mut bench, mailbox) = with_route();
    hear(&mut bench, 0, 1);
    assert_eq!(send(&mut bench, Kind::Message), Some(false), "envelope 1 is still in the Router");
    assert!(!bench.session.may_read(), "otherwise some envelope might be in the Router at all times");
    hear(&mut bench, 1, 2);
    assert!(bench.session.may_read());
    assert_eq!(send(&mut bench, Kind::Message), None);
    let relayed = ToPeer::Routed { first: 3, count: 1, outcome: Outcome::Relayed };
    assert_eq!(bench.told(), [relayed]);
    assert!(bench.session.may_read());
    assert_eq!(send(&mut bench, Kind::Opening), Some(false), "the Router counts openings");
    hear(&mut bench, 4, 1);
    assert_eq!(send(&mut bench, Kind::Receipt), None);
    assert_eq!(*mailbox.origins.lock().expect("nobody panics with it"), [3, 5]);
}

#[test]
fn that_envelopes_were_relayed_is_told_together_and_with_other_output() {
    let (mut bench, _mailbox) = with_route();
    hear(&mut bench, 0, 2);
    let relayed = |first, count| ToPeer::Routed { first, count, outcome: Outcome::Relayed };
    assert_eq!(send(&mut bench, Kind::Message), None);
    assert_eq!(bench.session.deadline(), Some(bench.now.instant + RELAYED_WAIT));
    assert_eq!(send(&mut bench, Kind::Message), None);
    bench.take(Input::Tick);
    assert_eq!(bench.session.outgoing.bytes(), 0, "it waits for other output");
    assert_eq!(bench.told(), [relayed(2, 2)]);
    assert_eq!(send(&mut bench, Kind::Message), None);
    bench.take(Input::Command(SessionCommand::Pong { id: 1, present: Vec::new() }));
    bench.now.instant += RELAYED_WAIT;
    assert_eq!(bench.told(), [ToPeer::Pong { id: 1, present: Vec::new() }, relayed(4, 1)]);
    assert_eq!(bench.session.deadline(), None);
}

#[test]
fn a_peer_that_ends_or_errs_is_told_first_what_was_relayed() {
    let relayed = ToPeer::Routed { first: 2, count: 1, outcome: Outcome::Relayed };
    for input in [Input::Closed { is_stopping: false }, Input::Closed { is_stopping: true }] {
        let (mut bench, _mailbox) = with_route();
        hear(&mut bench, 0, 2);
        assert_eq!(send(&mut bench, Kind::Message), None);
        bench.take(input);
        assert_eq!(bench.told()[0], relayed);
    }
}

#[test]
fn what_the_session_of_the_sender_has_written_is_completed_and_handed_back_if_it_is_not_taken() {
    let mut bench = Bench::joined();
    let frame = envelope("B", "A", Kind::Message, 1);
    let delivery = |first| Delivery {
        first,
        is_stored: false,
        is_kept: true,
        origin: Origin { peer: PeerKey(7), session: 9, first },
        frames: Frames::of(frame.clone().into()),
    };
    bench.take(Input::Delivered(delivery(0).into(), frame.len()));
    assert_eq!(bench.session.outgoing.bytes(), 0);
    bench.take(Input::Delivered(delivery(1).into(), 3));
    assert_eq!(bench.written(), frame[3..]);
    bench.receive(&wire::frame::frame(&ToServer::Taken { count: 1 }));
    assert_eq!(bench.session.part([]), [delivery(1)]);
}

#[test]
fn a_mailbox_that_the_router_has_shut_is_used_again_when_it_is_opened() {
    let (mut bench, mailbox) = with_route();
    hear(&mut bench, 0, 2);
    let next = mailbox.lease.revoke();
    assert_eq!(send(&mut bench, Kind::Message), Some(false));
    assert_eq!(send(&mut bench, Kind::Message), Some(false));
    assert!(bench.session.may_read(), "the recipient catches up, and its senders need not wait for that");
    hear(&mut bench, 2, 2);
    mailbox.lease.grant(next);
    assert_eq!(send(&mut bench, Kind::Message), None);
}

#[test]
fn a_route_ends_with_the_presence_of_the_recipient() {
    let (mut bench, mailbox) = with_route();
    hear(&mut bench, 0, 2);
    drop(mailbox);
    assert_eq!(send(&mut bench, Kind::Message), Some(true), "it asks for the next one");
}

#[test]
fn the_routes_to_many_recipients_are_forgotten() {
    let (mut bench, _mailbox) = with_route();
    hear(&mut bench, 0, 2);
    for number in 0..200 {
        bench.receive(&envelope("A", &format!("C{number}"), Kind::Message, 1));
    }
    assert_eq!(bench.effects().len(), 200);
    assert_eq!(send(&mut bench, Kind::Message), Some(false));
}
