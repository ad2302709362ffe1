//! External programs, and what every report begins with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use integration::{Process, repository};
use measure::Report;

use crate::interrupt::Interrupt;
use crate::{Extent, machine};

/// Directories of system programs, which are often not in PATH.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// Interval of the checks for Ctrl-C while a program runs.
const LOOK: Duration = Duration::from_millis(20);

/// The path of the program `name`, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The output of a program that prints its version.
pub(crate) fn say(program: &PathBuf, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return String::new();
    };
    // nginx prints it to standard error, and wrk exits with an error.
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The first word of `text` that looks like a version.
pub(crate) fn version_in(text: &str) -> String {
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    let version = words.find_map(|word| {
        let number = word.trim_start_matches('v');
        (number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.')).then_some(number)
    });
    version.unwrap_or("of unknown version").to_owned()
}

/// Runs `command` to its end, and returns its standard output.
pub(crate) fn output(name: &str, command: Command, interrupt: &Interrupt) -> Result<String> {
    let process = Process::start(name, command);
    while !process.wait_end(LOOK) {
        interrupt.check()?;
    }
    // Ctrl-C on a terminal also ends the program.
    interrupt.check()?;
    Ok(process.finish().lines.join("\n"))
}

/// The revision of this repository.
pub(crate) fn revision() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .current_dir(repository())
        .output();
    let revision = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    revision.ok().filter(|revision| !revision.is_empty()).unwrap_or_else(|| "of unknown revision".to_owned())
}

/// Notes in the report that something was not measured, and why.
pub(crate) fn skip(report: &mut Report, text: String) {
    eprintln!("Not measured: {text}");
    report.skipped.push(text);
}

/// The report of a suite, in which nothing has been measured yet.
pub(crate) fn report(
    suite: &str,
    rival: &str,
    versions: BTreeMap<String, String>,
    extent: &Extent,
) -> Report {
    Report {
        suite: suite.to_owned(),
        rival: rival.to_owned(),
        date: httpdate::fmt_http_date(SystemTime::now()),
        machine: machine::this(),
        versions,
        turns: extent.turns(),
        seconds_per_turn: extent.seconds(),
        shapes: Vec::new(),
        idle: Vec::new(),
        attacks: Vec::new(),
        goals: Vec::new(),
        notes: Vec::new(),
        skipped: Vec::new(),
    }
}
