//! The web site, fetched with `webclient`, with curl, and by many clients at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use integration::{Finished, PATIENCE, Process, Sandbox, binary, repository};

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

#[test]
fn sixteen_clients_get_fifty_pages_each_on_one_connection() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (address, expected) = (server.address(), page("HelloWorld.html"));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let stream = TcpStream::connect(address).expect("the server accepts");
                stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
                let mut reader = BufReader::new(&stream);
                for _ in 0..50 {
                    let request = format!("GET /HelloWorld.html HTTP/1.1\r\nHost: {address}\r\n\r\n");
                    (&stream).write_all(request.as_bytes()).expect("the server reads");
                    assert_eq!(answer(&mut reader), ("HTTP/1.1 200 OK".to_owned(), expected.clone()));
                }
            });
        }
    });
}

/// The status line and the body of a response with a Content-Length.
fn answer(reader: &mut impl std::io::BufRead) -> (String, String) {
    let mut head = reader.by_ref().lines().map(|line| line.expect("the server answers in text"));
    let status = head.next().expect("the server answers");
    let length = head
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .last();
    let mut body = vec![0; length.expect("the answer says its length")];
    reader.read_exact(&mut body).expect("the body is whole");
    (status, String::from_utf8(body).expect("the page is text"))
}
