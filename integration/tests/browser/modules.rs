//! The JavaScript modules of the page, checked in the browser: the formats against PROTOCOL-EXAMPLES.md, the engine in a
//! network of two.

use integration::browser::Drive;
use integration::{Sandbox, Server, repository};

use crate::page::Scene;

/// The modules of the tests, by their names on the server.
const MODULES: [(&str, &str); 13] = [
    ("test/check.js", include_str!("check.js")),
    ("test/examples.js", include_str!("examples.js")),
    ("test/codec.js", include_str!("codec.js")),
    ("test/cryptography.js", include_str!("cryptography.js")),
    ("test/engine.js", include_str!("engine.js")),
    ("test/gather.js", include_str!("gather.js")),
    ("test/keys.js", include_str!("keys.js")),
    ("test/many.js", include_str!("many.js")),
    ("test/parts.js", include_str!("parts.js")),
    ("test/pieces.js", include_str!("pieces.js")),
    ("test/saving.js", include_str!("saving.js")),
    ("test/sharing.js", include_str!("sharing.js")),
    ("test/slots.js", include_str!("slots.js")),
];
/// The private keys of the peers in the examples.
const KEYS: [&str; 4] = ["a-encryption.pem", "a-identity.pem", "b-encryption.pem", "b-identity.pem"];

/// A server whose site has these tests. They import the modules of the page, which is built into the server.
fn server(sandbox: &Sandbox) -> Server {
    sandbox.put_site(&MODULES);
    let mut copies = vec![("PROTOCOL-EXAMPLES.md".to_owned(), repository().join("PROTOCOL-EXAMPLES.md"))];
    for key in KEYS {
        copies.push((format!("test/{key}"), repository().join("wire/tests/fixtures").join(key)));
    }
    for (name, from) in copies {
        let text = std::fs::read_to_string(from).expect("the repository can be read");
        sandbox.put_site(&[(&name, &text)]);
    }
    sandbox.put_site(&[("index.html", "<!doctype html><title>Tests</title>")]);
    sandbox.site_server(&[])
}

/// Calls functions of a module of the tests in a page, one after the other, because a page for each of them takes longer
/// than most of them. They throw if the code under test is wrong.
#[track_caller]
fn pass(module: &str, names: &[&str]) {
    let Some(scene) = Scene::with(server) else { return };
    let tab = scene.person.open(&format!("http://{}/", scene.server.address()));
    for name in names {
        let call =
            format!("import('/test/{module}.js').then((module) => module.{name}()).then(() => 'passed')");
        assert_eq!(tab.value(&call), "passed");
    }
}

#[test]
fn numbers_names_messages_and_frames_are_those_of_the_protocol() {
    pass("codec", &["encodings", "names", "keywords", "allMessages", "streams"]);
}

#[test]
fn cards_joins_conversations_backups_and_files_are_those_of_the_examples() {
    let examples = ["allOfCards", "weakKeys", "joining", "conversations", "fileRecords"];
    let own = ["ownCards", "ownConversations", "backups"];
    pass("cryptography", &[&examples[..], &own].concat());
}

#[test]
fn engines_lose_and_double_nothing_and_believe_only_what_is_proved() {
    pass(
        "engine",
        &[
            "faults",
            "wrongReceipts",
            "wrongSenders",
            "changedKey",
            "managing",
            "succession",
            "rekey",
            "queues",
            "lostRequests",
            "matches",
        ],
    );
}

#[test]
fn slots_go_round_among_the_peers_that_wait() {
    pass("slots", &["turns", "leaving", "repeated", "unshared", "waiting", "many"]);
}

#[test]
fn people_who_share_files_are_told_what_happens_to_them() {
    pass("sharing", &["reading", "full", "waits", "most"]);
}

#[test]
fn pieces_lead_from_link_to_link_and_to_the_digest() {
    pass("pieces", &["chains", "runs", "requests"]);
}

#[test]
fn only_what_may_be_right_is_kept_of_a_file() {
    pass("parts", &["liars", "unstored", "progress", "lists"]);
}

#[test]
fn many_small_files_come_from_all_who_have_them() {
    pass(
        "many",
        &[
            "batches", "bounds", "holders", "old", "requests", "failing", "lists", "earlier", "patterns",
            "viewing",
        ],
    );
}

#[test]
fn many_files_are_saved_as_one_download() {
    pass("saving", &["archives", "saving", "names"]);
}

#[test]
fn pieces_come_from_honest_holders_and_those_who_lie_are_found_out() {
    pass(
        "gather",
        &[
            "plans",
            "lies",
            "kept",
            "gathers",
            "pauses",
            "speeds",
            "slowHolders",
            "leaving",
            "old",
            "telling",
            "discarding",
            "lengths",
            "sizes",
        ],
    );
}
