//! Starts our server, nginx, nats-server and Redis, each with its own directory and port.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{Process, repository};
use rustix::process::Signal;

use crate::http::Tls;
use crate::{machine, tools};

const START_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// A running server; ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// The address at which it listens.
    pub(crate) address: SocketAddr,
    /// The same with TLS, if it was started with a certificate.
    pub(crate) tls: SocketAddr,
    process: Process,
}

impl Server {
    /// Starts our server with these additional options.
    pub(crate) fn ours(
        program: &Path,
        root: &Path,
        data: &Path,
        tls: Option<&Tls>,
        options: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--quiet", "--root"]).arg(root).arg("--data").arg(data);
        if let Some(tls) = tls {
            command.args(["--listen", "tls:127.0.0.1:0", "--tls-cert"]).arg(&tls.certificate);
            command.arg("--tls-key").arg(&tls.key);
        }
        command.args(options);
        let process = Process::start("server", command);
        let said = process.line("listening on ");
        let address = said.parse().with_context(|| format!("the server listens on {said:?}"))?;
        let said = match tls {
            Some(_) => process.line("listening on tls:"),
            None => said,
        };
        let tls = said.parse().with_context(|| format!("the server listens on {said:?}"))?;
        Ok(Self { name: "switchboard", address, tls, process })
    }

    /// Starts nginx in one of its settings; `folder` must not exist yet.
    pub(crate) fn nginx(
        program: &PathBuf,
        root: &Path,
        folder: &Path,
        tls: &Tls,
        setting: &Setting,
    ) -> Result<Self> {
        fs::create_dir(folder).context("cannot make a folder for nginx")?;
        let [address, tls_address] = [free_address()?, free_address()?];
        let configuration = folder.join("nginx.conf");
        let built = tools::say(program, &["-V"]);
        fs::write(
            &configuration,
            nginx_configuration([address, tls_address], root, folder, tls, setting, &built),
        )?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&configuration).arg("-p").arg(folder);
        let mut process = Process::start("nginx", command);
        process.end_input();
        let server = Self { name: setting.name, address, tls: tls_address, process };
        let said = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        server.wait_until_it_listens(said)?;
        Ok(server)
    }

    /// Starts nats-server; `folder` must not exist yet. `stream` are lines about JetStream, which is off without them.
    pub(crate) fn nats(
        program: &Path,
        folder: &Path,
        name: &'static str,
        stream: Option<&str>,
    ) -> Result<Self> {
        let jetstream = stream.map(|lines| jetstream(folder, lines)).unwrap_or_default();
        Self::nats_with(program, folder, name, &jetstream)
    }

    /// Starts three that are a cluster with JetStream; `folder` must not exist yet.
    pub(crate) fn three_nats(program: &Path, folder: &Path, stream: &str) -> Result<[Self; 3]> {
        fs::create_dir(folder).context("cannot make a folder for the nats-servers")?;
        let listen = [free_address()?, free_address()?, free_address()?];
        let routes = listen.map(|address| format!("\"nats://{address}\"")).join(", ");
        let start = |number: usize| {
            let folder = folder.join(number.to_string());
            let cluster = format!(
                "server_name: n{number}\ncluster {{\n    name: bench\n    listen: \"{}\"\n    routes: [{routes}]\n}}\n{}",
                listen[number],
                jetstream(&folder, stream)
            );
            Self::nats_with(program, &folder, "nats-server", &cluster)
        };
        Ok([start(0)?, start(1)?, start(2)?])
    }

    fn nats_with(program: &Path, folder: &Path, name: &'static str, lines: &str) -> Result<Self> {
        fs::create_dir(folder).context("cannot make a folder for nats-server")?;
        let address = free_address()?;
        let configuration = folder.join("nats.conf");
        fs::write(&configuration, format!("listen: \"{address}\"\n{lines}"))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&configuration);
        let mut process = Process::start("nats-server", command);
        process.end_input();
        let server = Self { name, address, tls: address, process };
        server.wait_until_it_listens(|| "see what it printed".to_owned())?;
        Ok(server)
    }

    /// Starts Redis without persistence; `folder` must not exist yet.
    pub(crate) fn redis(program: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir(folder).context("cannot make a folder for Redis")?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder);
        let mut process = Process::start("redis", command);
        process.end_input();
        let server = Self { name: "redis", address, tls: address, process };
        server.wait_until_it_listens(|| "see what it printed".to_owned())?;
        Ok(server)
    }

    fn wait_until_it_listens(&self, said: impl Fn() -> String) -> Result<()> {
        let deadline = Instant::now() + START_WAIT;
        while TcpStream::connect(self.address).is_err() {
            ensure!(Instant::now() < deadline, "{} does not start: {}", self.name, said());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The ids of its process and its children.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let mut ids = machine::children(self.process.id())?;
        ids.push(self.process.id());
        Ok(ids)
    }

    /// User and system time of all its processes so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.processes()?.iter().map(|&id| machine::cpu_time(id)).sum()
    }

    /// The id of its first process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing nginx would leave its workers running, so it gets SIGTERM first. A server that does not end is killed when
        // `process` is dropped.
        self.process.signal(Signal::TERM);
        let _ = self.process.wait_end(START_WAIT);
    }
}

