//! The TOML file: a key for each option, with `_` for `-`, and a table `[[site]]` for each site with host names of its own.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Command};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::options::{Options, Origins, SiteOptions, defaults, keys};
use super::place::Places;
use super::{did_you_mean, shown};

/// Larger files are refused, so that a device or a disk image is not read by mistake.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Keys that are no options of the command line, and that can have several values.
const SITE: &str = "site";
const HOSTS: &str = "hosts";
/// Paths. The server has options of these names, and so has a site in the file.
const CERTIFICATES: [&str; 2] = ["tls_cert", "tls_key"];

type Table<'t> = DeTable<'t>;
type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a file. Relative paths in it are relative to its directory. None if it is not TOML at all.
pub(super) fn read(path: &Path, problems: &mut Vec<String>) -> Option<Options> {
    let text = match path.to_str() {
        Some(_) => read_text(path),
        // Relative paths in it could not be written as TOML.
        None => Err(io::Error::new(io::ErrorKind::InvalidFilename, "its path is not UTF-8")),
    };
    match text {
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

/// As [`read`], from the text of the file.
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<String>) -> Option<Options> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader { folder, problems: Vec::new(), values: Vec::new() };
    let options = match DeTable::parse(text) {
        Ok(table) => Some(reader.top(table.into_inner())),
        Err(error) => {
            reader.blame(error.span().unwrap_or(0..0), error.message());
            None
        }
    };
    reader.problems.sort_by_key(|(offset, _)| *offset);
    let place = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("{}:{line}:{column}", shown(path))
    };
    let said = reader.problems.into_iter().map(|(offset, message)| format!("{}: {message}", place(offset)));
    problems.extend(said);
    let mut options = options?;
    for (site, key, values) in reader.values {
        options.places.set(site, &key, values.into_iter().map(place).collect());
    }
    Some(options)
}

struct Reader<'t> {
    folder: &'t Path,
    /// Offsets in the text, and what is wrong there.
    problems: Vec<(usize, String)>,
    /// The offsets of the values of each key, with the number of the site if it is in one.
    values: Vec<(Option<usize>, String, Vec<usize>)>,
}

