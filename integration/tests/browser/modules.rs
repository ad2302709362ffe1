//! The JavaScript modules of the page, checked in the browser: the formats against PROTOCOL-EXAMPLES.md, the engine in a
//! network of two.

use integration::{Sandbox, Server, repository};

use crate::page::Scene;

/// The modules of the tests, by their names on the server.
const MODULES: [(&str, &str); 6] = [
    ("test/check.js", include_str!("check.js")),
    ("test/examples.js", include_str!("examples.js")),
    ("test/codec.js", include_str!("codec.js")),
    ("test/cryptography.js", include_str!("cryptography.js")),
    ("test/engine.js", include_str!("engine.js")),
    ("test/keys.js", include_str!("keys.js")),
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

/// Calls the function `name` of a module of the tests in a page. It throws if the code under test is wrong.
#[track_caller]
fn passes(module: &str, name: &str) {
    let Some(scene) = Scene::with(server) else { return };
    let tab = scene.person.open(&format!("http://{}/", scene.server.address()));
    let call = format!("import('/test/{module}.js').then((module) => module.{name}()).then(() => 'passed')");
    assert_eq!(tab.value(&call), "passed");
}

#[test]
fn numbers_texts_and_lists_are_encoded_as_in_the_protocol() {
    passes("codec", "encodings");
}

#[test]
fn only_valid_names_and_keywords_are_accepted() {
    passes("codec", "names");
}

#[test]
fn every_message_has_the_bytes_of_its_example() {
    passes("codec", "allMessages");
}

#[test]
fn frames_do_not_depend_on_how_the_stream_is_cut() {
    passes("codec", "streams");
}

#[test]
fn cards_are_read_like_the_example_and_changed_ones_are_refused() {
    passes("cryptography", "allOfCards");
}

#[test]
fn cards_of_the_page_are_valid_and_earlier_keys_must_have_signed() {
    passes("cryptography", "ownCards");
}

#[test]
fn weak_and_malformed_public_keys_are_refused() {
    passes("cryptography", "weakKeys");
}

#[test]
fn the_proofs_of_a_join_are_those_of_the_example() {
    passes("cryptography", "joining");
}

#[test]
fn conversations_seal_and_open_the_bytes_of_the_examples() {
    passes("cryptography", "conversations");
}

#[test]
fn a_conversation_of_the_page_can_be_accepted() {
    passes("cryptography", "ownConversations");
}

#[test]
fn a_backup_opens_with_its_passphrase_only_and_no_key_can_be_extracted() {
    passes("cryptography", "backups");
}

#[test]
fn files_are_sealed_and_opened_as_in_the_examples() {
    passes("cryptography", "fileRecords");
}

#[test]
fn engines_lose_and_double_nothing_although_envelopes_are_dropped_repeated_and_altered() {
    passes("engine", "faults");
}

#[test]
fn an_engine_counts_only_the_receipt_with_the_right_count_and_running_hash() {
    passes("engine", "wrongReceipts");
}

#[test]
fn an_engine_drops_envelopes_in_another_name_and_repeated_ones() {
    passes("engine", "wrongSenders");
}

#[test]
fn an_engine_uses_another_key_only_after_it_is_trusted() {
    passes("engine", "changedKey");
}

#[test]
fn an_engine_cancels_only_what_was_not_sent_and_shows_nothing_old_of_a_forgotten_contact() {
    passes("engine", "managing");
}

#[test]
fn an_engine_goes_on_with_a_new_key_and_accepts_what_is_for_the_old_one() {
    passes("engine", "succession");
}

#[test]
fn an_engine_opens_another_conversation_after_an_hour() {
    passes("engine", "rekey");
}
