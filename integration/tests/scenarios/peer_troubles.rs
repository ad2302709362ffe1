//! Faults on the machine of a peer or at its server: the peer reports them, other peers are not affected, and it recovers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::{Peer, Process, Sandbox, Server, binary};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use wire::frame::{self, BODY_BYTES_MAX, LENGTH_BYTES, PREFACE};
use wire::protocol::{ErrorCode, Greeting, ToPeer, ToServer};

/// More transfers than a holder serves at a time for one peer.
const FAILED_FETCHES: usize = 6;
/// The peer waits 4 seconds for each answer; the rest is for a busy machine.
const DIALLED_AGAIN_WITHIN: Duration = Duration::from_secs(9);
/// Less than the store needs for a message.
const TINY_FILE_BYTES: u64 = 4096;
/// More than the store of a peer takes, and less than the file.
const FILE_BYTES_MAX: u64 = 8 << 20;
const LONG_FILE_BYTES: usize = 20 << 20;

/// The addresses on which a process listens.
fn listens_on(process: &Process) -> Vec<IpAddr> {
    let proc = format!("/proc/{}", process.id());
    let links = std::fs::read_dir(format!("{proc}/fd")).expect("the process runs");
    let sockets: Vec<String> = links
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("{proc}/net/{table}")).expect("the process runs");
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_listening = fields[3] == "0A";
            if is_listening && sockets.iter().any(|inode| inode == fields[9]) {
                let (address, _) = fields[1].split_once(':').expect("an address has a port");
                addresses.push(parse(address));
            }
        }
    }
    addresses
}

/// An address as /proc/net/tcp lists it: 32-bit words in the byte order of the machine.
fn parse(hex: &str) -> IpAddr {
    let word = |at: usize| u32::from_str_radix(&hex[at..at + 8], 16).expect("it is hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(8).flat_map(|at| word(at).to_ne_bytes()).collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("an address has 4 or 16 bytes")),
    }
}

#[test]
fn a_peer_of_a_server_on_loopback_listens_on_loopback_only() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let peer = sandbox.ready_peer("A", server.address());
    let sharing = peer.share();
    let addresses = loop {
        let addresses = listens_on(&sharing);
        if !addresses.is_empty() {
            break addresses;
        }
    };
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}

#[test]
fn fetches_that_fail_locally_do_not_use_up_the_holders_limit() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let holder = sandbox.ready_peer("A", server.address());
    let _sharing = holder.share();
    let peer = sandbox.peer("C", server.address());
    peer.put("there.png", b"something else");
    let path = |name: &str| peer.dir.join(name).to_str().expect("a plain path").to_owned();
    for at in 0..FAILED_FETCHES {
        let (output, reason) = match at % 3 {
            0 => (path("there.png"), "already exists"),
            1 => (path("no folder/"), "not a path"),
            _ => ("/proc/self/new.png".to_owned(), "/proc/self"),
        };
        peer.run(&["get", "sunset.png", "--output", &output]).expect(1).says(&[reason]);
    }
    peer.run(&["get", "sunset.png", "--output", &path("sunset.png")]).expect(0);
}

#[test]
fn the_reason_of_a_busy_server_is_shown() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A peer that has ended does not read the answer.
            let _ = stream.and_then(|stream| refuse(&stream));
        }
    });
    let sandbox = Sandbox::new();
    let peer = sandbox.peer("A", address);
    let asking = peer.start(&["who"]);
    asking.event("error", |e| e["message"].as_str().is_some_and(|m| m.contains("a thousand peers too many")));
}

/// Reads a join, and refuses it as a busy server does.
fn refuse(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()])?;
    stream.write_all(&frame::frame(&ToPeer::Hello(Greeting::default())))?;
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    assert!(body.len() <= BODY_BYTES_MAX);
    stream.read_exact(&mut body)?;
    assert!(matches!(ToServer::decode(&body), Ok(ToServer::Join { .. })));
    let detail = "a thousand peers too many".into();
    stream.write_all(&frame::frame(&ToPeer::Error { code: ErrorCode::Busy, detail }))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closing a socket with unread bytes would reset the connection, and the peer would lose the answer.
    stream.read(&mut [0]).map(|_| ())
}

