//! What the server and an eavesdropper on the wire can see.

use std::path::Path;

use integration::{Passing, Proxy, Sandbox};

/// A marker in each text and in the file; it occurs nowhere else.
const SECRET: &str = "the-treasure-lies-under-the-third-oak";

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

fn files_below(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            files_below(&path, visit);
        } else if path.is_file() {
            visit(&path);
        }
    }
}

#[test]
fn plaintext_is_never_on_the_wire_in_the_log_or_on_the_servers_disk() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let wire = Proxy::start(server.address(), Passing::WithoutPorts);
    let a = sandbox.peer("A", wire.address());
    let b = sandbox.peer("B", wire.address());
    b.put("map.txt", format!("{SECRET}\n").repeat(3_000).as_bytes());
    b.put("keyword.txt", b"visible-keyword, map.txt;");

    // Messages to a peer that has never joined, relayed messages, and stored ones.
    let mut sending = a.start(&["send", "B", "-", "--wait", "60"]);
    sending.type_line(&format!("first: {SECRET}"));
    sending.event("waiting", |_| true);
    b.run(&["listen", "--count", "1", "--timeout", "60"]).expect(0);
    sending.type_line(&format!("second: {SECRET}"));
    sending.end_input();
    sending.event("stored", |e| e["number"] == 2);
    let sharing = b.start(&["listen"]);
    sharing.event("message", |m| m["text"] == format!("second: {SECRET}"));
    sending.finish().expect(0);
    // This message stays in the server's store until the end of the test.
    b.run(&["send", "A", &format!("third: {SECRET}")]).expect(0);

    // A file that is transferred through the server.
    let got = loop {
        let got = a.run(&["get", "map.txt"]);
        // Try again until the server has published what B shares.
        if got.code == Some(0) {
            break got;
        }
        got.says(&["nobody else shares map.txt"]);
    };
    assert_eq!(got.events("file_done")[0]["route"], "server");
    let file = std::fs::read(a.dir.join("downloads").join("map.txt")).expect("it has arrived");
    assert!(contains(&file, SECRET), "the far end has the plaintext");

    let recorded = wire.recorded();
    assert!(contains(&recorded, "visible-keyword"), "the record has what is not secret");
    assert!(!contains(&recorded, SECRET), "plaintext was on the wire");
    let data = server.data().to_owned();
    let log = server.stop();
    let log = format!("{}\n{}", log.lines.join("\n"), log.stderr);
    assert!(log.contains("kind=\"message\""), "the log tells of each message");
    assert!(!log.contains(SECRET), "plaintext was in the log");
    let mut seen = Vec::new();
    files_below(&data, &mut |path| {
        let bytes = std::fs::read(path).expect("the server's files can be read");
        assert!(!contains(&bytes, SECRET), "plaintext is in {}", path.display());
        seen.push(contains(&bytes, "visible-keyword"));
    });
    assert!(seen.contains(&true), "the server keeps what is not secret");
}
