//! Each limit of the server: a refusal names the option, and a metric counts it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use integration::http::{HttpConnection, get, until};
use integration::{Character, PATIENCE, RawConnection, Sandbox, binary};
use wire::protocol::{Envelope, Kind, Outcome, Side, ToPeer, ToServer};
use wire::share::PublishedFile;
use wire::{Digest, frame};

/// A limit that is easily reached.
struct Case {
    /// The option.
    option: &'static str,
    value: &'static str,
    /// The metric that counts it; `None` if that is `switchboard_limit_reached` with the option as label.
    metric: Option<&'static str>,
    /// Reaches the limit at the server at this address. Returns the refusal, if there is one.
    reach: fn(SocketAddr) -> Option<String>,
}

const fn case(option: &'static str, value: &'static str, reach: fn(SocketAddr) -> Option<String>) -> Case {
    Case { option, value, metric: None, reach }
}

const TURNED_AWAY: &str = "switchboard_connections_turned_away_total";
const TIMED_OUT: &str = "switchboard_connections_timed_out_total";

const CASES: [Case; 26] = [
    case("mail-bytes", "1", |server| refusal(&mut member(server), &["x"])),
    case("mail-bytes-per-address", "1", |server| refusal(&mut member(server), &["x"])),
    case("mail-bytes-per-sender", "1", |server| refusal(&mut member(server), &["x"])),
    case("mail-bytes-per-recipient", "1", |server| refusal(&mut member(server), &["x"])),
    case("mail-rate", "1", |server| {
        assert_eq!(refusal(&mut member(server), &["x"]), None);
        None
    }),
    Case { metric: Some("switchboard_mail_expired_total"), ..case("mail-lifetime", "1s", mail_expires) },
    case("waiting-names", "1", |server| refusal(&mut member(server), &["x", "y"])),
    case("waiting-names-per-address", "1", |server| refusal(&mut member(server), &["x", "y"])),
    case("waiting-names-per-sender", "1", |server| refusal(&mut member(server), &["x", "y"])),
    case("watched-names", "1", watches_two_names),
    case("read-timeout", "1s", reads_nothing),
    case("taken-timeout", "1s", takes_nothing),
    case("session-memory", "1K", reads_nothing),
    case("index-pairs", "1", publishes_two_files),
    case("index-pairs-per-address", "1", publishes_two_files),
    case("index-pairs-per-peer", "1", publishes_two_files),
    case("new-names-per-hour", "1", two_new_names),
    case("openings-per-minute", "1", |server| {
        let mut member = member(server);
        (0..2).for_each(|_| member.say(&envelope("x", Kind::Opening)));
        outcomes(&mut member, 2)
    }),
    case("transfers", "1", two_transfers),
    case("transfers-per-address", "1", two_transfers),
    case("transfers-per-peer", "1", two_transfers),
    case("transfer-rate", "1K", sends_a_file),
    Case { metric: Some(TURNED_AWAY), ..case("sessions-max", "1", two_connections) },
    Case { metric: Some(TURNED_AWAY), ..case("connections-per-address", "1", two_connections) },
    Case { metric: Some(TIMED_OUT), ..case("head-timeout", "1s", |server| says_nothing(server, false)) },
    Case { metric: Some(TIMED_OUT), ..case("idle-timeout", "1s", |server| says_nothing(server, true)) },
];

fn member(server: SocketAddr) -> RawConnection {
    RawConnection::join(server, &Character::new("member"))
}

fn envelope(to: &str, kind: Kind) -> ToServer<'_> {
    ToServer::Envelope(Envelope { from: "member", to, kind, number: 1, sealed: b"sealed" })
}

/// The last refusal in the outcomes of this many envelopes.
fn outcomes(member: &mut RawConnection, mut envelopes: u64) -> Option<String> {
    let mut refused = None;
    while envelopes > 0 {
        if let ToPeer::Routed { count, outcome, .. } = member.next_message() {
            envelopes -= count;
            if let Outcome::Refused(refusal) = outcome {
                refused = Some(refusal.to_string());
            }
        }
    }
    refused
}

/// Writes to these names, under which nobody has joined.
fn refusal(member: &mut RawConnection, names: &[&str]) -> Option<String> {
    names.iter().for_each(|name| member.say(&envelope(name, Kind::Message)));
    outcomes(member, names.len() as u64)
}

/// The detail of the error that ends the connection.
fn error(connection: &mut RawConnection) -> Option<String> {
    loop {
        match ToPeer::decode(&connection.next()?) {
            Ok(ToPeer::Error { detail, .. }) => return Some(detail),
            other => drop(other),
        }
    }
}

fn mail_expires(server: SocketAddr) -> Option<String> {
    let mut member = member(server);
    assert_eq!(refusal(&mut member, &["x"]), None);
    while !matches!(member.next_message(), ToPeer::Expired { .. }) {}
    None
}

fn watches_two_names(server: SocketAddr) -> Option<String> {
    let mut member = member(server);
    for name in ["x", "y"] {
        member.say(&ToServer::Lookup { name: name.parse().expect("a good name") });
    }
    loop {
        if let ToPeer::Unwatched { reason, .. } = member.next_message() {
            return Some(reason.to_string());
        }
    }
}

