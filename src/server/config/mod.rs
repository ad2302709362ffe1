//! How the server is told what to do: by its command line, its environment and a file, in this order of weight, over
//! defaults.
//!
//! Each source is read into the same `Options`; values are checked where they are read, so that a mistake is named
//! with its line and column. What has to fit together is checked when a [`Config`] is made of all of them.

mod arguments;
mod build;
mod check;
mod environment;
mod file;
mod options;
mod problem;
mod section;
mod site_values;
mod summary;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use actors::Config;

pub use self::arguments::Arguments;
use self::file::File;
use self::options::Over;
pub use self::problem::{Place, Problem, Problems};
pub use self::values::LogFormat;

/// All that a server was told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What its actors have to know.
    pub config: Config,
    /// How it prints what happens.
    pub log_format: LogFormat,
    /// Whether it prints only its address and what goes wrong.
    pub quiet: bool,
}

impl Settings {
    /// Puts together what the command line, the environment (where `look_up` finds a variable) and the file that one
    /// of them names say. With `--check` it also looks whether what they name is there.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(arguments: Arguments, look_up: impl Fn(&str) -> Option<OsString>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let environment = environment::read(look_up, &mut problems);
        let file = match arguments.config.or(environment.config) {
            Some(path) => file::read(&path, &mut problems),
            None => Some(File::default()),
        };
        // Without the file, what else is wrong would be guesswork.
        let Some(file) = file else { return Err(Problems(problems)) };
        let options = arguments.options.over(environment.options).over(file.options);
        let log_format = options.log.log_format.unwrap_or_default();
        let quiet = options.log.quiet.unwrap_or(false);
        let config = build::build(options, file.sites, &mut problems);
        if arguments.check {
            problems.append(&mut check::check(&config));
        }
        if problems.is_empty() { Ok(Self { config, log_format, quiet }) } else { Err(Problems(problems)) }
    }

    /// What would be served, in lines for a person.
    pub fn summary(&self) -> String {
        summary::summary(&self.config)
    }
}
