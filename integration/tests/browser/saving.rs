//! Files that are fetched together: saving them, and going on with them.

use std::collections::BTreeMap;

use integration::Peer;
use integration::browser::{Drive as _, Tab};

use crate::page::{Page, Scene, downloaded};

/// As many as the page lists.
const MANY: usize = 500;

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
