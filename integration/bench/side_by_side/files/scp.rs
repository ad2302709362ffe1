//! scp, with a server and keys of its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{Process, Sandbox};
use measure::Report;

use super::Way;
use super::command::{self, Moved};
use crate::interrupt::Interrupt;
use crate::{servers, tools};

const START_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// A setting of scp, which can be its fastest.
const SETTINGS: [(&str, &[&str]); 2] =
    [("scp", &[]), ("scp, AES-128-GCM", &["-o", "Ciphers=aes128-gcm@openssh.com"])];

/// A running sshd, and the program that fetches from it.
pub(super) struct Sshd {
    process: Process,
    address: SocketAddr,
    folder: PathBuf,
    user: String,
    scp: PathBuf,
}

/// A setting of scp.
struct Scp {
    sshd: Rc<Sshd>,
    name: &'static str,
    options: &'static [&'static str],
    source: PathBuf,
}

impl Sshd {
    /// Starts it. `None` if it is not installed or does not start, which is noted in the report.
    pub(super) fn start(
        sandbox: &Sandbox,
        versions: &mut BTreeMap<String, String>,
        report: &mut Report,
    ) -> Result<Option<Rc<Self>>> {
        let programs = (tools::find("sshd"), tools::find("scp"), tools::find("ssh-keygen"));
        let (Some(sshd), Some(scp), Some(keygen)) = programs else {
            let why = "comparisons with scp: it or sshd is not installed (Debian, Ubuntu: apt install openssh-server)";
            tools::skip(report, why.to_owned());
            return Ok(None);
        };
        let sshd = match Self::run(&sshd, &keygen, scp, sandbox.path("ssh"))? {
            Ok(sshd) => Rc::new(sshd),
            Err(why) => {
                tools::skip(report, format!("comparisons with scp: sshd does not start: {why}"));
                return Ok(None);
            }
        };
        let ssh = tools::find("ssh").map(|ssh| tools::say(&ssh, &["-V"])).unwrap_or_default();
        let version = ssh.strip_prefix("OpenSSH_").and_then(|rest| rest.split([' ', ',']).next());
        versions.insert("OpenSSH".to_owned(), version.unwrap_or("of unknown version").to_owned());
        Ok(Some(sshd))
    }

    /// Runs it, or says why it does not start. `folder` must not exist yet.
    fn run(program: &Path, keygen: &Path, scp: PathBuf, folder: PathBuf) -> Result<Result<Self, String>> {
        std::fs::create_dir(&folder).context("cannot make a folder for sshd")?;
        for key in ["host", "user"] {
            let mut command = Command::new(keygen);
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            ensure!(
                command.status().context("cannot start ssh-keygen")?.success(),
                "ssh-keygen makes no key"
            );
        }
        let address = servers::free_address()?;
        let known = std::fs::read_to_string(folder.join("host.pub"))?;
        std::fs::write(folder.join("known"), format!("[{}]:{} {known}", address.ip(), address.port()))?;
        let file = |name: &str| format!("{:?}", folder.join(name));
        let configuration = format!(
            "ListenAddress {}\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            address.ip(),
            address.port(),
            file("host"),
            file("user.pub")
        );
        let path = folder.join("sshd_config");
        std::fs::write(&path, configuration)?;
        let user = tools::say(&PathBuf::from("id"), &["-un"]).trim().to_owned();
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(&path);
        let process = Process::start("sshd", command);
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || start.elapsed() > START_WAIT {
                return Ok(Err(process.finish().stderr.trim().to_owned()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Ok(Self { process, address, folder, user, scp }))
    }
}

/// The settings of scp, for a file or a folder.
pub(super) fn ways(sshd: &Rc<Sshd>, source: &Path) -> Vec<Box<dyn Way>> {
    let way = |(name, options)| {
        let scp = Scp { sshd: Rc::clone(sshd), name, options, source: source.to_owned() };
        Box::new(scp) as Box<dyn Way>
    };
    SETTINGS.map(way).into()
}

impl Way for Scp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fetch(&mut self, to: &Path, interrupt: &Interrupt) -> Result<Moved> {
        let Sshd { process, address, folder, user, scp } = &*self.sshd;
        let mut command = Command::new(scp);
        command.args(["-q", "-r", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", folder.join("known").display()));
        command.args(["-P", &address.port().to_string(), "-i"]).arg(folder.join("user")).args(self.options);
        command.arg(format!("{user}@{}:{}", address.ip(), self.source.display())).arg(to);
        command::run("scp", command, &[("sshd", process.id())], interrupt)
    }
}
