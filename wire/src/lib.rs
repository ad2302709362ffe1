//! What both sides of Switchboard agree on: names, frames, messages, HTTP, `keyword.txt`, search queries and the
//! cryptography of conversations and files. PROTOCOL.md describes the same in prose.
//!
//! Nothing here does I/O, starts a thread or reads a clock: time and randomness are handed in.
#![forbid(unsafe_code)]

mod bounded;
pub mod card;
mod cipher;
pub mod conversation;
pub mod digest;
pub mod escape;
pub mod file_name;
pub mod frame;
pub mod http;
pub mod keys;
pub mod keyword;
pub mod name;
pub mod protocol;
pub mod query;
pub mod share;
pub mod signal;
mod signed;
pub mod transfer;

pub use digest::{Digest, Fingerprint};
pub use file_name::FileName;
pub use keyword::Keyword;
pub use name::PeerName;
pub use query::Query;
