//! Peers that flood the server: they use up their own share, and an honest pair beside them is served as before.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::{Character, PATIENCE, RawConnection, Sandbox, Server};
use wire::frame;
use wire::protocol::{Envelope, ErrorCode, Kind, Outcome, Refusal, Side, ToPeer, ToServer};

/// How much slower an honest pair may be during a flood at the 99th percentile, and what a busy machine adds.
const SLOWDOWN_MAX: u32 = 3;
const NOISE: Duration = Duration::from_millis(30);

/// The number of the last message of a flood.
const LAST: u64 = u64::MAX;

fn server(sandbox: &Sandbox, arguments: &[&str]) -> Server {
    sandbox.put_site(&[("index.html", "x")]);
    sandbox.site_server(&[&["--quiet"], arguments].concat())
}

fn envelope<'a>(from: &'a str, to: &'a str, number: u64, sealed: &'a [u8]) -> ToServer<'a> {
    ToServer::Envelope(Envelope { from, to, kind: Kind::Message, number, sealed })
}

/// Two peers that write to each other, one message at a time, and acknowledge what they get.
struct Pair {
    ends: [RawConnection; 2],
    taken: [u64; 2],
}

impl Pair {
    const NAMES: [&str; 2] = ["honest-a", "honest-b"];

    fn join(address: SocketAddr) -> Self {
        let ends = Self::NAMES.map(|name| RawConnection::join(address, &Character::new(name)));
        Self { ends, taken: [0; 2] }
    }

    /// The time for a message and its answer.
    fn exchange(&mut self) -> Duration {
        let start = Instant::now();
        for from in [0, 1] {
            let to = 1 - from;
            self.ends[from].say(&envelope(Self::NAMES[from], Self::NAMES[to], 1, &[7; 256]));
            while !matches!(self.ends[to].next_message(), ToPeer::Envelope(_)) {}
            self.taken[to] += 1;
            self.ends[to].say(&ToServer::Taken { count: self.taken[to] });
        }
        start.elapsed()
    }

    /// The median and the 99th percentile over a period.
    fn percentiles(&mut self, time: Duration) -> (Duration, Duration) {
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < time {
            times.push(self.exchange());
        }
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    }
}

/// Measures an honest pair before and during `flood`, which runs until it is told to stop.
fn beside(name: &str, address: SocketAddr, flood: impl FnOnce(&AtomicBool) + Send) {
    let mut pair = Pair::join(address);
    let (median, slow) = pair.percentiles(Duration::from_secs(2));
    let is_over = AtomicBool::new(false);
    let (median_during, slow_during) = std::thread::scope(|scope| {
        scope.spawn(|| flood(&is_over));
        let during = pair.percentiles(Duration::from_secs(4));
        is_over.store(true, Ordering::Relaxed);
        during
    });
    println!("{name}: p50 {median:?} to {median_during:?}, p99 {slow:?} to {slow_during:?}");
    assert!(slow_during <= slow * SLOWDOWN_MAX + NOISE, "{name}: p99 {slow:?} to {slow_during:?}");
}

/// Bytes of all files in a directory.
fn bytes_in(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("it can be listed");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |metadata| metadata.len())).sum()
}

/// Sends frames until told to stop, then one with the number [`LAST`]. The answers are read and dropped.
fn send_all(connection: RawConnection, is_over: &AtomicBool, mut next: impl FnMut(u64) -> Vec<u8> + Send) {
    let mut reader = connection.second_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || reader.drop_bytes());
        let mut connection = connection;
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            connection.say_bytes(&next(number));
        }
        connection.say_bytes(&next(LAST));
        // Closing at once could reset the connection, and the server would not read the last frame.
        connection.end();
    });
}

#[test]
fn a_flood_of_mail_costs_an_honest_pair_little_and_the_disk_a_share() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--mail-bytes-per-sender", "32M"]);
    let flooder = RawConnection::join(server.address(), &Character::new("flooder"));
    beside("mail", server.address(), |is_over| {
        let sealed = vec![7; 60_000];
        send_all(flooder, is_over, |number| {
            frame::frame(&envelope("flooder", &format!("away-{}", number % 100), number, &sealed))
        });
    });
    let bytes = bytes_in(server.data());
    // The file of the store also has free pages and pages of the last transaction.
    assert!(bytes < 4 * (32 << 20), "{bytes} bytes on disk");
    server.stop();
}

