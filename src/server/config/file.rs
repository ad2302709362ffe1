//! The TOML file: a key for each option, with `_` for `-`, and a table `[[site]]` for each site with host names of its own.

use std::any::TypeId;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::config::Listen;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches as _};
use globset::GlobMatcher;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use wire::http::Status;

use super::options::{Options, Rules, SiteOptions};
use super::site_values::{
    cache_control, cache_control_from, header, header_from, host, pattern, redirect, redirect_from,
    redirect_status,
};
use super::{Layer, argument, check_value, explain, is_list, nearest, shown};

/// Larger files are no configurations; a device or a disk image named by mistake is not read to its end.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The keys of [`Rules`].
const RULES: [&str; 3] = ["header", "cache_control", "redirect"];

type Value<'t> = Spanned<DeValue<'t>>;

/// What a file sets.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The options of the server and its default site.
    pub(super) layer: Layer,
    /// The rules of the default site.
    pub(super) rules: Rules,
    /// The other sites.
    pub(super) sites: Vec<NamedSite>,
}

/// A site with host names of its own.
#[derive(Debug)]
pub(super) struct NamedSite {
    pub(super) table: SiteTable,
    /// What `table` was made of, defaults included.
    pub(super) matches: ArgMatches,
}

/// The keys of a `[[site]]`.
#[derive(Debug, Args)]
pub(super) struct SiteTable {
    #[arg(long, value_parser = host)]
    pub(super) hosts: Vec<String>,
    #[command(flatten)]
    pub(super) options: SiteOptions,
}

