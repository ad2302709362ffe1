//! A peer: the engine that decides, the shell around it, the peer's directory and keys, shared files and transfers, and the
//! command line.

mod access;
pub mod cli;
pub mod command;
pub mod comparison;
mod connection;
mod control;
pub mod engine;
pub mod event;
mod folder;
pub mod home;
mod invited;
mod prompt;
pub mod records;
pub mod render;
pub mod runner;
pub mod searching;
pub mod server_address;
pub mod share;
pub mod store;
pub mod transfer;