#[test]
fn a_flood_of_relayed_messages_costs_an_honest_pair_little() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &[]);
    let flooder = RawConnection::join(server.address(), &Character::new("flooder"));
    let mut friend = RawConnection::join(server.address(), &Character::new("friend"));
    beside("relayed", server.address(), |is_over| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut taken = 0;
                let mut number = 0;
                while number != LAST {
                    let body = friend.next().expect("it reads and acknowledges");
                    if let Ok(ToPeer::Envelope(envelope)) = ToPeer::decode(&body) {
                        (number, taken) = (envelope.number, taken + 1);
                        friend.say(&ToServer::Taken { count: taken });
                    }
                }
            });
            let sealed = vec![7; 60_000];
            send_all(flooder, is_over, |n| frame::frame(&envelope("flooder", "friend", n, &sealed)));
        });
    });
    server.stop();
}

#[test]
fn invented_names_use_up_the_quota_of_their_sender_also_after_a_restart() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--waiting-names", "1000", "--waiting-names-per-sender", "100"]);
    let mut flooder = RawConnection::join(server.address(), &Character::new("flooder"));
    for number in 0..10_000 {
        flooder.say(&envelope("flooder", &format!("made-up-{number}"), number, b"x"));
    }
    let (mut stored, mut refused) = (0, 0);
    while stored + refused < 10_000 {
        match flooder.next_message() {
            ToPeer::Routed { count, outcome: Outcome::Stored, .. } => stored += count,
            ToPeer::Routed { count, outcome: Outcome::Refused(Refusal::SenderNames), .. } => refused += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, refused), (100, 9_900));
    flooder.say(&ToServer::Lookup { name: name("yet-another") });
    let unwatched = ToPeer::Unwatched { name: name("yet-another"), reason: Refusal::SenderNames };
    assert_eq!(flooder.next_message(), unwatched, "it is told the truth");
    let mut honest = RawConnection::join(server.address(), &Character::new("honest"));
    honest.say(&ToServer::Lookup { name: name("friend") });
    assert_eq!(honest.next_message(), ToPeer::Unknown { name: name("friend") });
    drop((flooder, honest));
    let data = server.data().to_owned();
    server.stop();
    let again = sandbox.site_server(&["--quiet", "--waiting-names", "101"]);
    assert_eq!(again.data(), data);
    let mut honest = RawConnection::join(again.address(), &Character::new("honest-too"));
    honest.say(&ToServer::Lookup { name: name("friend") });
    assert_eq!(honest.next_message(), ToPeer::Unknown { name: name("friend") }, "one place is left");
    honest.say(&ToServer::Lookup { name: name("other") });
    let full = ToPeer::Unwatched { name: name("other"), reason: Refusal::ServerNames };
    assert_eq!(honest.next_message(), full, "the hundred are counted again");
    again.stop();
}

fn name(text: &str) -> wire::PeerName {
    text.parse().expect("scenarios use good names")
}

#[test]
fn unacknowledged_mail_expires_and_its_sender_is_told() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--mail-lifetime", "1s"]);
    let (present, absent) = (Character::new("present"), Character::new("absent"));
    let mut here = RawConnection::join(server.address(), &present);
    let mut away = RawConnection::join(server.address(), &absent);
    for number in [4, 5] {
        here.say(&envelope("present", "nobody", number, b"x"));
        away.say(&envelope("absent", "nobody", number, b"x"));
    }
    for connection in [&mut here, &mut away] {
        let mut stored = 0;
        while stored < 2 {
            match connection.next_message() {
                ToPeer::Routed { count, outcome: Outcome::Stored, .. } => stored += count,
                other => panic!("{other:?}"),
            }
        }
    }
    drop(away);
    // Envelopes that were read separately may be separate parcels.
    let expired = |connection: &mut RawConnection| {
        let mut numbers = Vec::new();
        while numbers.len() < 2 {
            match connection.next_message() {
                ToPeer::Expired { to, first, last } if to == name("nobody") => numbers.extend(first..=last),
                other => panic!("{other:?}"),
            }
        }
        numbers
    };
    assert_eq!(expired(&mut here), [4, 5]);
    let mut away = RawConnection::join(server.address(), &absent);
    assert_eq!(expired(&mut away), [4, 5]);
    server.stop();
}

