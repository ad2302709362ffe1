//! What the tests have in common: a configuration from a command line, an environment and a file that is not there.

mod check;
mod example;
mod file;
mod precedence;
mod values;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;

use super::{Arguments, Problems, Settings};

/// What `server ARGUMENTS` is told when these variables are set.
fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let arguments = Arguments::try_parse_from([&["server"], arguments].concat());
    let look_up = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Settings::load(arguments.expect("the command line is good"), look_up)
}

/// The same, which must be good, as its debug text: settings have patterns, which cannot be compared.
#[track_caller]
fn loaded(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    match load(arguments, variables) {
        Ok(settings) => format!("{settings:#?}"),
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
