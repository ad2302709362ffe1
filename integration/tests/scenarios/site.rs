//! Options of a site: listings, error pages, clean URLs, header fields, redirections, hosts, codings and ranges.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;

use integration::http::{cut, get, until};
use integration::{Finished, Process, Sandbox, Server, binary};
use serde_json::Value;

/// File names that would be an injection if they were not escaped in HTML, URLs or scripts.
const NASTY: [&str; 6] = [
    "<img src=x onerror=alert(1)>.txt",
    "\"quoted'&amp;.txt",
    "javascript:alert(1)",
    "50% ?#.txt",
    "x<script>alert(2)",
    "\u{202e}gpj.exe",
];

fn sandbox(files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put_site(files);
    sandbox
}

fn webclient(server: SocketAddr, file: &str, options: &[&str]) -> Finished {
    let mut command = Command::new(binary("webclient"));
    command.args([&server.ip().to_string(), &server.port().to_string(), file]).args(options);
    Process::start(format!("webclient {file}"), command).finish()
}

#[test]
fn a_listing_escapes_every_name_and_its_links_work() {
    let sandbox = Sandbox::new();
    for (index, name) in NASTY.iter().enumerate() {
        sandbox.put_site(&[(&format!("files/{name}"), &format!("file {index}"))]);
    }
    sandbox.put_site(&[("files/.hidden", "hidden"), ("files/deep/a.txt", "deep")]);
    let server = sandbox.site_server(&["--listing"]);
    let page = get(server.address(), "/files/", &["Accept: text/html"]);
    assert_eq!((page.status, page.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.field("Content-Security-Policy").expect("it has one");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text();
    for part in ["<img", "<script>alert", "href=\"javascript", "\u{202e}", ".hidden"] {
        assert!(!html.contains(part), "{part} is in {html}");
    }
    assert_eq!(html.matches("<script>").count(), 1, "its own");
    let links: Vec<&str> = html
        .split("href=\"./")
        .skip(1)
        .map(|rest| rest.split('"').next().expect("a split has a first part"))
        .collect();
    assert_eq!(links.len(), NASTY.len() + 1, "{links:?}");
    let mut found: Vec<String> = Vec::new();
    for link in links.into_iter().filter(|link| *link != "deep/") {
        let link = link.replace("&#39;", "'").replace("&#38;", "&");
        let answer = get(server.address(), &format!("/files/{link}"), &[]);
        assert_eq!(answer.status, 200, "{link}");
        found.push(answer.text().to_owned());
    }
    found.sort();
    assert_eq!(found, (0..NASTY.len()).map(|index| format!("file {index}")).collect::<Vec<_>>());

    let json = get(server.address(), "/files/", &["Accept: application/json"]);
    assert_eq!(json.field("Content-Type"), Some("application/json"));
    assert_eq!((page.field("Vary"), json.field("Vary")), (Some("Accept"), Some("Accept")));
    let list: Value = serde_json::from_slice(&json.body).expect("it is JSON");
    assert_eq!((&list["path"], &list["cut"]), (&"/files/".into(), &false.into()));
    let entries = list["entries"].as_array().expect("it is a list");
    let kind_of = |name: &str| {
        let entry = entries.iter().find(|entry| entry["name"] == name);
        entry.map(|entry| (entry["kind"].as_str(), entry["bytes"].as_u64()))
    };
    for name in NASTY {
        assert_eq!(kind_of(name), Some((Some("file"), Some(6))), "{name}");
    }
    assert_eq!(kind_of("deep"), Some((Some("directory"), Some(0))));
    assert_eq!(entries.len(), NASTY.len() + 1);
    assert_eq!(get(server.address(), "/files", &[]).status, 308, "links need the slash at its end");
}

#[test]
fn by_default_nothing_is_listed_and_no_hidden_file_is_served() {
    let sandbox = sandbox(&[
        ("index.html", "index"),
        ("files/a.txt", "a"),
        (".env", "secret"),
        (".git/config", "secret"),
        ("about.html", "about"),
    ]);
    let server = sandbox.site_server(&[]);
    for path in ["/files/", "/.env", "/.git/config", "/about", "/some/route"] {
        assert_eq!(get(server.address(), path, &[]).status, 404, "{path}");
    }
    server.stop();
    let server = sandbox.site_server(&["--hidden-files", "--listing"]);
    assert_eq!(get(server.address(), "/.env", &[]).text(), "secret");
    let list = get(server.address(), "/.git/", &["Accept: application/json"]);
    assert!(list.text().contains("\"config\""), "{}", list.text());
    for path in ["/../server_data/lock", "/%2e%2e/server_data/lock", "/files/..%2f..%2fserver_data/lock"] {
        let status = get(server.address(), path, &[]).status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
}

#[test]
fn each_option_of_a_site_reaches_it() {
    let script = "const name = 'value';\n".repeat(2000);
    let sandbox = sandbox(&[
        ("404.html", "<p>Nothing here"),
        ("about.html", "about"),
        ("a.pdf", "p"),
        ("assets/app.js", &script),
    ]);
    let server = sandbox.site_server(&[
        "--clean-urls",
        "--header=X-Frame-Options: DENY",
        "--header=*.pdf X-Robots-Tag: noindex",
        "--cache-control=/assets/**=max-age=5",
        "--cors=https://app.example",
    ]);
    for (path, status, cache_control, robots) in [
        ("/about", 200, "no-cache", None),
        ("/a.pdf", 200, "no-cache", Some("noindex")),
        ("/assets/app.js", 200, "max-age=5", None),
        ("/assets/none.js", 404, "no-cache", None),
    ] {
        let answer = get(server.address(), path, &[]);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field("Cache-Control"), Some(cache_control), "{path}");
        assert_eq!(answer.field("X-Robots-Tag"), robots, "{path}");
        assert_eq!(answer.field("X-Frame-Options"), Some("DENY"), "{path}");
    }
    assert_eq!(get(server.address(), "/none", &[]).text(), "<p>Nothing here");
    for (origin, is_allowed) in [("https://app.example", true), ("https://app.example.evil.example", false)] {
        let answer = get(server.address(), "/about", &[&format!("Origin: {origin}")]);
        assert_eq!(answer.field("Access-Control-Allow-Origin"), is_allowed.then_some(origin));
    }
    let packed = until("the script is compressed", || {
        let answer = get(server.address(), "/assets/app.js", &["Accept-Encoding: br"]);
        (answer.field("Content-Encoding") == Some("br")).then_some(answer)
    });
    let mut unpacked = String::new();
    brotli::Decompressor::new(&packed.body[..], 4096).read_to_string(&mut unpacked).expect("it is brotli");
    assert!(unpacked == script, "what comes out is what went in");
    server.stop();
}

#[test]
fn a_single_page_application_and_precompressed_files() {
    let sandbox = sandbox(&[
        ("index.html", "application"),
        ("app.js", "the script"),
        // Different from what the server would make, so that the test can tell where it comes from.
        ("app.js.br", "by br"),
    ]);
    let server = sandbox.site_server(&["--spa", "--compression=off"]);
    for (path, status, text) in [
        ("/users/7", 200, Some("application")),
        ("/app.js", 200, Some("the script")),
        ("/none.js", 404, None),
    ] {
        let answer = get(server.address(), path, &[]);
        assert_eq!(answer.status, status, "{path}");
        assert!(text.is_none_or(|text| answer.text() == text), "{path}");
    }
    let coded = get(server.address(), "/app.js", &["Accept-Encoding: br, gzip"]);
    assert_eq!((coded.field("Content-Encoding"), coded.text()), (Some("br"), "by br"));
}

#[test]
fn redirections_are_followed_by_our_client_to_the_end() {
    let sandbox = sandbox(&[("new.html", "it is here"), ("posts/a b.html", "a post")]);
    let server = sandbox.site_server(&[
        "--redirect=/old /newer",
        "--redirect=/newer /new.html 302",
        "--redirect=/blog/* /posts/* 308",
        "--redirect=/ping /pong",
        "--redirect=/pong /ping",
    ]);
    for (path, status, location) in [
        ("/old", 301, "/newer"),
        ("/newer?a=b", 302, "/new.html?a=b"),
        ("/blog/a%20b.html", 308, "/posts/a%20b.html"),
        ("/blog//evil.example/", 308, "/posts/evil.example/"),
    ] {
        let answer = get(server.address(), path, &[]);
        assert_eq!((answer.status, answer.field("Location")), (status, Some(location)), "{path}");
    }
    let lines = |path| webclient(server.address(), path, &["--follow", "--body"]).expect(0).lines;
    assert_eq!(lines("/old"), ["it is here"]);
    assert_eq!(lines("/blog/a b.html"), ["a post"]);
    let finished = webclient(server.address(), "/ping", &["--follow", "--body"]);
    assert_ne!(finished.code, Some(0), "{finished:?}");
    let finished = webclient(server.address(), "/old", &["--follow=1", "--body"]);
    assert_ne!(finished.code, Some(0), "one is not enough: {finished:?}");
}

#[test]
fn each_host_in_the_configuration_has_its_own_site() {
    let sandbox = sandbox(&[("index.html", "default")]);
    for (folder, page) in [("docs", "documents"), ("shop", "things")] {
        std::fs::create_dir(sandbox.path(folder)).expect("the sandbox can be written");
        std::fs::write(sandbox.path(folder).join("index.html"), page).expect("the sandbox can be written");
    }
    let text = "listen = \"127.0.0.1:0\"\nroot = \"site\"\ndata = \"kept\"\nheader = [\"X-Site: default\"]\n\
        [[site]]\nhosts = [\"docs.example\", \"[::1]\"]\nroot = \"docs\"\nlisting = true\n\
        [[site]]\nhosts = \"shop.example\"\nroot = \"shop\"\nredirect = [\"/old /\"]\n";
    std::fs::write(sandbox.path("server.toml"), text).expect("the sandbox can be written");
    let mut command = Command::new(binary("server"));
    command.arg("--config").arg(sandbox.path("server.toml")).current_dir("/");
    let server = Server::launch(&sandbox.path("kept"), command);
    for (host, page) in [
        ("docs.example", "documents"),
        ("DOCS.example:8080", "documents"),
        ("docs.example.", "documents"),
        ("[::1]:80", "documents"),
        ("shop.example", "things"),
        ("a.docs.example", "default"),
        ("unknown.example", "default"),
    ] {
        let answer = get(server.address(), "/", &[&format!("Host: {host}")]);
        assert_eq!(answer.text(), page, "{host}");
        let is_default = page == "default";
        assert_eq!(answer.field("X-Site").is_some(), is_default, "{host}: nothing is taken over");
    }
    let redirected = |host: &str| get(server.address(), "/old", &[&format!("Host: {host}")]).status;
    assert_eq!((redirected("shop.example"), redirected("docs.example")), (301, 404));
}

#[test]
fn our_client_gets_ranges_and_resumes_interrupted_downloads() {
    let sandbox = sandbox(&[("letters.txt", &"abcdefghijklmnopqrstuvwxyz".repeat(100))]);
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(sandbox.path("site").join("big.bin"), &big).expect("the sandbox can be written");
    let server = sandbox.site_server(&[]);
    let range = |range| webclient(server.address(), "letters.txt", &["--range", range]);
    let first = range("2-4").expect(0);
    assert_eq!(first.lines[0], "HTTP/1.1 206 Partial Content");
    assert!(first.lines.contains(&"Content-Range: bytes 2-4/2600".to_owned()), "{:?}", first.lines);
    assert_eq!(first.lines.last().map(String::as_str), Some("cde"));
    assert_eq!(range("-3").expect(0).lines.last().map(String::as_str), Some("xyz"));
    assert_eq!(range("2598-").expect(0).lines.last().map(String::as_str), Some("yz"));
    let several = range("0-1,-2").expect(0).lines.join("\n");
    assert!(
        several.contains("multipart/byteranges") && several.contains("bytes 2598-2599/2600"),
        "{several}"
    );
    assert_eq!(range("9999-").expect(1).lines[0], "HTTP/1.1 416 Range Not Satisfiable");

    let output = sandbox.path("big.bin");
    let path = output.to_str().expect("temporary folders have plain names");
    let options = ["--output", path, "--resume"];
    // The second connection carries more than the rest of the file, but less than the whole file.
    let cut = cut(server.address(), &[1_000_000, 2_900_000]);
    let first = webclient(cut, "big.bin", &options).expect(2);
    assert!(first.stderr.contains("incomplete"), "{}", first.stderr);
    let part = std::fs::metadata(sandbox.path("big.bin.part")).expect("what has come is kept").len();
    assert!((900_000..1_000_000).contains(&part), "{part}");
    assert!(!output.exists());
    let rest = webclient(cut, "big.bin", &options).expect(0);
    assert!(rest.lines.iter().all(|line| !line.contains("200 OK")), "{:?}", rest.lines);
    assert!(std::fs::read(&output).expect("it is whole now") == big, "and the same");
}
