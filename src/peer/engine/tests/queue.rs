//! The queue of a holder, from both sides.

use wire::conversation::Outgoing;
use wire::many::{ManyRequest, NoName, NotSent, WantedFile};
use wire::signal::{FileAnswer, FileRequest, Reason, Route, Verdict, Wish, Withdrawal};

use super::*;
use crate::peer::command::Existing;
use crate::peer::engine::{Prepared, Shared, TransferOutcome};

/// A and B, which have a conversation in each direction. A is the engine.
pub(super) struct Talk {
    pub(super) bench: Bench,
    /// From B to A.
    there: Outgoing,
    /// From A to B, once its opening has been sent.
    back: Option<Incoming>,
}

fn file() -> PublishedFile {
    PublishedFile { bytes: 300, ..hit_of_b().file }
}

fn request(transfer: u8, wish: Wish) -> FileRequest {
    let PublishedFile { name, sha256, .. } = file();
    FileRequest { transfer: [transfer; 16], secret: [1; 32], name, sha256, offset: 0, wish }
}

impl Talk {
    pub(super) fn new() -> Self {
        let limits = Limits { upload_slots: 1, ..Limits::default() };
        let mut bench = Bench::with_limits(limits);
        let card = card_of_b(START, START);
        let (to, now) = (bench.engine.card().clone(), bench.now.unix);
        let there = Outgoing::open(&KEYS[1].0, &card, &to, 1, now, &mut StdRng::seed_from_u64(5));
        bench.hear_envelope(Kind::Opening, 1, there.opening().as_bytes());
        let mut talk = Self { bench, there, back: None };
        let shared = Shared { files: vec![Arc::new(file().into())], ..Shared::default() };
        talk.bench.take([Input::Shared(Ok(shared))]);
        talk
    }

    /// Passes a signal of B to A.
    pub(super) fn says(&mut self, kind: Kind, number: u64, content: &[u8]) {
        let sealed = self.there.seal_signal(kind, number, content);
        self.bench.hear_envelope(kind, number, &sealed);
    }

    /// B requests the file. Returns what A answers.
    pub(super) fn requests(&mut self, transfer: u8, wish: Wish) -> Vec<(u8, Verdict)> {
        self.says(Kind::Request, transfer.into(), &signal::encode(&request(transfer, wish)));
        self.answers()
    }

    /// B requests the file as one of many. Returns what A answers.
    fn requests_many(&mut self, transfer: u8, wish: Wish) -> Vec<(u8, Verdict)> {
        let PublishedFile { name, sha256, .. } = file();
        let unknown = WantedFile { name: "unknown".parse().expect("a good name"), sha256 };
        let files = vec![unknown, WantedFile { name, sha256 }];
        let request = ManyRequest { transfer: [transfer; 16], secret: [1; 32], mark: NoName, wish, files };
        self.says(Kind::Request, transfer.into(), &signal::encode(&request));
        self.answers()
    }

    /// The content of the signals of one kind that A has sent. Forgets these.
    pub(super) fn heard(&mut self, wanted: Kind) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        for message in self.bench.sent.drain(..) {
            let ToServer::Envelope(Envelope { kind, number, sealed, .. }) = message else { continue };
            if kind == Kind::Opening {
                let opening = Opening::from_bytes(sealed).expect("it reads");
                let accepted = Incoming::accept(&opening, &KEYS[1].1, None, &mut rand::rng());
                self.back = Some(accepted.expect("it was sealed for B"));
            } else if let Some(back) = &mut self.back {
                let content = back.open_signal(kind, number, sealed).expect("it opens");
                if kind == wanted {
                    heard.push(content);
                }
            }
        }
        heard
    }

    /// The answers of A, each with its transfer.
    pub(super) fn answers(&mut self) -> Vec<(u8, Verdict)> {
        let heard = self.heard(Kind::Answer);
        let answers =
            heard.iter().map(|content| signal::decode::<FileAnswer>(content).expect("it is an answer"));
        answers.map(|answer| (answer.transfer[0], answer.verdict)).collect()
    }

    /// The file of a transfer is sent, or it has failed.
    fn ends(&mut self, transfer: u8) -> Vec<(u8, Verdict)> {
        self.bench.take([Input::Transfer([transfer; 16], TransferOutcome::Sent(Ok(300)))]);
        self.answers()
    }

    /// A fetches the file from B. Returns the request for it.
    fn fetches(&mut self) -> FileRequest {
        let wanted = Wanted::Name(file().name);
        let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
        self.bench.take([Input::Command(CLIENT, get)]);
        let id = self.bench.sent.iter().find_map(|message| match message {
            ToServer::Search { id, .. } => Some(*id),
            _ => None,
        });
        let id = id.expect("the server is asked who has it");
        let hit = Hit { file: file(), ..hit_of_b() };
        self.bench.hear(&ToPeer::Found { id, hits: vec![hit], total: 1 });
        self.bench.take([Input::Prepared(id, Ok(Prepared::From(0)))]);
        self.bench.hear_card(&card_of_b(START, START));
        self.request()
    }

    /// The only request of A.
    fn request(&mut self) -> FileRequest {
        let heard = self.heard(Kind::Request);
        assert_eq!(heard.len(), 1);
        signal::decode(&heard[0]).expect("it is a request")
    }

    /// B answers the request of a transfer.
    pub(super) fn answer(&mut self, to: &FileRequest, verdict: Verdict) {
        let answer = FileAnswer { transfer: to.transfer, verdict };
        self.says(Kind::Answer, 0, &signal::encode(&answer));
    }

    /// The places that A's user was told, and the errors.
    pub(super) fn shown(&mut self) -> (Vec<u32>, Vec<String>) {
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for event in self.bench.events.drain(..) {
            match event {
                Event::FileQueued { place, .. } => places.push(place),
                Event::Error { message } => errors.push(message),
                _ => {}
            }
        }
        (places, errors)
    }
}

