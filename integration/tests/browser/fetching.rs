//! Files that wait in a queue, are interrupted or cancelled, or are many.

use integration::browser::{Drive, Tab};
use integration::{Peer, Process, sha256_hex};
use serde_json::Value;

use crate::page::{Page, Scene, downloaded};
use crate::saving::unpacked;

/// At the rate of the holder, this takes minutes, and it does not fit into the buffers of the connections.
const LONG_BYTES: usize = 64 << 20;
/// Six pieces and a short one. At the rate of its holder, it takes seconds.
const PACED_BYTES: u32 = (6 << 20) + 5;
const PACED_RATE: &str = "2M";
const CHUNK_BYTES: u64 = 131_072;
/// Not whole pieces, so that the last one is short.
const PIECES_BYTES: u32 = (24 << 20) + 77;
const SMALL_FILES: usize = 40;
/// So slow that no holder can send all before another has sent something.
const HOLDER_RATE: &str = "4M";

/// Searches for a word that one file has.
fn search(page: &Page<Tab<'_>>, word: &str) {
    page.submit("search-form", &[("query", word)]);
    page.wait("document.querySelectorAll('#hits li').length === 1");
}

fn says(page: &Page<Tab<'_>>, text: &str) {
    page.wait(&format!("document.querySelector('#hits [role=status]').textContent.includes('{text}')"));
}

/// How many bytes of the paced file these requests are for.
fn requested(requests: &[Value]) -> u64 {
    let number = |request: &Value, field: &str| request[field].as_u64().expect("it is a number");
    let bytes = requests.iter().map(|request| {
        let offset = number(request, "offset");
        (number(request, "chunks") * CHUNK_BYTES).min(u64::from(PACED_BYTES) - offset)
    });
    bytes.sum()
}

#[test]
fn a_browser_shares_files_under_keywords_with_commas() {
    let Some(scene) = Scene::new() else { return };
    let peer = scene.sandbox.peer("T", scene.server.address());
    let page = scene.join("Web");
    page.choose_file("files", "spices; hot.txt", "'pepper'");
    page.submit("share-form", &[("keywords", "\"salt, pepper")]);
    page.wait("document.getElementById('share-said').textContent.includes('quotes are not closed')");
    page.submit("share-form", &[("keywords", "\"salt, pepper\", sea; side")]);
    page.wait("document.getElementById('listed').textContent === 'Others can find these files.'");
    let shown = page.text("shared");
    assert!(shown.starts_with("spices; hot.txt, 6 bytes, keywords: \"salt, pepper\", sea; side"), "{shown}");
    for keyword in ["\"salt, pepper\"", "\"sea; side\""] {
        let found = peer.run(&["search", keyword]).expect(0).answers("file");
        assert_eq!(found[0]["file"]["name"], "spices; hot.txt", "{keyword}");
        let keywords = &found[0]["file"]["keywords"];
        assert_eq!(*keywords, serde_json::json!(["salt, pepper", "sea; side"]));
    }
}

#[test]
fn a_search_shows_own_files_as_such_and_fetches_them_from_others_only() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    b.put("both.txt", b"both");
    b.put("keyword.txt", b"sea, both.txt;");
    let _holder = b.share();
    let page = scene.join("Web");
    page.choose_file("files", "both.txt", "'both'");
    page.submit("share-form", &[("keywords", "sea")]);
    page.wait("document.getElementById('listed').textContent === 'Others can find these files.'");
    page.choose_file("files", "own.txt", "'own'");
    page.submit("share-form", &[("keywords", "own")]);
    page.wait("document.querySelectorAll('#shared li').length === 2");
    page.wait("document.getElementById('listed').textContent === 'Others can find these files.'");
    let shown = || {
        page.tab.value(
            "[...document.querySelectorAll('#hits p, #hits button')].map(({ textContent }) => textContent)
                .filter((text) => text.startsWith('You') || text.startsWith('Fetch') || text.includes('holders'))",
        )
    };
    search(&page, "sea");
    let both = "both.txt, 4 bytes, 2 holders, keywords: sea";
    assert_eq!(shown(), serde_json::json!([both, "You share this file.", "Fetch from B"]));
    search(&page, "own");
    assert_eq!(shown(), serde_json::json!(["You share this file."]));
    assert!(!page.text("hits").contains("not here now"));
}

