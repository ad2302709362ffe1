//! The formats that the server and its clients share: names, frames, messages, HTTP, `keyword.txt`, search queries and the
//! cryptography of conversations and files. PROTOCOL.md specifies what travels between peers and server.
//!
//! This crate does no I/O, starts no thread and reads no clock. Callers pass the time and a source of randomness.
#![forbid(unsafe_code)]

pub mod audience;
mod bounded;
pub mod card;
mod checked_text;
mod cipher;
pub mod conversation;
pub mod digest;
pub mod escape;
pub mod file_name;
pub mod frame;
pub mod http;
pub mod invitation;
pub mod keys;
pub mod keyword;
pub mod many;
pub mod name;
pub mod pattern;
pub mod pieces;
pub mod protocol;
pub mod query;
pub mod search;
pub mod server_key;
pub mod share;
pub mod signal;
mod signed;
pub mod succession;
pub mod transfer;
pub mod words;

pub use audience::Audience;
pub use digest::{Digest, Fingerprint};
pub use file_name::FileName;
pub use keyword::Keyword;
pub use name::PeerName;
pub use query::Query;
pub use search::Search;
