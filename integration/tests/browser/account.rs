//! The own name and keys of a browser's peer: invitations, backups, successors.

use std::process::Command;

use integration::browser::{Drive, Tab};
use integration::{Process, Sandbox, Server, binary};
use serde_json::{Value, json};

use crate::page::{Page, Scene, downloaded};

const PASSPHRASE: &str = "correct horse battery";

/// The text of an invitation for Ada.
fn invite_ada(server: &Server) -> String {
    let mut command = Command::new(binary("server"));
    command.arg("--data").arg(server.data()).args(["invite", "--name", "Ada", "--json"]);
    let done = Process::start("server invite", command).finish().expect(0);
    let answer: Value = serde_json::from_str(&done.lines[0]).expect("it is JSON");
    let link = answer["link"].as_str().expect("there is a link");
    link.rsplit('/').next().expect("a link has a last part").to_owned()
}

#[test]
fn a_browser_joins_a_closed_server_with_an_invitation_and_stores_nothing_of_it() {
    let start = |sandbox: &Sandbox| {
        let data = sandbox.path("server_data");
        let mut command = Server::command(&data, "127.0.0.1:0");
        command.arg("--members").arg(sandbox.path("members"));
        Server::launch(&data, command)
    };
    let Some(scene) = Scene::with(start) else { return };
    let invitation = invite_ada(&scene.server);
    let page = scene.open();
    page.choose_name("Web");
    let owner_status = page.tab.value("fetch('owner?name=Web').then(({ status }) => status)");
    assert_eq!(owner_status, 403, "a closed server does not say who its members are");
    page.wait("!document.getElementById('invitation-form').hidden");
    assert!(page.text("refusal").contains("this server admits only members"), "{}", page.text("refusal"));
    page.submit("invitation-form", &[("invitation", &invitation[1..])]);
    assert!(page.text("invitation-problem").starts_with("This is not an invitation."));

    let other = invitation.replace(|c: char| c.is_ascii_uppercase(), "A");
    page.submit("invitation-form", &[("invitation", &other)]);
    page.wait("document.getElementById('refusal').textContent.includes('not from this server')");

    // The second half names another server. This one proves that it knows the secret, as another one of a cluster does.
    let (secret, server_half) = invitation.split_at(32);
    let of_cluster = format!("{secret}{}", server_half.replace(|c: char| c.is_ascii_uppercase(), "A"));
    page.submit("invitation-form", &[("invitation", &of_cluster)]);
    page.wait("document.getElementById('refusal').textContent.includes('you are admitted as Ada only')");

    page.tab.value(&format!("location.hash = '#invitation={invitation}'"));
    page.wait(&format!("document.getElementById('invitation').value === '{invitation}'"));
    assert_eq!(page.tab.value("location.href"), format!("http://{}/switchboard/", scene.server.address()));
    page.submit("invitation-form", &[]);
    page.wait("document.getElementById('refusal').textContent.includes('you are admitted as Ada only')");
    page.submit("name-form", &[("name", "Ada")]);
    page.connected();
    assert_eq!(page.text("my-name"), "Ada");
    page.wait("document.getElementById('invitation').value === ''");
    let stored = page.stored();
    assert!(stored.contains("\"Ada\"") && !stored.contains(&secret_in_hex(&invitation)), "{stored}");
    page.tab.reload();
    page.connected();
}

/// The secret in an invitation: its first 16 bytes.
fn secret_in_hex(invitation: &str) -> String {
    let letters = invitation.replace('-', "");
    let bytes = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).expect("it is base32");
    data_encoding::HEXLOWER.encode(&bytes[..16])
}

