//! The page that shows what passes through the server.

use integration::browser::{Drive, Tab};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::{Character, RawConnection, Sandbox, Server};
use wire::protocol::{Envelope, Kind, ToPeer, ToServer};

use crate::page::{Page, Scene};

/// A scene with a page that shows the flow.
pub(crate) fn watched<'s>(scene: &'s Scene) -> Page<Tab<'s>> {
    let page = Page { tab: scene.person.open_drawn(&flow_page(&scene.server)) };
    page.wait("document.getElementById('connection').textContent === 'Watching.'");
    page
}

/// The address of the page that shows the flow.
pub(crate) fn flow_page(server: &Server) -> String {
    let admin: SocketAddr =
        server.process().line("metrics and health on ").parse().expect("it is an address");
    format!("http://{admin}/switchboard/flow.html")
}

/// A server with an admin address; the flow is shown there.
pub(crate) fn with_admin(sandbox: &Sandbox) -> Server {
    sandbox.put_site(&[("index.html", "a site")]);
    sandbox.site_server(&["--admin=127.0.0.1:0", "--quiet"])
}

#[test]
fn the_flow_is_shown_live_with_pause_and_step() {
    let Some(scene) = Scene::with(with_admin) else { return };
    let page = watched(&scene);
    let mut sender = scene.terminal("A");
    let _recipient = scene.terminal("B");
    page.wait("document.getElementById('peers').textContent === 'Connected: A, B'");
    let rows = |text: &str| {
        format!(
            "[...document.querySelectorAll('#rows li')].filter((row) => row.textContent.startsWith('{text}')).length"
        )
    };
    let count = |text: &str| page.tab.value(&rows(text)).as_u64().expect("a length is a number");
    sender.type_line("/msg B secret");
    // There can be more rows than these, because peers send again what has no receipt in time.
    page.wait(&rows("A to B: message 1, "));
    page.wait(&rows("B to A: receipt 1, "));
    assert!(!page.text("rows").contains("secret"));

    page.click("#pause");
    let before = count("");
    sender.type_line("/msg B again");
    page.wait("parseInt(document.getElementById('waiting').textContent) >= 2");
    assert_eq!((count(""), count("A to B: message 2, ")), (before, 0));
    page.click("#step");
    assert_eq!((count(""), count("B to A: receipt 2, ")), (before + 1, 0));
    page.click("#pause");
    page.wait(&rows("A to B: message 2, "));
    page.wait(&rows("B to A: receipt 2, "));
    // The colours of --line in style.css.
    for (scheme, grey) in [("light", 0x76), ("dark", 0x8a)] {
        page.tab.prefer(scheme);
        page.wait(&format!(
            "document.getElementById('picture').getContext('2d').getImageData(480, 270, 1, 1).data.join() === '{grey},{grey},{grey},255'"
        ));
    }
    page.tab.resize(360, 740);
    assert_eq!(page.tab.value("document.documentElement.scrollWidth"), 360);
}

/// The most that the server shows one by one.
const PER_SECOND: u64 = 200;
const SECONDS: u64 = 2;

/// Notes the number of each message that is shown, and when.
const NOTE: &str = "
    globalThis.shown = [];
    globalThis.others = 0;
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) for (const row of addedNodes) {
        const message = / message (\\d+), /.exec(row.textContent);
        if (message) shown.push([Number(message[1]), Date.now()]);
        others += parseInt(/^(\\d+) more/.exec(row.textContent)?.[1] ?? 0);
      }
    }).observe(document.getElementById('rows'), { childList: true });
";

#[test]
fn the_page_keeps_up_with_200_envelopes_a_second() {
    const COUNT: u64 = PER_SECOND * SECONDS;
    let Some(scene) = Scene::with(with_admin) else { return };
    let (page, server) = (watched(&scene), &scene.server);
    page.tab.value(NOTE);
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    let mut reader = RawConnection::join(server.address(), &Character::new("reader"));
    let reading = std::thread::spawn(move || {
        for taken in 1..=COUNT {
            while !matches!(reader.next_message(), ToPeer::Envelope(_)) {}
            reader.say(&ToServer::Taken { count: taken });
        }
        reader
    });
    let begun = Instant::now();
    let mut sent = Vec::new();
    for number in 0..COUNT {
        let due = Duration::from_secs(number) / u32::try_from(PER_SECOND).expect("it is small");
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let sealed = number.to_le_bytes();
        let envelope =
            Envelope { from: "writer", to: "reader", kind: Kind::Message, number, sealed: &sealed };
        writer.say(&ToServer::Envelope(envelope));
        sent.push(SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis());
    }
    let _reader = reading.join().expect("it gets all");
    page.wait(&format!("shown.length + others === {COUNT}"));
    let shown = page.tab.value("shown");
    let lags = shown.as_array().expect("it is an array").iter().map(|shown| {
        let (number, at) = (shown[0].as_u64().expect("it is a number"), shown[1].as_u64());
        let sent_at = sent[usize::try_from(number).expect("it is small")];
        u128::from(at.expect("it is a time")).saturating_sub(sent_at)
    });
    let mut lags: Vec<u128> = lags.collect();
    println!("{} one by one; the last one after {:?} ms", lags.len(), lags.last());
    lags.sort_unstable();
    println!("half of them within {} ms, all within {:?} ms", lags[lags.len() / 2], lags.last());
    assert_eq!(page.text("connection"), "Watching.");
}
