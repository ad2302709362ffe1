//! A browser and terminal peers write to each other.

use std::process::Command;

use integration::browser::Drive;
use integration::{Process, Sandbox, Server, binary, numbered};
use rustix::process::Signal;

use crate::page::{Page, Scene};

/// The texts of the messages that a terminal peer has received, in order.
fn received(terminal: &Process, count: usize) -> Vec<String> {
    let messages = numbered(terminal.events("message", count));
    messages.values().map(|event| event["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn a_browser_and_a_terminal_peer_write_50_messages_each_way_with_a_reload_and_a_killed_server_in_the_middle()
{
    let Some(scene) = Scene::with(Sandbox::server_to_restart) else { return };
    let mut terminal = scene.terminal("T");
    let Scene { sandbox: _sandbox, server, person } = scene;
    let (address, data) = (server.address(), server.data().to_owned());
    let page = Page::open(&person, address);
    page.come_back_as("Web");
    let mut sent = (Vec::new(), Vec::new());
    let mut write_both = |count: usize| {
        for number in sent.0.len() + 1..=sent.0.len() + count {
            sent.0.push(format!("to T {number}"));
            sent.1.push(format!("to Web {number}"));
            terminal.type_line(&format!("/msg Web to Web {number}"));
            page.write(&format!("to T {number}"));
        }
    };
    page.talk_to("T");
    write_both(15);
    page.tab.reload();
    page.talk_to("T");
    write_both(15);
    page.shows("delivered", 30);
    server.process().signal(Signal::KILL);
    server.finish();
    page.wait("document.getElementById('connection').textContent.startsWith('Offline')");
    write_both(10);
    page.shows("queued", 10);
    let _server = Server::start_at(&data, &address.to_string());
    write_both(10);
    page.shows("delivered", 50);
    page.shows("received", 50);
    assert_eq!(page.texts("delivered"), sent.0);
    assert_eq!(page.texts("received"), sent.1);
    assert_eq!(received(&terminal, 50), sent.0);
    assert_eq!(numbered(terminal.events("delivered", 50)).len(), 50);
}

#[test]
fn a_message_of_a_browser_is_stored_for_an_absent_peer_and_delivered_when_it_comes() {
    let Some(scene) = Scene::new() else { return };
    let peer = scene.sandbox.peer("T", scene.server.address());
    // The server knows a peer that has joined once.
    peer.run(&["who"]).expect(0);
    let page = scene.join("Web");
    page.talk_to("T");
    page.write("while you are away");
    page.shows("stored", 1);
    let terminal = peer.start(&[]);
    page.shows("delivered", 1);
    assert_eq!(received(&terminal, 1), ["while you are away"]);
}

#[test]
fn texts_of_others_are_shown_as_text_and_long_ones_completely() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let page = scene.join("Web");
    page.talk_to("T");
    let long = "é".repeat(32_739) + "x";
    let markup = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">";
    let texts = [markup, "\u{202e}txt.exe\u{7}", "<b>&amp;</b>", &long];
    for text in texts {
        terminal.type_line(&format!("/msg Web {text}"));
        page.write(text);
    }
    page.shows("received", texts.len());
    page.shows("delivered", texts.len());
    let shown = [markup, "\\u{202e}txt.exe\\u{7}", "<b>&amp;</b>", &long];
    assert_eq!(page.texts("received"), shown);
    assert_eq!(page.texts("delivered"), shown);
    assert_eq!(received(&terminal, texts.len()), texts);
    assert_eq!(page.tab.value("document.querySelectorAll('#messages :is(script, img, b)').length"), 0);
    assert_eq!(page.tab.value("document.title"), "Switchboard");
    page.submit("composer", &[("text", &format!("{long}yy"))]);
    assert_eq!(page.text("text-problem"), "The message has 65481 bytes. At most 65479 are possible.");
}

#[test]
fn a_changed_key_is_shown_with_both_fingerprints_and_used_only_after_it_is_trusted() {
    let Some(scene) = Scene::new() else { return };
    let before = scene.sandbox.peer("T", scene.server.address());
    let page = scene.join("Web");
    let mut terminal = before.start(&[]);
    terminal.type_line("/msg Web from the first key");
    page.talk_to("T");
    page.shows("received", 1);
    terminal.end_input();
    terminal.finish().expect(0);
    let mut release = Command::new(binary("server"));
    release.arg("--data").arg(scene.server.data()).args(["release", "T"]);
    Process::start("server release", release).finish().expect(0);

    let elsewhere = Sandbox::new();
    let after = elsewhere.peer("T", scene.server.address());
    let mut terminal = after.start(&[]);
    terminal.type_line("/msg Web from the second key");
    page.wait("!document.getElementById('changed-key').hidden");
    page.write("for the second key");
    let ungrouped = |id| page.text(id).replace(' ', "");
    assert_eq!(ungrouped("pinned"), before.fingerprint());
    assert_eq!(ungrouped("distrusted"), after.fingerprint());
    assert_eq!(page.texts("received"), ["from the first key"]);
    page.shows("queued", 1);
    page.click("#trust");
    page.shows("received", 2);
    page.shows("delivered", 1);
    assert_eq!(page.texts("received"), ["from the first key", "from the second key"]);
    assert_eq!(received(&terminal, 1), ["for the second key"]);
}

#[test]
fn tabs_share_one_peer_and_the_next_goes_on_when_the_first_is_closed() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let first = scene.join("Web");
    first.talk_to("T");
    let second = scene.open();
    second.connected();
    second.talk_to("T");
    second.write("from the second tab");
    terminal.type_line("/msg Web to both");
    for page in [&first, &second] {
        page.shows("delivered", 1);
        page.shows("received", 1);
    }
    drop(first);
    second.write("from the second tab, alone");
    second.shows("delivered", 2);
    terminal.type_line("/msg Web to the one that is left");
    second.shows("received", 2);
    assert_eq!(received(&terminal, 2), ["from the second tab", "from the second tab, alone"]);
}

#[test]
fn an_invalid_or_taken_name_is_refused_while_typing_and_a_taken_one_when_joining_too() {
    let Some(scene) = Scene::new() else { return };
    scene.sandbox.peer("Taken", scene.server.address()).run(&["who"]).expect(0);
    let page = scene.open();
    page.welcomes();
    page.provide_keys();
    page.fill("name", "not a name");
    assert_eq!(page.text("name-problem"), "A name has 1 to 32 of the characters A-Z a-z 0-9 . _ -");
    page.fill("name", "taken");
    assert_eq!(page.text("name-problem"), "");
    let taken = "document.getElementById('name-problem').textContent.startsWith('This name belongs to somebody else')";
    page.wait(taken);
    page.fill("name", "takes");
    assert_eq!(page.text("name-problem"), "");
    page.fill("name", "taken");
    page.wait(taken);
    page.submit("name-form", &[("passphrase", "for a backup")]);
    page.wait("!document.getElementById('welcome').hidden && document.getElementById('my-name').textContent === 'taken'");
    page.wait(taken);
    assert_eq!(page.tab.value("document.getElementById('passphrase').value"), "for a backup");
    page.submit("name-form", &[("name", "Free"), ("passphrase", "")]);
    page.connected();
    assert_eq!(page.text("my-name"), "Free");
}
