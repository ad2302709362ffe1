//! The scenarios. Each starts real processes in a temporary directory; its name says what it tests.

mod access_log;
mod burdens;
mod classroom;
mod configuration;
mod connection;
mod control;
mod crashes;
mod crowd;
mod damage;
mod endurance;
mod files;
mod hostile_members;
mod hostile_server;
mod identity;
mod load_limits;
mod mistakes;
mod options;
mod peer_troubles;
mod rule_breakers;
mod secrecy;
mod showing;
mod signals;
mod site;
mod sockets;
mod users;
mod web;
