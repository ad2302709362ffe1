//! The environment: a variable `SWITCHBOARD_NAME` for each option, with the value as on the command line.

use std::ffi::{OsStr, OsString};

use clap::{Args, Command, CommandFactory};
use wire::escape::Escaped;

use super::options::{Arguments, Options};
use super::{Layer, check_value, is_list, nearest};

const PREFIX: &str = "SWITCHBOARD_";

/// Reads the variables that start with [`PREFIX`].
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<String>,
) -> Layer {
    let mut command = Arguments::command().no_binary_name(true);
    let options = Options::augment_args(Command::new("server"));
    let ids = options.get_arguments().map(|option| option.get_id().as_str()).chain(["config"]);
    let known: Vec<(String, &str)> = ids.map(|id| (id.to_ascii_uppercase(), id)).collect();
    let mut layer = Layer::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(suffix) = name.strip_prefix(PREFIX).filter(|suffix| !is_of_kubernetes(suffix)) else {
            continue;
        };
        let Some(&(_, id)) = known.iter().find(|(variable, _)| variable == suffix) else {
            let hint = nearest(suffix, known.iter().map(|(variable, _)| &**variable));
            let hint =
                hint.map_or_else(String::new, |variable| format!("; did you mean {PREFIX}{variable}?"));
            problems.push(format!("{}: the server has no such variable{hint}", Escaped(&name)));
            continue;
        };
        let mut values = values(&value);
        if values.len() > 1 && !options.get_arguments().any(|option| option.get_id() == id && is_list(option))
        {
            problems.push(format!("{name}: this option has one value only"));
            continue;
        }
        values.retain(|value| {
            let checked = check_value(&mut command, id, value);
            checked.map_err(|message| problems.push(format!("{name}: {message}"))).is_ok()
        });
        layer.push((id.to_owned(), values));
    }
    layer
}

/// Whether Kubernetes sets this variable for a service with the name `switchboard`.
fn is_of_kubernetes(suffix: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].contains(&suffix)
        || ["SERVICE_PORT_", "PORT_"].iter().any(|start| suffix.starts_with(start))
}

/// The lines of a variable: commas and semicolons can be part of a value. Empty lines, and so an empty variable, set
/// nothing.
fn values(value: &OsStr) -> Vec<OsString> {
    match value.to_str() {
        Some(text) => text.lines().filter(|line| !line.trim().is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    }
}
