//! Files through the server, between peers that are mostly at different servers.

use std::time::Duration;

use actors::commands::cluster::Offered;
use actors::commands::network::Network;
use actors::commands::router::{Command, Partner, SpliceEnd};
use actors::commands::session::SessionId;
use actors::runtime::{Pending, reply};
use rand::RngExt as _;
use wire::protocol::{Side, Token, TransferId};

use super::peer::name;
use super::world::World;

/// Fewer than one member may have, because those of lost servers never end.
const TRANSFERS_MAX: usize = 12;
/// Ends of transfers have ids of their own.
const FIRST_ID: SessionId = 1 << 40;

/// One end, where it has come to.
struct End {
    server: usize,
    id: SessionId,
    answer: Pending<Partner>,
}

pub(super) struct Transfer {
    id: TransferId,
    secret: Token,
    sender: End,
    receiver: End,
    is_over: bool,
}

pub(super) fn address(server: usize) -> String {
    format!("server{server}:6789")
}

impl World {
    /// A peer gets a file from another. Either end may come first.
    pub(super) fn transfer(&mut self, holder: usize, receiver: usize) {
        let number = self.transfers.len();
        if number == TRANSFERS_MAX {
            return;
        }
        let sessions = [holder, receiver].map(|peer| self.peers[peer].session.as_ref().map(|s| s.server));
        let [Some(from), Some(to)] = sessions else { return };
        self.trace(|| {
            format!("{} at server {to} gets a file from {} at {from}", name(receiver), name(holder))
        });
        let id: TransferId = (number as u128).to_le_bytes();
        let secret = [u8::try_from(number).expect("there are few") + 1; 32];
        let first = FIRST_ID + 2 * number as SessionId;
        let send =
            |world: &mut Self| world.splice(from, first, id, Side::Sender, holder, [0; 32], Some(secret));
        let receive =
            |world: &mut Self| world.splice(to, first + 1, id, Side::Receiver, receiver, [0; 32], None);
        let (sender, receiver) = if self.dice.random_bool(0.5) {
            let sender = send(self);
            (sender, receive(self))
        } else {
            let receiver = receive(self);
            (send(self), receiver)
        };
        self.transfers.push(Transfer { id, secret, sender, receiver, is_over: false });
    }

    #[expect(clippy::too_many_arguments, reason = "they are those of one message")]
    fn splice(
        &mut self,
        server: usize,
        session: SessionId,
        transfer: TransferId,
        side: Side,
        member: usize,
        token: Token,
        guest: Option<Token>,
    ) -> End {
        let (reply, answer) = reply();
        let (network, member) = (Network::UNKNOWN, name(member));
        let end = SpliceEnd { session, network, transfer, side, member, token, guest };
        self.router_takes(server, Command::Splice { end, reply });
        End { server, id: session, answer }
    }

    /// Looks which ends have met. One that knows where the other is goes there, as its session would.
    pub(super) fn meet_transfers(&mut self) {
        for at in 0..self.transfers.len() {
            let Transfer { id, secret, sender, receiver, is_over } = &self.transfers[at];
            if *is_over {
                continue;
            }
            let (from, is_lost) = (sender.server, |end: &End| self.servers[end.server].is_lost);
            let ends = [sender, receiver].map(|end| (end.server, end.id));
            let refused = matches!(sender.answer.wait(Duration::ZERO), Ok(Partner::Refused(_)));
            let answer = receiver.answer.wait(Duration::ZERO);
            let is_void = refused || is_lost(sender) || is_lost(receiver);
            let (id, secret) = (*id, *secret);
            match answer {
                _ if is_void => {}
                Ok(Partner::Elsewhere(Offered { address: there, secret: shown })) => {
                    if (&there, shown) != (&address(from), secret) {
                        self.failure = Some(format!("transfer {at} is sent to {there}"));
                    }
                    let guest =
                        self.splice(from, FIRST_ID * 2 + at as SessionId, id, Side::Receiver, 0, shown, None);
                    let answer = guest.answer.wait(Duration::ZERO);
                    if !matches!(answer, Ok(Partner::Carries(_))) {
                        self.failure = Some(format!("the guest of transfer {at} is told {answer:?}"));
                    }
                }
                // Both are at one server, or the receiver had left it.
                Ok(_) => {}
                Err(_) => continue,
            }
            self.transfers[at].is_over = true;
            for (server, session) in ends {
                self.router_takes(server, Command::SpliceEnded(session));
            }
        }
    }

    /// A transfer whose ends have not met.
    pub(super) fn unmet(&self) -> Option<String> {
        let at = self.transfers.iter().position(|transfer| !transfer.is_over)?;
        Some(format!("the ends of transfer {at}"))
    }
}
