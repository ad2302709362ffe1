//! The environment: a variable `SWITCHBOARD_NAME` for each option, with the value as on the command line.

use std::ffi::{OsStr, OsString};

use wire::escape::Escaped;

use super::options::{Options, keys};
use super::{did_you_mean, explain};

const PREFIX: &str = "SWITCHBOARD_";

/// Sets `options` to what the variables that start with [`PREFIX`] say.
pub(super) fn apply(options: &mut Options, variables: &[(OsString, OsString)], problems: &mut Vec<String>) {
    let keys: Vec<String> = keys::<Options>().chain(["config".to_owned()]).collect();
    let known: Vec<String> = keys.iter().map(|key| key.to_ascii_uppercase()).collect();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(suffix) = name.strip_prefix(PREFIX).filter(|suffix| !is_of_kubernetes(suffix)) else {
            continue;
        };
        let Some(index) = known.iter().position(|variable| variable == suffix) else {
            let hint = did_you_mean(PREFIX, suffix, &known);
            problems.push(format!("{}: the server has no such variable{hint}", Escaped(&name)));
            continue;
        };
        let values = values(value);
        // Settings::load has read the file already.
        if keys[index] == "config" || values.is_empty() {
            continue;
        }
        options.origins.set(&keys[index], "environment");
        if let Err(error) = options.set(&keys[index], &values) {
            problems.push(format!("{name}: {}", explain(&error)));
        }
    }
}

/// Whether Kubernetes sets this variable for a service with the name `switchboard`.
fn is_of_kubernetes(suffix: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].contains(&suffix)
        || ["SERVICE_PORT_", "PORT_"].iter().any(|start| suffix.starts_with(start))
}

/// The lines of a variable, because commas and semicolons can be part of a value. Empty lines, and so an empty variable,
/// set nothing.
fn values(value: &OsStr) -> Vec<OsString> {
    match value.to_str() {
        Some(text) => text.lines().filter(|line| !line.trim().is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    }
}
