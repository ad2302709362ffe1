//! The cores of servers that share one list, in one thread. A model of the bucket tells them late what has changed, and loses answers. A
//! seed decides everything.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::admission::core::{Admission, Out};
use crate::commands::admission::{Edit, ListChange};
use crate::runtime::{Core as _, Now, reply};

const SERVERS: usize = 3;
const SEEDS: u64 = 300;
const STEPS: usize = 80;
const PEERS: [&str; 4] = ["A", "B", "C", "D"];
/// How often an answer of the bucket is lost.
const LOST: f64 = 0.2;

struct Server {
    admission: Admission,
    /// How many changes of the bucket it knows.
    seen: usize,
}

struct World {
    dice: StdRng,
    now: Now,
    changes: Vec<ListChange>,
    servers: Vec<Server>,
    invited: Vec<[u8; 16]>,
}

impl World {
    fn new(seed: u64) -> Self {
        let server = |_| Server { admission: Admission::of_cluster(None), seen: 0 };
        Self {
            dice: StdRng::seed_from_u64(seed),
            now: Now::read(),
            changes: vec![ListChange::Closed],
            servers: (0..SERVERS).map(server).collect(),
            invited: Vec::new(),
        }
    }

    /// The bucket's revision of an entry, and the entry.
    fn entry(&self, wanted: u64) -> Option<(u64, Entry)> {
        let changes = self.changes.iter().rev();
        let mut of_entry = changes.filter_map(|change| match change {
            ListChange::Entry { id, revision, entry } if *id == wanted => Some((*revision, entry.clone())),
            _ => None,
        });
        let (revision, entry) = of_entry.next()?;
        Some((revision, entry?))
    }

    fn entries(&self) -> Vec<Entry> {
        let id_of =
            |change: &ListChange| if let ListChange::Entry { id, .. } = change { Some(*id) } else { None };
        let ids: std::collections::BTreeSet<u64> = self.changes.iter().filter_map(id_of).collect();
        ids.into_iter().filter_map(|id| self.entry(id)).map(|(_, entry)| entry).collect()
    }

    /// Compare-and-set.
    fn write(&mut self, Edit { id, over, entry }: Edit) -> Option<u64> {
        if self.entry(id).map(|(revision, _)| revision) != over {
            return None;
        }
        let revision = self.changes.len() as u64;
        self.changes.push(ListChange::Entry { id, revision, entry });
        Some(revision)
    }

    /// A server handles a command, and writes what follows as its shell does.
    fn take(&mut self, at: usize, command: Command) {
        let mut out = Out::default();
        self.servers[at].admission.handle(self.now, command, &mut out);
        if out.replies.is_empty() {
            return;
        }
        let edits = self.servers[at].admission.edits(self.now);
        let revisions: Option<Vec<u64>> = edits.iter().map(|edit| self.write(edit.clone())).collect();
        let heard = revisions.filter(|_| !self.dice.random_bool(LOST));
        let admission = &mut self.servers[at].admission;
        let answer = match heard {
            Some(revisions) => {
                admission.written(edits, &revisions);
                Ok(())
            }
            None => {
                admission.undo();
                Err(NotAdmitted::NotWritten("lost".to_owned()))
            }
        };
        out.replies.into_iter().for_each(|reply| reply.answer(answer.clone()));
    }

    fn invite(&mut self, at: usize) {
        let secret = [u8::try_from(self.invited.len()).expect("they are few"); 16];
        let (reply, _pending) = reply();
        let before = self.changes.len();
        self.take(at, Command::Add(Entry::Invitation { secret, until: in_an_hour(), name: None }, reply));
        if self.changes.len() > before {
            self.invited.push(secret);
        }
    }

    /// A peer comes to a server with an invitation that was made at any. Returns whether it is admitted.
    fn join(&mut self, at: usize, who: &str, secret: [u8; 16]) -> bool {
        let proof_text = who.as_bytes().to_vec();
        let claim = Claim { invitation: claim(secret, &proof_text), proof_text, is_elsewhere: true };
        let (name, fingerprint, predecessors) = (name(who), key(who), Vec::new());
        let candidate = Candidate { name, fingerprint, predecessors, claim: Some(claim) };
        let (reply, pending) = reply();
        self.take(at, Command::Admit(candidate, reply));
        pending.wait(Duration::ZERO).expect("it answers at once").is_ok()
    }

    fn see(&mut self, at: usize) {
        if let Some(change) = self.changes.get(self.servers[at].seen).cloned() {
            self.servers[at].seen += 1;
            self.take(at, Command::Learn(change));
        }
    }

    fn is_member(&self, who: &str) -> bool {
        let is_who =
            |entry: &Entry| matches!(entry, Entry::Member { fingerprint, .. } if *fingerprint == key(who));
        self.entries().iter().any(is_who)
    }

    fn step(&mut self) {
        let at = self.dice.random_range(0..SERVERS);
        match self.dice.random_range(0..10) {
            0 => self.invite(at),
            1..=4 if !self.invited.is_empty() => {
                let who = PEERS[self.dice.random_range(0..PEERS.len())];
                let secret = self.invited[self.dice.random_range(0..self.invited.len())];
                if self.join(at, who, secret) {
                    assert!(self.is_member(who), "{who} was admitted and is in no list");
                }
            }
            _ => self.see(at),
        }
        assert_eq!(
            self.entries().len(),
            self.invited.len(),
            "each invitation is open, or has made one member"
        );
    }
}

#[test]
fn each_invitation_makes_one_member_at_whichever_servers_it_is_used() {
    let mut used: u64 = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        (0..SERVERS).for_each(|at| world.see(at));
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| world.step());
        }));
        assert!(steps.is_ok(), "seed {seed}");
        while let Some(at) = (0..SERVERS).find(|at| world.servers[*at].seen < world.changes.len()) {
            world.see(at);
        }
        for at in 0..SERVERS {
            let (reply, pending) = reply();
            world.take(at, Command::List(reply));
            let listed = pending.wait(Duration::ZERO).expect("it answers at once");
            assert_eq!(listed, Some(world.entries()), "seed {seed}, server {at}");
        }
        used += PEERS.iter().map(|who| u64::from(world.is_member(who))).sum::<u64>();
    }
    assert!(used > SEEDS, "{used} peers have joined");
}
