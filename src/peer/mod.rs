//! What a peer is made of: its directory and keys, what it shares, and how a file moves.

mod folder;
pub mod home;
pub mod share;
pub mod transfer;
