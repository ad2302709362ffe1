//! What the page shows, and to whom: every step of a message, files, a phone, a screen reader.

use std::process::Command;

use integration::browser::{Drive, Tab};
use integration::{Process, Sandbox, sha256_hex};
use serde_json::{Value, json};

use crate::flow::{watched, with_admin};
use crate::page::{Page, Scene, downloaded};

/// The steps of a sent message, and of a received one.
const SENT: [&str; 10] = [
    "SHA-256 of the text",
    "drawn",
    "wrapped",
    "commitment",
    "signed",
    "sealed",
    "SHA-256 of it",
    "running hash before",
    "running hash",
    "receipt verified",
];
const RECEIVED: [&str; 11] = [
    "conversation",
    "unwrapped",
    "commitment verified",
    "signature verified",
    "opened",
    "SHA-256 of it",
    "running hash before",
    "running hash",
    "SHA-256 of the text",
    "in order",
    "acknowledged",
];

#[test]
fn every_message_opens_into_steps_whose_commands_give_what_is_shown() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let page = scene.join("Web");
    page.talk_to("T");
    page.write("it's \"quoted\" $HOME");
    terminal.type_line("/msg Web hello");
    page.shows("delivered", 1);
    page.shows("received", 1);
    terminal.type_line("/msg Web again");
    page.shows("received", 2);
    page.tab
        .value("document.querySelectorAll('.message > details').forEach((steps) => { steps.open = true; })");
    page.wait("document.querySelectorAll('.steps').length === 3");
    let steps = page.tab.value(
        "[...document.querySelectorAll('.steps dd')].map((step) => [
            step.previousSibling.textContent,
            ...[...step.querySelectorAll('pre')].map((pre) => pre.textContent)])",
    );
    let steps = steps.as_array().expect("it is an array");
    let labels: Vec<&str> = steps.iter().filter_map(|step| step[0].as_str()).collect();
    let mut shown = labels.clone();
    shown.sort_unstable();
    let mut expected = [SENT.as_slice(), &RECEIVED, &RECEIVED].concat();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let digest = terminal.event("delivered", |_| true)["running_hash"].clone();
    assert!(steps.iter().any(|step| step[1] == digest), "the running hash of the other side is shown");
    let without: Vec<&str> =
        steps.iter().filter(|step| step[2].is_null()).filter_map(|step| step[0].as_str()).collect();
    assert_eq!(
        without,
        ["in order", "acknowledged", "in order", "acknowledged"],
        "these steps have no bytes"
    );
    for step in steps.iter().filter(|step| step[2].is_string()) {
        check_command(&scene, step);
    }
    gives_no_secret_after_a_reload(&page);
}

/// Then the key of a conversation is gone, and the page says so.
fn gives_no_secret_after_a_reload(page: &Page<Tab<'_>>) {
    page.tab.reload();
    page.talk_to("T");
    page.shows("delivered", 1);
    page.click(".message.sent summary");
    page.wait("document.querySelectorAll('.steps').length === 1");
    let wrapped = page.tab.value(
        "[...document.querySelectorAll('.steps dt')].find(({ textContent }) => textContent === 'wrapped').nextSibling.textContent",
    );
    let wrapped = wrapped.as_str().expect("it is a text");
    assert!(
        wrapped.contains("There is no command, because the key of this conversation is no longer in memory."),
        "{wrapped}"
    );
}

/// Carries out the command of a step, as somebody who copies it into a shell.
fn check_command(scene: &Scene, step: &Value) {
    let mut command = Command::new("sh");
    command.args(["-c", step[2].as_str().expect("it has a command")]).current_dir(scene.sandbox.path(""));
    let done = Process::start("the command of a step", command).finish().expect(0);
    let label = step[0].as_str().expect("it has a label");
    let value = step[1].as_str().expect("a value");
    match label {
        "signed" | "signature verified" => assert_eq!(done.lines, ["Verified OK"], "{label}"),
        // OAEP is randomized.
        "wrapped" | "unwrapped" => assert_eq!(done.lines[0].len(), value.len(), "{label}"),
        _ => assert_eq!(done.lines, [value], "{label}"),
    }
}