#[test]
fn peers_that_do_not_read_or_acknowledge_are_disconnected_in_time() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--taken-timeout", "1s", "--read-timeout", "2s"]);
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    let hog = Character::new("hog");
    let mut takes_nothing = RawConnection::join(server.address(), &hog);
    writer.say(&envelope("writer", "hog", 1, b"x"));
    let start = Instant::now();
    takes_nothing.expect_error(ErrorCode::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // It was relayed, handed back and stored, so the next connection gets it.
    let mut next = RawConnection::join(server.address(), &hog);
    assert!(matches!(next.next_message(), ToPeer::Envelope(_)));
    next.say(&ToServer::Taken { count: 1 });
    // A peer that reads nothing: answers to its requests fill all buffers in between.
    let mut reads_nothing = RawConnection::join(server.address(), &Character::new("reads-nothing"));
    for n in 0..300 {
        next.say(&ToServer::Lookup { name: name(&format!("friend-{n}")) });
    }
    let asks = Instant::now();
    let mut is_left = false;
    while asks.elapsed() < PATIENCE && !is_left {
        let many: Vec<u8> = (0..1000).flat_map(|id| frame::frame(&ToServer::Who { id })).collect();
        is_left = !reads_nothing.try_say_bytes(&many, Duration::from_millis(200));
    }
    assert!(is_left, "it is still connected");
    server.stop();
}

#[test]
fn waiting_ends_of_transfers_use_up_the_quota_of_their_member_only() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--transfers-per-peer", "8"]);
    let flooder = RawConnection::join(server.address(), &Character::new("flooder"));
    let honest = RawConnection::join(server.address(), &Character::new("honest"));
    let mut lonely: Vec<_> = (0..8).map(|n| flooder.splice("flooder", [n; 16], Side::Sender)).collect();
    // Each connection has its own thread, so a later one may be registered before one of these.
    let mut refused = loop {
        let transfer = [100 + u8::try_from(lonely.len()).expect("there are few"); 16];
        let end = flooder.splice("flooder", transfer, Side::Sender);
        if end.hears_within(Duration::from_secs(1)) {
            break end;
        }
        lonely.push(end);
        assert!(lonely.len() < 20, "ends wait beyond the limit");
    };
    refused.expect_error(ErrorCode::Busy);
    let meet = |member: &RawConnection, name: &str, transfer| {
        [Side::Sender, Side::Receiver].map(|side| {
            let mut end = member.splice(name, transfer, side);
            // The first end gets no answer until the second has connected.
            if side == Side::Receiver {
                assert_eq!(end.next_message(), ToPeer::Spliced);
            }
            end
        })
    };
    drop(meet(&honest, "honest", [200; 16]));
    drop(lonely);
    let start = Instant::now();
    for attempt in 0_u128.. {
        // Each attempt is a new transfer, because an end of the previous one may still be registered.
        let transfer = (u128::MAX - attempt).to_le_bytes();
        let mut ends = [Side::Sender, Side::Receiver].map(|side| flooder.splice("flooder", transfer, side));
        // One end may be refused and the other accepted a moment later, which then waits for 30 seconds. So the first
        // answer decides, whichever end gets it.
        let first = (0..).map(|n| n % 2).find(|n: &usize| ends[*n].hears_within(Duration::from_millis(20)));
        if matches!(ends[first.expect("it looks without an end")].next_message(), ToPeer::Spliced) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "closed ends do not wait for 30 seconds");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Only members may use transfers.
    let mut stranger = RawConnection::open(server.address());
    let member = name("honest");
    stranger.say(&ToServer::Splice { transfer: [102; 16], side: Side::Sender, member, token: [0; 32] });
    stranger.expect_error(ErrorCode::OutOfPlace);
    server.stop();
}