/// A rule for a header field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderTable {
    #[serde(default, deserialize_with = "paths")]
    paths: Option<GlobMatcher>,
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheControlTable {
    #[serde(default, deserialize_with = "paths")]
    paths: Option<GlobMatcher>,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectTable {
    from: String,
    to: String,
    #[serde(default, deserialize_with = "status")]
    status: Option<Status>,
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GlobMatcher>, D::Error> {
    pattern(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Status>, D::Error> {
    let status = u16::deserialize(deserializer)?;
    redirect_status(&status.to_string()).map(Some).map_err(D::Error::custom)
}

/// Reads a file. Relative paths in it are relative to its directory. None if it is not TOML at all.
pub(super) fn read(path: &Path, problems: &mut Vec<String>) -> Option<File> {
    match read_text(path) {
        Ok(text) => parse(path, &text, problems),
        Err(error) => {
            problems.push(format!("cannot read the configuration {}: {error}", shown(path)));
            None
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for one"));
    }
    Ok(text)
}

/// The same from the file's text.
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<String>) -> Option<File> {
    let mut reader = Reader { folder: path.parent().unwrap_or(Path::new("")), problems: Vec::new() };
    let file = match DeTable::parse(text) {
        Ok(table) => Some(reader.top(table.get_ref())),
        Err(error) => {
            reader.blame(error.span().unwrap_or(0..0), error.message());
            None
        }
    };
    reader.problems.sort_by_key(|(offset, _)| *offset);
    problems.extend(reader.problems.into_iter().map(|(offset, message)| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("{}:{line}:{column}: {message}", shown(path))
    }));
    file
}

/// Reads tables key by key, so that it finds every mistake; deserializing all of it with serde would stop at the first.
struct Reader<'t> {
    folder: &'t Path,
    /// Offsets in the text, and what is wrong there.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn blame(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push((span.start, message.into()));
    }

    fn top(&mut self, table: &DeTable<'_>) -> File {
        let layer = self.layer(Options::augment_args(Command::new("")), table, &["site"]);
        let rules = self.rules(table);
        let mut taken = HashSet::new();
        let sites = table.get("site").map(items).unwrap_or_default();
        let sites = sites.iter().filter_map(|site| self.site(site, &mut taken)).collect();
        File { layer, rules, sites }
    }

    /// A `[[site]]`; `taken` has the host names of those before it.
    fn site(&mut self, value: &Value<'_>, taken: &mut HashSet<String>) -> Option<NamedSite> {
        let DeValue::Table(table) = value.get_ref() else {
            self.blame(value.span(), "a site is a table that starts with [[site]]");
            return None;
        };
        for key in ["root", "hosts"] {
            if !table.contains_key(key) {
                self.blame(value.span(), format!("the key {key} is missing here"));
            }
        }
        let hosts = table.get("hosts").map(items);
        if hosts.is_some_and(<[_]>::is_empty) {
            self.blame(value.span(), "this site has no host");
        }
        for value in hosts.unwrap_or_default() {
            let name = value.get_ref().as_str().and_then(|text| host(text).ok());
            if let Some(name) = name.filter(|name| !taken.insert(name.clone())) {
                self.blame(value.span(), format!("{name} is already the host of a site"));
            }
        }
        let command = SiteTable::augment_args(Command::new("").no_binary_name(true));
        let layer = self.layer(command.clone(), table, &[]);
        let arguments = layer.iter().flat_map(|(id, values)| values.iter().map(|value| argument(id, value)));
        let read = command.try_get_matches_from(arguments);
        match read.and_then(|matches| Ok((SiteTable::from_arg_matches(&matches)?, matches))) {
            Ok((mut table_read, matches)) => {
                table_read.options.rules = self.rules(table);
                Some(NamedSite { table: table_read, matches })
            }
            Err(error) => {
                self.blame(value.span(), explain(&error));
                None
            }
        }
    }

    /// Reads the options of `command`, except for the rules. `others` are keys that the caller reads.
    fn layer(&mut self, command: Command, table: &DeTable<'_>, others: &[&str]) -> Layer {
        let options: Vec<Arg> = command.get_arguments().cloned().collect();
        let mut command = command.no_binary_name(true);
        let mut layer = Layer::new();
        for (key, value) in table {
            let name = &**key.get_ref();
            if others.contains(&name) || RULES.contains(&name) {
                continue;
            }
            let Some(option) = options.iter().find(|option| option.get_id() == name) else {
                let known =
                    options.iter().map(|option| option.get_id().as_str()).chain(others.iter().copied());
                let hint = nearest(&name.replace('-', "_"), known);
                let hint = hint.map_or_else(String::new, |known| format!("; did you mean {known}?"));
                self.blame(key.span(), format!("unknown key {name:?}{hint}"));
                continue;
            };
            let values = if is_list(option) { items(value) } else { std::slice::from_ref(value) };
            let values = values.iter().filter_map(|value| {
                let read = text(option, value.get_ref());
                let checked = read.and_then(|text| {
                    check_value(&mut command, name, text.as_ref()).map(|()| self.rebased(option, text))
                });
                checked.map_err(|message| self.blame(value.span(), message)).ok()
            });
            layer.push((name.to_owned(), values.collect()));
        }
        layer
    }

    /// The value with a relative path in it relative to the file's directory.
    fn rebased(&self, option: &Arg, text: String) -> OsString {
        let kind = option.get_value_parser().type_id();
        if kind == TypeId::of::<PathBuf>() {
            return self.folder.join(text).into();
        }
        match text.strip_prefix("unix:") {
            Some(path) if kind == TypeId::of::<Listen>() => {
                let mut listen = OsString::from("unix:");
                listen.push(self.folder.join(path));
                listen
            }
            _ => text.into(),
        }
    }

    fn rules(&mut self, table: &DeTable<'_>) -> Rules {
        Rules {
            header: self
                .rule(table, "header", header, |t: HeaderTable| header_from(t.paths, &t.name, &t.value)),
            cache_control: self.rule(table, "cache_control", cache_control, |t: CacheControlTable| {
                cache_control_from(t.paths, &t.value)
            }),
            redirect: self.rule(table, "redirect", redirect, |t: RedirectTable| {
                redirect_from(&t.from, &t.to, t.status)
            }),
        }
    }

    /// The rules at `key`, each a text as on the command line or a table.
    fn rule<T: DeserializeOwned, R>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        from_text: fn(&str) -> Result<R, String>,
        from_table: fn(T) -> Result<R, String>,
    ) -> Vec<R> {
        let values = table.get(key).map(items).unwrap_or_default();
        let rules = values.iter().filter_map(|value| {
            let read = match value.get_ref() {
                DeValue::String(text) => from_text(text).map_err(|message| (value.span(), message)),
                DeValue::Table(_) => T::deserialize(ValueDeserializer::from(value.clone()))
                    .map_err(|error| (error.span().unwrap_or(value.span()), error.message().to_owned()))
                    .and_then(|table| from_table(table).map_err(|message| (value.span(), message))),
                other => {
                    Err((value.span(), format!("expected a string or a table, found {}", other.type_str())))
                }
            };
            read.map_err(|(span, message)| self.blame(span, message)).ok()
        });
        rules.collect()
    }
}

/// The values of a key: a list, or one alone.
fn items<'v, 't>(value: &'v Value<'t>) -> &'v [Value<'t>] {
    match value.get_ref() {
        DeValue::Array(values) => values,
        _ => std::slice::from_ref(value),
    }
}

/// A value as on the command line, if it has the type of the option.
fn text(option: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let kind = option.get_value_parser().type_id();
    let numbers = [
        (TypeId::of::<usize>(), "a whole number"),
        (TypeId::of::<u64>(), "a size such as 65536 or \"64M\""),
        (TypeId::of::<Duration>(), "a time such as \"30s\""),
    ];
    let number = numbers.iter().find(|(number, _)| kind == *number);
    let is_switch = kind == TypeId::of::<bool>();
    match value {
        DeValue::Boolean(value) if is_switch => Ok(value.to_string()),
        DeValue::String(text) if !is_switch => Ok(text.to_string()),
        // Without the underscores that TOML allows.
        DeValue::Integer(value) if value.radix() == 10 && number.is_some() => Ok(value.as_str().to_owned()),
        other => {
            let base = if other.is_integer() && number.is_some() { " in decimal" } else { "" };
            let expected = match number {
                Some((_, words)) => words,
                None if is_switch => "true or false",
                None => "a string",
            };
            Err(format!("expected {expected}{base}, found {}", other.type_str()))
        }
    }
}
