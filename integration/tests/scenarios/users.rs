//! A site with a users file.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use integration::http::{HttpConnection, get, until};
use integration::{Sandbox, binary};

/// A line of the users file, made by `server --hash-password`.
fn line(name: &str, password: &str) -> String {
    let mut command = Command::new(binary("server"));
    command.args(["--hash-password", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the server can be started");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{password}").expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).expect("it is text")
}

fn says(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()))
}

/// How many responses have had to wait so far, for the disk or a password check.
fn waited(admin: SocketAddr) -> u64 {
    metric(admin, "switchboard_http_waited_total ")
}

/// How many passwords have been checked with bcrypt so far.
fn checked(admin: SocketAddr) -> u64 {
    metric(admin, "switchboard_passwords_checked_total ")
}

fn metric(admin: SocketAddr, name: &str) -> u64 {
    let page = get(admin, "/metrics", &[]);
    let count = page.text().lines().find_map(|line| line.strip_prefix(name));
    count.expect("it is there").parse().expect("it is a number")
}

#[test]
fn only_users_with_a_correct_password_see_the_site() {
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "for users"), ("old.txt", "old"), ("list/a.txt", "a")]);
    let users = sandbox.path("users");
    std::fs::write(&users, line("ada", "lovelace") + &line("bob", "builder")).expect("it can be written");
    let log = sandbox.path("access.log");
    let users_option = users.to_str().expect("it is text");
    let log_option = log.to_str().expect("it is text");
    let server = sandbox.site_server(&[
        "--quiet",
        "--users",
        users_option,
        "--access-log",
        log_option,
        "--cors=*",
        "--listing",
        "--redirect",
        "/moved /old.txt",
        "--admin=127.0.0.1:0",
    ]);
    let address = server.address();
    let admin = server.process().line("metrics and health on ").parse().expect("it is an address");
    let (ada, bob) = (says("ada", "lovelace"), says("bob", "builder"));

    for (path, fields) in [
        ("/", vec![]),
        ("/missing", vec![]),
        ("/moved", vec![]),
        ("/", vec![says("ada", "wrong")]),
        ("/", vec![says("nobody", "lovelace")]),
        ("/", vec![says("ADA", "lovelace")]),
        ("/", vec![ada.replace("Basic", "Bearer")]),
        ("/", vec!["Authorization: Basic !".into()]),
        ("/", vec![ada.clone(), ada.clone()]),
    ] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let refused = get(address, path, &fields);
        assert_eq!(refused.status, 401, "{path} {fields:?}");
        assert!(refused.field("WWW-Authenticate").is_some_and(|asks| asks.starts_with("Basic realm=")));
        assert!(!refused.text().contains("for users"), "{path} {fields:?}");
    }
    // The first request checks the password with bcrypt; later ones use the cached result, also on other connections.
    let mut known = Vec::new();
    for _ in 0..2 {
        let mut connection = HttpConnection::open(address);
        // The page was written a moment ago, so the server may read it more than once.
        until("nothing has to wait", || {
            let before = waited(admin);
            assert_eq!(connection.get("/", &[&ada]).text(), "for users");
            assert_eq!(connection.get("/", &[]).status, 401, "a connection is nobody's");
            assert_eq!(connection.get("/", &[&bob]).text(), "for users");
            // The second scrape of the metrics has to wait too.
            (waited(admin) == before + 1).then_some(())
        });
        assert_eq!(connection.get("/moved", &[&ada]).status, 301);
        // A listing is made on a session thread, which has not seen the password before.
        let before = checked(admin);
        for _ in 0..5 {
            assert_eq!(connection.get("/list/", &[&ada]).status, 200);
        }
        // A connection follows its packets to the poller of another processor, which checks the password once for itself.
        let pollers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let more = checked(admin) - before;
        assert!(more < pollers.min(5), "the poller says who it is; {more} more checks");
        known.push(connection);
    }
    // Browsers send a CORS preflight without credentials.
    let mut preflight = HttpConnection::open(address);
    preflight.ask("OPTIONS", "/", &["Origin: http://other.test", "Access-Control-Request-Method: GET"]);
    assert_eq!(preflight.answer().expect("it is answered").status, 204);

    // A user who is removed from the file is locked out, although the password was cached.
    std::fs::write(&users, line("ada", "lovelace") + &line("cyd", "charisse")).expect("it can be written");
    let cyd = says("cyd", "charisse");
    until("the file is read again", || (get(address, "/", &[&cyd]).status == 200).then_some(()));
    for connection in &mut known {
        assert_eq!(connection.get("/", &[&bob]).status, 401);
        assert_eq!(connection.get("/", &[&ada]).text(), "for users");
    }
    server.stop();
    let log = std::fs::read_to_string(&log).expect("it is there");
    assert!(log.lines().any(|line| line.contains(" - ada [") && line.contains("\" 200 ")), "{log}");
    let is_of_somebody = |line: &str| !line.contains(" - - [");
    for line in log.lines().filter(|line| !line.contains("OPTIONS") && !line.contains("/metrics")) {
        assert_eq!(is_of_somebody(line), !line.contains("\" 401 "), "{line}");
    }
    assert!(!log.contains("lovelace") && !log.contains(&ada["Authorization: ".len()..]));
}