#[test]
fn a_browser_waits_in_the_queue_of_a_busy_holder_and_shows_its_place() {
    let Some(scene) = Scene::new() else { return };
    let [a, b, c] = ["A", "B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let [_holder, first] = b.keep_busy_with(&a);

    let page = scene.join("Web");
    search(&page, "short");
    page.click("#hits button");
    says(&page, "B is busy; you are 1st in the queue.");
    let third = c.start(&["get", "short.txt"]);
    third.event("file_queued", |event| event["place"] == 2);
    // The page that is loaded again does not know for what it has waited, and gives the place up.
    page.tab.reload();
    page.connected();
    third.event("file_queued", |event| event["place"] == 1);

    search(&page, "short");
    page.click("#hits button");
    says(&page, "B is busy; you are 2nd in the queue.");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    first.kill();
    third.finish().expect(0);
    page.wait("document.querySelector('#hits a') !== null");
    page.click("#hits a");
    assert_eq!(downloaded(&downloads, "short.txt"), b"short");
}

#[test]
fn an_interrupted_download_continues_after_the_page_was_loaded_again() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    let content: Vec<u8> = (0..PACED_BYTES).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    b.put("paced.bin", &content);
    b.put("keyword.txt", b"paced, paced.bin;");
    let holder = b.start(&["share", "--up-limit", PACED_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    // Some pieces have arrived, and others have not. Returns how many requests there were.
    let interrupt = || {
        search(&page, "paced");
        page.click("#hits button");
        page.wait("document.querySelector('#hits progress').value > 0.5");
        page.tab.reload();
        page.connected();
        search(&page, "paced");
        holder.events("file_request", 0).len()
    };
    let fetched_since = |before: usize| {
        page.click("#hits button");
        page.wait("document.querySelector('#hits a') !== null");
        requested(&holder.events("file_request", before + 1)[before..])
    };
    let before = interrupt();
    let bytes = fetched_since(before);
    assert!(bytes > 0 && bytes <= u64::from(PACED_BYTES) * 3 / 4, "{bytes}");
    page.click("#hits a");
    assert_eq!(sha256_hex(&downloaded(&downloads, "paced.bin")), sha256_hex(&content));

    // What is kept can be damaged. Then it does not lead to the link behind it, and is fetched again.
    let before = interrupt();
    page.tab.value(
        "new Promise((done) => {
            const opened = indexedDB.open('switchboard parts');
            opened.onsuccess = () => {
                const change = opened.result.transaction('pieces', 'readwrite');
                const cursor = change.objectStore('pieces').openCursor();
                cursor.onsuccess = () => {
                    const { from, content } = cursor.result.value;
                    cursor.result.update({ from, content: new Blob([new Uint8Array(content.size).fill(1)]) });
                };
                change.oncomplete = () => done(opened.result.close());
            };
        })",
    );
    assert!(fetched_since(before) < u64::from(PACED_BYTES));
    std::fs::remove_file(downloads.join("paced.bin")).expect("it was downloaded");
    page.click("#hits a");
    assert_eq!(sha256_hex(&downloaded(&downloads, "paced.bin")), sha256_hex(&content));
}

