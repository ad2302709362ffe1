//! The server's command: its configuration, password hashing, and the process around `actors::Server`.

pub mod config;
mod hash_password;
mod run;

pub use run::run;
