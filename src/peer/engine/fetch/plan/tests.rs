//! The plan with holders of every kind, whose hashes are symbols.

use proptest::prelude::*;
use wire::pieces::{PIECE_BYTES, RUN_PIECES_MAX};

use super::*;

/// How a holder behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Sends other bytes for every n-th piece, with the links of the file.
    FalseBytes(u64),
    /// Names other links, with the bytes of the file.
    FalseLinks(u64),
    /// Invents whole requests: bytes and links that fit each other.
    Invents,
    /// Sends nothing after this many pieces, without an end.
    Stalls(u32),
    /// Is gone after this many pieces.
    Dies(u32),
}

impl Manner {
    fn is_lie(self) -> bool {
        matches!(self, Self::FalseBytes(_) | Self::FalseLinks(_) | Self::Invents)
    }
}

/// What SHA-256 is here: the link behind a piece depends on the link before it and on its content.
fn behind(link: Link, content: &str) -> Link {
    Link(Digest::of_parts(&[&link.0.0, content.as_bytes()]))
}

struct Sending {
    holder: HolderId,
    left: Range<u64>,
    /// The link where the invented content has come to.
    invented: Link,
    /// For how many seconds it has sent nothing.
    silent: u32,
}

/// The transfer ends by itself then.
const IDLE_SECONDS: u32 = 30;

/// A receiver and holders, in a time of their own.
struct World {
    plan: Plan,
    links: Vec<Link>,
    manners: Vec<Manner>,
    sent: Vec<u32>,
    sending: BTreeMap<RunId, Sending>,
    asked: Vec<RunId>,
    /// What is on the disk, as whose content.
    disk: BTreeMap<u64, String>,
    now: Instant,
    faults: BTreeMap<HolderId, Fault>,
    is_done: bool,
}

impl World {
    fn new(pieces: u64, manners: &[Manner], here: &[Piece]) -> Self {
        let mut links = vec![Chain::new().link()];
        for piece in 0..pieces {
            links.push(behind(links[links.len() - 1], &right(piece)));
        }
        let sha256 = links[links.len() - 1].0;
        let plan = Plan::new(pieces * PIECE_BYTES, sha256, manners.len(), here);
        Self {
            plan,
            links,
            manners: manners.to_vec(),
            sent: vec![0; manners.len()],
            sending: BTreeMap::new(),
            asked: Vec::new(),
            disk: here.iter().map(|piece| (piece.number, right(piece.number))).collect(),
            now: Instant::now(),
            faults: BTreeMap::new(),
            is_done: false,
        }
    }

    fn link(&self, piece: u64) -> Link {
        self.links[usize::try_from(piece).expect("it is small")]
    }

    fn piece(&self, number: u64) -> Piece {
        Piece { number, from: self.link(number), to: self.link(number + 1) }
    }

    fn hear(&mut self, input: Input) {
        let mut steps = Vec::new();
        self.plan.handle(self.now, input, true, &mut steps);
        for step in steps {
            match step {
                Step::Ask { holder, run, pieces } => {
                    assert!(!pieces.is_empty() && pieces.end - pieces.start <= RUN_PIECES_MAX as u64);
                    assert!(self.plan.holders[holder].fault.is_none(), "{holder} was dropped");
                    let invented = Link(Digest::of(b"invented"));
                    self.sending.insert(run, Sending { holder, left: pieces, invented, silent: 0 });
                    self.asked.push(run);
                }
                Step::Stop(run) => {
                    self.asked.retain(|asked| *asked != run);
                    if self.sending.remove(&run).is_some() {
                        self.hear(Input::Ended(run, false));
                    }
                }
                Step::Release(pieces) => pieces.iter().for_each(|piece| drop(self.disk.remove(piece))),
                Step::Drop(holder, fault) => drop(self.faults.insert(holder, fault)),
                Step::Done => self.is_done = true,
            }
        }
        self.faults.retain(|holder, _| self.plan.holders[*holder].fault.is_some());
    }

    /// One holder does something.
    fn step(&mut self, at: usize) {
        if self.sending.is_empty() {
            self.now += Duration::from_secs(1);
            return self.hear(Input::Time);
        }
        let runs: Vec<RunId> = self.sending.keys().copied().collect();
        let run = runs[at % runs.len()];
        if self.asked.contains(&run) {
            self.asked.retain(|asked| *asked != run);
            return self.hear(Input::Sends(run));
        }
        let holder = self.sending[&run].holder;
        let manner = self.manners[holder];
        match manner {
            Manner::Stalls(after) if self.sent[holder] >= after => {
                self.now += Duration::from_secs(1);
                let sending = self.sending.get_mut(&run).expect("it sends");
                sending.silent += 1;
                if sending.silent < IDLE_SECONDS {
                    return self.hear(Input::Time);
                }
                self.sending.remove(&run);
                return self.hear(Input::Ended(run, false));
            }
            Manner::Dies(after) if self.sent[holder] >= after => {
                let theirs: Vec<RunId> =
                    self.sending.iter().filter(|(_, run)| run.holder == holder).map(|(id, _)| *id).collect();
                for run in theirs {
                    if self.sending.remove(&run).is_some() {
                        self.hear(Input::Ended(run, false));
                    }
                }
                return self.hear(Input::Left(holder));
            }
            _ => {}
        }
        self.send(run, holder, manner);
    }

