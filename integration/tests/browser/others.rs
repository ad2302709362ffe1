//! The page in Firefox and in WebKit. CI does not install them.

use integration::browser::Drive as _;
use integration::webdriver::{Kind, OtherBrowser};
use integration::{Sandbox, sha256_hex};

use crate::flow::{flow_page, with_admin};
use crate::page::Page;

#[test]
fn a_peer_in_firefox_writes_reads_shares_fetches_and_comes_back() {
    works_in(Kind::Firefox);
}

#[test]
fn a_peer_in_webkit_writes_reads_shares_fetches_and_comes_back() {
    works_in(Kind::WebKit);
}

fn works_in(kind: Kind) {
    let Some(browser) = OtherBrowser::start(kind) else { return };
    let sandbox = Sandbox::new();
    let server = with_admin(&sandbox);
    let peer = sandbox.peer("T", server.address());
    let content: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    peer.put("tide.csv", &content);
    peer.put("keyword.txt", b"sea, tide.csv;");
    let mut terminal = peer.start(&[]);
    terminal.event("result", |event| event["kind"] == "published");

    let url = format!("http://{}/switchboard/", server.address());
    browser.go(&url);
    let page = Page { tab: browser };
    page.welcomes();
    page.fill("name", "t");
    page.wait("document.getElementById('name-problem').textContent.startsWith('This name belongs to somebody else')");
    page.submit("name-form", &[("name", "Web")]);
    page.connected();
    page.talk_to("T");
    page.write("<b>hello</b> \u{fc}");
    page.shows("delivered", 1);
    terminal.event("message", |event| event["text"] == "<b>hello</b> \u{fc}");
    terminal.type_line("/msg Web hello");
    page.shows("received", 1);
    page.tab
        .value("document.querySelectorAll('.message > details').forEach((steps) => { steps.open = true; })");
    page.wait("document.querySelectorAll('.steps dd').length === 21");

    page.submit("search-form", &[("query", "sea")]);
    page.wait("document.querySelectorAll('#hits li').length === 1");
    page.click("#hits button");
    // The link appears once the SHA-256 was found right.
    page.wait("document.querySelector('#hits a') !== null");
    page.choose_file("files", "seven.bin", "new Uint8Array(300000).fill(7)");
    page.submit("share-form", &[("keywords", "luck")]);
    page.wait("document.querySelectorAll('#shared li').length === 1");
    terminal.type_line("/get seven.bin from Web");
    let fetched = terminal.event("file_done", |_| true);
    assert_eq!(fetched["sha256"], sha256_hex(&[7; 300_000]));

    page.tab.go(&url);
    page.connected();
    page.talk_to("T");
    page.shows("received", 1);
    page.write("after loading the page again");
    page.shows("delivered", 2);
    let extractable = "import('/switchboard/store.js').then(({ Store }) => Store.open())
        .then((store) => store.get('self', 'me')).then(({ pair }) => pair.privateKey.extractable)";
    assert_eq!(page.tab.value(extractable), false);
    page.tab.go(&flow_page(&server));
    page.wait("document.getElementById('connection').textContent === 'Watching.'");
    page.wait("document.getElementById('peers').textContent === 'Connected: T'");
    terminal.type_line("/msg Web for the wall");
    page.wait("document.querySelectorAll('#rows li').length > 0");
}
