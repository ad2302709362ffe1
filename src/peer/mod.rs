//! A peer: its directory and keys, the engine that writes and receives messages, what it shares, how a file moves, and
//! how it is told what to do.

pub mod cli;
pub mod command;
mod connection;
pub mod control;
pub mod engine;
pub mod event;
mod folder;
pub mod home;
pub mod prompt;
pub mod records;
pub mod render;
pub mod runner;
pub mod share;
pub mod store;
pub mod transfer;
