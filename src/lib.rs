//! The client side of Switchboard as a library.

pub mod peer;