#[test]
fn an_identity_goes_on_in_another_browser_from_its_backup_file() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let page = scene.open();
    page.welcomes();
    page.provide_keys();
    page.submit("name-form", &[("name", "Ada"), ("passphrase", PASSPHRASE)]);
    page.connected();
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.wait("!document.getElementById('backup').hidden");
    page.click("#backup-link");
    let backup = String::from_utf8(downloaded(&downloads, "switchboard-Ada.backup")).expect("it is text");
    page.click("#backup-done");
    page.wait("document.getElementById('passphrase').value === ''");
    let extractable = "import('/switchboard/store.js').then(({ Store }) => Store.open())
        .then((store) => store.get('self', 'me')).then(({ pair }) => pair.privateKey.extractable)";
    assert_eq!(page.tab.value(extractable), false);
    page.talk_to("T");
    page.write("one");
    page.write("two");
    terminal.type_line("/msg Ada hello");
    page.shows("delivered", 2);
    page.shows("received", 1);

    let elsewhere = scene.another_person();
    let restored = Page::open(&elsewhere, scene.server.address());
    restored.welcomes();
    restored.provide_keys();
    restored.choose_file("restore-file", "ada", &json!(backup).to_string());
    restored.submit("restore-form", &[("restore-passphrase", "correct horse")]);
    restored.wait(
        "document.getElementById('restore-problem').textContent.includes('the passphrase is wrong, or the file is damaged')",
    );
    restored.submit("restore-form", &[("restore-passphrase", PASSPHRASE)]);
    restored.connected();
    assert_eq!(restored.tab.value(extractable), false);
    let key = |page: &Page<Tab<'_>>| page.tab.value("document.getElementById('my-key').textContent");
    assert_eq!(key(&restored), key(&page));
    page.wait("document.getElementById('stopped-text').textContent.includes('from another place')");
    // It counts from 1 again, until the receipt says what has arrived before.
    restored.talk_to("T");
    restored.write("three");
    terminal.event("message", |event| event["number"] == 1 && event["text"] == "three");
    restored.shows("delivered", 1);
    restored.write("four");
    terminal.event("message", |event| event["number"] == 3 && event["text"] == "four");
    terminal.type_line("/msg Ada still there?");
    restored.shows("received", 1);
    assert_eq!(restored.texts("received"), ["still there?"]);
}

#[test]
fn a_new_key_that_the_old_one_signs_is_accepted_without_a_question() {
    let Some(scene) = Scene::new() else { return };
    let mut terminal = scene.terminal("T");
    let friend = scene.another_person();
    let page = scene.join("Web");
    let other = Page::open(&friend, scene.server.address());
    other.come_back_as("Friend");
    page.talk_to("T");
    page.write("one");
    terminal.type_line("/msg Web one");
    page.shows("received", 1);
    other.talk_to("Web");
    other.write("hello");
    page.shows("delivered", 1);
    other.shows("delivered", 1);
    let key = |page: &Page<Tab<'_>>| page.tab.value("document.getElementById('my-key').textContent");
    let old = key(&page);
    page.provide_keys();
    page.submit("successor-form", &[("successor-passphrase", PASSPHRASE)]);
    page.wait("document.getElementById('question').open");
    page.click("#question-yes");
    page.wait("!document.getElementById('backup').hidden");
    page.wait(&format!("document.getElementById('my-key').textContent !== {old}"));
    let new = key(&page);
    page.connected();
    page.write("two");
    terminal.type_line("/msg Web two");
    other.write("again");
    page.shows("delivered", 2);
    page.shows("received", 2);
    other.shows("delivered", 2);
    terminal.event("message", |event| event["number"] == 2 && event["text"] == "two");
    assert!(other.text("notices").contains("This peer has a new key, which its old key has signed."));
    other.wait(&format!("document.getElementById('pin').textContent.includes({new})"));
    assert_eq!(other.tab.value("document.getElementById('changed-key').hidden"), true);

    // The backup file is that of the new key.
    let elsewhere = scene.another_person();
    let restored = Page::open(&elsewhere, scene.server.address());
    restored.welcomes();
    restored.provide_keys();
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#backup-link");
    let backup = String::from_utf8(downloaded(&downloads, "switchboard-Web.backup")).expect("it is text");
    restored.choose_file("restore-file", "web", &json!(backup).to_string());
    restored.submit("restore-form", &[("restore-passphrase", PASSPHRASE)]);
    restored.connected();
    assert_eq!(key(&restored), new);
}
