//! The server's configuration: command line, environment and a TOML file, in this order of precedence, over defaults.
//!
//! clap defines each option once: its name, its default and the grammar of its value. The environment and the file are
//! translated to arguments. Those that a stronger source does not give are put before the command line, and clap parses all
//! of them together. Each value is also parsed on its own, so that every mistake is reported with its variable or with its
//! line and column.

mod build;
mod check;
mod environment;
mod file;
mod options;
mod site_values;
mod summary;
mod values;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use actors::Config;
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use wire::escape::Escaped;

use self::file::File;
pub use self::options::{Arguments, LogFormat};

/// How similar an unknown name has to be to a known one to be taken for a misspelling; `lisen` and `listen` are 0.95.
const SIMILARITY_MIN: f64 = 0.85;

/// What one source sets: option names with `_` for `-`, and their values as on the command line.
type Layer = Vec<(String, Vec<OsString>)>;

/// The complete configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the actors.
    pub config: Config,
    /// How the process prints its log.
    pub log_format: LogFormat,
    /// Whether it prints only its addresses and warnings.
    pub quiet: bool,
    /// All options in effect, one a line.
    pub summary: String,
}

impl Settings {
    /// Combines `command_line` (with the name of the program), the variables of the environment, and the file that one of
    /// the two names. With `--check`, also looks at the disk for what is named.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(
        command_line: &[OsString],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let environment = environment::read(variables, &mut problems);
        let arguments = overlay(command_line, &[&environment]).map_err(|e| Problems(vec![e]))?;
        let file = match Arguments::from_arg_matches(&arguments).map(|arguments| arguments.config) {
            Ok(Some(path)) => file::read(&path, &mut problems),
            _ => Some(File::default()),
        };
        // Without the file, most of what else is wrong would be guesswork.
        let Some(File { layer, rules, sites }) = file else { return Err(Problems(problems)) };
        let matches = overlay(command_line, &[&environment, &layer]).map_err(|e| Problems(vec![e]))?;
        let Arguments { mut options, check, .. } =
            Arguments::from_arg_matches(&matches).map_err(|e| Problems(vec![explain(&e)]))?;
        options.site.rules = options.site.rules.or(rules);
        let (log_format, quiet) = (options.log.log_format, options.log.quiet);
        let mut summary = summary::of_server(&matches);
        let named = sites.iter().map(|site| (&site.matches, &site.table.options, &site.table.hosts[..]));
        for (matches, site, hosts) in std::iter::once((&matches, &options.site, &[][..])).chain(named) {
            summary.push_str(&summary::of_site(matches, site, hosts));
        }
        let config = build::build(options, sites, &mut problems);
        if check {
            problems.append(&mut check::check(&config));
        }
        if problems.is_empty() {
            Ok(Self { config, log_format, quiet, summary })
        } else {
            Err(Problems(problems))
        }
    }
}

/// Everything that is wrong with a configuration: where it is, if it is in one place, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Parses the command line over `layers`, of which the first has precedence over those after it.
fn overlay(command_line: &[OsString], layers: &[&Layer]) -> Result<ArgMatches, String> {
    let parse = |arguments: &[OsString]| {
        Arguments::command().try_get_matches_from(arguments).map_err(|error| explain(&error))
    };
    let (program, typed) = command_line.split_at(command_line.len().min(1));
    let matches = parse(command_line)?;
    let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut given: HashSet<&str> = matches.ids().map(clap::Id::as_str).filter(is_typed).collect();
    let mut arguments = program.to_vec();
    for (id, values) in layers.iter().copied().flatten() {
        // A list replaces a list: whoever names one redirect does not want those of the file as well.
        if !values.is_empty() && given.insert(id) {
            arguments.extend(values.iter().map(|value| argument(id, value)));
        }
    }
    arguments.extend_from_slice(typed);
    parse(&arguments)
}

fn argument(id: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(format!("--{}=", id.replace('_', "-")));
    argument.push(value);
    argument
}

/// Why `value` is not a value of the option `id` of `command`, which expects no name of a program, if it is not.
fn check_value(command: &mut Command, id: &str, value: &OsStr) -> Result<(), String> {
    command.try_get_matches_from_mut([argument(id, value)]).map(drop).map_err(|error| explain(&error))
}

/// The reason without the name of the option, which the reader may not have typed.
fn explain(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    let context = |kind| error.get(kind).map(ToString::to_string);
    match (error.kind(), context(ContextKind::InvalidValue), context(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(value), Some(valid)) => format!("{value:?} is not one of {valid}"),
        // The first line of clap's own text says everything.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// The most similar of the names that are known, if one is similar enough.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let similar = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let nearest = similar.filter(|(value, _)| *value >= SIMILARITY_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, known)| known)
}

/// Whether the option can be repeated.
fn is_list(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Append)
}

fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}
