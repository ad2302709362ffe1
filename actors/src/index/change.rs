//! Changes of what a peer shares. They cost what they change, however long the list is.

use wire::share::{Difference, ListedFile};
use wire::{Digest, FileName, PeerName};

use super::catalog::{FileId, OwnerId};
use super::core::{Core, KEEPS_IN_FLIGHT_MAX};
use super::staging::{check_keywords, check_size, text_bytes};
use crate::commands::index::{Change, Held, Keep, Kept, PublishAnswer, PublishRefused, Published};
use crate::commands::network::Network;
use crate::runtime::Reply;

/// Changes since the last whole list may take this much on the disk, also if the list itself is smaller. With a larger list they
/// may take as much as that, so reading them at the start takes about as long as reading the list.
const CHANGED_BYTES_MIN: u64 = 256 << 10;

/// The size on the disk of a name that is gone, without the name.
const REMOVED_BYTES: u64 = "# gone \n".len() as u64;

/// The size on the disk of the last line of a change.
const END_BYTES: u64 = ("# end sha256 \n".len() + 2 * size_of::<Digest>()) as u64;

impl Core {
    pub(super) fn change(
        &mut self,
        owner: PeerName,
        network: Network,
        difference: Difference,
        reply: Reply<PublishAnswer>,
        out: &mut Vec<Keep>,
    ) {
        if let Some(unchanged) = self.unchanged(&owner, network, &difference) {
            return reply.answer(Ok(unchanged));
        }
        let mut change = Change { owner, difference };
        match self.take_change(&mut change, network) {
            Ok((published, held)) => {
                self.keeps_in_flight += 1;
                out.push(Keep { what: Kept::Change(change), published, held, reply });
            }
            Err(refused) => reply.answer(Err(refused)),
        }
    }

    /// What a peer shares, if it only asks whether the server still has that.
    fn unchanged(&self, owner: &PeerName, network: Network, difference: &Difference) -> Option<Published> {
        let peer = self.peers.get(self.peers.find(owner)?);
        let is_same = peer.list == difference.base && peer.network == network;
        let asks = difference.removed.is_empty() && difference.files.is_empty();
        (is_same && asks).then_some(Published { files: peer.files.len() as u64, pairs: peer.pairs })
    }

    fn take_change(
        &mut self,
        change: &mut Change,
        network: Network,
    ) -> Result<(Published, Held), PublishRefused> {
        if self.keeps_in_flight >= KEEPS_IN_FLIGHT_MAX {
            return Err(PublishRefused::Busy);
        }
        // The list on the disk says from where it was published.
        let owner = self.peers.find(&change.owner).filter(|owner| self.peers.get(*owner).network == network);
        let owner = owner.ok_or(PublishRefused::OtherList)?;
        let peer = self.peers.get(owner);
        if peer.changed_bytes + size(&change.difference) > peer.text_bytes.max(CHANGED_BYTES_MIN) {
            return Err(PublishRefused::TooManyChanges);
        }
        check(&mut change.difference)?;
        let held = self.staging.hold(&change.difference.files)?;
        let applied = self.apply(owner, &change.difference);
        self.peers.forget_if_idle(owner);
        match applied {
            Ok(published) => Ok((published, held)),
            Err(refused) => {
                self.staging.release(held);
                Err(refused)
            }
        }
    }

    /// Applies a change that another server has accepted. What it says is checked again, because it came over the network. This
    /// server's own changes come back too; they do not fit any more.
    pub(super) fn learn_change(&mut self, mut change: Change) {
        let Some(owner) = self.peers.find(&change.owner) else { return };
        let applied = check(&mut change.difference).and_then(|()| self.apply(owner, &change.difference));
        match applied {
            Ok(_) | Err(PublishRefused::OtherList) => {}
            Err(reason) => {
                tracing::error!(target: "index", peer = %change.owner, %reason, "a change of another server is not indexed");
            }
        }
        self.peers.forget_if_idle(owner);
    }

    fn apply(&mut self, owner: OwnerId, difference: &Difference) -> Result<Published, PublishRefused> {
        let peer = self.peers.get(owner);
        if peer.list != difference.base {
            return Err(PublishRefused::OtherList);
        }
        let names = difference.removed.iter().chain(difference.files.iter().map(|listed| &listed.file.name));
        let mut gone: Vec<FileId> = names.filter_map(|name| self.catalog.find(owner, name)).collect();
        gone.sort_unstable();
        let replaced: Vec<_> = gone.iter().map(|id| self.catalog.listed(*id)).collect();
        let pairs =
            |files: &[ListedFile]| files.iter().map(|listed| listed.file.keywords.len() as u64).sum::<u64>();
        let bytes = |files: &[ListedFile]| files.iter().map(text_bytes).sum::<u64>();
        let before = Published { files: peer.files.len() as u64, pairs: peer.pairs };
        let after = Published {
            files: before.files - replaced.len() as u64 + difference.files.len() as u64,
            pairs: before.pairs - pairs(&replaced) + pairs(&difference.files),
        };
        let text = peer.text_bytes - bytes(&replaced) + bytes(&difference.files);
        check_size(after, text)?;
        self.recount(peer.network, before, after)?;

        self.catalog.remove(&gone);
        let new = self.catalog.insert(owner, &difference.files);
        let peer = self.peers.get_mut(owner);
        for id in &gone {
            peer.files.remove(id);
        }
        peer.files.extend(new);
        replaced.iter().chain(&difference.files).for_each(|file| peer.list.toggle(file));
        (peer.pairs, peer.text_bytes) = (after.pairs, text);
        peer.changed_bytes += size(difference);
        Ok(after)
    }

    /// Counts what a peer shares now. Changes nothing if that is too much.
    fn recount(
        &mut self,
        network: Network,
        before: Published,
        after: Published,
    ) -> Result<(), PublishRefused> {
        self.discount(network, before);
        let admitted = self.admit(network, after);
        self.count(network, if admitted.is_ok() { after } else { before });
        admitted
    }
}

/// Drops repeated keywords. Refuses repeated names.
fn check(difference: &mut Difference) -> Result<(), PublishRefused> {
    difference.files.iter_mut().try_for_each(|listed| check_keywords(&mut listed.file))?;
    let files = difference.files.iter().map(|listed| &listed.file.name);
    let mut names: Vec<&FileName> = difference.removed.iter().chain(files).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(PublishRefused::Repeated(twice[0].clone())),
        None => Ok(()),
    }
}

fn size(difference: &Difference) -> u64 {
    let removed = difference.removed.iter().map(|name| name.as_str().len() as u64 + REMOVED_BYTES);
    END_BYTES + removed.chain(difference.files.iter().map(text_bytes)).sum::<u64>()
}
