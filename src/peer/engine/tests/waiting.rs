//! What is done about answers of the server that do not come, or are of no use.

use wire::protocol::ErrorCode;

use super::*;
use crate::peer::command::{Ending, Existing};

#[test]
fn a_connection_on_which_no_outcome_comes_is_given_up_after_30_seconds() {
    let mut bench = Bench::new();
    bench.withholds_outcomes = true;
    bench.send("hello");
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
    let reconnects = |bench: &mut Bench| bench.count(|effect| matches!(effect, Effect::Reconnect));
    bench.sleep(29);
    assert_eq!(reconnects(&mut bench), 0, "the server still answers pings");
    assert!(bench.engine.next_deadline().is_some_and(|at| at <= bench.now.instant + Duration::from_secs(1)));
    bench.sleep(1);
    assert_eq!(reconnects(&mut bench), 1);
    bench.withholds_outcomes = false;
    bench.sent.clear();
    bench.join();
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message], "it is sent again");
}

#[test]
fn messages_go_again_although_no_outcome_of_as_many_as_may_be_in_flight_has_come() {
    const MESSAGES: usize = 2_000;
    let mut bench = Bench::new();
    bench.withholds_outcomes = true;
    let texts = (0..MESSAGES).map(|number| number.to_string()).collect();
    bench.take([Input::Command(CLIENT, Command::Send { to: name("B"), texts, until: Until::Queued })]);
    bench.hear_card(&card_of_b(START, START));
    let sent = bench.envelopes().len();
    assert!(sent < MESSAGES, "the limit of envelopes in flight is reached");
    // The server has swallowed all of them. From now on it is honest.
    bench.withholds_outcomes = false;
    bench.envelopes_sent = sent as u64;
    let soon = bench.now.instant + Duration::from_secs(2);
    assert!(bench.engine.next_deadline().is_some_and(|at| at <= soon), "it is noticed in time");
    bench.sleep(3);
    let again = bench.envelopes().len();
    assert!(
        again > MESSAGES - sent,
        "first one goes, and after its outcome more and more: {again} of {sent}"
    );
}

#[test]
fn the_server_is_asked_again_for_a_peer_that_it_did_not_watch() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear(&ToPeer::Unwatched { name: name("B"), reason: Refusal::Watching });
    assert!(bench.refusals().iter().any(|reason| reason.contains("--watched-names")), "the user is told why");
    bench.sleep(13);
    bench.lookups();
    bench.sleep(3);
    assert_eq!(bench.lookups(), 0, "B is not there");
    bench.present.push(name("B"));
    bench.sleep(3);
    assert_eq!(bench.lookups(), 1);
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn the_server_is_asked_again_for_the_card_of_a_peer_that_is_connected() {
    let mut bench = Bench::new();
    bench.present.push(name("B"));
    bench.send("hello");
    bench.hear_card(&card_of_b(START + 365 * DAY, START + 365 * DAY));
    // The first ping was sent before the message.
    for seconds in [13, 3, 3] {
        bench.lookups();
        bench.sleep(seconds);
        assert_eq!(bench.lookups(), 1);
        bench.hear_card(&card_of_b(START + 365 * DAY, START + 365 * DAY));
    }
    assert_eq!(bench.reasons().len(), 1, "it is said once");
    bench.sleep(3);
    bench.sent.clear();
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn the_card_of_a_peer_that_is_connected_is_asked_for_although_nothing_new_is_to_be_sealed() {
    let mut bench = Bench::new();
    bench.send("hello");
    bench.hear_card(&card_of_b(START, START));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message], "the server says that it has stored them");
    bench.live(10);
    bench.join();
    bench.sent.clear();
    bench.present.push(name("B"));
    for _ in 0..20 {
        bench.sleep(1);
    }
    assert!(bench.lookups() > 0, "the card has expired");
    let now = bench.now.unix;
    bench.hear_card(&card_of_b(now, now));
    assert_eq!(bench.envelopes(), [Kind::Opening, Kind::Message]);
}

#[test]
fn why_a_server_admits_nobody_is_said_once() {
    let refuse = |bench: &mut Bench, why: &str| {
        let refused = Net::Refused(ErrorCode::Busy, why.to_owned());
        bench.take([refused, Net::Lost(Duration::from_secs(1))].map(Input::Net));
    };
    let errors = |bench: &mut Bench| {
        let said = std::mem::take(&mut bench.events).into_iter();
        let errors =
            said.filter_map(|event| if let Event::Error { message } = event { Some(message) } else { None });
        errors.collect::<Vec<_>>()
    };
    let get = |wanted| Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    let name = || Wanted::Name("a".parse().expect("a good name"));
    let pattern = || Wanted::Pattern("a*".parse().expect("a good pattern"));
    let commands: [&dyn Fn() -> Command; 3] =
        [&|| Command::Who, &move || get(name()), &move || get(pattern())];
    for command in commands {
        let start = || {
            let now = Now { unix: START, instant: Instant::now() };
            let mut bench = Bench::without_server(Disk::default(), now, START, Limits::default());
            bench.take([Input::Command(CLIENT, command())]);
            bench
        };
        let mut bench = start();
        for _ in 0..3 {
            refuse(&mut bench, "it is full");
        }
        assert_eq!(errors(&mut bench), ["the server does not let this peer in: it is full; trying again"]);
        bench.sleep(15);
        assert_eq!(errors(&mut bench), ["given up after 15 seconds; try again"]);
        assert!(super::many::is_done(&mut bench, Ending::NoConnection));
        // Another reason was not said yet.
        let mut bench = start();
        refuse(&mut bench, "it is full");
        refuse(&mut bench, "its disk is full");
        bench.sleep(15);
        let said = errors(&mut bench);
        assert_eq!(said[1..], ["the server does not let this peer in: its disk is full; try again"]);
    }
}