/// The part of the configuration of nats-server that switches on JetStream.
fn jetstream(folder: &Path, lines: &str) -> String {
    format!("jetstream {{\n    store_dir: {:?}\n    {lines}\n}}\n", folder.join("stream"))
}

/// Builds one of our programs with the release profile, because `cargo bench` builds only this benchmark.
pub(crate) fn build(program: &str) -> Result<PathBuf> {
    let target = target()?;
    eprintln!("Building the {program} (release) ...");
    let mut command = integration::cargo();
    // With a cluster, as in a release.
    command.args(["build", "--quiet", "--locked", "--release", "--package", "switchboard"]);
    command.args(["--features", "cluster", "--bin", program]);
    let status = command.arg("--target-dir").arg(&target).current_dir(repository()).status();
    let status = status.context("cannot start cargo")?;
    ensure!(status.success(), "the {program} cannot be built: {status}");
    Ok(target.join("release").join(program))
}

/// The target folder of this build.
pub(crate) fn target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("the system does not know where this benchmark is")?;
    let target = this.ancestors().nth(3).context("a benchmark is in release/deps/ of the target folder")?;
    Ok(target.to_owned())
}

/// A free address, because nginx and others cannot choose one themselves.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("the system has no free port")?;
    Ok(listener.local_addr()?)
}

/// A setting of nginx, which can be its fastest for some shape.
pub(crate) struct Setting {
    name: &'static str,
    /// The directives for sending files.
    sending: &'static str,
    /// The parameters of `listen` after the address.
    listen: &'static str,
}

const SENDFILE_OFF: &str = "sendfile off;";
const SENDFILE_ON: &str = "sendfile on; tcp_nopush on;";
const REUSEPORT: &str = " reuseport";

/// Without sendfile small files are faster, large ones slower. With a listening socket for each worker new connections are
/// faster, but few connections may all end up with one worker.
pub(crate) const SETTINGS: [Setting; 4] = [
    Setting { name: "sendfile off", sending: SENDFILE_OFF, listen: "" },
    Setting { name: "sendfile off, reuseport", sending: SENDFILE_OFF, listen: REUSEPORT },
    Setting { name: "sendfile on", sending: SENDFILE_ON, listen: "" },
    Setting { name: "sendfile on, reuseport", sending: SENDFILE_ON, listen: REUSEPORT },
];

/// The other directives are the usual tuning: an open file cache, no log, and no limit on keep-alive. `built` is the
/// output of `nginx -V`.
fn nginx_configuration(
    [address, tls_address]: [SocketAddr; 2],
    root: &Path,
    folder: &Path,
    tls: &Tls,
    setting: &Setting,
    built: &str,
) -> String {
    let folder = folder.display();
    // As root, nginx runs its workers as another user, who cannot read the temporary directory.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let Setting { sending, listen, .. } = setting;
    let modules = ["proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: Vec<String> = modules
        .iter()
        .filter(|module| !built.contains(&format!("--without-http_{module}_module")))
        .map(|module| format!("{module}_temp_path {folder}/{module};"))
        .collect();
    format!(
        "daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 2;
events {{
    worker_connections 16384;
    multi_accept on;
}}
http {{
    types {{ text/html html; application/octet-stream bin; }}
    access_log off;
    {sending}
    tcp_nodelay on;
    open_file_cache max=20000 inactive=60s;
    open_file_cache_valid 30s;
    open_file_cache_min_uses 1;
    keepalive_requests 1000000000;
    keepalive_timeout 75;
    client_body_temp_path {folder}/body;
    {}
    server {{
        listen {address} backlog=4096{listen};
        listen {tls_address} ssl backlog=4096{listen};
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {};
    }}
}}
",
        temporary.join("\n    "),
        tls.certificate.display(),
        tls.key.display(),
        root.display()
    )
}
