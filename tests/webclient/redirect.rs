//! Redirections.

use super::server::{Server, answer};
use super::{folder, plain, text};

fn moved(status: u16, location: &str) -> Vec<u8> {
    answer(status, &[&format!("Location: {location}")], b"moved\n")
}

#[test]
fn a_redirection_is_followed_only_if_wanted() {
    let server = Server::answering([moved(301, "/new")]);
    let output = server.call("old", &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("\n\nmoved\n"), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("answered 301 and redirects to /new; --follow follows it"), "{said}");
    assert_eq!(server.finish().len(), 1);
}

#[test]
fn a_chain_is_followed_to_its_end() {
    let last =
        Server::answering([moved(307, "?part=2"), moved(308, "../c#top"), answer(200, &[], b"found\n")]);
    let elsewhere = format!("http://127.0.0.1:{}/a/b?part=1", last.port);
    let first = Server::answering([moved(301, "sub/x"), moved(302, "../y"), moved(303, &elsewhere)]);
    let output = first.call("dir/", &["--follow", "--body"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("found\n".to_owned(), String::new()));
    let targets = |requests: Vec<String>| -> Vec<String> {
        requests.iter().map(|request| request.lines().next().unwrap_or_default().to_owned()).collect()
    };
    let asked_first = ["GET /dir/ HTTP/1.1", "GET /dir/sub/x HTTP/1.1", "GET /dir/y HTTP/1.1"];
    assert_eq!(targets(first.finish()), asked_first);
    let asked_last = ["GET /a/b?part=1 HTTP/1.1", "GET /a/b?part=2 HTTP/1.1", "GET /c HTTP/1.1"];
    assert_eq!(targets(last.finish()), asked_last);
}

#[test]
fn a_head_stays_a_head_and_a_range_a_range() {
    let server = Server::answering([moved(302, "/new"), answer(200, &["X: y"], b"")]);
    let output = server.call("old", &["--follow", "--head"]);
    assert!(text(&output.stdout).contains("X: y\n"), "{}", text(&output.stdout));
    assert!(server.finish().iter().all(|request| request.starts_with("HEAD ")));
    let server = Server::answering([moved(302, "/new"), answer(206, &[], b"x")]);
    server.call("old", &["--follow", "--range", "0-0"]);
    assert!(server.finish().iter().all(|request| request.contains("\r\nRange: bytes=0-0\r\n")));
}

#[test]
fn a_circle_ends() {
    for (options, redirects) in [(&["--follow"][..], 10), (&["--follow=2"], 2)] {
        let server = Server::answering(vec![moved(302, "/round"); redirects + 1]);
        let output = server.call("round", options);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains(&format!("after {redirects} redirections already")), "{said}");
        server.finish();
    }
    let server = Server::answering([moved(302, "/round")]);
    assert_eq!(
        server.call("round", &["--follow=0"]).status.code(),
        Some(0),
        "none is followed, as without it"
    );
    server.finish();
}

#[test]
fn where_it_cannot_go_it_says_so() {
    for (location, says) in
        [("ftp://example.org/", "speaks http and https only"), ("http://a b/", "not a URL")]
    {
        let server = Server::answering([moved(301, location)]);
        let output = server.call("x", &["--follow"]);
        assert_eq!(output.status.code(), Some(1), "{location}");
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
        server.finish();
    }
}

#[test]
fn secrets_are_not_sent_to_another_origin() {
    let options: Vec<&str> = [
        "Authorization: Basic c2VjcmV0",
        "Cookie: a=secret",
        "X-Api-Key: secret",
        "Host: secret.example",
        "User-Agent: mine",
    ]
    .into_iter()
    .flat_map(|field| ["--header", field])
    .chain(["--follow"])
    .collect();
    let is_trusted = |request: &str| {
        let secrets = ["Authorization: Basic", "Cookie: a=", "X-Api-Key: ", "Host: secret"];
        let sent = secrets.iter().filter(|secret| request.contains(*secret)).count();
        assert!(sent == 0 || sent == secrets.len(), "{request}");
        assert!(request.contains("\r\nUser-Agent: mine\r\n"), "{request}");
        sent > 0
    };
    // To another server and back. The other server chooses the path, so the secrets must stay dropped.
    let mut other = None;
    let first = Server::answering_with_port(|port| {
        let back = format!("http://127.0.0.1:{port}/chosen");
        let server = Server::answering([moved(302, &back)]);
        let there = format!("http://127.0.0.1:{}/", server.port);
        other = Some(server);
        vec![moved(302, "/same"), moved(302, &there), answer(200, &[], b"")]
    });
    let output = first.call("x", &options);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let other = other.expect("it was started").finish();
    assert!(!is_trusted(&other[0]));
    let trusted: Vec<bool> = first.finish().iter().map(|request| is_trusted(request)).collect();
    assert_eq!(trusted, [true, true, false]);
}

#[test]
fn what_is_saved_is_what_is_at_the_end() {
    let folder = folder();
    let path = folder.path().join("out");
    let server = Server::answering([moved(302, "/new"), answer(200, &[], b"found")]);
    assert_eq!(server.call("old", &["--follow", "--output", plain(&path)]).status.code(), Some(0));
    assert_eq!(std::fs::read(&path).expect("it is there"), b"found");
    server.finish();
}
