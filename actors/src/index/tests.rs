//! Tests of the Index. This file has the helpers that they share.

use wire::share::{ListedFile, PublishedFile};
use wire::{Audience, Digest, Keyword, PeerName, Query};

use super::core::Core;
use crate::commands::index::{
    AskerSees, Command, Found, Held, Keep, Kept, Presence, PublishAnswer, Published, SearchAnswer, Share,
};
use crate::commands::network::Network;
use crate::runtime::{Core as _, Now, Pending, reply};

mod access;
mod bounds;
mod changes;
mod decisions;
mod disk;
mod finding;
mod model;
mod scale;
mod scan;
mod threads;

const NOW: std::time::Duration = std::time::Duration::ZERO;

/// An asker on another machine.
const FAR: AskerSees =
    AskerSees { from: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), name: None };

/// An asker on the server's own machine.
const NEAR: AskerSees = AskerSees { from: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), name: None };

/// An asker who has joined under this name.
fn asker(name: &str) -> AskerSees {
    AskerSees { name: Some(peer(name)), ..FAR }
}

fn peer(name: &str) -> PeerName {
    name.parse().expect("a good peer name")
}

fn network(last: u8) -> Network {
    Network::of(std::net::Ipv4Addr::new(192, 0, 2, last).into())
}

/// A file whose content is its name, and that everyone may see.
fn file(name: &str, keywords: &[&str]) -> ListedFile {
    let keywords = keywords.iter().map(|k| k.parse().expect("a good keyword")).collect();
    let file = PublishedFile {
        name: name.parse().expect("a good file name"),
        bytes: name.len() as u64,
        sha256: Digest::of(name.as_bytes()),
        keywords,
    };
    file.into()
}

/// The same file, for these peers only.
fn only(names: &[&str], file: ListedFile) -> ListedFile {
    let audience = Audience::only(names.iter().map(|name| peer(name))).expect("few enough");
    ListedFile { audience, ..file }
}

/// The same file with another content.
fn with_content(content: &str, ListedFile { file, audience }: ListedFile) -> ListedFile {
    ListedFile { file: PublishedFile { sha256: Digest::of(content.as_bytes()), ..file }, audience }
}

fn keywords(words: &[&str]) -> Query {
    let words: Vec<Keyword> = words.iter().map(|w| w.parse().expect("a good keyword")).collect();
    Query::Keywords(words.try_into().expect("few enough keywords"))
}

fn here(name: &str, address: Option<&str>) -> Presence {
    let address = address.map(|a| a.parse().expect("a good address"));
    Presence { peer: peer(name), online: true, address }
}

fn gone(name: &str) -> Presence {
    Presence { peer: peer(name), online: false, address: None }
}

/// The result of a publication without a disk.
enum Outcome {
    Answered(PublishAnswer),
    ToKeep(Keep, Pending<PublishAnswer>),
}

/// Handles one command, and returns the share that the keeper gets.
fn handle(core: &mut Core, command: Command) -> Option<Keep> {
    let mut out = Vec::new();
    core.handle(Now::read(), command, &mut out);
    assert!(out.len() <= 1, "one command, one share");
    out.pop()
}

fn publish_part(core: &mut Core, name: &str, part: u32, last: bool, files: Vec<ListedFile>) -> Outcome {
    let (reply, pending) = reply();
    let command = Command::Publish { peer: peer(name), network: network(1), part, last, files, reply };
    match handle(core, command) {
        Some(keep) => Outcome::ToKeep(keep, pending),
        None => Outcome::Answered(pending.wait(NOW).expect("it is answered at once")),
    }
}

/// Reports that the keeper has written a share.
fn kept(core: &mut Core, held: Held) {
    assert!(handle(core, Command::Kept(held)).is_none(), "nobody is told");
}

/// Publishes a share in one part. Returns what the keeper gets to write.
fn publish(core: &mut Core, name: &str, files: Vec<ListedFile>) -> Share {
    match publish_part(core, name, 0, true, files) {
        Outcome::ToKeep(keep, _) => {
            kept(core, keep.held);
            share_in(keep.what)
        }
        Outcome::Answered(answer) => panic!("a share was not taken: {answer:?}"),
    }
}

fn share_in(what: Kept) -> Share {
    match what {
        Kept::Share(share) => share,
        Kept::Change(change) => panic!("a whole share was published, not {change:?}"),
    }
}

/// Publishes one part that must be answered at once.
fn answered(core: &mut Core, name: &str, part: u32, last: bool, files: Vec<ListedFile>) -> PublishAnswer {
    match publish_part(core, name, part, last, files) {
        Outcome::Answered(answer) => answer,
        Outcome::ToKeep(keep, _) => panic!("answered only once kept: {keep:?}"),
    }
}

fn tell(core: &mut Core, presence: Presence) {
    let keep = handle(core, Command::Presence(presence));
    assert!(keep.is_none(), "presence has no effect outside");
}

fn search(core: &mut Core, query: &Query, limit: u32, asker: AskerSees) -> Found {
    search_answer(core, query, limit, asker).expect("it is not too broad")
}

fn search_answer(core: &mut Core, query: &Query, limit: u32, asker: AskerSees) -> SearchAnswer {
    let (reply, pending) = reply();
    let keep = handle(core, Command::Search { query: query.clone(), limit, asker, reply });
    assert!(keep.is_none(), "a search has no effect outside");
    pending.wait(NOW).expect("it is answered at once")
}

/// Who has which file, in the order of the hits.
fn names(found: &Found) -> Vec<(&str, &str)> {
    found.hits.iter().map(|hit| (hit.peer.as_str(), hit.file.name.as_str())).collect()
}