    fn send(&mut self, run: RunId, holder: HolderId, manner: Manner) {
        let number = self.sending[&run].left.start;
        let is_last = number + 1 == self.sending[&run].left.end;
        let false_one = format!("false {holder} {number}");
        let (mut piece, mut next, mut content) =
            (self.piece(number), Some(self.link(number + 1)), right(number));
        match manner {
            Manner::FalseBytes(every) if number.is_multiple_of(every) => {
                (piece.to, content) = (behind(piece.from, &false_one), false_one);
            }
            Manner::FalseLinks(every) if number.is_multiple_of(every) => {
                piece.from = Link(Digest::of(false_one.as_bytes()));
                piece.to = behind(piece.from, &content);
                next = Some(piece.to);
            }
            Manner::Invents => {
                piece.from = if number == 0 { self.link(0) } else { self.sending[&run].invented };
                piece.to = behind(piece.from, &false_one);
                (next, content) = (Some(piece.to), false_one);
                self.sending.get_mut(&run).expect("it sends").invented = piece.to;
            }
            _ => {}
        }
        let next = next.filter(|_| !is_last);
        let is_new = !self.disk.contains_key(&number);
        if is_new {
            self.disk.insert(number, content);
        }
        self.sent[holder] += 1;
        self.sending.get_mut(&run).expect("it sends").left.start += 1;
        if is_last {
            self.sending.remove(&run);
        }
        self.hear(Input::Arrived { run, piece, next, is_new });
        if is_last {
            self.hear(Input::Ended(run, true));
        }
    }

    /// Until the file is here, or nobody is left. Checks who was blamed.
    fn run(&mut self, choices: &[usize]) {
        for holder in 0..self.manners.len() {
            self.hear(Input::Usable(holder));
        }
        let mut turns = 0;
        while !self.is_done && self.plan.can_go_on() {
            self.step(choices[turns % choices.len()].wrapping_add(turns / choices.len()));
            turns += 1;
            assert!(turns < 100_000, "it comes to no end");
        }
        for (holder, fault) in &self.faults {
            if let Fault::Lied(_) = fault {
                assert!(self.manners[*holder].is_lie(), "{holder} has not lied");
            }
        }
    }
}

fn right(piece: u64) -> String {
    format!("right {piece}")
}

fn manners() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => Just(Manner::Honest),
        1 => (1_u64..5).prop_map(Manner::FalseBytes),
        1 => (1_u64..5).prop_map(Manner::FalseLinks),
        1 => Just(Manner::Invents),
        1 => (0_u32..20).prop_map(Manner::Stalls),
        1 => (0_u32..20).prop_map(Manner::Dies),
    ]
}

proptest! {
    #[test]
    fn the_file_is_right_whenever_one_honest_holder_lives_and_only_liars_are_named(
        pieces in 1_u64..60,
        mut others in proptest::collection::vec(manners(), 0..5),
        place in 0_usize..5,
        choices in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        others.insert(place.min(others.len()), Manner::Honest);
        let mut world = World::new(pieces, &others, &[]);
        world.run(&choices);
        prop_assert!(world.is_done);
        prop_assert_eq!(world.disk.len() as u64, pieces);
        for (piece, content) in &world.disk {
            prop_assert_eq!(content, &right(*piece));
        }
        let given: u64 = (0..others.len()).map(|holder| world.plan.given_by(holder)).sum();
        prop_assert_eq!(given, pieces * PIECE_BYTES);
    }
}

#[test]
fn without_an_honest_holder_there_is_no_file() {
    for manner in [Manner::FalseBytes(3), Manner::FalseLinks(3), Manner::Invents, Manner::Dies(7)] {
        let mut world = World::new(20, &[manner, manner], &[]);
        world.run(&[0, 1]);
        assert!(!world.is_done, "{manner:?}");
        assert_eq!(world.faults.len(), 2);
        assert!(world.faults.values().all(|fault| matches!(fault, Fault::Lied(_)) == manner.is_lie()));
    }
}