fn reads_nothing(server: SocketAddr) -> Option<String> {
    let mut other = RawConnection::join(server, &Character::new("reads-nothing"));
    let who: Vec<u8> = (0..1000).flat_map(|id| frame::frame(&ToServer::Who { id })).collect();
    let mut writer = member(server);
    for number in 0..300 {
        writer.say(&ToServer::Lookup { name: format!("name-{number}").parse().expect("a good name") });
    }
    let start = Instant::now();
    // It writes until the server ends the connection. With a shorter timeout than this, a busy server could get a half frame.
    while start.elapsed() < PATIENCE && other.try_say_bytes(&who, PATIENCE) {}
    None
}

fn takes_nothing(server: SocketAddr) -> Option<String> {
    let mut member = member(server);
    member.say(&envelope("member", Kind::Message));
    error(&mut member)
}

fn publishes_two_files(server: SocketAddr) -> Option<String> {
    let file = |name: &str| PublishedFile {
        name: name.parse().expect("a good name"),
        bytes: 1,
        sha256: Digest::of(b"x"),
        keywords: vec!["word".parse().expect("a good keyword")],
    };
    let mut member = member(server);
    member.say(&ToServer::Publish { part: 0, last: true, files: vec![file("a"), file("b")] });
    loop {
        match member.next_message() {
            ToPeer::Failed { detail, .. } => return Some(detail),
            ToPeer::Published { .. } => return None,
            _ => {}
        }
    }
}

fn two_new_names(server: SocketAddr) -> Option<String> {
    let first = member(server);
    let mut second = RawConnection::open(server);
    second.say(&Character::new("another").join(&second.greeting));
    let refused = error(&mut second);
    drop(first);
    refused
}

fn two_transfers(server: SocketAddr) -> Option<String> {
    let member = member(server);
    let mut ends = [0, 1].map(|n| member.splice("member", [n; 16], Side::Sender));
    // Either may be registered first.
    let refused = until("one of them is refused", || {
        ends.iter().position(|end| end.hears_within(Duration::from_millis(20)))
    });
    error(&mut ends[refused])
}

fn sends_a_file(server: SocketAddr) -> Option<String> {
    let member = member(server);
    let [mut sender, mut receiver] =
        [Side::Sender, Side::Receiver].map(|side| member.splice("member", [1; 16], side));
    for end in [&mut sender, &mut receiver] {
        assert_eq!(end.next_message(), ToPeer::Spliced);
    }
    sender.say_bytes(&[7; 2048]);
    assert!(receiver.hears_within(PATIENCE), "the file arrives");
    None
}

fn two_connections(server: SocketAddr) -> Option<String> {
    let mut first = HttpConnection::open(server);
    // The server accepts a connection when it has sent something.
    first.get("/", &[]);
    let answer = HttpConnection::open(server).answer().expect("it is told why it is turned away");
    assert_eq!(answer.status, 503);
    drop(first);
    None
}

/// Waits until a connection ends that has sent nothing, or one request.
fn says_nothing(server: SocketAddr, has_asked: bool) -> Option<String> {
    let mut connection = HttpConnection::open(server);
    if has_asked {
        connection.get("/", &[]);
    }
    assert_eq!(connection.answer(), None);
    None
}

fn check(case: &Case) {
    let Case { option, value, metric, reach } = case;
    let sandbox = Sandbox::new();
    sandbox.put_site(&[("index.html", "x")]);
    let server = sandbox.site_server(&["--quiet", "--admin", "127.0.0.1:0", &format!("--{option}={value}")]);
    let admin = server.process().line("metrics and health on ").parse().expect("it is an address");
    let refused = reach(server.address());
    let named = format!("(--{option})");
    assert!(refused.iter().all(|refused| refused.contains(&named)), "{option}: {refused:?}");
    let name = metric
        .map_or_else(|| format!("switchboard_limit_reached_total{{limit=\"{option}\"}}"), str::to_owned);
    until(&format!("{option} is counted"), || {
        let page = get(admin, "/metrics", &[]);
        let value = page.text().lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<u64>().ok()).filter(|count| *count > 0)
    });
    let said = refused.as_deref().unwrap_or("no refusal");
    println!("{option}: counted; {said}");
    server.stop();
}

#[test]
fn each_limit_is_counted_and_its_refusal_names_the_option() {
    // Most of them wait for a second.
    std::thread::scope(|scope| {
        for cases in CASES.chunks(CASES.len() / 4 + 1) {
            scope.spawn(move || cases.iter().for_each(check));
        }
    });
}

#[test]
fn all_options_that_are_limits_have_a_case() {
    let output = Command::new(binary("server")).arg("--print-config").output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    // Nothing is refused because of the cache, and `load_limits` has its metric. The server waits at least a minute for a
    // client that does not read; `http::tests::limits` shortens that.
    let is_shown_elsewhere = |key: &str| key.starts_with("cache_") || key == "write_timeout";
    let is_limit = |value: &str| value.trim_matches('"').starts_with(|c: char| c.is_ascii_digit());
    let limits = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(key, value)| is_limit(value) && !is_shown_elsewhere(key));
    let mut limits: Vec<String> = limits.map(|(key, _)| key.replace('_', "-")).collect();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.option).collect();
    limits.sort();
    cases.sort_unstable();
    assert_eq!(limits, cases);
}
