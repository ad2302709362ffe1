//! A server that was alone is moved into a cluster.

use integration::{Character, Nats, Passing, Process, Proxy, RawConnection, Sandbox, Server};
use rustix::process::Signal;
use wire::protocol::{ErrorCode, ToPeer};

use super::{check_shown, listen};

const LINES: usize = 40;
/// So much that an import takes a while.
const LINE_BYTES: usize = 50_000;

fn import(nats: &str, data: &std::path::Path) -> Process {
    let mut command = Server::command(data, "127.0.0.1:0");
    command.args(["--cluster", nats, "--cluster-import"]);
    Process::start("server --cluster-import", command)
}

#[test]
fn a_server_is_imported_although_the_import_is_killed() {
    let sandbox = Sandbox::new();
    let Some(nats) = Nats::start(&sandbox) else { return };
    let data = sandbox.path("alone");
    let alone = Server::start_at(&data, "127.0.0.1:0");
    let (a, b) = (sandbox.peer("A", alone.address()), sandbox.peer("B", alone.address()));
    b.run(&["who"]).expect(0);
    a.put("tides.txt", b"low water");
    a.put("keyword.txt", b"sea, tides.txt;");
    let sharing = a.share();
    sharing.kill();
    let texts: Vec<String> = (0..LINES).map(|n| format!("{n} {}", "x".repeat(LINE_BYTES))).collect();
    let sent = a.run_with_input(&["send", "B", "-"], &texts).expect(0);
    assert_eq!(sent.events("stored").len(), LINES);
    // It is killed when a part of the mail has passed to NATS.
    let link = Proxy::start(nats.address(), Passing::All);
    let url = format!("nats://{}", link.address());
    import(&url, &data).finish().expect(1).says(&["another server uses the data directory"]);
    alone.stop();
    let killed = import(&url, &data);
    while link.recorded().len() < LINES * LINE_BYTES / 4 {
        assert!(!killed.has_ended(), "it was too fast to be killed");
    }
    killed.kill();
    let imported = import(&nats.url(), &data).finish().expect(0);
    let expected = format!("names 2, lists of files 1, envelopes of stored mail {}", LINES + 1);
    assert!(imported.lines.iter().any(|line| line.contains(&expected)), "{:?}", imported.lines);
    let again = import(&nats.url(), &data).finish().expect(0);
    assert!(again.lines.iter().any(|line| line.contains("before")), "{:?}", again.lines);
    let command = Server::command(&data, "127.0.0.1:0");
    Process::start("server", command).finish().expect(1).says(&["imported into the cluster", "--cluster"]);
    // Servers that have nothing of it on their disks have all of it.
    let servers = ["first", "second"].map(|name| nats.server(&sandbox, name));
    let mut stranger = RawConnection::open(servers[0].address());
    let join = Character::new("other").renamed("b").join(&stranger.greeting);
    stranger.say(&join);
    let answer = stranger.next_message();
    assert!(matches!(answer, ToPeer::Error { code: ErrorCode::NameTaken, .. }), "{answer:?}");
    check_shown(listen(&b.at(servers[1].address()), LINES as u64), "A", &texts);
    let found = b.at(servers[0].address()).run(&["search", "sea"]).expect(0).answers("file");
    assert_eq!(found.len(), 1, "{found:?}");
    for server in servers {
        server.end(Signal::TERM);
    }
}
