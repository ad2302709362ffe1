//! Certificates: reads the files of TLS certificates again when they change, and gives them to the pollers. Connections that
//! are open keep what they began with.

mod core;
mod shell;

pub(crate) use self::shell::start;
