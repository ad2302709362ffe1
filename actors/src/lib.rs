//! The actors of the Switchboard server and the runtime they share. ARCHITECTURE.md shows how they fit together.

pub mod file_server;
pub mod index;
mod linux;
pub mod runtime;
pub mod session;
