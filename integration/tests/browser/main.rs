//! Scenarios in a real Chromium: the browser's peer against the worked examples of the protocol, and against terminal
//! peers. Skipped, with a word on standard error, where there is no `chromium`.

mod account;
mod flow;
mod managing;
mod modules;
mod page;
mod screenshots;
mod showing;
mod talking;
