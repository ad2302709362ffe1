//! The web client: fetches one file from any HTTP/1.1 server and prints or saves it.
//!
//! `fetch` performs one HTTP exchange, `exchange` follows redirections, and `transfer` prints or saves the response.

mod cli;
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
mod secure;
mod show;
mod text;
mod transfer;
mod url;
mod version;

#[cfg(test)]
mod tests;

pub use cli::{Arguments, run};

use error::WebClientError;
use fetch::{BodyReader, Response, Timeouts, fetch};
use field::Field;
use journal::Journal;
use range::Ranges;
use request::Request;
use secure::Check;
use show::Screen;
use transfer::{Outcome, Wanted, transfer};
use url::{Scheme, Url};
