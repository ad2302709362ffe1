//! The web site, fetched with `webclient` and with curl.

use std::net::SocketAddr;
use std::process::{Command, Output};

use integration::{Finished, Process, Sandbox, binary, repository};

fn webclient(server: SocketAddr, file: &str, options: &[&str]) -> Finished {
    let mut command = Command::new(binary("webclient"));
    command.args([&server.ip().to_string(), &server.port().to_string(), file]);
    command.args(options);
    Process::start(format!("webclient {file}"), command).finish()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join("www").join(name)).expect("the repository has this page")
}

#[test]
fn our_client_gets_pages_and_reports_missing_ones() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();

    let whole = webclient(server.address(), "HelloWorld.html", &[]).expect(0);
    assert_eq!(whole.lines[0], "HTTP/1.1 200 OK");
    let shown = whole.lines.join("\n");
    assert!(shown.contains("Content-Type: text/html; charset=utf-8"), "{shown}");
    assert!(shown.ends_with(page("HelloWorld.html").trim_end()), "{shown}");

    let index = webclient(server.address(), "/", &["--body"]).expect(0);
    assert_eq!(index.lines.join("\n"), page("index.html").trim_end());

    let head = webclient(server.address(), "HelloWorld.html", &["--head"]).expect(0);
    let length = format!("Content-Length: {}", page("HelloWorld.html").len());
    assert!(head.lines.contains(&length), "{:?}", head.lines);
    assert!(!head.lines.join("\n").contains("<html"), "a HEAD has no body");

    let output = sandbox.path("saved.html");
    let path = output.to_str().expect("temporary folders have plain names");
    webclient(server.address(), "HelloWorld.html", &["--output", path]).expect(0);
    let saved = std::fs::read_to_string(output).expect("it was saved");
    assert_eq!(saved, page("HelloWorld.html"));

    let missing = webclient(server.address(), "nowhere.html", &[]).expect(1);
    assert_eq!(missing.lines[0], "HTTP/1.1 404 Not Found");
    assert!(missing.lines.join("\n").ends_with(page("404.html").trim_end()));
    missing.says(&["404", "/nowhere.html"]);

    webclient(server.address(), "/../Cargo.toml", &[]).expect(1);
    let address = server.address();
    server.stop();
    webclient(address, "HelloWorld.html", &[]).expect(2).says(&[&address.to_string()]);
}

#[test]
fn curl_gets_the_same() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let url = |path: &str| format!("http://{}/{path}", server.address());
    let curl = |arguments: &[&str]| -> std::io::Result<Output> {
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "30"]).args(arguments).output()
    };
    let Ok(hello) = curl(&[&url("HelloWorld.html")]) else {
        println!("skipped: curl is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&hello.stdout), page("HelloWorld.html"));
    for (path, options, expected) in [
        ("HelloWorld.html", &[][..], "200"),
        ("HelloWorld.html", &["--head"], "200"),
        ("", &[], "200"),
        ("nowhere.html", &[], "404"),
        ("..%2fCargo.toml", &["--path-as-is"], "404"),
        ("HelloWorld.html", &["--data", "x=y"], "405"),
    ] {
        let url = url(path);
        let write = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        let told = curl(&[&write[..], options, &[&url]].concat()).expect("it was there a moment ago");
        assert_eq!(String::from_utf8_lossy(&told.stdout), expected, "{path} {options:?}");
    }
}
