//! A temporary directory for a scenario, with the directories of its servers and peers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Finished, Process};
use crate::server::own_port;
use crate::{Server, binary, keys, repository};

/// A temporary directory, removed when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// Creates a directory.
    ///
    /// # Panics
    /// It cannot be created.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("switchboard-").tempdir();
        Self { folder: folder.expect("the system has room for a temporary folder") }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a server with its data in this directory.
    pub fn server(&self) -> Server {
        Server::start_at(&self.path("server_data"), "127.0.0.1:0")
    }

    /// Starts a server on a port that stays free for it between a stop and the next start.
    pub fn server_to_restart(&self) -> Server {
        Server::start_at(&self.path("server_data"), &self.nobodys_address().to_string())
    }

    /// Writes files below the directory `site`, in the given order, and creates the directories in their names.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn put_site(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            write(&self.path("site").join(name), content.as_bytes());
        }
    }

    /// Starts a server of the directory `site` with these arguments.
    pub fn site_server(&self, arguments: &[&str]) -> Server {
        let data = self.path("server_data");
        let mut command = Server::site_command(&data, &self.path("site"));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Server::launch(&data, command)
    }

    /// An address at which nobody listens.
    pub fn nobodys_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], own_port()).into()
    }

    /// A peer of the server at `server` that has keys, and nothing else. It has joined no server yet.
    ///
    /// # Panics
    /// Its keys cannot be written.
    pub fn peer(&self, name: &str, server: SocketAddr) -> Peer {
        let peer = self.newcomer(name, server);
        if let Some(pems) = keys::next() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs();
            std::fs::create_dir(&peer.dir).expect("the sandbox has no such peer");
            private_folder(&peer.private());
            private_file(&peer.private().join("identity.pem"), pems.identity);
            private_folder(&peer.private().join("encryption"));
            private_file(&peer.private().join(format!("encryption/{now}.pem")), pems.encryption);
        }
        peer
    }

    /// A peer of the server at `server` that makes its directory and its keys when it first runs.
    pub fn newcomer(&self, name: &str, server: SocketAddr) -> Peer {
        Peer { dir: self.path(name), server: server.to_string() }
    }

    /// A peer with keys and the files of its directory in `client_data/`.
    pub fn ready_peer(&self, name: &str, server: SocketAddr) -> Peer {
        self.peer(name, server).with_files()
    }
}

/// The directory of a peer and its server.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The directory.
    pub dir: PathBuf,
    /// The server's address.
    pub server: String,
}

impl Peer {
    /// The same directory with another server.
    #[must_use]
    pub fn at(&self, server: SocketAddr) -> Self {
        Self { dir: self.dir.clone(), server: server.to_string() }
    }

    /// Copies the files of its directory in `client_data/`.
    ///
    /// # Panics
    /// They cannot be copied.
    #[must_use]
    pub fn with_files(self) -> Self {
        std::fs::create_dir_all(&self.dir).expect("the sandbox can be written");
        let from = repository().join("client_data").join(self.name());
        for entry in std::fs::read_dir(from).expect("the repository has this peer") {
            let entry = entry.expect("a folder can be listed");
            if entry.file_type().expect("an entry has a type").is_file() {
                let to = self.dir.join(entry.file_name());
                std::fs::copy(entry.path(), to).expect("a shared file can be copied");
            }
        }
        self
    }

    /// The name of the peer, which is the last component of its directory.
    ///
    /// # Panics
    /// Never: scenarios name their peers.
    pub fn name(&self) -> &str {
        let name = self.dir.file_name().and_then(|name| name.to_str());
        name.expect("scenarios give their peers names")
    }

    /// Shares `long.bin` and `short.txt`, under the keywords `long` and `short`, with one upload slot, which `taker` gets for
    /// `long.bin`. At the rate of this holder, that takes minutes, and it does not fit into the buffers of the connections. Returns
    /// the holder's process and the one of the taker.
    ///
    /// # Panics
    /// The transfer does not begin.
    pub fn keep_busy_with(&self, taker: &Self) -> [Process; 2] {
        self.put("long.bin", &vec![7; 64 << 20]);
        self.put("short.txt", b"short");
        self.put("keyword.txt", b"long, long.bin; short, short.txt;");
        let holder = self.start(&["share", "--upload-slots", "1", "--up-limit", "256K"]);
        holder.event("result", |event| event["kind"] == "published");
        let first = taker.start(&["get", "long.bin"]);
        first.event("file_progress", |_| true);
        [holder, first]
    }

    /// Starts `peer --dir ... --json` with `arguments` and an open standard input.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(binary("peer"));
        command.arg("--dir").arg(&self.dir);
        command.args(["--server", &self.server, "--json"]).args(arguments);
        Process::start(format!("peer {} {}", self.name(), arguments.join(" ")), command)
    }

    /// Starts to share, and waits until the server has listed the files.
    pub fn share(&self) -> Process {
        let sharing = self.start(&["share"]);
        sharing.event("result", |event| event["kind"] == "published");
        sharing
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, &[])
    }

    /// Runs a command to its end with `lines` as its standard input.
    pub fn run_with_input(&self, arguments: &[&str], lines: &[String]) -> Finished {
        let mut process = self.start(arguments);
        for line in lines {
            process.type_line(line);
        }
        process.end_input();
        process.finish()
    }

    /// The fingerprint of its identity key, which is made if there is none.
    ///
    /// # Panics
    /// The peer prints none.
    pub fn fingerprint(&self) -> String {
        let card = self.run(&["card"]).expect(0);
        let answers = card.answers("card");
        let fingerprint = answers[0]["fingerprint"].as_str();
        fingerprint.expect("a card has a fingerprint").to_owned()
    }

    /// Its history with `with` in one direction (`sent` or `received`), in the order of the output.
    pub fn history(&self, with: &str, direction: &str) -> Vec<Value> {
        let mut history = self.run(&["history", with]).expect(0).answers("history");
        history.retain(|record| record["direction"] == direction);
        history
    }

    /// Writes a file into its directory, and creates the folders in its name.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        write(&self.dir.join(name), bytes);
    }

    /// Its private directory.
    pub fn private(&self) -> PathBuf {
        self.dir.join(".switchboard")
    }

    /// Copies the directory into `folder`, for a second peer with the same identity. The peer must not be running.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn copy_into(&self, folder: &Path) -> Self {
        let copy = Self { dir: folder.join(self.name()), server: self.server.clone() };
        copy_folder(&self.dir, &copy.dir);
        copy
    }
}

fn private_folder(path: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(path).expect("the sandbox can be written");
}

fn private_file(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("the sandbox can be written");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the sandbox can be written");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("a folder can be listed");
        let kind = entry.file_type().expect("an entry has a type");
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &to);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

/// Writes a file, and creates the directories above it.
fn write(path: &Path, bytes: &[u8]) {
    let folder = path.parent().expect("it is below the sandbox");
    std::fs::create_dir_all(folder).expect("the sandbox can be written");
    std::fs::write(path, bytes).expect("the sandbox can be written");
}
