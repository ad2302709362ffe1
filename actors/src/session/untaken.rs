//! The envelopes that a session has sent to its peer and the peer has not acknowledged.

use std::collections::VecDeque;

use crate::commands::session::Delivery;
use crate::commands::store::{Ordinal, Origin};

/// Unacknowledged deliveries in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    deliveries: VecDeque<Delivery>,
    delivered: u64,
    taken: u64,
    cost: u64,
}

/// What of the newly acknowledged envelopes was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The place after the last one in the store of this server.
    pub(super) stored_before: Option<Ordinal>,
    /// The number after the last one in another store; see [`Delivery::elsewhere_before`].
    pub(super) elsewhere_before: Option<u64>,
}

/// The peer acknowledges more envelopes than it was sent, or fewer than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadCount;

impl Untaken {
    /// The memory that they use, in bytes.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The size of the oldest unacknowledged envelope.
    pub(super) fn first_bytes(&self) -> Option<u32> {
        self.deliveries.front()?.frames.lengths.first().copied()
    }

    pub(super) fn delivered(&mut self, delivery: Delivery) {
        self.delivered += delivery.frames.count();
        self.cost += delivery.cost();
        self.deliveries.push_back(delivery);
    }

    /// Drops the first `count` envelopes of this session, because the peer has acknowledged them.
    pub(super) fn take(&mut self, count: u64) -> Result<Taken, BadCount> {
        if count > self.delivered || count < self.taken {
            return Err(BadCount);
        }
        let mut newly = Taken::default();
        while self.taken < count {
            let front = self.deliveries.pop_front().expect("what was delivered and not taken is here");
            let taken = (count - self.taken).min(front.frames.count());
            let (first, is_stored, elsewhere) = (front.first, front.is_stored, front.elsewhere_before());
            let left = front.frames.count() - taken;
            self.cost -= front.cost();
            if taken < front.frames.count() {
                let skip =
                    usize::try_from(taken).expect("a delivery has as many envelopes as its Vec of lengths");
                let frames = front.frames.skip(skip);
                // The rest has its own first number at its sender.
                let origin = Origin { first: front.origin.first + taken, ..front.origin };
                let rest = Delivery { first: first + taken, origin, frames, ..front };
                self.cost += rest.cost();
                self.deliveries.push_front(rest);
            }
            self.taken += taken;
            match elsewhere {
                Some(before) => newly.elsewhere_before = Some(before - left),
                None if is_stored => newly.stored_before = Some(first + taken),
                None => {}
            }
        }
        Ok(newly)
    }

    pub(super) fn into_rest(self) -> impl Iterator<Item = Delivery> {
        self.deliveries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::router::PeerKey;
    use crate::commands::session::STORED_ELSEWHERE;
    use crate::commands::store::Frames;

    fn delivery(first: Ordinal, is_stored: bool, lengths: &[u32]) -> Delivery {
        let bytes: Vec<u8> = (0..lengths.iter().sum::<u32>()).map(|_| 7).collect();
        let frames = Frames { lengths: lengths.to_vec(), bytes: bytes.into() };
        let origin = Origin { peer: PeerKey(0), session: 1, first: 0 };
        Delivery { first, is_stored, is_kept: true, origin, frames }
    }

    #[test]
    fn acknowledging_drops_the_oldest_and_reports_stored_ones() {
        let mut untaken = Untaken::default();
        untaken.delivered(delivery(5, true, &[10, 20]));
        untaken.delivered(delivery(7, false, &[30, 40, 50]));
        let stored = |before| Ok(Taken { stored_before: Some(before), elsewhere_before: None });
        assert_eq!(untaken.take(1), stored(6));
        assert_eq!(untaken.take(3), stored(7));
        assert_eq!(untaken.cost(), delivery(8, false, &[40, 50]).cost());
        assert_eq!(untaken.first_bytes(), Some(40));
        assert_eq!(untaken.take(3), Ok(Taken::default()));
        assert_eq!(untaken.take(6), Err(BadCount));
        assert_eq!(untaken.take(2), Err(BadCount));
        let mut left = delivery(8, false, &[40, 50]);
        left.origin.first = 1;
        let rest: Vec<Delivery> = untaken.into_rest().collect();
        assert_eq!(rest, [left]);
    }

    #[test]
    fn mail_in_another_store_is_reported_by_its_number_and_not_by_its_place() {
        let mut untaken = Untaken::default();
        let mut elsewhere = delivery(5, true, &[10, 20]);
        elsewhere.origin = Origin { session: STORED_ELSEWHERE, first: 100, ..elsewhere.origin };
        untaken.delivered(elsewhere);
        untaken.delivered(delivery(7, true, &[30]));
        assert_eq!(untaken.take(1), Ok(Taken { stored_before: None, elsewhere_before: Some(101) }));
        assert_eq!(untaken.take(3), Ok(Taken { stored_before: Some(8), elsewhere_before: Some(102) }));
    }
}
