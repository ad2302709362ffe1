//! Batches between servers, and their outcomes.

use super::*;

fn item(from: &str, session: SessionId, presence: SessionId) -> Item {
    let frames = envelopes(from, 1).to_vec();
    Item { from: name(from), to: name("b"), session, presence, is_kept: true, is_stored: false, frames }
}

impl Bench {
    /// The other server sends a batch.
    fn batch(&mut self, number: u64, items: &[Item]) {
        let bytes = &wire::frame::body(&items);
        self.hear(Body::Part { epoch: 1, number, is_last: true, handled: vec![], bytes });
    }

    /// The Router has handled a batch.
    fn routed(&mut self, number: u64, refused: &[u32]) {
        let batch = BatchId { server: OTHER, epoch: 1, number };
        self.take(Input::Command(Command::Forwarded { batch, refused: refused.to_vec() }));
    }

    /// What the Router was given: the number of each batch, and its senders.
    fn given(&mut self) -> Vec<(u64, Vec<String>)> {
        let mut given = Vec::new();
        self.effects.retain(|effect| {
            let Effect::Forward(batch, envelopes) = effect else { return true };
            given.push((batch.number, envelopes.iter().map(|of| of.from.to_string()).collect()));
            false
        });
        given
    }

    /// The outcomes that were sent: the number of each batch, its refused items, and whether a batch took it along.
    fn said(&mut self) -> Vec<(u64, Vec<u32>, bool)> {
        let mut said = Vec::new();
        self.effects.retain(|effect| {
            let Effect::Send { to: Some(OTHER), packet } = effect else { return true };
            let (handled, rides) = match decode(packet).expect("it is of this version").body {
                Body::Part { handled, .. } => (handled, true),
                Body::Done(handled) => (handled, false),
                _ => return true,
            };
            said.extend(handled.into_iter().map(|handled| (handled.number, handled.refused, rides)));
            false
        });
        said
    }
}

#[test]
fn batches_of_another_server_go_to_the_router_one_at_a_time() {
    let mut bench = Bench::new();
    for (number, presence) in [(0, 1), (1, 1), (2, 2)] {
        bench.batch(number, &[item("A", 70, presence)]);
    }
    let from_a = |number| vec![(number, vec!["A".to_owned()])];
    assert_eq!(bench.given(), from_a(0));
    bench.routed(0, &[0]);
    assert_eq!(bench.given(), from_a(2), "a later presence begins anew");
    assert_eq!(bench.said(), [(0, vec![0], false), (1, vec![0], false)], "one behind it would overtake it");
}

#[test]
fn an_outcome_goes_with_the_next_batch_or_alone_after_a_while() {
    let (mut bench, session, _) = Bench::with_b();
    bench.batch(0, &[item("A", 70, 1)]);
    bench.routed(0, &[]);
    assert!(bench.said().is_empty());
    bench.deliver(session, delivery(0, false, envelopes("A", 1)));
    assert_eq!(bench.said(), [(0, vec![], true)]);
    assert_eq!(bench.core.due(), None);
    bench.batch(1, &[item("A", 70, 1)]);
    bench.routed(1, &[]);
    assert_eq!(bench.core.due(), Some(bench.now.instant + Duration::from_millis(5)));
    bench.pass(Duration::from_millis(4));
    assert!(bench.said().is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.said(), [(1, vec![], false)]);
    // The sender of what is refused must learn it soon, and a sender of many batches waits for their outcomes.
    bench.batch(2, &[item("A", 70, 1)]);
    bench.routed(2, &[0]);
    assert_eq!(bench.said(), [(2, vec![0], false)]);
    for number in 3..11 {
        assert!(bench.said().is_empty(), "{number}");
        bench.batch(number, &[item("A", 71, 1)]);
        bench.routed(number, &[]);
    }
    assert_eq!(bench.said().len(), 8);
    // What waits when the server ends is not lost.
    bench.batch(11, &[item("A", 71, 1)]);
    bench.routed(11, &[]);
    let Bench { core, effects, .. } = &mut bench;
    core.end(effects);
    assert_eq!(bench.said(), [(11, vec![], false)]);
}

#[test]
fn an_outcome_goes_before_the_news_of_what_was_taken() {
    let mut bench = Bench::new();
    bench.batch(0, &[Item { is_stored: true, ..item("A", 70, 1) }]);
    bench.routed(0, &[]);
    assert!(bench.said().is_empty(), "it waits");
    bench.effects.clear();
    bench.take(Input::Command(Command::Taken { session: 70, before: 1 }));
    let sent = bench.effects.iter().filter_map(|effect| match effect {
        Effect::Send { to: Some(OTHER), packet } => Some(decode(packet).expect("it is of this version").body),
        _ => None,
    });
    let sent: Vec<Body<'_>> = sent.collect();
    assert!(matches!(sent[..], [Body::Done(_), Body::Taken { presence: 1, count: 1 }]), "{sent:?}");
}

#[test]
fn an_outcome_that_comes_twice_changes_nothing() {
    let (mut bench, session, _) = Bench::with_b();
    for first in [0, 1] {
        bench.deliver(session, delivery(first, false, envelopes("A", 1)));
    }
    let first = || Handled { epoch: 1, number: 0, refused: vec![] };
    bench.hear(Body::Done(vec![first()]));
    bench.hear(Body::Done(vec![first()]));
    assert!(bench.told().is_empty(), "the epoch goes on");
    bench.hear(Body::Done(vec![Handled { number: 2, ..first() }]));
    assert!(matches!(bench.told()[..], [MemberCommand::Leave]), "that of the second batch was lost");
}

#[test]
fn a_batch_is_put_together_from_its_parts_and_only_in_order() {
    let mut outbound = Outbound::default();
    let now = Instant::now();
    let item = Item {
        from: name("A"),
        to: name("b"),
        session: 70,
        presence: 1,
        is_kept: true,
        is_stored: false,
        frames: vec![7; 1 << 20],
    };
    outbound.push(item.clone());
    let parts = outbound.next_batch(now).expect("there is something to send");
    assert!(parts.len() > 4, "nats-server takes no more than 1 MiB: {}", parts.len());
    let mut inbound = Inbound::default();
    let mut lossy = Inbound::default();
    for (left, part) in (0..parts.len()).rev().zip(&parts) {
        let Body::Part { epoch, number, is_last, bytes, .. } = outbound.part(left, vec![], part) else {
            panic!("a part")
        };
        inbound.part(epoch, number, is_last, bytes);
        if left != 1 {
            lossy.part(epoch, number, is_last, bytes);
        }
    }
    let ready = inbound.ready().expect("it is complete");
    assert_eq!((ready.items, ready.number + 1), (vec![item], parts.len() as u64));
    assert_eq!(lossy.ready(), None);
    assert_eq!(outbound.done(1, ready.number), Ok(Some(vec![1])));
}
