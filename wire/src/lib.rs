//! What both sides of Switchboard agree on: names, frames, messages, HTTP, `keyword.txt`, search queries and the
//! cryptography of conversations and files. PROTOCOL.md describes the same in prose.
//!
//! Nothing here does I/O, starts a thread or reads a clock: time and randomness are handed in.
#![forbid(unsafe_code)]

pub mod digest;
pub mod escape;
pub mod file_name;
pub mod http;
pub mod name;

pub use digest::{Digest, Fingerprint};
pub use file_name::FileName;
pub use name::PeerName;
