//! Transfers of files through the server: the two connections find each other here.

use std::collections::HashMap;
use std::time::Instant;

use wire::protocol::{Side, TransferId};

use crate::commands::router::{Partner, SPLICE_WAIT, SpliceStream};
use crate::runtime::Reply;

/// Most ends that wait at once: each holds a session thread and a socket.
const WAITING_MAX: usize = 256;
struct Waiting {
    side: Side,
    reply: Reply<Partner>,
    since: Instant,
}

/// The ends that wait for their other one.
#[derive(Default)]
pub(super) struct Splices(HashMap<TransferId, Waiting>);

impl Splices {
    pub(super) fn meet(
        &mut self,
        now: Instant,
        transfer: TransferId,
        side: Side,
        stream: SpliceStream,
        reply: Reply<Partner>,
    ) {
        match self.0.remove(&transfer) {
            Some(first) if first.side == side && now - first.since < SPLICE_WAIT => {
                self.0.insert(transfer, first);
                reply.answer(Partner::Occupied);
            }
            Some(first) if first.side != side => match first.reply.try_answer(Partner::Here(stream)) {
                Ok(()) => reply.answer(Partner::CarriesOn),
                // The first end has given up; this one waits instead.
                Err(_) => self.wait(now, transfer, side, reply),
            },
            _ => self.wait(now, transfer, side, reply),
        }
    }

    fn wait(&mut self, now: Instant, transfer: TransferId, side: Side, reply: Reply<Partner>) {
        if self.0.len() >= WAITING_MAX {
            self.0.retain(|_, waiting| now - waiting.since < SPLICE_WAIT);
        }
        if self.0.len() >= WAITING_MAX {
            return reply.answer(Partner::Busy);
        }
        self.0.insert(transfer, Waiting { side, reply, since: now });
    }
}
