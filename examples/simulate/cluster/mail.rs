//! A model of the stream with the copies of mail.

use std::collections::BTreeMap;

use actors::cluster::{Effect, Find, Input, MailEffect, MailInput, OldCopy, Parcel, ReadMail, Sequence};
use bytes::Bytes;
use wire::PeerName;
use wire::protocol::ServerId;

use super::peer::{PEERS, name};
use super::server::store;
use super::world::World;

#[derive(Debug)]
struct Copy {
    store: ServerId,
    name: PeerName,
    first: u64,
    count: u64,
    frames: Bytes,
    /// When it was made, in seconds since 1970.
    at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Mail {
    copies: BTreeMap<Sequence, Copy>,
    last: Sequence,
    /// What each server has copied, by its number.
    ids: BTreeMap<(usize, u64), Sequence>,
}

impl Mail {
    fn copy(&mut self, id: (usize, u64), copy: Copy) -> Sequence {
        if let Some(sequence) = self.ids.get(&id) {
            return *sequence;
        }
        self.last += 1;
        self.copies.insert(self.last, copy);
        self.ids.insert(id, self.last);
        self.last
    }

    fn list(&self, store: ServerId, of: Option<&PeerName>) -> Vec<(PeerName, Parcel)> {
        let wanted = |copy: &Copy| copy.store == store && of.is_none_or(|name| *name == copy.name);
        let parcel = |(sequence, copy): (&Sequence, &Copy)| {
            let (first, count, sequences) = (copy.first, copy.count, vec![*sequence]);
            (copy.name.clone(), Parcel { first, count, sequences })
        };
        self.copies.iter().filter(|(_, copy)| wanted(copy)).map(parcel).collect()
    }

    fn find(&self, find: &Find) -> Vec<(ServerId, PeerName)> {
        let wanted = |copy: &&Copy| match find {
            Find::For(name) => copy.name == *name,
            Find::Of(store) => copy.store == *store,
            Find::All => true,
        };
        self.copies.values().filter(wanted).map(|copy| (copy.store, copy.name.clone())).collect()
    }

    fn read(&self, sequences: &[Sequence]) -> ReadMail {
        let found = sequences.iter().map(|sequence| self.copies.get(sequence)).next().flatten();
        found.map_or(ReadMail::Gone, |copy| ReadMail::Found(copy.frames.clone()))
    }

    fn old(&self, before: u64) -> Vec<OldCopy> {
        let old = self.copies.iter().filter(|(_, copy)| copy.at < before);
        let found = old.map(|(sequence, copy)| OldCopy {
            store: copy.store,
            name: copy.name.clone(),
            sequences: vec![*sequence],
            frames: copy.frames.clone(),
        });
        found.collect()
    }

    /// What the stream answers to a server; nothing comes of it if the server is cut off, and it hears nothing if it
    /// `forgets`.
    fn operate(
        &mut self,
        (at, now): (usize, u64),
        effect: MailEffect,
        is_lost: bool,
        forgets: bool,
    ) -> MailInput {
        match effect {
            MailEffect::Copy { number, name, first, count, frames } => {
                let copy = Copy { store: store(at), name, first, count, frames, at: now };
                let sequence = (!is_lost).then(|| self.copy((at, number), copy));
                let sequences = sequence.filter(|_| !forgets).map(|sequence| vec![sequence]);
                MailInput::Copied { number, sequences }
            }
            MailEffect::Drop { name, before } => {
                let is_dropped = |sequence: &Sequence, copy: &Copy| {
                    !is_lost && *sequence < before && copy.store == store(at) && copy.name == name
                };
                self.copies.retain(|sequence, copy| !is_dropped(sequence, copy));
                MailInput::Dropped(name)
            }
            MailEffect::List { store, of } => {
                let found = (!forgets).then(|| self.list(store, of.as_ref().map(|(name, _)| name)));
                MailInput::Listed { store, of, found }
            }
            MailEffect::FindOld { before } => MailInput::FoundOld((!forgets).then(|| self.old(before))),
            MailEffect::Find(find) => MailInput::Found((!forgets).then(|| self.find(&find))),
            MailEffect::Read { name, session, sequences } => {
                let mail = if forgets { ReadMail::Failed } else { self.read(&sequences) };
                MailInput::Read { name, session, mail }
            }
            MailEffect::Purge(name) => {
                self.copies.retain(|_, copy| is_lost || copy.name != name);
                MailInput::Removed
            }
            MailEffect::Remove(sequences) => {
                self.copies.retain(|sequence, _| is_lost || !sequences.contains(sequence));
                MailInput::Removed
            }
        }
    }
}

impl World {
    /// An operation reaches the stream, unless the server is cut off. Its answer can be lost.
    pub(super) fn operate_mail(&mut self, at: usize, effect: MailEffect) -> Input {
        if let MailEffect::Read { name: of, .. } = &effect {
            // The copies of a server that is only cut off lack what it could not copy.
            let adopts = (0..PEERS).find(|peer| name(*peer).folded() == *of);
            adopts.into_iter().for_each(|peer| self.peers[peer].has_stayed = false);
        }
        let is_lost = self.servers[at].is_cut_off;
        let forgets = self.forgets(at);
        let now = self.schedule.now().unix;
        Input::Mail(self.mail.operate((at, now), effect, is_lost, forgets))
    }

    /// Carries out what concerns mail, or returns the effect.
    pub(super) fn carry_out_mail(&mut self, at: usize, effect: Effect) -> Option<Effect> {
        use actors::commands::router::Command;
        match effect {
            Effect::Complete(completion) => self.router_takes(at, Command::Completed(completion)),
            Effect::KeepsMail(keeps_mail) => self.router_takes(at, Command::KeepsMail(keeps_mail)),
            Effect::Expired { sender, name, count, notice } => {
                self.router_takes(at, Command::Expired { sender, name, count, notice });
            }
            Effect::KeptElsewhere(amounts) => self.router_takes(at, Command::KeptElsewhere(amounts)),
            other => return Some(other),
        }
        None
    }
}
