//! The programs of others that take part.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use integration::Process;

use crate::interrupt::Interrupt;

/// Where a system keeps what only its administrator calls; often not in PATH.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// How often Ctrl-C is looked for while a program runs.
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

/// Runs `command` to its end, and returns its standard output.
pub(crate) fn output(name: &str, command: Command, interrupt: &Interrupt) -> Result<String> {
    let process = Process::start(name, command);
    while !process.wait_end(LOOK) {
        interrupt.check()?;
    }
    // Ctrl-C at a terminal ends it too.
    interrupt.check()?;
    Ok(process.finish().lines.join("\n"))
}
