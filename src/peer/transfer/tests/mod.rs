//! Transfers over real sockets: both ends, and the ways to connect them.

use super::*;
use wire::protocol::TransferId;

mod connecting;
mod many;
mod moving;
mod pieces;
mod resuming;

const TRANSFER: TransferId = [7; 16];
/// Long enough for every test. It only keeps a broken test from waiting for ever.
const DEADLINE: Duration = Duration::from_secs(20);