/// A server that hangs accepts connections, and a peer must be connected soon after it has been replaced.
#[test]
fn a_server_that_says_nothing_while_the_peer_joins_is_dialled_again_within_seconds() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let sandbox = Sandbox::new();
    let peer = sandbox.peer("A", listener.local_addr().expect("it is bound"));
    let prompt = peer.start(&[]);
    let mut last = None::<Instant>;
    let mut silent = Vec::new();
    for says_hello in [false, false, true, true] {
        let (mut stream, _) = listener.accept().expect("the peer dials");
        if says_hello {
            stream.write_all(&frame::frame(&ToPeer::Hello(Greeting::default()))).expect("the peer is there");
        }
        silent.push(stream);
        let pause = last.replace(Instant::now()).map(|last| last.elapsed());
        println!("dialled again after {pause:.1?}");
        assert!(pause.is_none_or(|pause| pause < DIALLED_AGAIN_WITHIN), "it took {pause:?}");
    }
    drop(prompt);
}

/// Starts a peer with a limit on file sizes and SIGXFSZ ignored, so that writing beyond the limit is an error.
fn start_with_limits(peer: &Peer, arguments: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary("peer"));
    command.arg("--dir").arg(&peer.dir).args(["--server", &peer.server, "--json"]).args(arguments);
    Process::start(format!("peer {} with limits", peer.name()), command)
}

fn limit_file_bytes(process: &Process, limit: Option<u64>) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process id");
    let limits = Rlimit { current: limit, maximum: None };
    prlimit(Some(pid), Resource::Fsize, limits).expect("the process is ours");
}

#[test]
fn a_peer_whose_disk_was_full_continues_when_there_is_room() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = start_with_limits(&b, &["listen", "--count", "4"]);
    listening.event("joined", |_| true);
    a.run(&["send", "B", "before", "--wait", "30"]).expect(0);
    listening.events("message", 1);

    limit_file_bytes(&listening, Some(TINY_FILE_BYTES));
    a.run(&["send", "B", "one", "--wait", "2"]).expect(1);
    a.run(&["send", "B", "two", "--wait", "2"]).expect(1);
    let said = listening.event("error", |_| true);
    assert!(said["message"].as_str().is_some_and(|m| m.contains("disk full")), "{said}");
    assert_eq!(listening.events("message", 1).len(), 1, "nothing is shown that is not on disk");

    limit_file_bytes(&listening, None);
    a.run(&["send", "B", "after", "--wait", "30"]).expect(0);
    let seen = listening.finish().expect(0).events("message");
    let texts: Vec<&str> = seen.iter().filter_map(|e| e["text"].as_str()).collect();
    assert_eq!(texts, ["before", "one", "two", "after"]);
    let sent = a.history("B", "sent");
    assert!(sent.iter().all(|record| record["delivered"] == true), "{sent:?}");
}

#[test]
fn a_peer_whose_disk_is_full_can_be_ended() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    let listening = start_with_limits(&b, &["listen"]);
    listening.event("joined", |_| true);
    limit_file_bytes(&listening, Some(TINY_FILE_BYTES));
    a.run(&["send", "B", "one"]).expect(0);
    listening.event("error", |_| true);
    listening.signal(Signal::INT);
    listening.finish();
    assert_eq!(b.history("A", "received").len(), 0, "nothing was written");
    b.run(&["listen", "--count", "1"]).expect(0);
}

#[test]
fn a_full_disk_loses_no_pin_of_a_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let a = sandbox.peer("A", server.address());
    let file = a.private().join("known_servers");
    let known = || std::fs::read_to_string(&file).expect("it is there");
    let listening = start_with_limits(&a, &["listen"]);
    listening.event("joined", |_| true);
    let first = known();

    limit_file_bytes(&listening, Some(0));
    let fingerprint = "ab".repeat(32);
    let trust = ["trust", "tls:elsewhere.test:1", &fingerprint];
    let refused = a.run(&trust).expect(1);
    let errors = format!("{:?}", refused.events("error"));
    assert!(errors.contains("known_servers") && errors.contains("has room"), "{errors}");
    assert_eq!(known(), first);
    // At first use.
    std::fs::remove_file(&file).expect("it is there");
    let server = server.restart();
    let is_pin = |e: &Value| e["message"].as_str().is_some_and(|m| m.contains("known_servers"));
    let said = listening.event("error", is_pin);
    assert!(said["message"].as_str().is_some_and(|m| m.contains("has room")), "{said}");
    assert!(!file.exists());

    limit_file_bytes(&listening, None);
    let joined = listening.events("joined", 2).len();
    let _server = server.restart();
    listening.events("joined", joined + 1);
    let key = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    assert_eq!(key(&known()), key(&first));
    a.run(&trust).expect(0);
    assert_eq!(known().lines().count(), 2, "{}", known());
}

