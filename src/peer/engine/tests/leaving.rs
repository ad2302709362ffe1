//! A file that is fetched alone, and whose holder does not send it.

use std::path::PathBuf;

use wire::protocol::TransferId;
use wire::query::Query;
use wire::signal::{FileRequest, Verdict};

use super::many::{answer_of, is_done, shown};
use super::patterns::hear_card;
use super::*;
use crate::peer::command::{Ending, Existing};
use crate::peer::engine::{Prepared, TransferOutcome};
use crate::peer::event::{HolderFault, HolderPart};

const BYTES: u64 = 1000;
const READY: Verdict = Verdict::Ready { bytes: BYTES, salt: [1; 16] };

fn hit(peer: &str, file_name: &str) -> Hit {
    let name = file_name.parse().expect("a good name");
    Hit {
        peer: self::name(peer),
        file: PublishedFile { name, bytes: BYTES, ..hit_of_b().file },
        ..hit_of_b()
    }
}

/// A peer that fetches `file.txt`.
struct Receiver {
    bench: Bench,
    task: u32,
    conversations: BTreeMap<String, Incoming>,
}

impl Receiver {
    /// These have it, and the first one has the first bytes of it here already.
    fn of(holders: &[&str], from: Option<&str>, offset: u64) -> Self {
        let mut bench = Bench::new();
        let wanted = Wanted::Name("file.txt".parse().expect("a good name"));
        let get = Command::Get { wanted, from: from.map(name), output: None, existing: Existing::Refuse };
        bench.take([Input::Command(CLIENT, get)]);
        let mut receiver = Self { bench, task: 0, conversations: BTreeMap::new() };
        let (task, _) = receiver.search().expect("the server is asked who has it");
        receiver.task = task;
        receiver.find(holders.iter().map(|holder| hit(holder, "file.txt")).collect());
        receiver.prepare(offset);
        receiver
    }

    /// The last search since the last call.
    fn search(&mut self) -> Option<(u32, Query)> {
        let searches = self.bench.sent.extract_if(.., |message| matches!(message, ToServer::Search { .. }));
        let search = searches.last()?;
        let ToServer::Search { id, query, .. } = search else { unreachable!("the others were left out") };
        Some((id, query))
    }

    fn find(&mut self, hits: Vec<Hit>) {
        self.bench.hear(&ToPeer::Found { id: self.task, total: hits.len() as u64, hits });
    }

    /// The disk is looked at, where the file has so many bytes.
    #[track_caller]
    fn prepare(&mut self, offset: u64) {
        let task = self.task;
        let is_it = |effect: &Effect| matches!(effect, Effect::Prepare(of, download) if *of == task && download.here.as_str() == "file.txt");
        assert_eq!(self.bench.count(is_it), 1);
        self.bench.take([Input::Prepared(task, Ok(Prepared::From(offset)))]);
    }

    /// The card of a holder comes. Returns the request to it.
    #[track_caller]
    fn ask(&mut self, peer: &str) -> FileRequest {
        hear_card(&mut self.bench, peer);
        let requests = self.requests();
        let [(to, request)] = &requests[..] else { panic!("{} requests", requests.len()) };
        assert_eq!(to, peer);
        request.clone()
    }

    /// The requests for files since the last call, each with the name of whom it is for.
    fn requests(&mut self) -> Vec<(String, FileRequest)> {
        let mut requests = Vec::new();
        let envelopes = self.bench.sent.extract_if(.., |message| matches!(message, ToServer::Envelope(_)));
        for message in envelopes {
            let ToServer::Envelope(Envelope { to, kind, number, sealed, .. }) = message else { continue };
            if kind == Kind::Opening {
                let opening = Opening::from_bytes(sealed).expect("it reads");
                let accepted = Incoming::accept(&opening, &KEYS[1].1, None, &mut rand::rng());
                self.conversations.insert(to.to_owned(), accepted.expect("it was sealed for these keys"));
            } else if kind == Kind::Request {
                let incoming = self.conversations.get_mut(to).expect("the opening comes first");
                let content = incoming.open_signal(kind, number, sealed).expect("it opens");
                requests.extend(signal::decode(&content).ok().map(|request| (to.to_owned(), request)));
            }
        }
        requests
    }

    fn report(&mut self, transfer: TransferId, outcome: TransferOutcome) {
        self.bench.take([Input::Transfer(transfer, outcome)]);
    }

    /// A holder is asked, is ready, and stops when so many bytes of the file are here.
    #[track_caller]
    fn cut_off(&mut self, peer: &str, kept: u64) {
        let asked = self.ask(peer).transfer;
        answer_of(&mut self.bench, peer, asked, READY);
        self.report(asked, TransferOutcome::CutOff("it was cut off".into(), kept));
    }

