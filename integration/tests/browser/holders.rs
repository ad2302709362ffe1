//! A file whose holders are slow or leave.

use integration::browser::Tab;
use integration::{Peer, Process, sha256_hex};

use crate::page::{Page, Scene, downloaded};

/// Too few pieces to ask several holders at once.
const FEW_BYTES: usize = (6 << 20) + 5;
/// At the rate of the fast holder, it takes longer than a holder must be slow to be told.
const PIECES_BYTES: usize = (14 << 20) + 77;

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| at.to_le_bytes()[at % 3]).collect()
}

/// Shares a file, and sends so many bytes a second of it.
fn share(peer: &Peer, name: &str, content: &[u8], rate: &str) -> Process {
    peer.put(name, content);
    peer.put("keyword.txt", format!("tide, {name};").as_bytes());
    let holder = peer.start(&["share", "--up-limit", rate]);
    holder.event("result", |event| event["kind"] == "published");
    holder
}

fn search(page: &Page<Tab<'_>>) {
    page.submit("search-form", &[("query", "tide")]);
    page.wait("document.querySelectorAll('#hits li').length === 1");
}

/// How many bytes a holder has sent, as the page says in the end.
fn sent(said: &str, name: &str) -> usize {
    let (before, _) = said.split_once(&format!(" bytes from {name}")).unwrap_or_else(|| panic!("{said}"));
    let number = before.rsplit(|letter: char| !letter.is_ascii_digit() && letter != ',').next();
    number.expect("there is a number").replace(',', "").parse().expect("it is one")
}

#[test]
fn another_holder_goes_on_with_a_file_when_the_only_one_that_was_asked_leaves() {
    let Some(scene) = Scene::new() else { return };
    let [b, c] = ["B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let content = content(FEW_BYTES);
    let leaving = share(&b, "tide.bin", &content, "1M");
    let page = scene.join("Web");
    search(&page);
    // It comes after the search, and calls the file differently.
    let staying = share(&c, "other.bin", &content, "2M");
    page.click("#hits button");
    page.wait("document.querySelector('#hits progress').value > 0.3");
    leaving.kill();
    page.wait(
        "document.querySelector('#hits [role=status]').textContent
            .includes('B has stopped sending. C has it too, and is asked for the rest.')",
    );
    page.wait("document.querySelector('#hits a') !== null");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#hits a");
    assert_eq!(sha256_hex(&downloaded(&downloads, "tide.bin")), sha256_hex(&content));
    let said = page.text("hits");
    assert!(sent(&said, "B") > 0 && sent(&said, "B") + sent(&said, "C") == FEW_BYTES, "{said}");
    let chunks = staying.events("file_request", 1);
    let chunks: u64 = chunks.iter().map(|request| request["chunks"].as_u64().expect("it is a number")).sum();
    assert_eq!(chunks, (sent(&said, "C") as u64).div_ceil(131_072), "what C was asked for");
}

#[test]
fn a_slow_holder_is_named_and_does_not_hold_the_last_piece() {
    let Some(scene) = Scene::new() else { return };
    let [slow, fast] = ["B", "C"].map(|name| scene.sandbox.peer(name, scene.server.address()));
    let content = content(PIECES_BYTES);
    let _holders = [share(&slow, "tide.bin", &content, "64K"), share(&fast, "tide.bin", &content, "1536K")];
    let page = scene.join("Web");
    search(&page);
    page.click("#hits button");
    page.wait(
        "document.querySelector('#hits [role=status]').textContent
            .includes('B sends far slower than the others, so they send the rest.')",
    );
    // At its rate, the slow one takes 16 s for each piece.
    page.wait("document.querySelector('#hits a') !== null");
    let said = page.text("hits");
    assert!(said.contains("B was far slower than the others."), "{said}");
    let downloads = scene.sandbox.path("downloads");
    scene.person.download_into(&downloads);
    page.click("#hits a");
    assert_eq!(sha256_hex(&downloaded(&downloads, "tide.bin")), sha256_hex(&content));
}
