//! What a person does with messages and contacts apart from writing: cancel, block, forget.

use crate::page::Scene;
use integration::browser::Drive;

#[test]
fn a_message_that_was_not_sent_can_be_cancelled_and_the_next_one_arrives() {
    let Some(scene) = Scene::new() else { return };
    let page = scene.join("Web");
    page.talk_to("T");
    for text in ["one", "two", "three"] {
        page.write(text);
    }
    page.shows("queued", 3);
    page.click("[data-cancel='2']");
    page.shows("queued", 2);
    assert_eq!(page.texts("queued"), ["one", "three"]);
    let terminal = scene.terminal("T");
    page.shows("delivered", 2);
    for (number, text) in [(1, "one"), (3, "three")] {
        terminal.event("message", |event| event["number"] == number && event["text"] == text);
    }
    assert_eq!(page.tab.value("document.querySelectorAll('[data-cancel]').length"), 0);
}

#[test]
fn a_blocked_peer_is_ignored_and_its_messages_arrive_once_it_is_unblocked() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let _other = scene.terminal("U");
    let page = scene.join("Web");
    terminal.type_line("/msg Web before");
    page.talk_to("T");
    page.shows("received", 1);
    page.click("#block");
    page.wait("document.getElementById('contacts').innerText.includes('T, online, blocked')");
    page.tab.reload();
    page.connected();
    terminal.type_line("/msg Web while it is blocked");
    terminal.event("relayed", |event| event["number"] == 2);
    // What the server hands over comes in order, so the message has come before this receipt.
    page.talk_to("U");
    page.write("to somebody else");
    page.shows("delivered", 1);
    page.talk_to("T");
    page.wait("!document.getElementById('blocked').hidden");
    page.shows("received", 1);
    assert_eq!(page.texts("received"), ["before"]);
    page.click("#block");
    page.shows("received", 2);
    assert_eq!(page.texts("received"), ["before", "while it is blocked"]);
    terminal.event("delivered", |event| event["number"] == 2);
}

#[test]
fn a_forgotten_contact_keeps_its_key_and_can_write_again() {
    let Some(scene) = Scene::new() else { return };
    let peer = scene.sandbox.peer("T", scene.server.address());
    let mut terminal = peer.start(&[]);
    let page = scene.join("Web");
    page.talk_to("T");
    page.write("to be deleted");
    terminal.type_line("/msg Web to be deleted too");
    page.shows("delivered", 1);
    page.shows("received", 1);
    page.click("#forget");
    page.wait("document.getElementById('question').open");
    page.click("#question-no");
    page.click("#forget");
    page.click("#question-yes");
    page.wait("document.getElementById('conversation').hidden");
    page.wait("document.getElementById('contacts').childElementCount === 0");
    let stored = page.stored();
    assert!(!stored.contains("to be deleted"), "{stored}");
    assert!(stored.contains(&format!("\"pinned\":\"{}\"", peer.fingerprint())), "{stored}");
    terminal.type_line("/msg Web again");
    page.wait("document.getElementById('contacts').innerText.includes('T, online, 1 unread')");
    page.talk_to("T");
    page.shows("received", 1);
    page.tab.reload();
    page.connected();
    page.wait("document.getElementById('contacts').innerText.includes('T, online')");
    page.talk_to("T");
    page.write("here too");
    page.shows("delivered", 1);
    assert_eq!(page.texts("received"), ["again"]);
    terminal.event("message", |event| event["number"] == 2 && event["text"] == "here too");
    terminal.event("delivered", |event| event["number"] == 2);
}
