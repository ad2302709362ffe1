//! The `server` command where it ends by itself.

mod hash_password;
mod signals;
