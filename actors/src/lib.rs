//! The actors of the Switchboard server and their runtime. ARCHITECTURE.md has an overview.

mod acceptor;
mod access_log;
pub mod administration;
mod admission;
mod certificates;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod credentials;
mod feed;
mod file_server;
mod handover;
mod http;
pub mod import;
pub mod index;
mod linux;
mod metrics;
pub mod router;
pub mod runtime;
pub mod server;
pub mod session;
pub mod site;
pub mod store;
pub mod tls;
mod transport;
mod websocket;

pub use config::Config;
pub use http::page_digest;
pub use server::{NotEnded, Server, StartError};
