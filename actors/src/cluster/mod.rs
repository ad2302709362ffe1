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
//!
//! Only the feature `cluster` compiles the connection to NATS (`shell`). Without it a server cannot be part of a cluster (`absent`), and
//! the rest is there for the simulation.

// What only the connection to NATS uses is unused without it.
#![cfg_attr(not(feature = "cluster"), allow(dead_code))]

#[cfg(not(feature = "cluster"))]
mod absent;
mod adopted;
#[cfg(feature = "cluster")]
mod bucket;
mod copies;
mod core;
mod expired;
mod import;
#[cfg(feature = "cluster")]
mod importing;
mod interface;
mod kept;
mod link;
mod name;
mod packet;
mod published;
mod release;
mod servers;
#[cfg(feature = "cluster")]
mod shell;
#[cfg(feature = "cluster")]
mod stream;
#[cfg(test)]
mod tests;
mod transfers;

#[cfg(not(feature = "cluster"))]
pub use self::absent::{ImportError, StartError, check, import, start};
pub use self::core::{Cluster, OnDisk};
pub use self::import::{Embedded, GaveUp, Imported};
#[cfg(feature = "cluster")]
pub use self::importing::{ImportError, import};
pub use self::interface::{
    Effect, Find, Here, Input, MailEffect, MailInput, OldCopy, Parcel, ReadMail, Revision, Sequence,
    ShareInput,
};
#[cfg(feature = "cluster")]
pub use self::shell::{StartError, check, start};
