//! The environment: a variable `SWITCHBOARD_NAME` for each option, read as the command line would be.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser};

use super::arguments::Arguments;
use super::options::{Options, Over};
use super::problem::{Place, Problem};

/// What only a person says, to a process that ends with the answer.
const ONLY_ARGUMENTS: [&str; 5] = ["check", "completions", "hash-password", "help", "version"];

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The file to read.
    pub(super) config: Option<PathBuf>,
    /// Everything else.
    pub(super) options: Options,
}

/// The variable of an option.
pub(super) fn variable(option: &str) -> String {
    format!("SWITCHBOARD_{}", option.replace('-', "_").to_ascii_uppercase())
}

/// Reads all variables with `look_up`.
pub(super) fn read(look_up: impl Fn(&str) -> Option<OsString>, problems: &mut Vec<Problem>) -> Environment {
    let mut environment = Environment::default();
    let command = Arguments::command();
    let options = command.get_arguments().filter_map(clap::Arg::get_long);
    for option in options.filter(|option| !ONLY_ARGUMENTS.contains(option)) {
        let name = variable(option);
        let Some(value) = look_up(&name) else { continue };
        // Each by itself, so that all that are wrong are found.
        match Arguments::try_parse_from(as_arguments(option, &value)) {
            Ok(said) => {
                environment.config = said.config.over(environment.config);
                environment.options = said.options.over(environment.options);
            }
            Err(error) => problems.push(Problem { place: Place::Variable(name), message: explain(&error) }),
        }
    }
    environment
}

/// Several values stand on a line each: a comma or a semicolon can be part of one. Empty lines say nothing, and neither
/// does the empty variable that `NAME=` leaves.
fn as_arguments(option: &str, value: &OsStr) -> Vec<OsString> {
    let lines: Vec<OsString> = match value.to_str() {
        Some(text) => text.lines().filter(|line| !line.trim().is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    };
    let argument = |value: OsString| {
        let mut argument = OsString::from(format!("--{option}="));
        argument.push(value);
        argument
    };
    std::iter::once(OsString::from("server")).chain(lines.into_iter().map(argument)).collect()
}

/// The reason alone: the option has not been typed, so its name would mislead.
fn explain(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    let context = |kind| error.get(kind).map(ToString::to_string);
    match (error.kind(), context(ContextKind::InvalidValue), context(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(value), Some(valid)) => format!("{value:?} is not one of {valid}"),
        (ErrorKind::ArgumentConflict, ..) => "it can have one value only".to_owned(),
        // What clap says about it starts with one line that says everything.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