#[test]
fn files_go_both_ways_and_are_checked() {
    let Some(scene) = Scene::new() else { return };
    let peer = scene.sandbox.peer("T", scene.server.address());
    let content: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    peer.put("\u{202e}tide.csv", &content);
    peer.put("keyword.txt", "sea, \u{202e}tide.csv;".as_bytes());
    let terminal = peer.start(&[]);
    terminal.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    page.submit("search-form", &[("query", " Sea ")]);
    page.wait("document.querySelectorAll('#hits li').length === 1");
    assert!(page.text("hits").starts_with("\\u{202e}tide.csv, 300,000 bytes"), "{}", page.text("hits"));
    page.submit("search-form", &[("query", "sea (tied")]);
    page.wait("!document.getElementById('place').hidden");
    assert!(page.text("place").ends_with("\n    ^"), "{}", page.text("place"));
    page.submit("search-form", &[("query", "sae -tied")]);
    page.wait("document.querySelector('#search-said button') !== null");
    page.click("#search-said button");
    page.wait("document.querySelectorAll('#hits li').length === 1");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#hits button");
    page.wait("document.querySelector('#hits a') !== null");
    page.click("#hits a");
    let saved = downloaded(&downloads, "tide.csv");
    assert_eq!(sha256_hex(&saved), sha256_hex(&content));

    page.choose_file("files", "seven.bin", "new Uint8Array(262144).fill(7)");
    page.submit("share-form", &[("keywords", "luck, high water")]);
    page.wait("document.querySelectorAll('#shared li').length === 1");
    page.wait("document.getElementById('listed').textContent === 'Others can find these files.'");
    let received = scene.sandbox.path("received.bin");
    let output = received.to_str().expect("paths of the sandbox are UTF-8");
    peer.run(&["get", "seven.bin", "--from", "Web", "--output", output]).expect(0);
    assert_eq!(std::fs::read(received).expect("it was received"), [7; 262_144]);
}

