//! The page that shows what passes through the server.

use std::net::SocketAddr;

use integration::Sandbox;

use crate::page::{Page, Scene};

#[test]
fn the_flow_is_shown_live_with_pause_and_step() {
    let start = |sandbox: &Sandbox| {
        sandbox.put_site(&[("index.html", "a site")]);
        sandbox.site_server(&["--admin=127.0.0.1:0"])
    };
    let Some(scene) = Scene::with(start) else { return };
    let admin: SocketAddr =
        scene.server.process().line("metrics and health on ").parse().expect("it is an address");
    let page = Page { tab: scene.person.open(&format!("http://{admin}/switchboard/flow.html")) };
    page.wait("document.getElementById('connection').textContent === 'Watching.'");
    let mut sender = scene.terminal("A");
    let _recipient = scene.terminal("B");
    page.wait("document.getElementById('peers').textContent === 'Connected: A, B'");
    let rows = |text: &str| {
        format!(
            "[...document.querySelectorAll('#rows li')].filter((row) => row.textContent.startsWith('{text}')).length"
        )
    };
    sender.type_line("/msg B secret");
    page.wait(&format!("{} === 1", rows("A to B: message 1, ")));
    // Otherwise it could be the first one that waits below.
    page.wait(&format!("{} === 1", rows("B to A: receipt 1, ")));
    assert!(!page.text("rows").contains("secret"));

    page.click("#pause");
    sender.type_line("/msg B again");
    // The message, and its receipt.
    page.wait("parseInt(document.getElementById('waiting').textContent) >= 2");
    assert_eq!(page.tab.value(&rows("A to B: message 2, ")), 0);
    page.click("#step");
    page.wait(&format!("{} === 1", rows("A to B: message 2, ")));
    assert_eq!(page.tab.value(&rows("B to A: receipt 2, ")), 0);
    page.click("#pause");
    page.wait(&format!("{} === 1", rows("B to A: receipt 2, ")));
    page.tab.resize(360, 740);
    assert_eq!(page.tab.value("document.documentElement.scrollWidth"), 360);
}