    /// Who is not asked any more, why, and as what it counts.
    fn dropped(&mut self) -> Vec<(String, HolderFault, String)> {
        let dropped = self.bench.events.extract_if(.., |e| matches!(e, Event::FileHolderDropped { .. }));
        let dropped = dropped.map(|event| match event {
            Event::FileHolderDropped { from, fault, reason, .. } => (from.to_string(), fault, reason),
            _ => unreachable!("the others were left out"),
        });
        dropped.collect()
    }
}

#[test]
fn another_holder_goes_on_where_the_one_that_has_left_has_stopped() {
    let mut receiver = Receiver::of(&["B", "C"], None, 0);
    receiver.cut_off("B", 400);
    let why = "B has stopped sending: it was cut off; C is asked for file.txt instead".to_owned();
    assert_eq!(receiver.dropped(), [("B".to_owned(), HolderFault::Gone, why)]);
    receiver.prepare(400);
    let asked = receiver.ask("C");
    assert_eq!(asked.offset, 400);
    receiver.bench.effects.clear();
    answer_of(&mut receiver.bench, "C", asked.transfer, READY);
    assert_eq!(receiver.bench.count(|effect| matches!(effect, Effect::Receive(job) if job.offset == 400)), 1);
    receiver.report(asked.transfer, TransferOutcome::Received(Ok(PathBuf::from("/there"))));
    let given = receiver.bench.events.iter().find_map(|event| match event {
        Event::FileHolders { holders, .. } => Some(holders.clone()),
        _ => None,
    });
    let of = |HolderPart { from, bytes, .. }: HolderPart| (from.to_string(), bytes);
    let given: Vec<(String, u64)> = given.unwrap_or_default().into_iter().map(of).collect();
    assert_eq!(given, [("C".to_owned(), 600), ("B".to_owned(), 400)]);
    let done = |event: &Event| matches!(event, Event::FileDone { from: Some(from), peers: 2, .. } if from.as_str() == "C");
    assert!(receiver.bench.events.iter().any(done));
    assert!(is_done(&mut receiver.bench, Ending::Done));
}

#[test]
fn another_holder_is_asked_whatever_the_first_one_does_instead_of_sending() {
    type Does = fn(&mut Receiver, TransferId);
    let not_sent: [(Does, HolderFault, &str); 6] = [
        (|r, asked| r.bench.engine.fetch_refused(asked, Refusal::Absent), HolderFault::Gone, "not connected"),
        (|r, asked| answer_of(&mut r.bench, "B", asked, Verdict::NotShared), HolderFault::Gone, "not share"),
        (|r, asked| answer_of(&mut r.bench, "B", asked, Verdict::Changed), HolderFault::Gone, "has changed"),
        (|r, _| r.bench.sleep(15), HolderFault::Gone, "does not answer"),
        (
            |r, asked| {
                answer_of(&mut r.bench, "B", asked, READY);
                r.report(asked, TransferOutcome::CannotDial("no route".into()));
            },
            HolderFault::Gone,
            "cannot be reached: no route",
        ),
        (
            |r, asked| {
                answer_of(&mut r.bench, "B", asked, READY);
                r.report(asked, TransferOutcome::Wrong("another file".into(), 0));
            },
            HolderFault::Lied,
            "something else: another file",
        ),
    ];
    for (does, fault, why) in not_sent {
        let mut receiver = Receiver::of(&["B", "C"], None, 0);
        let asked = receiver.ask("B").transfer;
        does(&mut receiver, asked);
        receiver.bench.take([]);
        let dropped = receiver.dropped();
        let [(from, as_what, reason)] = &dropped[..] else { panic!("{why}: {dropped:?}") };
        assert_eq!((from.as_str(), *as_what), ("B", fault), "{reason}");
        assert!(reason.contains(why) && reason.ends_with("; C is asked for file.txt instead"), "{reason}");
        assert_eq!(shown(&mut receiver.bench).1, [""; 0]);
        receiver.bench.sent.clear();
        receiver.prepare(0);
        receiver.ask("C");
    }
}

#[test]
fn when_no_known_holder_is_left_the_server_is_asked_for_others_of_any_name() {
    let mut receiver = Receiver::of(&["B", "C"], None, 0);
    for (peer, kept) in [("B", 100), ("C", 200)] {
        receiver.cut_off(peer, kept);
        if peer == "B" {
            receiver.prepare(kept);
        }
    }
    let sha256 = hit_of_b().file.sha256;
    assert_eq!(receiver.search(), Some((receiver.task, Query::Digest(sha256))));
    // The search is repeated over a new connection.
    receiver.bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    receiver.bench.join();
    assert_eq!(receiver.search(), Some((receiver.task, Query::Digest(sha256))));
    let mut of_e = hit("E", "file.txt");
    of_e.file.sha256 = Digest::of(b"something else");
    let away = Hit { online: false, ..hit("F", "file.txt") };
    let hits =
        vec![hit("B", "file.txt"), hit("C", "file.txt"), of_e, away, hit("A", "mine"), hit("D", "other")];
    receiver.find(hits);
    let why = "C has stopped sending: it was cut off; D is asked for file.txt instead";
    assert!(receiver.dropped().iter().any(|(from, _, reason)| from == "C" && reason == why));
    receiver.prepare(200);
    let asked = receiver.ask("D");
    assert_eq!((asked.name.as_str(), asked.offset), ("other", 200));
}