fn is_ready(answers: &[(u8, Verdict)], transfer: u8) -> bool {
    matches!(answers, [(of, Verdict::Ready { bytes: 300, .. })] if *of == transfer)
}

#[test]
fn a_request_without_a_free_slot_waits_if_it_may_and_is_served_when_one_is_free() {
    let mut talk = Talk::new();
    assert!(is_ready(&talk.requests(1, Wish::Server), 1));
    assert_eq!(talk.requests(2, Wish::Server), [(2, Verdict::Busy)], "an older receiver does not wait");
    assert_eq!(talk.requests(3, Wish::Queue(Route::Server)), [(3, Verdict::Queued { place: 1 })]);
    assert_eq!(talk.requests(4, Wish::Queue(Route::Direct)), [(4, Verdict::Queued { place: 2 })]);
    assert!(is_ready(&talk.ends(1), 3));
    let sends = |effect: &Effect| matches!(effect, Effect::Send(job) if job.key.transfer == [3; 16]);
    assert_eq!(talk.bench.count(sends), 1);
    let soon = talk.bench.now.instant + Duration::from_secs(1);
    assert!(talk.bench.engine.next_deadline().is_some_and(|at| at <= soon), "the other one has moved");
    talk.bench.sleep(1);
    assert_eq!(talk.answers(), [(4, Verdict::Queued { place: 1 })]);
    assert!(is_ready(&talk.ends(3), 4));
    assert_eq!(talk.requests(5, Wish::Queue(Route::Direct)), [(5, Verdict::Queued { place: 1 })]);
    assert_eq!(
        talk.requests(4, Wish::Queue(Route::Direct)),
        [(4, Verdict::Busy)],
        "a transfer is served once"
    );
    talk.bench.sleep(10);
    assert!(is_ready(&talk.answers(), 5), "B does not dial for the file that is offered");
}

#[test]
fn a_request_for_many_files_takes_a_slot_or_waits_like_one_for_a_file() {
    let mut talk = Talk::new();
    assert!(is_ready(&talk.requests_many(1, Wish::Server), 1));
    assert_eq!(talk.requests_many(2, Wish::Server), [(2, Verdict::Busy)], "an older receiver does not wait");
    assert_eq!(talk.requests(3, Wish::Server), [(3, Verdict::Busy)]);
    assert_eq!(talk.requests_many(4, Wish::Queue(Route::Server)), [(4, Verdict::Queued { place: 1 })]);
    assert_eq!(talk.requests(5, Wish::Queue(Route::Direct)), [(5, Verdict::Queued { place: 2 })]);
    talk.bench.effects.clear();
    talk.bench.events.clear();
    talk.bench.take([Input::Transfer([1; 16], TransferOutcome::SentMany(vec![1], Ok(300)))]);
    let sent = talk.bench.events.iter().filter_map(|event| match event {
        Event::FileSent { to, name, bytes, .. } => Some((to.as_str(), name.to_string(), *bytes)),
        _ => None,
    });
    assert_eq!(sent.collect::<Vec<_>>(), [("B", "file.txt".to_owned(), 300)]);
    assert!(is_ready(&talk.answers(), 4));
    let job = talk.bench.effects.drain(..).find_map(|effect| match effect {
        Effect::SendMany(job) => Some(job),
        _ => None,
    });
    let job = job.expect("they are sent");
    assert_eq!(job.key.transfer, [4; 16]);
    assert!(matches!(&job.files[..], [Err(NotSent::NotShared), Ok(header)] if header.total_bytes == 300));
    talk.bench.take([Input::Transfer([4; 16], TransferOutcome::SentMany(vec![], Err("cut off".into())))]);
    assert!(is_ready(&talk.answers(), 5));
    assert!(talk.shown().1[0].contains("2 file(s) could not be sent to B: cut off"));
}

