//! Makes the pictures in `docs/`: `cargo test --workspace --test browser -- --ignored screenshots`.

use integration::browser::{Drive, Tab};
use integration::repository;

use crate::flow::{watched, with_admin};
use crate::page::{Page, Scene};

/// Larger pictures would make the repository slow to fetch.
const BYTES_MAX: usize = 150_000;

/// Writes what a page shows, once it has drawn it.
fn save(page: &Page<Tab<'_>>, name: &str) {
    page.tab
        .value("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn(0))))");
    let picture = page.tab.screenshot();
    assert!(picture.len() < BYTES_MAX, "{name} has {} bytes", picture.len());
    std::fs::write(repository().join("docs").join(name), picture).expect("the repository can be written");
}

#[test]
#[ignore = "it writes into the repository"]
fn screenshots_of_the_main_pages() {
    let Some(scene) = Scene::with(with_admin) else { return };
    let peer = scene.sandbox.peer("bob", scene.server.address());
    peer.put("tides.csv", b"hour,level\n0,1.8\n6,4.1\n");
    peer.put("waves.png", &[7; 2081]);
    peer.put("keyword.txt", b"sea, tides.csv; sea, waves.png; tide, tides.csv; picture, waves.png");
    let mut bob = peer.start(&[]);
    bob.event("result", |event| event["kind"] == "published");
    let _carol = scene.terminal("carol");
    let _owner = scene.join("ada");
    let page =
        Page { tab: scene.person.open_drawn(&format!("http://{}/switchboard/", scene.server.address())) };
    page.connected();
    page.tab.resize(1000, 800);

    page.submit("search-form", &[("query", "sea")]);
    page.wait("document.querySelectorAll('#hits li').length === 2");
    page.tab.value("document.getElementById('files-section').scrollIntoView()");
    save(&page, "search.png");

    page.talk_to("bob");
    page.write("Is it high water yet?");
    page.shows("delivered", 1);
    bob.type_line("/msg ada In an hour. The table is in tides.csv.");
    page.shows("received", 1);
    page.click(".message.sent summary");
    page.wait("document.querySelectorAll('.steps').length === 1");
    page.tab.value(
        "document.getElementById('log').scrollTop = 0; document.getElementById('with').scrollIntoView()",
    );
    save(&page, "conversation-light.png");
    page.tab.prefer("dark");
    save(&page, "conversation-dark.png");
    page.tab.prefer("light");
    page.tab.resize(360, 740);
    page.tab.value("document.getElementById('with').scrollIntoView()");
    save(&page, "conversation-phone.png");

    let wall = watched(&scene);
    wall.tab.resize(1000, 800);
    wall.wait("document.getElementById('peers').textContent === 'Connected: ada, bob, carol'");
    for number in 1..=3 {
        page.write(&format!("message {number}"));
    }
    wall.wait("document.getElementById('rows').childElementCount >= 6");
    save(&wall, "wall.png");
}
