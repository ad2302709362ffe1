//! The two ends over real sockets, and the ways to each other.

use super::*;
use wire::protocol::TransferId;

mod connecting;
mod moving;

const TRANSFER: TransferId = [7; 16];
/// No test gets near it; it only keeps a broken one from waiting for ever.
const DEADLINE: Duration = Duration::from_secs(20);
