//! Options of a site: listings, error pages, clean URLs, header fields, redirections, hosts, codings and ranges.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;

use integration::http::{Answer, HttpConnection, cut, get, until};
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

fn method(server: &Server, method: &str, path: &str, fields: &[&str]) -> Answer {
    let mut connection = HttpConnection::open(server.address());
    connection.ask(method, path, fields);
    connection.answer().expect("the server answers")
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
fn missing_paths_get_the_404_page_of_the_site() {
    let sandbox = sandbox(&[("404.html", "<p>Nothing here"), ("a.txt", "a")]);
    let server = sandbox.site_server(&[]);
    for path in ["/none", "/none/", "/a.txt/b", "/.hidden"] {
        let answer = get(server.address(), path, &[]);
        assert_eq!((answer.status, answer.text()), (404, "<p>Nothing here"), "{path}");
        assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"), "{path}");
    }
    sandbox.put_site(&[("404.html", "<p>Still nothing")]);
    until("the new page", || {
        (get(server.address(), "/none", &[]).text() == "<p>Still nothing").then_some(())
    });
}

#[test]
fn a_single_page_application_gets_its_page_for_routes_and_not_for_files() {
    let sandbox = sandbox(&[("index.html", "application"), ("app.js", "js"), ("docs/index.html", "docs")]);
    let server = sandbox.site_server(&["--spa"]);
    for (path, expected) in
        [("/", "application"), ("/users/7", "application"), ("/app.js", "js"), ("/docs/", "docs")]
    {
        let answer = get(server.address(), path, &[]);
        assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
    }
    assert_eq!(get(server.address(), "/none.js", &[]).status, 404);
    assert_eq!(get(server.address(), "/.env", &[]).status, 404);
    // A new file takes precedence at once, also on connections that have a lease of the fallback page.
    let mut connection = HttpConnection::open(server.address());
    for _ in 0..10 {
        assert_eq!(connection.get("/users/7", &[]).text(), "application");
    }
    sandbox.put_site(&[("users/7", "a file")]);
    assert_eq!(connection.get("/users/7", &[]).text(), "a file");
}

#[test]
fn clean_urls_lead_to_their_pages() {
    let sandbox = sandbox(&[
        ("about.html", "about"),
        ("blog.html", "list of posts"),
        ("blog/first.html", "first"),
        ("plain", "plain"),
        ("plain.html", "not this"),
    ]);
    let server = sandbox.site_server(&["--clean-urls"]);
    for (path, expected) in [
        ("/about", "about"),
        ("/about.html", "about"),
        ("/blog", "list of posts"),
        ("/blog/first", "first"),
        ("/plain", "plain"),
    ] {
        let answer = get(server.address(), path, &[]);
        assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
    }
    let about = get(server.address(), "/about", &[]);
    assert_eq!(about.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(get(server.address(), "/none", &[]).status, 404);
}

#[test]
fn header_fields_are_added_where_their_pattern_matches() {
    let sandbox =
        sandbox(&[("index.html", "i"), ("a.pdf", "p"), ("assets/a.js", "j"), ("assets/deep/b.js", "j")]);
    let server = sandbox.site_server(&[
        "--header=X-Frame-Options: DENY",
        "--header=*.pdf X-Robots-Tag: noindex",
        "--cache-control=public, max-age=60",
        "--cache-control=/assets/**=max-age=31536000, immutable",
        "--cache-control=/assets/*.js=max-age=5",
    ]);
    for (path, cache_control, robots) in [
        ("/", "public, max-age=60", None),
        ("/a.pdf", "public, max-age=60", Some("noindex")),
        ("/assets/a.js", "max-age=5", None),
        ("/assets/deep/b.js", "max-age=31536000, immutable", None),
    ] {
        let answer = get(server.address(), path, &[]);
        assert_eq!(answer.field("Cache-Control"), Some(cache_control), "{path}");
        assert_eq!(answer.field("X-Robots-Tag"), robots, "{path}");
        assert_eq!(answer.field("X-Frame-Options"), Some("DENY"), "{path}");
    }
    let missing = get(server.address(), "/assets/none.js", &[]);
    assert_eq!((missing.status, missing.field("X-Frame-Options")), (404, Some("DENY")));
    assert_eq!(missing.field("Cache-Control"), Some("no-cache"), "what is missing may come");
}

#[test]
fn only_allowed_origins_get_cors_fields() {
    let sandbox = sandbox(&[("data.json", "{}")]);
    let server = sandbox.site_server(&["--cors", "https://app.example", "--cors", "http://localhost:5173"]);
    let allowed = |origin: &str| {
        let answer = get(server.address(), "/data.json", &[&format!("Origin: {origin}")]);
        assert_eq!(answer.status, 200);
        assert!(answer.values("Vary").any(|value| value == "Origin"), "{:?}", answer.fields);
        answer.field("Access-Control-Allow-Origin").map(str::to_owned)
    };
    for origin in ["https://app.example", "http://localhost:5173"] {
        assert_eq!(allowed(origin).as_deref(), Some(origin));
    }
    for origin in ["https://app.example.evil.example", "http://app.example", "null"] {
        assert_eq!(allowed(origin), None, "{origin}");
    }
    let asks = ["Origin: https://app.example", "Access-Control-Request-Method: GET"];
    let preflight = method(&server, "OPTIONS", "/data.json", &asks);
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.field("Access-Control-Allow-Origin"), Some("https://app.example"));
    let methods = preflight.field("Access-Control-Allow-Methods").expect("it says which");
    assert!(methods.contains("GET") && !methods.contains("PUT"), "{methods}");
    server.stop();

    let server = sandbox.site_server(&["--cors", "*"]);
    let answer = get(server.address(), "/data.json", &["Origin: https://any.example"]);
    assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("*"));
    server.stop();
    let server = sandbox.site_server(&[]);
    let answer = get(server.address(), "/data.json", &["Origin: https://any.example"]);
    assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
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
fn compressible_files_are_compressed_after_a_while_and_unpack_to_the_same() {
    let script: String = (0..2000).map(|line| format!("const name{line} = 'value';\n")).collect();
    // Too small to be worth compressing.
    let tiny = "tiny ".repeat(40);
    let sandbox = sandbox(&[("tiny.js", &tiny), ("app.js", &script)]);
    let server = sandbox.site_server(&[]);
    let coded = |coding: &str| {
        until(&format!("the coding {coding}"), || {
            // Requested first, so that it would be compressed first.
            let not_worth_it = get(server.address(), "/tiny.js", &[&format!("Accept-Encoding: {coding}")]);
            assert_eq!((not_worth_it.field("Content-Encoding"), not_worth_it.text()), (None, tiny.as_str()));
            let answer = get(server.address(), "/app.js", &[&format!("Accept-Encoding: {coding}")]);
            assert_eq!(answer.status, 200);
            if answer.field("Content-Encoding").is_none() {
                assert_eq!(answer.text(), script);
                return None;
            }
            assert_eq!(answer.field("Content-Encoding"), Some(coding));
            Some(answer)
        })
    };
    let (brotli, gzip) = (coded("br"), coded("gzip"));
    let plain = get(server.address(), "/app.js", &[]);
    assert_eq!((plain.field("Content-Encoding"), plain.text()), (None, script.as_str()));
    let (mut from_brotli, mut from_gzip) = (String::new(), String::new());
    brotli::Decompressor::new(&brotli.body[..], 4096).read_to_string(&mut from_brotli).expect("it is brotli");
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_string(&mut from_gzip).expect("it is gzip");
    assert!(from_brotli == script && from_gzip == script, "what comes out is what went in");
    let both = get(server.address(), "/app.js", &["Accept-Encoding: gzip, br"]);
    assert_eq!(both.field("Content-Encoding"), Some("br"));
    for answer in [&plain, &brotli, &gzip] {
        assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
    }
    let tags = [&plain, &brotli, &gzip].map(|answer| answer.field("ETag").expect("it has one").to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    for (tag, coding) in [(&tags[1], "br"), (&tags[2], "gzip")] {
        let fields = [format!("If-None-Match: {tag}"), format!("Accept-Encoding: {coding}")];
        assert_eq!(get(server.address(), "/app.js", &[&fields[0], &fields[1]]).status, 304, "{coding}");
    }
    let not_worth_it = get(server.address(), "/tiny.js", &["Accept-Encoding: br"]);
    assert_eq!((not_worth_it.field("Content-Encoding"), not_worth_it.text()), (None, tiny.as_str()));
    let refused = get(server.address(), "/app.js", &["Accept-Encoding: br;q=0, gzip;q=0"]);
    assert_eq!(refused.text(), script);
}

#[test]
fn precompressed_files_are_sent_at_once() {
    // Different from what the server would make, so that the test can tell where it comes from.
    let sandbox = sandbox(&[("a.css", "the plain file"), ("a.css.br", "by br"), ("a.css.gz", "by gzip")]);
    let server = sandbox.site_server(&["--compression=off"]);
    for (accepted, coding, body) in [
        ("br, gzip", Some("br"), "by br"),
        ("gzip", Some("gzip"), "by gzip"),
        ("identity", None, "the plain file"),
        ("br;q=0.1, gzip", Some("gzip"), "by gzip"),
    ] {
        let answer = get(server.address(), "/a.css", &[&format!("Accept-Encoding: {accepted}")]);
        assert_eq!((answer.field("Content-Encoding"), answer.text()), (coding, body), "{accepted}");
        assert_eq!(answer.field("Content-Type"), Some("text/css; charset=utf-8"));
    }
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