impl Reader<'_> {
    fn blame(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push((span.start, message.into()));
    }

    fn top(&mut self, mut table: Table<'_>) -> Options {
        let sites = table.remove(SITE).map(items).unwrap_or_default();
        let (mut taken, mut read) = (HashSet::new(), Vec::new());
        for site in sites {
            read.extend(self.site(site, read.len(), &mut taken));
        }
        let known: Vec<String> = keys::<Options>().chain([SITE.to_owned()]).collect();
        let mut table = self.without_unknown(table, &known);
        let mut origins = Origins::default();
        table.keys().for_each(|key| origins.set(key.get_ref(), Origins::FILE));
        self.note_values(None, &table);
        let server = self.options(table.clone());
        for key in CERTIFICATES {
            table.remove(key);
        }
        // Each of the two ignores the keys of the other.
        Options { server, site: self.options(table), sites: read, origins, places: Places::default() }
    }

    fn note_values(&mut self, site: Option<usize>, table: &Table<'_>) {
        for (key, value) in table {
            let offsets = match value.get_ref() {
                DeValue::Array(items) if !items.is_empty() => {
                    items.iter().map(|item| item.span().start).collect()
                }
                _ => vec![value.span().start],
            };
            self.values.push((site, key.get_ref().to_string(), offsets));
        }
    }

    /// A `[[site]]`; `taken` has the host names of those before it.
    fn site(&mut self, value: Value<'_>, number: usize, taken: &mut HashSet<String>) -> Option<SiteOptions> {
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.blame(span, "a site is a table that starts with [[site]]");
            return None;
        };
        for key in ["root", HOSTS] {
            if !table.contains_key(key) {
                self.blame(span.clone(), format!("the key {key} is missing here"));
            }
        }
        let own = [HOSTS].into_iter().chain(CERTIFICATES).map(str::to_owned);
        let known: Vec<String> = keys::<SiteOptions>().chain(own).collect();
        let hosts = table.get(HOSTS).cloned().map(items);
        if hosts.as_ref().is_some_and(Vec::is_empty) {
            self.blame(span, "this site has no host");
        }
        let table = self.without_unknown(table, &known);
        self.note_values(Some(number), &table);
        let site: SiteOptions = self.options(table);
        for (host, value) in site.hosts.iter().zip(hosts.unwrap_or_default()) {
            if !taken.insert(host.value.0.clone()) {
                self.blame(value.span(), format!("{} is already the host of a site", host.value.0));
            }
        }
        Some(site)
    }

    fn without_unknown<'t>(&mut self, table: Table<'t>, known: &[String]) -> Table<'t> {
        let is_known = |key: &str| known.iter().any(|known| known == key);
        let (table, unknown): (Table<'_>, Table<'_>) =
            table.into_iter().partition(|(key, _)| is_known(key.get_ref()));
        for key in unknown.keys() {
            let hint = did_you_mean("", &key.get_ref().replace('-', "_"), known);
            self.blame(key.span(), format!("unknown key {:?}{hint}", key.get_ref()));
        }
        table
    }

    /// The options of `T` in `table`; other keys are ignored. A key with a wrong value is as if it were missing.
    fn options<T: Args + DeserializeOwned>(&mut self, mut table: Table<'_>) -> T {
        self.normalize::<T>(&mut table);
        let mut good = Table::new();
        // serde stops at the first mistake, so each value is read alone first.
        for (key, value) in table {
            let before = self.problems.len();
            let is_list = value.get_ref().is_array();
            for item in items(value.clone()) {
                let span = item.span();
                let item = if is_list { list(item) } else { item };
                if let Err(error) = read_table::<T>(Table::from_iter([(key.clone(), item)])) {
                    self.blame(error.span().unwrap_or(span), error.message());
                }
            }
            if self.problems.len() == before {
                good.insert(key, value);
            }
        }
        read_table(good).unwrap_or_else(|error| {
            self.blame(error.span().unwrap_or(0..0), error.message());
            defaults()
        })
    }

    /// Makes lists of single values of options that are lists, and relative paths relative to the directory of the file.
    fn normalize<T: Args>(&mut self, table: &mut Table<'_>) {
        let command = T::augment_args(Command::new(""));
        for (key, value) in table.iter_mut() {
            let option = command.get_arguments().find(|option| option.get_id() == &**key.get_ref());
            let is_list = option.is_none_or(|option| matches!(option.get_action(), ArgAction::Append));
            if is_list && !value.get_ref().is_array() {
                *value = list(value.clone());
            }
            let is_path = option.is_some_and(|o| o.get_value_parser().type_id() == TypeId::of::<PathBuf>())
                || CERTIFICATES.contains(&&**key.get_ref());
            match value.get_mut() {
                DeValue::String(path) if is_path && path.is_empty() => {
                    self.problems.push((value.span().start, "a path cannot be empty".to_owned()));
                }
                DeValue::String(path) if is_path => rebase(self.folder, "", path),
                DeValue::Array(items) if is_path || &**key.get_ref() == "listen" => {
                    let prefix = if is_path { "" } else { "unix:" };
                    for item in items.iter_mut() {
                        if let DeValue::String(text) = item.get_mut() {
                            rebase(self.folder, prefix, text);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Makes the path after `prefix` relative to `folder`; leaves other texts as they are.
fn rebase(folder: &Path, prefix: &str, text: &mut Cow<'_, str>) {
    if let Some(path) = text.strip_prefix(prefix).filter(|path| !path.is_empty()) {
        *text = format!("{prefix}{}", folder.join(path).display()).into();
    }
}

fn read_table<T: DeserializeOwned>(table: Table<'_>) -> Result<T, toml::de::Error> {
    T::deserialize(ValueDeserializer::from(Spanned::new(0..0, DeValue::Table(table))))
}

/// The values of a key: a list, or one alone.
fn items(value: Value<'_>) -> Vec<Value<'_>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(items) => items.into_iter().collect(),
        other => vec![Spanned::new(span, other)],
    }
}

fn list(item: Value<'_>) -> Value<'_> {
    Spanned::new(item.span(), DeValue::Array([item].into_iter().collect()))
}
