//! Who may join.

use wire::{Fingerprint, PeerName};

use super::file::Line;
use crate::commands::admission::{Answer, Candidate, Command, Entry, NotAdmitted};
use crate::runtime::{Core, Now, Reply};

/// The members and the open invitations.
pub(super) struct Admission {
    lines: Vec<Line>,
}

impl Core for Admission {
    type Command = Command;
    /// The callers that are answered once the list is on the disk.
    type Out = Vec<Reply<Answer>>;

    fn handle(&mut self, now: Now, command: Command, out: &mut Self::Out) {
        match command {
            // A session that has stopped waiting must not use up an invitation.
            Command::Admit(_, reply) if reply.has_expired(now.instant) => {}
            Command::Admit(candidate, reply) => match self.admit(now, &candidate) {
                Ok(false) => reply.answer(Ok(())),
                Ok(true) => out.push(reply),
                Err(refused) => reply.answer(Err(refused)),
            },
            Command::Add(entry, reply) => {
                self.lines.push(Line::Entry(entry));
                out.push(reply);
            }
            Command::Remove { name, fingerprint, reply } => {
                self.lines.retain(|line| match line {
                    Line::Entry(entry) => !entry.is_member(&name, fingerprint.as_ref()),
                    Line::Other(_) => true,
                });
                out.push(reply);
            }
            Command::List(reply) => reply.answer(self.open_entries(now)),
        }
    }
}

impl Admission {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        Self { lines }
    }

    /// The content of the file.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Returns whether this changes the list.
    fn admit(&mut self, now: Now, candidate: &Candidate) -> Result<bool, NotAdmitted> {
        let Candidate { name, fingerprint, predecessors, claim } = candidate;
        let mut refused = NotAdmitted::NoMember(*fingerprint);
        for line in &self.lines {
            match line {
                Line::Entry(Entry::Member { fingerprint: key, name: only }) if key == fingerprint => {
                    let Some(only) = only.as_ref().filter(|only| only.folded() != name.folded()) else {
                        return Ok(false);
                    };
                    refused = NotAdmitted::OtherName(only.clone());
                }
                _ => {}
            }
        }
        if self.succeed(name, *fingerprint, predecessors) {
            return Ok(true);
        }
        let Some((claim, proof_text)) = claim else { return Err(refused) };
        let is_claimed = |line: &Line| match line {
            Line::Entry(Entry::Invitation { secret, until, .. }) => {
                now.unix() < *until && claim.is_valid(secret, proof_text)
            }
            _ => false,
        };
        let at = self.lines.iter().position(is_claimed).ok_or(NotAdmitted::NoInvitation)?;
        let Line::Entry(Entry::Invitation { name: only, .. }) = &self.lines[at] else {
            return Err(NotAdmitted::NoInvitation);
        };
        if let Some(only) = only.as_ref().filter(|only| only.folded() != name.folded()) {
            return Err(NotAdmitted::OtherName(only.clone()));
        }
        let member = Entry::Member { fingerprint: *fingerprint, name: Some(name.clone()) };
        self.lines[at] = Line::Entry(member);
        self.drop_expired(now);
        Ok(true)
    }

    /// Replaces the key of a member by its successor. Returns whether there was such a member.
    fn succeed(&mut self, name: &PeerName, successor: Fingerprint, predecessors: &[Fingerprint]) -> bool {
        let is_predecessor = |entry: &Entry| match entry {
            Entry::Member { fingerprint, name: only } => {
                predecessors.contains(fingerprint)
                    && only.as_ref().is_none_or(|only| only.folded() == name.folded())
            }
            Entry::Invitation { .. } => false,
        };
        for line in &mut self.lines {
            if let Line::Entry(entry) = line
                && is_predecessor(entry)
                && let Entry::Member { fingerprint, .. } = entry
            {
                *fingerprint = successor;
                return true;
            }
        }
        false
    }

    fn drop_expired(&mut self, now: Now) {
        self.lines.retain(|line| match line {
            Line::Entry(Entry::Invitation { until, .. }) => now.unix() < *until,
            _ => true,
        });
    }

    fn open_entries(&self, now: Now) -> Vec<Entry> {
        let entries = self.lines.iter().filter_map(|line| match line {
            Line::Entry(Entry::Invitation { until, .. }) if *until <= now.unix() => None,
            Line::Entry(entry) => Some(entry.clone()),
            Line::Other(_) => None,
        });
        entries.collect()
    }
}
