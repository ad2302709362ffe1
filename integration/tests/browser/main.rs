//! Scenarios in a real Chromium: the browser's peer against the worked examples of the protocol, and against terminal
//! peers. Those of `others` are in Firefox and WebKit. Skipped, with a word on standard error, where there is no such browser.

mod account;
mod fetching;
mod flow;
mod holders;
mod managing;
mod modules;
mod others;
mod page;
mod saving;
mod screenshots;
mod serving;
mod showing;
mod talking;