#[test]
fn a_place_in_a_queue_is_given_up_by_a_button() {
    let Some(scene) = Scene::new() else { return };
    let [a, b, c] = ["A", "B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let _busy = b.keep_busy_with(&a);
    let page = scene.join("Web");
    search(&page, "short");
    page.click("#hits button");
    says(&page, "B is busy; you are 1st in the queue.");
    let second = c.start(&["get", "short.txt"]);
    second.event("file_queued", |event| event["place"] == 2);
    assert_eq!(page.tab.value("document.querySelector('#hits .cancel').textContent"), "Leave the queue");
    // A page that is told a place for which it does not wait gives it up too. It ignores what a blocked peer says.
    page.talk_to("B");
    page.click("#block");
    page.wait("!document.getElementById('blocked').hidden");
    page.click("#hits .cancel");
    says(&page, "Cancelled. Nothing of it is kept.");
    second.event("file_queued", |event| event["place"] == 1);
    assert_eq!(page.tab.value("document.querySelector('#hits .cancel').hidden"), true);
}

#[test]
fn a_download_is_cancelled_and_continues_later() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    let content: Vec<u8> = (0..PACED_BYTES).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    b.put("paced.bin", &content);
    b.put("keyword.txt", b"paced, paced.bin;");
    let holder = b.start(&["share", "--up-limit", PACED_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    search(&page, "paced");
    page.click("#hits button");
    page.wait("document.querySelector('#hits progress').value > 0.5");
    page.click("#hits .cancel");
    says(&page, "Cancelled. ");
    let said = page.text("hits");
    let kept = said
        .split("Cancelled. ")
        .nth(1)
        .and_then(|said| said.split(" bytes of it are kept for a week.").next());
    let kept = kept.expect("it says how much is kept").replace(',', "");
    let kept: u64 = kept.parse().expect("it is a number");
    let before = holder.events("file_request", 0).len();
    page.click("#hits button");
    page.wait("document.querySelector('#hits a') !== null");
    let requests = holder.events("file_request", before + 1);
    assert_eq!(requested(&requests[before..]) + kept, u64::from(PACED_BYTES));
}

#[test]
fn a_tab_is_told_when_the_one_that_fetches_for_it_is_closed() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    b.put("paced.bin", &vec![1; PACED_BYTES as usize]);
    b.put("keyword.txt", b"paced, paced.bin;");
    let holder = b.start(&["share", "--up-limit", PACED_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let first = scene.join("Web");
    let page = scene.open();
    page.connected();
    search(&page, "paced");
    page.click("#hits button");
    page.wait("document.querySelector('#hits progress').value > 0.2");
    drop(first);
    says(&page, "The tab that did this was closed. Try again.");
    page.connected();
    page.click("#hits button");
    page.wait("document.querySelector('#hits a') !== null");
}

#[test]
fn a_download_stays_in_sight_when_another_search_begins() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    b.put("long.bin", &vec![7; LONG_BYTES]);
    b.put("short.txt", b"short");
    b.put("other.txt", b"other");
    b.put("keyword.txt", b"long, long.bin; short, short.txt; other, other.txt;");
    let holder = b.start(&["share", "--up-limit", PACED_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    search(&page, "short");
    page.click("#hits button");
    page.wait("document.querySelector('#hits a') !== null");
    search(&page, "long");
    page.click("#hits button");
    page.wait("document.querySelector('#hits progress').value > 0");
    search(&page, "other");
    let stays =
        page.tab.value("[...document.querySelectorAll('#fetched li')].map((entry) => entry.dataset.file)");
    assert_eq!(stays, serde_json::json!(["short.txt", "long.bin"]));
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#fetched a");
    assert_eq!(downloaded(&downloads, "short.txt"), b"short");
    page.click("#fetched [data-file='long.bin'] .cancel");
    page.wait("document.getElementById('fetched').textContent.includes('Cancelled.')");
}

#[test]
fn the_downloads_of_a_pattern_are_cancelled_together() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    for (number, name) in ["long/1", "long/2", "long/3"].iter().enumerate() {
        b.put(name, &vec![u8::try_from(number).expect("it is small"); LONG_BYTES]);
    }
    b.put("keyword.txt", b"*, **;");
    let holder = b.start(&["share", "--up-limit", PACED_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    page.submit("pattern-form", &[("pattern", "long/*"), ("holder", "B")]);
    page.wait("document.querySelectorAll('#described li').length === 3");
    page.click("#fetch-all");
    page.wait(
        "[...document.querySelectorAll('#described progress')].filter(({ value }) => value > 0).length === 2",
    );
    page.click("#cancel-all");
    page.wait("document.getElementById('pattern-said').textContent === '0 of 3 file(s) are fetched.'");
    assert_eq!(holder.events("file_request", 2).len(), 2, "the third one was not begun");
}

#[test]
fn a_file_comes_from_several_holders_and_continues_after_the_page_was_loaded_again() {
    let Some(scene) = Scene::new() else { return };
    let peers = ["B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let content: Vec<u8> =
        (0..PIECES_BYTES).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
    let share = |peer: &Peer| {
        peer.put("pieces.bin", &content);
        peer.put("keyword.txt", b"pieces, pieces.bin;");
        let holder = peer.start(&["share", "--up-limit", HOLDER_RATE]);
        holder.event("result", |event| event["kind"] == "published");
        holder
    };
    let _holders = [share(&peers[0]), share(&peers[1])];
    let page = scene.join("Web");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    let begin = || {
        search(&page, "pieces");
        let button = page.tab.value("document.querySelector('#hits button').textContent");
        assert_eq!(button, "Fetch from 2 holders at once");
        page.click("#hits button");
    };
    begin();
    page.wait("document.querySelector('#hits progress').value > 0.3");
    page.tab.reload();
    page.connected();
    begin();
    page.wait("document.querySelector('#hits a') !== null");
    page.click("#hits a");
    assert_eq!(sha256_hex(&downloaded(&downloads, "pieces.bin")), sha256_hex(&content));
    let said = page.text("hits");
    let sent = |name: &str| {
        let (before, _) = said.split_once(&format!(" bytes from {name}")).unwrap_or_else(|| panic!("{said}"));
        let number = before.rsplit(|letter: char| !letter.is_ascii_digit() && letter != ',').next();
        let number = number.expect("there is a number").replace(',', "");
        number.parse::<u32>().expect("it is one")
    };
    let again = sent("B") + sent("C");
    assert!(sent("B") > 0 && sent("C") > 0 && again < PIECES_BYTES * 4 / 5, "{said}");
}

#[test]
fn the_files_of_a_pattern_are_listed_and_fetched() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    for name in ["lectures/1.txt", "lectures/2.txt", "lectures/week 1/3.txt", "other.txt"] {
        b.put(name, name.as_bytes());
    }
    b.put("keyword.txt", b"*, **;");
    let _holder = b.share();
    let page = scene.join("Web");
    let list = |pattern: &str, count: usize, said: &str| {
        page.submit("pattern-form", &[("pattern", pattern), ("holder", "b")]);
        page.wait(&format!("document.getElementById('pattern-said').textContent.startsWith('{said}')"));
        assert_eq!(page.tab.value("document.querySelectorAll('#described li').length"), count, "{pattern}");
    };
    list("lectures/1.txt", 0, "A pattern is");
    list("nothing/*", 0, "b shares no file");
    list("lectures/**", 3, "3 file(s), 49 bytes.");
    list("lectures/*", 2, "2 file(s), 28 bytes.");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#fetch-all");
    page.wait("document.getElementById('pattern-said').textContent === '2 of 2 file(s) are fetched.'");
    page.click("#save-all");
    let files = unpacked(&downloaded(&downloads, "lectures.zip"));
    let expected =
        ["lectures/1.txt", "lectures/2.txt"].map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    assert_eq!(files, expected.into());
}

/// Shares small files that another peer has too, and some that only this one has.
fn share_small(peer: &Peer, folder: &[&str], rate: &str) -> Process {
    for part in folder {
        for number in 0..SMALL_FILES {
            peer.put(&format!("notes/{part}{number}.txt"), small(part, number).as_bytes());
        }
    }
    peer.put("keyword.txt", b"note, notes/**;");
    let holder = peer.start(&["share", "--up-limit", rate]);
    holder.event("result", |event| event["kind"] == "published");
    holder
}

fn small(part: &str, number: usize) -> String {
    format!("{part} {number} ").repeat(2000)
}

fn fetched_all(page: &Page<Tab<'_>>, count: usize) {
    let said = format!("{count} of {count} file(s) are fetched.");
    page.wait(&format!("document.getElementById('pattern-said').textContent.startsWith('{said}')"));
}

#[test]
fn small_files_come_from_all_who_have_them_over_one_connection_of_each() {
    let Some(scene) = Scene::new() else { return };
    let [b, c] = ["B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let holders =
        [share_small(&b, &["both", "b"], HOLDER_RATE), share_small(&c, &["both", "c"], HOLDER_RATE)];
    let page = scene.join("Web");
    // From a match to all files of its folder.
    page.submit("search-form", &[("query", "file:notes/both1.txt")]);
    page.wait("document.querySelectorAll('#hits .folder').length === 1");
    page.click("#hits .folder");
    let count = 3 * SMALL_FILES;
    page.wait(&format!("document.querySelectorAll('#described li').length === {count}"));
    page.click("#fetch-all");
    fetched_all(&page, count);
    let said = page.text("pattern-said");
    assert!(said.contains(" bytes from B") && said.contains(" bytes from C"), "{said}");
    for holder in &holders {
        let requests = holder.events("files_request", 1);
        let files =
            requests.iter().map(|request| request["files"].as_u64().expect("it is a number")).sum::<u64>();
        assert!(files >= SMALL_FILES as u64 && requests.len() < SMALL_FILES, "{requests:?}");
        assert!(holder.events("file_request", 0).is_empty(), "no file was requested alone");
    }
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    for (part, number) in [("both", 7), ("b", 0), ("c", SMALL_FILES - 1)] {
        page.click(&format!("#described [data-file='notes/{part}{number}.txt'] a"));
        assert_eq!(downloaded(&downloads, &format!("{part}{number}.txt")), small(part, number).as_bytes());
    }
}

#[test]
fn no_file_is_lost_with_a_holder_that_goes_away() {
    let Some(scene) = Scene::new() else { return };
    let [b, c] = ["B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let going = share_small(&b, &["both"], "64K");
    let page = scene.join("Web");
    page.submit("pattern-form", &[("pattern", "notes/*"), ("holder", "")]);
    page.wait(&format!("document.querySelectorAll('#described li').length === {SMALL_FILES}"));
    // So slow that much is missing when the other one goes.
    let staying = share_small(&c, &["both"], "128K");
    page.submit("pattern-form", &[("pattern", "notes/*"), ("holder", "")]);
    page.wait("document.querySelector('#described p').textContent.includes('2 holders')");
    page.click("#fetch-all");
    going.event("files_request", |_| true);
    going.kill();
    fetched_all(&page, SMALL_FILES);
    drop(staying);
}