#[test]
fn when_the_last_holder_fails_the_error_says_what_to_do() {
    let nobody = "B has stopped sending: it was cut off; nobody else who is here has file.txt";
    for (kept, rest) in
        [(0, "; try again"), (400, "; 400 of 1000 bytes are kept, and the same command fetches the rest")]
    {
        let mut receiver = Receiver::of(&["B"], None, 0);
        receiver.cut_off("B", kept);
        assert_eq!(shown(&mut receiver.bench).1, [""; 0]);
        receiver.find(vec![hit("B", "file.txt")]);
        assert_eq!(shown(&mut receiver.bench).1, [format!("{nobody}{rest}")]);
        assert!(is_done(&mut receiver.bench, Ending::Failed));
    }
    // The server does not answer.
    let mut receiver = Receiver::of(&["B"], None, 0);
    receiver.cut_off("B", 400);
    receiver.bench.sleep(15);
    let why = "B has stopped sending: it was cut off; 400 of 1000 bytes are kept, and the same command fetches the rest";
    assert_eq!(shown(&mut receiver.bench).1, [why]);
    assert!(is_done(&mut receiver.bench, Ending::Failed));
}

#[test]
fn only_the_holder_that_the_user_has_named_is_asked() {
    let mut receiver = Receiver::of(&["B", "C"], Some("B"), 0);
    receiver.cut_off("B", 400);
    let why = "B has stopped sending: it was cut off; 400 of 1000 bytes are kept, and the same command fetches the rest";
    assert_eq!(shown(&mut receiver.bench).1, [why]);
    assert_eq!((receiver.search(), receiver.dropped()), (None, vec![]));
    assert!(is_done(&mut receiver.bench, Ending::Failed));
}

#[test]
fn a_failure_on_this_side_or_of_the_server_is_no_reason_to_ask_another_holder() {
    let full = || TransferOutcome::DiskFull("the disk is full".into());
    let here = || TransferOutcome::Received(Err("no folder".into()));
    for (outcome, why) in [(full(), "the disk is full"), (here(), "no folder")] {
        let mut receiver = Receiver::of(&["B", "C"], None, 0);
        let asked = receiver.ask("B").transfer;
        answer_of(&mut receiver.bench, "B", asked, READY);
        receiver.report(asked, outcome);
        assert_eq!(shown(&mut receiver.bench).1, [why]);
    }
    let mut receiver = Receiver::of(&["B", "C"], None, 0);
    let asked = receiver.ask("B").transfer;
    receiver.bench.engine.fetch_refused(asked, Refusal::Busy);
    receiver.bench.take([]);
    assert_eq!(shown(&mut receiver.bench).1, ["the server is busy; try again"]);
    let mut receiver = Receiver::of(&["B", "C"], None, 0);
    let asked = receiver.ask("B").transfer;
    answer_of(&mut receiver.bench, "B", asked, READY);
    receiver.bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    receiver.report(asked, TransferOutcome::CutOff("it was cut off".into(), 400));
    let why = "B has stopped sending: it was cut off; 400 of 1000 bytes are kept, and the same command fetches the rest";
    assert_eq!(shown(&mut receiver.bench).1, [why]);
}

#[test]
fn what_does_not_fit_the_bytes_before_it_is_requested_from_the_first_byte_on() {
    // Those of an earlier process, or of a holder that has left.
    let mut receiver = Receiver::of(&["B"], None, 300);
    let asked = receiver.ask("B");
    assert_eq!(asked.offset, 300);
    answer_of(&mut receiver.bench, "B", asked.transfer, READY);
    receiver.report(asked.transfer, TransferOutcome::Wrong("another digest".into(), 0));
    let requests = receiver.requests();
    let [(to, again)] = &requests[..] else { panic!("{} requests", requests.len()) };
    assert_eq!((to.as_str(), again.offset), ("B", 0));
    // Now all of it comes from B.
    answer_of(&mut receiver.bench, "B", again.transfer, READY);
    let transfer = again.transfer;
    receiver.report(transfer, TransferOutcome::Wrong("another digest".into(), 0));
    receiver.find(Vec::new());
    let why = "B has sent something else: another digest; nobody else who is here has file.txt; try again";
    assert_eq!(shown(&mut receiver.bench).1, [why]);
}