#[test]
fn a_liar_is_named_with_the_piece_although_others_have_sent_what_is_behind_it() {
    let mut world = World::new(40, &[Manner::Honest, Manner::FalseBytes(7)], &[]);
    world.run(&[0, 1, 2]);
    assert!(world.is_done);
    let [(1, Fault::Lied(piece))] =
        world.faults.iter().map(|(id, fault)| (*id, *fault)).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", world.faults)
    };
    assert_eq!(piece % 7, 0);
}

#[test]
fn a_holder_that_stalls_is_dropped_and_what_it_had_to_send_comes_from_others() {
    let mut world = World::new(60, &[Manner::Honest, Manner::Stalls(2), Manner::Honest], &[]);
    for holder in 0..3 {
        world.hear(Input::Usable(holder));
    }
    while !world.is_done {
        // The honest ones take 100 ms for a piece; the other one says nothing more.
        world.now += Duration::from_millis(100);
        let able: Vec<RunId> = world
            .sending
            .iter()
            .filter(|(run, sending)| sending.holder != 1 || world.asked.contains(run) || world.sent[1] < 2)
            .map(|(id, _)| *id)
            .collect();
        let Some(run) = able.first() else {
            world.hear(Input::Time);
            continue;
        };
        let at = world.sending.keys().position(|id| id == run).expect("it is there");
        world.step(at);
    }
    assert_eq!(world.disk.len(), 60);
    assert_eq!(world.faults, BTreeMap::from([(1, Fault::Slow)]));
    assert!(world.plan.given_by(1) <= 2 * PIECE_BYTES);
}

#[test]
fn a_slow_holder_is_asked_again_when_nobody_else_is_left() {
    let mut world = World::new(60, &[Manner::Dies(9), Manner::Honest], &[]);
    world.hear(Input::Usable(0));
    world.hear(Input::Usable(1));
    let of =
        |world: &World, holder| world.sending.iter().find(|(_, run)| run.holder == holder).map(|(id, _)| *id);
    let step = |world: &mut World, holder| {
        let run = of(world, holder).expect("it was asked");
        let at = world.sending.keys().position(|id| *id == run).expect("it is there");
        world.step(at);
    };
    step(&mut world, 1);
    (0..6).for_each(|_| step(&mut world, 0));
    assert!(world.plan.deadline().is_some());
    world.now += SLOW_LEAST;
    world.hear(Input::Time);
    assert_eq!(world.faults.get(&1), Some(&Fault::Slow));
    while !world.faults.contains_key(&0) {
        step(&mut world, 0);
    }
    world.run(&[0]);
    assert!(world.is_done);
}

#[test]
fn at_the_end_whoever_has_nothing_to_do_sends_what_another_one_has_not() {
    let mut world = World::new(20, &[Manner::Honest, Manner::Honest], &[]);
    world.hear(Input::Usable(0));
    world.hear(Input::Usable(1));
    // The second one sends nothing, and no time passes in which that could be noticed.
    while let Some(at) = world.sending.values().position(|run| run.holder == 0) {
        world.step(at);
    }
    assert!(world.is_done);
    assert_eq!(world.plan.given_by(0), 20 * PIECE_BYTES);
    assert!(world.faults.is_empty());
    assert!(world.sending.is_empty(), "its requests are taken back");
}

#[test]
fn what_an_earlier_process_has_received_is_not_asked_for_again_unless_it_is_wrong() {
    let right_ones = World::new(20, &[], &[]);
    let mut here: Vec<Piece> = (5..15).map(|number| right_ones.piece(number)).collect();
    let mut world = World::new(20, &[Manner::Honest], &here);
    world.run(&[0]);
    assert!(world.is_done);
    assert_eq!(world.plan.given_by(0), 10 * PIECE_BYTES);
    here[4].to = Link(Digest::of(b"damaged"));
    let mut world = World::new(20, &[Manner::Honest], &here);
    world.disk.insert(9, "damaged".into());
    world.run(&[0]);
    assert!(world.is_done);
    assert_eq!(world.disk[&9], right(9));
}

#[test]
fn a_request_that_waits_holds_nobody_up_and_is_not_used_if_the_pieces_are_here() {
    let mut world = World::new(4, &[Manner::Honest, Manner::Honest], &[]);
    world.hear(Input::Usable(0));
    let waiting = world.asked[0];
    world.hear(Input::Queued(waiting));
    world.hear(Input::Usable(1));
    let late = world.sending.remove(&waiting).expect("it was asked for");
    world.asked.retain(|asked| *asked != waiting);
    while world.sending.values().any(|sending| sending.holder == 1) {
        world.step(0);
    }
    assert!(world.is_done, "{:?}", late.left);
}
