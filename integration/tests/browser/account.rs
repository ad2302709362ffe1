//! The own name and keys of a browser's peer: invitations, backups, successors.

use std::process::Command;

use integration::{Process, Sandbox, Server, binary};
use serde_json::Value;

use crate::page::Scene;

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
    page.wait("!document.getElementById('invitation-form').hidden");
    assert!(page.text("refusal").contains("this server admits only members"), "{}", page.text("refusal"));
    page.submit("invitation-form", &[("invitation", &invitation[1..])]);
    assert!(page.text("invitation-problem").starts_with("This is not an invitation."));

    // The second half names the server.
    let (secret, server_half) = invitation.split_at(32);
    let other = format!("{secret}{}", server_half.replace(|c: char| c.is_ascii_uppercase(), "A"));
    page.submit("invitation-form", &[("invitation", &other)]);
    page.wait("document.getElementById('refusal').textContent.includes('for another server')");

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
