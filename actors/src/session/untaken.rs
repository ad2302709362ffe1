//! What a session has sent to its peer and not yet had taken.

use std::collections::VecDeque;

use crate::commands::router::TakenStored;
use crate::commands::session::Delivery;
use crate::commands::store::Origin;

/// What a delivery costs besides its bytes: so many small ones are bounded too.
const DELIVERY_COST_BYTES: usize = 256;

/// Deliveries in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    deliveries: VecDeque<Delivery>,
    delivered: u64,
    taken: u64,
    bytes: usize,
}

/// The peer says that it has taken more than it was given, or less than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadCount;

impl Untaken {
    /// What all that is not yet taken costs in memory.
    pub(super) fn cost(&self) -> usize {
        self.bytes + self.deliveries.len() * DELIVERY_COST_BYTES
    }

    pub(super) fn delivered(&mut self, delivery: Delivery) {
        self.delivered += delivery.frames.count();
        self.bytes += delivery.frames.bytes.len();
        self.deliveries.push_back(delivery);
    }

    /// The peer has taken the first `count` envelopes of this session.
    pub(super) fn take(&mut self, count: u64) -> Result<Option<TakenStored>, BadCount> {
        if count > self.delivered || count < self.taken {
            return Err(BadCount);
        }
        let mut stored: Option<TakenStored> = None;
        while self.taken < count {
            let front = self.deliveries.pop_front().expect("what was delivered and not taken is here");
            let taken = (count - self.taken).min(front.frames.count());
            let (first, is_stored, before) = (front.first, front.is_stored, front.frames.bytes.len());
            let rest = front.frames.count() - taken;
            let mut left = 0;
            if rest > 0 {
                let skip =
                    usize::try_from(taken).expect("a delivery has as many envelopes as its Vec of lengths");
                let frames = front.frames.skip(skip);
                left = frames.bytes.len();
                // What comes back later is named by its own number at its sender.
                let origin = Origin { first: front.origin.first + taken, ..front.origin };
                self.deliveries.push_front(Delivery { first: first + taken, origin, frames, ..front });
            }
            self.taken += taken;
            self.bytes -= before - left;
            if is_stored {
                let sum = stored.get_or_insert(TakenStored { before: 0, envelopes: 0, bytes: 0 });
                sum.before = first + taken;
                sum.envelopes += taken;
                sum.bytes += (before - left) as u64;
            }
        }
        Ok(stored)
    }

    /// All that was not taken.
    pub(super) fn into_rest(self) -> impl Iterator<Item = Delivery> {
        self.deliveries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::router::PeerKey;
    use crate::commands::store::{Frames, Ordinal};

    fn delivery(first: Ordinal, is_stored: bool, lengths: &[u32]) -> Delivery {
        let bytes: Vec<u8> = (0..lengths.iter().sum::<u32>()).map(|_| 7).collect();
        let frames = Frames { lengths: lengths.to_vec(), bytes: bytes.into() };
        let origin = Origin { peer: PeerKey(0), session: 1, first: 0 };
        Delivery { first, is_stored, is_kept: true, origin, frames }
    }

    #[test]
    fn taking_drops_from_the_front_and_names_what_was_stored() {
        let mut untaken = Untaken::default();
        untaken.delivered(delivery(5, true, &[10, 20]));
        untaken.delivered(delivery(7, false, &[30, 40, 50]));
        assert_eq!(untaken.take(1), Ok(Some(TakenStored { before: 6, envelopes: 1, bytes: 10 })));
        assert_eq!(untaken.take(3), Ok(Some(TakenStored { before: 7, envelopes: 1, bytes: 20 })));
        assert_eq!(untaken.bytes, 90);
        assert_eq!(untaken.take(3), Ok(None));
        assert_eq!(untaken.take(6), Err(BadCount));
        assert_eq!(untaken.take(2), Err(BadCount));
        let mut left = delivery(8, false, &[40, 50]);
        left.origin.first = 1;
        let rest: Vec<Delivery> = untaken.into_rest().collect();
        assert_eq!(rest, [left]);
    }
}
