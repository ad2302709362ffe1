//! The cluster: many servers as one place. It claims names, knows who is connected to which server, and carries envelopes
//! between servers.
//!
//! What servers share is kept by NATS: names with their cards and presences in a key-value bucket, in which each change has a
//! revision, so that all servers see all changes in one order. Envelopes, and signs of life, go from server to server over core
//! NATS (`link`).
//!
//! Each server keeps mail on its own disk, and a copy of it in a stream of JetStream (`copies`), which the other servers deliver when
//! it has ended (`adopted`).
//!
//! Servers connect to each other only for file transfers, whose bytes never pass through NATS (`transfers`).
//!
//! For the Router, a peer at another server is a presence like any other, whose port leads here instead of to a session.

mod adopted;
mod bucket;
mod copies;
mod core;
mod import;
mod importing;
mod interface;
mod link;
mod name;
mod packet;
mod published;
mod release;
mod servers;
mod shell;
mod stream;
#[cfg(test)]
mod tests;
mod transfers;

pub use self::core::{Cluster, OnDisk};
pub use self::import::{Embedded, GaveUp, Imported};
pub use self::importing::{ImportError, import};
pub use self::interface::{
    Effect, Find, Here, Input, MailEffect, MailInput, Parcel, ReadMail, Revision, Sequence, ShareInput,
};
pub use self::shell::{StartError, check, start};
