//! The core against a disk in memory, the disk against a real one, and the whole actor.

mod actor;
mod bench;
mod coding;
mod disk;
mod freshness;
mod naming;
mod room;
