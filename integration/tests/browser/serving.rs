//! Files that the page sends to others: how many at once, who waits, and pieces of them.

use integration::browser::Tab;
use integration::{Process, sha256_hex};

use crate::page::{Page, Scene};

/// At the rate of its receiver, this takes minutes, and it does not fit into the buffers of the connections.
const LONG_BYTES: usize = 64 << 20;
const RATE: &str = "64K";
/// Not whole pieces, so that the last one is short.
const PIECES_BYTES: u32 = (24 << 20) + 77;
/// So slow that the terminal peer cannot send all pieces before the page has sent some.
const HOLDER_RATE: &str = "4M";

/// Shares a file, given by the JavaScript expression for its content, and waits until others can find it.
pub(crate) fn share(page: &Page<Tab<'_>>, name: &str, content: &str) {
    page.choose_file("files", name, content);
    page.submit("share-form", &[("keywords", "web")]);
    page.wait(&format!("document.getElementById('shared').textContent.includes('{name}')"));
    page.wait("document.getElementById('listed').textContent === 'Others can find these files.'");
}

#[test]
fn a_browser_serves_a_few_transfers_at_once_and_the_others_wait() {
    let Some(scene) = Scene::new() else { return };
    let [a, b] = ["A", "B"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let page = scene.join("Web");
    for (name, byte) in [("one.bin", 1), ("two.bin", 2)] {
        share(&page, name, &format!("new Uint8Array({LONG_BYTES}).fill({byte})"));
    }
    share(&page, "short.txt", "'short'");
    let serves = |sending: usize, waiting: usize| {
        let said = format!("{sending} file(s) are being sent, {waiting} request(s) wait for their turn.");
        page.wait(&format!("document.getElementById('serving').textContent === '{said}'"));
    };
    let running = a.start(&["--down-limit", RATE, "listen"]);
    running.event("joined", |_| true);
    let get = |name: &str| a.start(&["get", name]);
    let moves = |process: &Process| process.event("file_progress", |event| event["done"] != 0);
    let first = get("one.bin");
    moves(&first);
    let second = get("two.bin");
    moves(&second);
    serves(2, 0);

    // Half of the slots are for others.
    let third = get("short.txt");
    third.event("file_queued", |event| event["place"] == 1);
    serves(2, 1);
    b.run(&["get", "short.txt"]).expect(0);
    serves(2, 1);
    third.kill();
    serves(2, 0);

    let third = get("short.txt");
    third.event("file_queued", |event| event["place"] == 1);
    first.kill();
    third.finish().expect(0);
    serves(1, 0);
    second.kill();
    page.wait("document.getElementById('serving').hidden");
}

#[test]
fn a_terminal_peer_takes_pieces_from_a_browser_and_another_peer_at_once() {
    let Some(scene) = Scene::new() else { return };
    let [a, b] = ["A", "B"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let content: Vec<u8> =
        (0..PIECES_BYTES).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
    b.put("pieces.bin", &content);
    b.put("keyword.txt", b"web, pieces.bin;");
    let holder = b.start(&["share", "--up-limit", HOLDER_RATE]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    let script = format!("new Uint8Array({PIECES_BYTES}).map((_, at) => at ^ (at >> 8) ^ (at >> 16))");
    share(&page, "pieces.bin", &script);
    let got = a.run(&["get", &format!("sha256:{}", sha256_hex(&content))]).expect(0);
    assert!(
        std::fs::read(a.dir.join("downloads/pieces.bin")).expect("it is there") == content,
        "the bytes differ"
    );
    let told = got.events("file_holders");
    let holders = told[0]["holders"].as_array().expect("a list of holders");
    for name in ["B", "Web"] {
        let part =
            holders.iter().find(|part| part["from"] == name).unwrap_or_else(|| panic!("{name}: {holders:?}"));
        assert!(part["bytes"].as_u64() >= Some(1 << 20), "{holders:?}");
    }
    assert_eq!(got.events("file_holder_dropped"), Vec::<serde_json::Value>::new());
}

#[test]
fn a_terminal_peer_takes_many_files_from_a_browser_over_one_connection() {
    let Some(scene) = Scene::new() else { return };
    let a = scene.sandbox.peer("A", scene.server.address());
    let page = scene.join("Web");
    let files = [("empty.txt", 0), ("large.txt", 300_000), ("small.txt", 1)];
    for (name, bytes) in files {
        share(&page, name, &format!("new Uint8Array({bytes}).fill(120)"));
    }
    let got = a.run(&["get", "*.txt", "--from", "Web"]).expect(0);
    for (name, bytes) in files {
        let received = std::fs::read(a.dir.join("downloads").join(name)).expect("it is there");
        assert_eq!(received, vec![b'x'; bytes], "{name}");
    }
    let requests = got.events("files_request");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["files"], files.len());
}
