//! Who may join.

use wire::invitation::{KnownProof, prove_known};

use super::file::Line;
use super::shared::Shared;
use crate::commands::admission::{
    Admitted, Answer, Candidate, Command, Edit, Entry, ListChange, Members, NotAdmitted,
};
use crate::runtime::{Core, Now, Reply};

pub(super) struct Admission {
    lines: Vec<Line>,
    /// Anybody may join, because no server of the cluster has a list.
    is_open: bool,
    /// This server has a list of its own.
    has_list: bool,
    /// The list as the cluster has it, if there is a cluster.
    shared: Shared,
}

/// What follows once the list is on the disk.
#[derive(Default)]
pub(super) struct Out {
    pub(super) replies: Vec<Waiting>,
    /// Whether a member was removed, so that its sessions must end.
    pub(super) expels: bool,
    /// The list of this server is to become that of the cluster.
    pub(super) seeds: bool,
}

/// Who waits until the list is written.
pub(super) enum Waiting {
    /// A peer that is admitted then.
    Peer(Reply<Admitted>, Option<KnownProof>),
    Administrator(Reply<Answer>),
}

impl Waiting {
    pub(super) fn answer(self, written: Answer) {
        match self {
            Self::Peer(reply, proof) => reply.answer(written.map(|()| proof)),
            Self::Administrator(reply) => reply.answer(written),
        }
    }
}

impl Core for Admission {
    type Command = Command;
    type Out = Out;

    fn handle(&mut self, now: Now, command: Command, out: &mut Self::Out) {
        self.drop_expired(now);
        match command {
            // A session that has stopped waiting must not use up an invitation.
            Command::Admit(_, reply) if reply.has_expired(now.instant) => {}
            // Without a list there are no invitations.
            Command::Admit(candidate, reply) if self.is_open => reply.answer(match candidate.claim {
                Some(claim) if claim.is_elsewhere => Err(NotAdmitted::NoInvitation),
                _ => Ok(None),
            }),
            Command::Add(_, reply) | Command::Remove { reply, .. } if self.is_open => {
                reply.answer(Err(NotAdmitted::Open));
            }
            Command::Learn(change) => self.learn(change, out),
            Command::Admit(candidate, reply) => {
                let proof = self.proof(&candidate);
                match self.admit(&candidate) {
                    Ok(false) => reply.answer(Ok(proof)),
                    Ok(true) => out.replies.push(Waiting::Peer(reply, proof)),
                    Err(refused) => reply.answer(Err(refused)),
                }
            }
            Command::Add(entry, reply) => {
                self.lines.push(Line::Entry(entry));
                out.replies.push(Waiting::Administrator(reply));
            }
            Command::Remove { name, fingerprint, reply } => {
                let before = self.lines.len();
                self.lines.retain(|line| match line {
                    Line::Entry(entry) => !entry.is_for(&name, fingerprint.as_ref()),
                    Line::Other(_) => true,
                });
                if self.lines.len() < before {
                    out.replies.push(Waiting::Administrator(reply));
                    out.expels = true;
                } else {
                    reply.answer(Err(NotAdmitted::NotMember(name)));
                }
            }
            Command::IsOpen(reply) => reply.answer(self.is_open),
            Command::List(reply) => {
                reply.answer((!self.is_open).then(|| self.entries().cloned().collect()));
            }
        }
    }
}

impl Admission {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        Self { lines, is_open: false, has_list: true, shared: Shared::default() }
    }

    /// For a server of a cluster. `seed` is its own list, if it has one, which counts if the cluster has none.
    pub(super) fn of_cluster(seed: Option<Vec<Line>>) -> Self {
        let has_list = seed.is_some();
        Self { lines: seed.unwrap_or_default(), is_open: !has_list, has_list, shared: Shared::default() }
    }

    fn learn(&mut self, change: ListChange, out: &mut Out) {
        match change {
            ListChange::Closed => {
                self.shared.is_closed = true;
                out.expels = true;
            }
            // Somebody may have been removed, or have another name.
            ListChange::Entry { id, revision, entry } => {
                let is_less = self.shared.learn(id, revision, entry);
                out.expels |= is_less && self.shared.is_closed;
            }
            ListChange::Known if self.shared.is_closed && self.has_list => {
                tracing::info!(target: "admission", "the cluster has a list of members, so that of this server has no effect");
            }
            ListChange::Known => out.seeds = self.has_list,
        }
        self.undo();
    }

    /// What the cluster has to write, so that it has the list of this server.
    pub(super) fn edits(&self, now: Now) -> Vec<Edit> {
        let entries: Vec<&Entry> = self.entries().collect();
        self.shared.edits(&entries, now.unix())
    }

    /// The cluster has written it. `revisions` has one for each edit.
    pub(super) fn written(&mut self, edits: Vec<Edit>, revisions: &[u64]) {
        self.shared.is_closed = true;
        for (Edit { id, entry, .. }, revision) in edits.into_iter().zip(revisions) {
            self.shared.learn(id, *revision, entry);
        }
        self.undo();
    }

    /// The list is again as the cluster has it.
    pub(super) fn undo(&mut self) {
        if self.shared.is_closed {
            self.is_open = false;
            self.lines = self.shared.entries().cloned().map(Line::Entry).collect();
        }
    }

    /// The content of the file.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(super) fn members(&self) -> Members {
        self.entries().collect()
    }

    /// Proves to the peer that this server knows its invitation, also one that it has used before without hearing of it.
    fn proof(&self, candidate: &Candidate) -> Option<KnownProof> {
        let claim = candidate.claim.as_ref().filter(|claim| claim.is_elsewhere)?;
        let open = self.entries().filter_map(Entry::secret);
        let mut known = open.chain(self.shared.used_by(&candidate.fingerprint));
        known.find(|secret| claim.is_of(secret)).map(|secret| prove_known(secret, &claim.proof_text))
    }

    /// Returns whether this changes the list.
    fn admit(&mut self, candidate: &Candidate) -> Result<bool, NotAdmitted> {
        let Candidate { name, fingerprint, predecessors, claim } = candidate;
        let mut refused = NotAdmitted::NoMember(*fingerprint);
        for entry in self.entries_mut() {
            if matches!(entry, Entry::Member { fingerprint: key, .. } if key == fingerprint) {
                match entry.other_name(name) {
                    None => return Ok(false),
                    Some(only) => refused = NotAdmitted::OtherName(only.clone()),
                }
            }
        }
        // The successor of a member takes its place.
        for entry in self.entries_mut().filter(|entry| entry.other_name(name).is_none()) {
            if let Entry::Member { fingerprint: key, .. } = entry
                && predecessors.contains(key)
            {
                *key = *fingerprint;
                return Ok(true);
            }
        }
        let Some(claim) = claim else { return Err(refused) };
        let is_claimed = |entry: &&mut Entry| entry.secret().is_some_and(|secret| claim.is_of(secret));
        let entry = self.entries_mut().find(is_claimed).ok_or(NotAdmitted::NoInvitation)?;
        if let Some(only) = entry.other_name(name) {
            return Err(NotAdmitted::OtherName(only.clone()));
        }
        *entry = Entry::Member { fingerprint: *fingerprint, name: Some(name.clone()) };
        Ok(true)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    fn drop_expired(&mut self, now: Now) {
        self.lines.retain(|line| match line {
            Line::Entry(Entry::Invitation { until, .. }) => now.unix() < *until,
            Line::Entry(Entry::Member { .. }) | Line::Other(_) => true,
        });
    }
}
