//! Files that are fetched together: saving them, and going on with them.

use std::collections::BTreeMap;

use integration::Peer;
use integration::browser::Tab;

use crate::page::{Page, Scene, downloaded};

/// As many as the page lists.
const MANY: usize = 500;
/// Few enough to take seconds at the rate of their holder.
const LIST: u8 = 20;
const FILE_BYTES: usize = 64 << 10;
/// Two pieces, so that it comes alone.
const LARGE_BYTES: usize = (1 << 20) + 5;

fn put_many(peer: &Peer) {
    for number in 0..MANY {
        peer.put(&format!("many/{number}.txt"), format!("file {number}").as_bytes());
    }
    peer.put("keyword.txt", b"many, many/**;");
}

/// Lists the files of a pattern and fetches them.
fn fetch_all(page: &Page<Tab<'_>>, pattern: &str, count: usize) {
    page.submit("pattern-form", &[("pattern", pattern), ("holder", "")]);
    page.wait(&format!("document.querySelectorAll('#described li').length === {count}"));
    page.click("#fetch-all");
    let said = format!("{count} of {count} file(s) are fetched.");
    page.wait(&format!("document.getElementById('pattern-said').textContent.startsWith('{said}')"));
}

/// The files of a ZIP archive without compression, by their names.
pub(crate) fn unpacked(mut archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    while archive.starts_with(b"PK\x03\x04") {
        let number = |from: usize, to: usize| {
            archive[from..to].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
        };
        let (size, name_length) = (number(18, 22), number(26, 28));
        let content = 30 + name_length + number(28, 30);
        let name = String::from_utf8(archive[30..30 + name_length].to_vec()).expect("names are UTF-8");
        files.insert(name, archive[content..content + size].to_vec());
        archive = &archive[content + size..];
    }
    assert!(archive.starts_with(b"PK\x01\x02"), "the list follows the files");
    files
}

#[test]
fn all_of_many_files_are_saved() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    put_many(&b);
    let _holder = b.share();
    let page = scene.join("Web");
    fetch_all(&page, "many/*", MANY);
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#save-all");
    let files = unpacked(&downloaded(&downloads, "many.zip"));
    let expected =
        (0..MANY).map(|number| (format!("many/{number}.txt"), format!("file {number}").into_bytes()));
    assert_eq!(files, expected.collect());
}

#[test]
fn a_list_is_continued_after_the_page_was_loaded_again() {
    let Some(scene) = Scene::new() else { return };
    let b = scene.sandbox.peer("B", scene.server.address());
    for number in 0..LIST {
        b.put(&format!("notes/{number}.txt"), &[number; FILE_BYTES]);
    }
    b.put("notes/large.bin", &[7; LARGE_BYTES]);
    b.put("keyword.txt", b"note, notes/**;");
    let holder = b.start(&["share", "--up-limit", "512K"]);
    holder.event("result", |event| event["kind"] == "published");
    let page = scene.join("Web");
    page.submit("pattern-form", &[("pattern", "notes/*"), ("holder", "")]);
    page.wait(&format!("document.querySelectorAll('#described li').length === {}", LIST + 1));
    page.click("#fetch-all");
    page.wait("document.querySelectorAll('#described a').length >= 5");
    let before = holder.events("files_request", 1).len();

    let fetched = || {
        page.wait("document.querySelectorAll('#earlier li').length === 1");
        page.text("earlier")
    };
    page.tab.reload();
    page.connected();
    let said = fetched();
    assert!(said.starts_with("notes/*, from an earlier visit: ") && !said.contains(" 0 of "), "{said}");
    page.click("#earlier button");
    let all = format!("{0} of {0} file(s) are fetched.", LIST + 1);
    page.wait(&format!("document.getElementById('pattern-said').textContent === '{all}'"));
    let again = &holder.events("files_request", before + 1)[before..];
    let again: u64 = again.iter().map(|request| request["files"].as_u64().expect("it is a number")).sum();
    assert!(again <= u64::from(LIST) - 5, "{again} files are requested again");

    // What was fetched does not need its holder any more, until it is saved.
    holder.kill();
    page.tab.reload();
    page.connected();
    let here = format!("{0} of {0} file(s) are here", LIST + 1);
    assert!(fetched().contains(&here), "{}", fetched());
    page.click("#earlier button");
    page.wait(&format!("document.getElementById('pattern-said').textContent === '{all}'"));
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#save-all");
    let files = unpacked(&downloaded(&downloads, "notes.zip"));
    let content = |name: &str| files.get(name).map(Vec::as_slice);
    assert_eq!(files.len(), usize::from(LIST) + 1);
    assert_eq!(content("notes/3.txt"), Some(&[3; FILE_BYTES][..]));
    assert_eq!(content("notes/large.bin"), Some(&[7; LARGE_BYTES][..]));
    page.tab.reload();
    page.connected();
    page.wait("'shown' in document.getElementById('earlier').dataset");
    assert_eq!(page.text("earlier"), "");
}