#[test]
fn a_receiver_that_asks_again_through_the_server_does_not_keep_two_slots() {
    let mut talk = Talk::new();
    assert!(is_ready(&talk.requests_many(1, Wish::Direct), 1));
    assert!(is_ready(&talk.requests_many(2, Wish::Server), 2), "it could not dial");
    assert_eq!(talk.requests_many(3, Wish::Server), [(3, Verdict::Busy)], "this one is being sent");
    talk.bench.take([Input::Transfer([2; 16], TransferOutcome::SentMany(vec![], Ok(0)))]);
    assert!(is_ready(&talk.requests(4, Wish::Direct), 4));
    assert_eq!(talk.requests_many(5, Wish::Server), [(5, Verdict::Busy)], "that is something else");
}

#[test]
fn a_place_is_free_again_when_its_receiver_leaves() {
    let mut talk = Talk::new();
    talk.requests(1, Wish::Server);
    talk.requests(2, Wish::Queue(Route::Server));
    talk.requests(3, Wish::Queue(Route::Server));
    talk.says(Kind::Request, 9, &signal::encode(&Withdrawal { transfer: [2; 16], reason: Reason::Left }));
    assert_eq!(talk.answers(), [], "and no answer to that");
    talk.bench.withholds_outcomes = true;
    talk.bench.sleep(1);
    assert_eq!(talk.answers(), [(3, Verdict::Queued { place: 1 })]);
    let first = talk.bench.envelopes_sent;
    let outcome = Outcome::Refused(Refusal::Absent);
    talk.bench.hear(&ToPeer::Routed { first, count: 1, outcome });
    assert_eq!(talk.ends(1), [], "nobody waits any more");
    assert_eq!(talk.bench.engine.sharing.slots.deadline(), None);
}

#[test]
fn a_holder_that_is_ready_for_a_receiver_that_has_left_is_free_at_once() {
    type Ask = fn(&mut Talk, u8, Wish) -> Vec<(u8, Verdict)>;
    let left = |transfer| signal::encode(&Withdrawal { transfer: [transfer; 16], reason: Reason::Left });
    let is_stopped = |effect: &Effect| matches!(effect, Effect::StopSend(transfer) if *transfer == [1; 16]);
    for (ask, route) in [(Talk::requests as Ask, Route::Server), (Talk::requests_many, Route::Server)] {
        let mut talk = Talk::new();
        ask(&mut talk, 1, route.into());
        talk.requests(2, Wish::Queue(Route::Server));
        // Nobody else can stop it.
        talk.bench.engine.withdrawn(&name("C"), &Withdrawal { transfer: [1; 16], reason: Reason::Left });
        talk.bench.take([]);
        assert_eq!(talk.bench.count(is_stopped), 0);
        talk.says(Kind::Request, 9, &left(1));
        assert!(is_ready(&talk.answers(), 2));
        assert_eq!(talk.bench.count(is_stopped), 1);
        // Its thread has ended.
        talk.bench.events.clear();
        let ended = TransferOutcome::Sent(Err("the server closed it".into()));
        talk.bench.take([Input::Transfer([1; 16], ended)]);
        assert_eq!(talk.shown().1, [""; 0]);
    }
    // The same if the server says that the receiver is not there.
    let mut talk = Talk::new();
    talk.bench.withholds_outcomes = true;
    talk.requests(1, Wish::Server);
    let first = talk.bench.envelopes_sent;
    talk.bench.hear(&ToPeer::Routed { first, count: 2, outcome: Outcome::Refused(Refusal::Absent) });
    assert_eq!(talk.bench.count(is_stopped), 1);
}

#[test]
fn a_receiver_takes_a_request_back_that_is_not_answered_but_not_one_that_is_refused() {
    for is_cancelled in [true, false] {
        let mut talk = Talk::new();
        let asked = talk.fetches();
        if is_cancelled {
            talk.bench.take([Input::Gone(CLIENT)]);
        } else {
            talk.bench.sleep(15);
        }
        let left = signal::encode(&Withdrawal { transfer: asked.transfer, reason: Reason::Left });
        assert_eq!(talk.heard(Kind::Request), [left]);
    }
    let mut talk = Talk::new();
    let asked = talk.fetches();
    talk.answer(&asked, Verdict::NotShared);
    assert_eq!(talk.heard(Kind::Request), [[0; 0]; 0]);
}

