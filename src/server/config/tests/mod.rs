//! What the tests have in common: a configuration from a command line, an environment and a file that is not there.

mod check;
mod example;
mod file;
mod precedence;
mod values;

use std::ffi::OsString;
use std::path::Path;

use super::{Problems, Settings};

/// What `server ARGUMENTS` is told when these variables are set.
fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let command_line: Vec<OsString> = ["server"].iter().chain(arguments).map(OsString::from).collect();
    Settings::load(&command_line, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

/// The same, which must be good, as its debug text: settings have patterns, which cannot be compared.
#[track_caller]
fn loaded(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    match load(arguments, variables) {
        Ok(Settings { config, log_format, quiet, .. }) => format!("{config:#?} {log_format:?} {quiet}"),
        Err(problems) => panic!("{problems}"),
    }
}

/// A folder with a file `server.toml` of this text.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    std::fs::write(folder.path().join("server.toml"), text).expect("the folder can be written");
    folder
}

/// The path of something in a folder, as an argument.
fn path_in(folder: &tempfile::TempDir, name: &str) -> String {
    text_of(&folder.path().join(name))
}

fn text_of(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_owned()
}
