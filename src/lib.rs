//! The client side of Switchboard as a library.
