//! The `server` command: password hashing and signals.

mod hash_password;
mod signals;
