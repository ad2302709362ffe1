//! The server's command: its configuration, password hashing, and the process around `actors::Server`.

mod administer;
pub mod config;
mod control;
mod hash_password;
mod run;

pub use run::run;