#[test]
fn a_flood_of_files_through_the_server_costs_an_honest_pair_little() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &[]);
    let member = RawConnection::join(server.address(), &Character::new("member"));
    let mut ends = [Side::Sender, Side::Receiver].map(|side| member.splice("member", [1; 16], side));
    for end in &mut ends {
        assert_eq!(end.next_message(), ToPeer::Spliced);
    }
    let [mut sender, mut receiver] = ends;
    beside("files", server.address(), |is_over| {
        std::thread::scope(|scope| {
            scope.spawn(|| receiver.drop_bytes());
            let (part, start, mut bytes) = (vec![7; 1 << 20], Instant::now(), 0_u64);
            while !is_over.load(Ordering::Relaxed) {
                sender.say_bytes(&part);
                bytes += part.len() as u64;
            }
            let rate = bytes as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 20);
            println!("{rate:.0} MiB/s of a file");
            assert!(rate < 100.0, "{rate} MiB/s");
            sender.close();
        });
    });
    server.stop();
}

#[test]
fn a_peer_that_opens_more_conversations_than_allowed_is_told_so_and_all_its_messages_arrive_in_order() {
    const MESSAGES: usize = 64;
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--openings-per-minute", "60"]);
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    a.run(&["who"]).expect(0);
    // B has written to A, so its own limit for strangers does not come first.
    b.run(&["send", "A", "hello"]).expect(0);
    let listening = b.start(&["listen", "--count", &MESSAGES.to_string()]);
    listening.event("joined", |_| true);
    let mut sending = a.start(&["--rekey", "1", "send", "B", "-", "--wait", "60"]);
    let start = Instant::now();
    (1..=MESSAGES).for_each(|number| sending.type_line(&number.to_string()));
    sending.end_input();
    let sent = sending.finish().expect(0);
    println!("{MESSAGES} conversations took {:.1?}", start.elapsed());
    let named = |event: &serde_json::Value| {
        event["reason"].as_str().is_some_and(|reason| reason.contains("--openings-per-minute"))
    };
    assert!(sent.events("refused").iter().any(named), "{:?}", sent.events("refused"));
    let messages = listening.finish().expect(0).events("message");
    assert!(messages.iter().map(|m| m["number"].as_u64()).eq((1..=MESSAGES as u64).map(Some)));
}

/// The most memory that a process has had resident, in KiB.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    peak.expect("Linux has it").trim().parse().expect("it is a number")
}

#[test]
fn peers_that_do_not_read_cost_the_server_bounded_memory_and_are_counted() {
    const HOGS: usize = 64;
    /// The budget of all sessions, and what the store may need for the mail of all of them meanwhile.
    const MEMORY_KIB: u64 = 16 << 10;
    const OTHER_KIB: u64 = 112 << 10;
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &["--session-memory", "16M", "--admin", "127.0.0.1:0"]);
    let admin = server.process().line("metrics and health on ").parse().expect("it is an address");
    let mut writer = RawConnection::join(server.address(), &Character::new("writer"));
    let keys = Character::new("hog");
    let hogs: Vec<(String, RawConnection)> = (0..HOGS)
        .map(|at| format!("hog{at}"))
        .map(|name| (name.clone(), RawConnection::join(server.address(), &keys.renamed(&name))))
        .collect();
    let before = peak_kib(server.process().id());
    let sealed = vec![7; 256 << 10];
    // Without the budget each session would keep up to 4 MiB, 256 MiB in all.
    for number in 0..24 {
        for (name, _) in &hogs {
            writer.say(&envelope("writer", name, number, &sealed));
        }
    }
    let limit = "switchboard_limit_reached_total{limit=\"session-memory\"}";
    let count = integration::http::until("the budget is reached", || {
        let page = integration::http::get(admin, "/metrics", &[]);
        let count = page.text().lines().find_map(|line| line.strip_prefix(limit)?.trim().parse::<u64>().ok());
        count.filter(|count| *count > 0)
    });
    // What the writer has sent is handled in order, so the answer to this comes last, unless the writer is ended as well.
    writer.say(&ToServer::Ping { id: 1, names: Vec::new() });
    while let Some(body) = writer.next()
        && !matches!(ToPeer::decode(&body), Ok(ToPeer::Pong { .. }))
    {}
    let grown = peak_kib(server.process().id()) - before;
    println!("{HOGS} peers that do not read: {grown} KiB at most, the budget was reached {count} times");
    assert!(grown < MEMORY_KIB + OTHER_KIB, "{grown} KiB");
    server.stop();
}
