//! The server's command: its configuration, password hashing, certificates, and the process around `actors::Server`.

mod administer;
pub mod config;
mod control;
mod hash_password;
mod log_writer;
mod make_certificate;
mod run;

pub use run::run;
