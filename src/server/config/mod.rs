//! The server's configuration: command line, environment and a TOML file, in this order of precedence, over defaults.
//!
//! `options.rs` defines each option once, for clap and for serde. The sources are applied one after the other, the weakest
//! first. serde reads a whole file; where it fails, each value is read alone, so that every mistake is reported with its line
//! and column.

mod build;
mod check;
mod environment;
mod file;
mod options;
mod place;
mod site_values;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::mem;
use std::path::{Path, PathBuf};

use actors::Config;
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use wire::escape::{Escaped, EscapedJson};

pub use self::options::{Arguments, LogFormat};
use self::options::{Options, Origins, SiteOptions, defaults, without_defaults};
use self::place::Report;

/// How similar an unknown name has to be to a known one to be taken for a misspelling; `lisen` and `listen` are 0.95.
const SIMILARITY_MIN: f64 = 0.85;

#[derive(Debug, Clone)]
pub struct Settings {
    /// For the actors.
    pub config: Config,
    pub log_format: LogFormat,
    /// Whether it prints only its addresses and warnings.
    pub quiet: bool,
    /// All options in effect, as a configuration file.
    pub summary: String,
    /// The same, with a comment at each that says where it comes from.
    pub origins: String,
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
        let variables: Vec<_> = variables.into_iter().collect();
        let only = |error: clap::Error| Problems(vec![explain(&error)]);
        let typed = without_defaults(Arguments::command_for_update())
            .try_get_matches_from(command_line)
            .map_err(only)?;
        let in_environment =
            variables.iter().find(|(name, value)| *name == "SWITCHBOARD_CONFIG" && !value.is_empty());
        let in_environment = in_environment.map(|(_, path)| PathBuf::from(path));
        let mut problems = Vec::new();
        let options = match typed.get_one("config").cloned().or(in_environment) {
            Some(path) => file::read(&path, &mut problems),
            None => Some(defaults()),
        };
        // Without the file, most of what else is wrong would be guesswork.
        let Some(mut options) = options else { return Err(Problems(problems)) };
        environment::apply(&mut options, &variables, &mut problems);
        options.update_from_arg_matches(&typed).map_err(only)?;
        let (log_format, quiet) = (options.server.log_format, options.server.quiet);
        let given = typed.ids().map(clap::Id::as_str);
        given.filter(|key| typed.value_source(key) == Some(ValueSource::CommandLine)).for_each(|key| {
            options.origins.set(key, "command line");
        });
        options.fill_in();
        let summary = summary(&options);
        let origins = with_origins(&summary, &options.origins);
        let (given, places) = (mem::take(&mut options.origins), mem::take(&mut options.places));
        let mut report = Report { origins: &given, places: &places, problems: &mut problems };
        let config = build::build(options, &mut report);
        if typed.get_flag("check") {
            check::check(&config, &mut report);
        }
        if problems.is_empty() {
            Ok(Self { config, log_format, quiet, summary, origins })
        } else {
            Err(Problems(problems))
        }
    }
}

/// All options as a configuration file that is safe to print.
fn summary(options: &Options) -> String {
    // TOML cannot express paths that are not UTF-8.
    let server = toml::to_string(&options.server).unwrap_or_else(|_| format!("{:#?}", options.server));
    let site = |site: &SiteOptions| toml::to_string(site).unwrap_or_else(|_| format!("{site:#?}"));
    let sites = options.sites.iter().map(|options| format!("[[site]]\n{}", site(options)));
    let text: String = [server, site(&options.site)].into_iter().chain(sites).collect();
    // Strings of TOML have the escapes of JSON.
    EscapedJson(&text).to_string()
}

/// Adds where each option of the server and of the default site comes from. Other sites are always in the file.
fn with_origins(summary: &str, origins: &Origins) -> String {
    let (all, sites) = summary.find("[[site]]").map_or((summary, ""), |at| summary.split_at(at));
    let line = |line: &str| match line.split_once(" = ") {
        Some((key, _)) => format!("{line:<50} # {}\n", origins.of(key)),
        None => format!("{line}\n"),
    };
    all.lines().map(line).chain([sites.to_owned()]).collect()
}

/// Everything that is wrong with a configuration: where it is, if it is in one place, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// The argument of the command line that gives `value` to an option.
fn argument(key: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(format!("--{}=", key.replace('_', "-")));
    argument.push(value);
    argument
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

/// A hint at the most similar of the known names, if one is similar enough. `prefix` is what all of them start with.
fn did_you_mean(prefix: &str, name: &str, known: &[String]) -> String {
    let similar = known.iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let nearest = similar.filter(|(value, _)| *value >= SIMILARITY_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, known)| format!("; did you mean {prefix}{known}?"))
}

fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}