#[test]
fn lines_of_a_piped_prompt_are_queued_at_once_while_the_server_is_away() {
    let sandbox = Sandbox::new();
    let server = sandbox.server_to_restart();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    b.run(&["who"]).expect(0);
    let mut prompt = a.start(&["--wait", "60"]);
    prompt.event("joined", |_| true);
    let (address, data) = (server.address(), server.data().to_owned());
    server.stop();
    let begun = Instant::now();
    for line in 1..=20 {
        prompt.type_line(&format!("/msg B line {line}"));
    }
    prompt.events("queued", 20);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    prompt.end_input();
    // The outcomes of the messages come as events, and the end of the input waits for all of them.
    let _server = Server::start_at(&data, &address.to_string());
    let ended = prompt.finish().expect(0);
    assert_eq!(ended.events("stored").len(), 20);
}

#[test]
fn a_file_for_which_the_disk_has_no_room_is_fetched_later_from_where_it_has_ended() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    b.put("long.bin", &vec![7; LONG_FILE_BYTES]);
    b.put("keyword.txt", b"x, long.bin;");
    let sharing = b.share();

    let mut prompt = start_with_limits(&a, &[]);
    prompt.event("joined", |_| true);
    limit_file_bytes(&prompt, Some(FILE_BYTES_MAX));
    prompt.type_line("/get long.bin");
    let said = prompt.event("error", |_| true)["message"].to_string();
    let kept = format!("{FILE_BYTES_MAX} of {LONG_FILE_BYTES} bytes are kept");
    assert!(said.contains("the disk is full") && said.contains(&kept), "{said}");
    let told = sharing.event("refused", |event| event["with"] == "A")["reason"].to_string();
    assert!(told.contains("long.bin has not arrived, because the disk of A is full"), "{told}");

    limit_file_bytes(&prompt, None);
    prompt.type_line("/get long.bin");
    let again = prompt.event("file_request", |event| event["offset"] != 0);
    assert_eq!(again["offset"], FILE_BYTES_MAX);
    prompt.event("file_done", |_| true);
    let got = std::fs::read(a.dir.join("downloads").join("long.bin"));
    assert!(got.is_ok_and(|bytes| bytes == vec![7; LONG_FILE_BYTES]));
}

#[test]
fn many_files_for_which_the_disk_has_no_room_are_fetched_later() {
    let sandbox = Sandbox::new();
    let server = sandbox.server();
    let (a, b) = (sandbox.peer("A", server.address()), sandbox.peer("B", server.address()));
    b.put("d/1.txt", b"one");
    b.put("d/long.bin", &vec![7; LONG_FILE_BYTES]);
    b.put("d/longer.bin", &vec![8; LONG_FILE_BYTES]);
    b.put("d/longest.bin", &vec![9; LONG_FILE_BYTES]);
    b.put("keyword.txt", b"x, d/*;");
    let sharing = b.share();

    let mut prompt = start_with_limits(&a, &[]);
    prompt.event("joined", |_| true);
    limit_file_bytes(&prompt, Some(FILE_BYTES_MAX));
    prompt.type_line("/get d/* from B");
    // The third of the large ones is not requested any more.
    let is_left =
        |event: &Value| event["message"].as_str().is_some_and(|m| m.contains("1 file(s) were not fetched"));
    prompt.event("error", is_left);
    let fetched = prompt.event("result", |event| event["kind"] == "fetched");
    assert_eq!((&fetched["files_done"], &fetched["failed"]), (&1.into(), &3.into()), "{fetched}");
    let told = sharing.event("refused", |event| event["with"] == "A")["reason"].to_string();
    assert!(told.contains("has not arrived, because the disk of A is full"), "{told}");

    limit_file_bytes(&prompt, None);
    prompt.type_line("/get d/* from B");
    let again = prompt.event("file_request", |event| event["offset"] != 0);
    assert_eq!(again["offset"], FILE_BYTES_MAX);
    let is_second = |event: &Value| event["kind"] == "fetched" && event["here"] == 1;
    let fetched = prompt.event("result", is_second);
    assert_eq!((&fetched["files_done"], &fetched["failed"]), (&4.into(), &0.into()), "{fetched}");
}