#[test]
fn a_queued_file_that_is_no_longer_shared_is_not_sent() {
    let mut talk = Talk::new();
    talk.requests(1, Wish::Server);
    talk.requests(2, Wish::Queue(Route::Server));
    let gone = Shared { removed: vec![file().name], ..Shared::default() };
    talk.bench.take([Input::Shared(Ok(gone))]);
    assert_eq!(talk.ends(1), [(2, Verdict::NotShared)]);
    assert_eq!(talk.requests(3, Wish::Server), [(3, Verdict::NotShared)]);
}

#[test]
fn a_fetch_waits_in_the_queue_and_its_user_sees_each_place_once() {
    let mut talk = Talk::new();
    let first = talk.fetches();
    assert_eq!(first.wish, Wish::Server, "an older holder could not read another wish");
    talk.answer(&first, Verdict::Busy);
    let asked = talk.request();
    assert_eq!((asked.wish, asked.transfer != first.transfer), (Wish::Queue(Route::Server), true));
    for place in [3, 3, 2, 2] {
        talk.answer(&asked, Verdict::Queued { place });
        talk.bench.sleep(29);
    }
    assert_eq!(talk.shown(), (vec![3, 2], vec![]));
    // The connection is replaced. The same request keeps its place.
    talk.bench.take([Input::Net(Net::Lost(Duration::ZERO))]);
    talk.bench.join();
    talk.bench.hear_card(&card_of_b(START, START));
    let again = talk.request();
    assert!(again == asked);
    talk.answer(&asked, Verdict::Ready { bytes: 300, salt: [2; 16] });
    assert_eq!(talk.bench.count(|effect| matches!(effect, Effect::Receive(_))), 1);
    assert_eq!(talk.shown(), (vec![], vec![]));
}

#[test]
fn a_fetch_that_is_cancelled_or_not_answered_any_more_gives_its_place_up() {
    for is_cancelled in [true, false] {
        let mut talk = Talk::new();
        let first = talk.fetches();
        talk.answer(&first, Verdict::Busy);
        let asked = talk.request();
        talk.answer(&asked, Verdict::Queued { place: 1 });
        if is_cancelled {
            talk.bench.take([Input::Gone(CLIENT)]);
        } else {
            talk.bench.sleep(30);
            talk.bench.nobody_has_it();
            assert!(talk.shown().1[0].contains("B does not answer any more"));
        }
        let expected = signal::encode(&Withdrawal { transfer: asked.transfer, reason: Reason::Left });
        assert_eq!(talk.heard(Kind::Request), std::slice::from_ref(&expected));
        // The holder has missed it. It could also be that of an earlier process.
        talk.answer(&asked, Verdict::Queued { place: 1 });
        assert_eq!(talk.heard(Kind::Request), [expected]);
    }
}

#[test]
fn a_receiver_whose_disk_is_full_tells_the_holder_whose_user_is_told() {
    let mut talk = Talk::new();
    let asked = talk.fetches();
    talk.answer(&asked, Verdict::Ready { bytes: 300, salt: [2; 16] });
    let why = "the disk is full".to_owned();
    talk.bench.take([Input::Transfer(asked.transfer, TransferOutcome::DiskFull(why.clone()))]);
    assert_eq!(talk.shown().1, [why]);
    let full = |transfer| signal::encode(&Withdrawal { transfer, reason: Reason::DiskFull });
    assert_eq!(talk.heard(Kind::Request), [full(asked.transfer)]);

    // A is the holder. It does not matter whether it has sent everything.
    talk.requests(1, Wish::Server);
    talk.says(Kind::Request, 2, &full([1; 16]));
    assert!(talk.bench.refusals()[0].contains("the disk of B is full"));
    talk.ends(1);
    talk.says(Kind::Request, 3, &full([1; 16]));
    assert!(talk.bench.refusals()[0].starts_with("file.txt has not arrived"));
    talk.requests_many(2, Wish::Server);
    talk.says(Kind::Request, 5, &full([2; 16]));
    assert!(talk.bench.refusals()[0].starts_with("not all of 2 file(s) have arrived, because the disk of B"));
    talk.says(Kind::Request, 4, &full([3; 16]));
    assert_eq!(talk.bench.refusals(), [] as [&str; 0], "nothing was sent in that transfer");
}

#[test]
fn a_holder_that_knows_no_queue_is_busy() {
    let mut talk = Talk::new();
    let first = talk.fetches();
    talk.answer(&first, Verdict::Busy);
    talk.request();
    talk.bench.sleep(15);
    talk.bench.nobody_has_it();
    assert!(talk.shown().1[0].contains("B sends too many files at once"));
}
