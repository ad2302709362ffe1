//! The programs of others that take part.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::interrupt::Interrupt;

/// Where a system keeps what only its administrator calls; often not in PATH.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// How often a running program is asked whether it has ended; nothing beside turns of seconds.
const LOOK: Duration = Duration::from_millis(20);

/// The program `name`, if the system has it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// All that a program says when it is asked for its version.
pub(crate) fn say(program: &PathBuf, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return String::new();
    };
    // nginx says it on standard error, and wrk fails after it.
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The first word of `text` that looks like a version.
pub(crate) fn version_in(text: &str) -> String {
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    version.unwrap_or("of unknown version").to_owned()
}

/// A program that runs beside; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts `command`; its output goes where the command says.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {name}"))?))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self, interrupt: &Interrupt) -> Result<()> {
        while !self.has_ended()? {
            interrupt.check()?;
            std::thread::sleep(LOOK);
        }
        // Ctrl-C at a terminal ends it too.
        interrupt.check()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Harmless when it has ended and was waited for: then std knows.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command`, which must not say more than a pipe holds, to its end, and returns its standard output.
pub(crate) fn output(command: &mut Command, interrupt: &Interrupt) -> Result<String> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    running.wait(interrupt)?;
    let mut text = String::new();
    if let Some(mut stdout) = running.0.stdout.take() {
        stdout.read_to_string(&mut text).context("a program says what is not text")?;
    }
    Ok(text)
}