#[test]
fn unread_messages_are_counted_in_the_title_and_notified_of_only_when_that_is_wanted() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    scene.person.decide_about_notifications("denied");
    let page = scene.join("Web");
    let titled = |title: &str| page.wait(&format!("document.title === '{title}'"));
    page.click("#me summary");
    page.click("#notify");
    page.wait("document.getElementById('notify').disabled");
    assert!(page.text("notify-said").starts_with("Your browser does not allow notifications"));
    scene.person.decide_about_notifications("granted");
    page.tab.reload();
    page.connected();
    terminal.type_line("/msg Web one");
    titled("(1) Switchboard");
    page.talk_to("T");
    titled("Switchboard");

    let see = |state: &str| {
        page.tab.value(&format!(
            "Object.defineProperty(document, 'visibilityState', {{ configurable: true, value: '{state}' }});
            document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    page.tab.value(
        "globalThis.notified = [];
        globalThis.Notification = class extends Notification {
            constructor(title, how) { super(title, how); notified.push(`${title}: ${JSON.stringify(how)}`); }
        }; 0",
    );
    see("hidden");
    terminal.type_line("/msg Web two");
    titled("(1) Switchboard");
    assert_eq!(page.tab.value("notified.length"), 0);
    see("visible");
    titled("Switchboard");
    page.click("#notify");
    page.wait("document.getElementById('notify').ariaPressed === 'true'");
    terminal.type_line("/msg Web three");
    page.shows("received", 3);
    // The title still counts the third message until it is noted as read.
    titled("Switchboard");
    see("hidden");
    terminal.type_line("/msg Web four");
    page.wait("notified.length > 0");
    titled("(1) Switchboard");
    let notified = json!([r#"Switchboard: {"body":"New messages from T","tag":"switchboard"}"#]);
    assert_eq!(page.tab.value("notified"), notified);
    // As in Chromium for Android.
    page.tab.value(
        "globalThis.Notification = class {
            static permission = 'granted';
            constructor() { throw new TypeError('Illegal constructor'); }
        }; 0",
    );
    terminal.type_line("/msg Web five");
    titled("(2) Switchboard");
    page.wait("document.getElementById('notify-said').textContent === 'This browser has no notifications for pages.'");
    page.tab.reload();
    page.wait("document.getElementById('notify').ariaPressed === 'true'");
}

#[test]
fn the_page_fits_a_phone_and_axe_finds_no_violation() {
    let Some(scene) = Scene::with(with_admin) else { return };
    let mut terminal = scene.terminal("T");
    let axe = axe(&scene.sandbox);
    let page = scene.open();
    page.welcomes();
    page.click("#welcome summary");
    check(&page, axe.as_deref());
    page.come_back_as("Web");
    page.talk_to("T");
    page.write(&"long".repeat(200));
    terminal.type_line("/msg Web hello");
    page.shows("delivered", 1);
    page.shows("received", 1);
    page.click(".message summary");
    page.wait("document.querySelectorAll('.steps').length === 1");
    for scheme in ["light", "dark"] {
        page.tab.prefer(scheme);
        check(&page, axe.as_deref());
    }
    page.tab.resize(360, 740);
    page.tab.value("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    assert_eq!(page.tab.value("document.documentElement.scrollWidth"), 360);
    check(&page, axe.as_deref());
    page.click("#forget");
    page.wait("document.getElementById('question').open");
    check(&page, axe.as_deref());
    let wall = watched(&scene);
    wall.wait("document.getElementById('peers').textContent === 'Connected: T, Web'");
    for scheme in ["light", "dark"] {
        wall.tab.prefer(scheme);
        check(&wall, axe.as_deref());
    }
}

/// The script of axe-core, which checks pages for accessibility. `None`, with a word, if npm cannot get it.
fn axe(sandbox: &Sandbox) -> Option<String> {
    let get = "npm pack --silent axe-core@4.14.1 && tar xzf axe-core-*.tgz";
    let status = Command::new("sh").args(["-c", get]).current_dir(sandbox.path("")).output();
    if status.is_ok_and(|output| output.status.success()) {
        return Some(
            std::fs::read_to_string(sandbox.path("package/axe.min.js")).expect("it is in the package"),
        );
    }
    eprintln!("skipped: npm cannot get axe-core, so accessibility is not checked");
    None
}

#[track_caller]
fn check(page: &Page<Tab<'_>>, axe: Option<&str>) {
    let Some(axe) = axe else { return };
    page.tab.value(&format!("{axe}; 0"));
    let violations = page.tab.value(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
            violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]))",
    );
    assert_eq!(violations, Value::Array(Vec::new()));
}

#[test]
fn the_page_can_be_used_by_keyboard_alone() {
    let Some(scene) = Scene::new() else { return };
    let _terminal = scene.terminal("T");
    let page = scene.open();
    page.welcomes();
    let tab_to = |selector: &str| {
        for _ in 0..40 {
            page.tab.press("Tab");
            if page.tab.value(&format!("document.activeElement.matches('{selector}')")) == true {
                return;
            }
        }
        panic!("the Tab key does not lead to {selector}");
    };
    tab_to("#name");
    page.tab.type_text("Web");
    page.tab.press("Enter");
    page.connected();
    tab_to("#contact");
    page.tab.type_text("T");
    page.tab.press("Enter");
    page.wait("document.activeElement.id === 'text'");
    page.tab.type_text("hello");
    page.tab.press("Enter");
    page.shows("delivered", 1);
    page.tab.value("document.getElementById('with').focus()");
    tab_to(".message summary");
    page.tab.press("Enter");
    page.wait("document.querySelectorAll('.steps').length === 1");
}
