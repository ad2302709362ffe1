//! The web client: fetches one file from any HTTP/1.1 server and shows it or saves it.
//!
//! [`fetch()`] has a conversation with the server, [`transfer()`] does with the answer what a person asked for.

pub mod cli;
mod error;
mod exchange;
mod fetch;
mod field;
mod interrupt;
mod journal;
mod part;
mod range;
mod redirect;
mod request;
mod resume;
mod save;
mod show;
mod text;
mod transfer;
mod version;

#[cfg(test)]
mod tests;

pub use error::WebClientError;
pub use fetch::{BodyReader, Response, Timeouts, fetch};
pub use field::{BadField, Field};
pub use journal::Journal;
pub use range::{BadRange, Ranges};
pub use request::{BadHost, Request};
pub use show::Screen;
pub use transfer::{Outcome, Wanted, transfer};
