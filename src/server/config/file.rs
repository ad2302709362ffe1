//! The TOML file: the options with `_` for `-`, and a table `[[site]]` for each site with host names of its own.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use actors::site::{FieldRule, RedirectRule};
use toml::de::{DeTable, DeValue};
use wire::escape::Escaped;

use super::options::{LogOptions, Options, ServerOptions, SiteOptions};
use super::problem::{BadValue, Problem};
use super::section::{Section, Source, Value, boolean, number, text};
use super::{site_values, values};

/// Larger files are not configurations; a device or a disk image named by mistake is not read to its end.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// At the top: the server and its default site.
    pub(super) options: Options,
    /// The other sites.
    pub(super) sites: Vec<NamedSite>,
}

/// A site with host names of its own.
#[derive(Debug)]
pub(super) struct NamedSite {
    pub(super) hosts: Vec<String>,
    pub(super) options: SiteOptions,
}

/// Reads a file. What is wrong is added to `problems`; what is right is returned, unless it is not TOML at all.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<File> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let path = Escaped(&path.to_string_lossy()).to_string();
            problems.push(Problem::whole(format!("cannot read the configuration {path}: {error}")));
            return None;
        }
    };
    let mut file = parse(path, &text, problems)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    file.options.rebase(folder);
    for site in &mut file.sites {
        site.options.rebase(folder);
    }
    Some(file)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for one"));
    }
    Ok(text)
}

/// The same from the file's text, with paths as they stand there.
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<File> {
    let mut source = Source::new(path, text);
    let file = match DeTable::parse(text) {
        Ok(table) => Some(top(&mut source, table.get_ref())),
        Err(error) => {
            source.blame(error.span().unwrap_or(0..0), error.message().to_owned());
            None
        }
    };
    problems.append(&mut source.into_problems());
    file
}

fn top(source: &mut Source<'_>, table: &DeTable<'_>) -> File {
    let mut section = Section::new(table, 0..0);
    let server = server_options(source, &mut section);
    let site = site_options(source, &mut section);
    let log = log_options(source, &mut section);
    let mut taken = HashSet::new();
    let sites = section.many(source, "site", |source, value| named_site(source, value, &mut taken));
    section.finish(source);
    File { options: Options { server, site, log }, sites }
}

fn server_options(source: &mut Source<'_>, section: &mut Section<'_, '_>) -> ServerOptions {
    ServerOptions {
        listen: section.many(source, "listen", text(values::listen)),
        data: section.one(source, "data", text(path)),
        sessions_max: section.one(source, "sessions_max", number("a whole number", values::count)),
        connections_per_address: section.one(
            source,
            "connections_per_address",
            number("a whole number", values::count),
        ),
        head_timeout: section.one(source, "head_timeout", number("a time such as \"30s\"", values::timeout)),
        idle_timeout: section.one(source, "idle_timeout", number("a time such as \"30s\"", values::timeout)),
        write_timeout: section.one(
            source,
            "write_timeout",
            number("a time such as \"30s\"", values::timeout),
        ),
        cache_bytes: section.one(
            source,
            "cache_bytes",
            number("a size such as 65536 or \"64M\"", values::bytes),
        ),
        cache_entries: section.one(source, "cache_entries", number("a whole number", values::count)),
        admin: section.one(source, "admin", text(values::address)),
    }
}

fn site_options(source: &mut Source<'_>, section: &mut Section<'_, '_>) -> SiteOptions {
    SiteOptions {
        root: section.one(source, "root", text(path)),
        listing: section.one(source, "listing", boolean),
        hidden_files: section.one(source, "hidden_files", boolean),
        clean_urls: section.one(source, "clean_urls", boolean),
        spa: section.one(source, "spa", boolean),
        compression: section.one(source, "compression", boolean),
        header: section.many(source, "header", header),
        cache_control: section.many(source, "cache_control", cache_control),
        cors: section.many(source, "cors", text(site_values::origin)),
        redirect: section.many(source, "redirect", redirect),
        users: section.one(source, "users", text(path)),
    }
}

fn log_options(source: &mut Source<'_>, section: &mut Section<'_, '_>) -> LogOptions {
    LogOptions {
        log_format: section.one(source, "log_format", text(values::log_format)),
        quiet: section.one(source, "quiet", boolean),
        access_log: section.one(source, "access_log", text(path)),
        access_log_format: section.one(source, "access_log_format", text(values::access_log_format)),
    }
}

/// A `[[site]]`; `taken` has the host names of those before it.
fn named_site(source: &mut Source<'_>, value: &Value<'_>, taken: &mut HashSet<String>) -> Option<NamedSite> {
    let DeValue::Table(table) = value.get_ref() else {
        source.blame(value.span(), "a site is a table that starts with [[site]]");
        return None;
    };
    let mut section = Section::new(table, value.span());
    let options = site_options(source, &mut section);
    let hosts = section.many(source, "hosts", |source, value| {
        let host = text(site_values::host)(source, value)?;
        if !taken.insert(host.clone()) {
            source.blame(value.span(), format!("{host} is already the host of a site"));
        }
        Some(host)
    });
    for key in ["root", "hosts"] {
        if !table.contains_key(key) {
            source.blame(value.span(), format!("the key {key} is missing here"));
        }
    }
    if table.get("hosts").and_then(|hosts| hosts.get_ref().as_array()).is_some_and(|hosts| hosts.is_empty()) {
        source.blame(value.span(), "this site has no host");
    }
    section.finish(source);
    Some(NamedSite { hosts, options })
}

/// A text as on the command line, or a table with `name`, `value` and perhaps `paths`.
fn header(source: &mut Source<'_>, value: &Value<'_>) -> Option<FieldRule> {
    let DeValue::Table(table) = value.get_ref() else {
        return text(site_values::header)(source, value);
    };
    let mut section = Section::new(table, value.span());
    let paths = section.one(source, "paths", text(site_values::pattern));
    let name = section.required(source, "name", text(plain));
    let content = section.required(source, "value", text(plain));
    section.finish(source);
    source.check(value.span(), site_values::header_from(paths, &name?, &content?))
}

/// A text as on the command line, or a table with `value` and perhaps `paths`.
fn cache_control(source: &mut Source<'_>, value: &Value<'_>) -> Option<FieldRule> {
    let DeValue::Table(table) = value.get_ref() else {
        return text(site_values::cache_control)(source, value);
    };
    let mut section = Section::new(table, value.span());
    let paths = section.one(source, "paths", text(site_values::pattern));
    let content = section.required(source, "value", text(plain));
    section.finish(source);
    source.check(value.span(), site_values::cache_control_from(paths, &content?))
}

/// A text as on the command line, or a table with `from`, `to` and perhaps `status`.
fn redirect(source: &mut Source<'_>, value: &Value<'_>) -> Option<RedirectRule> {
    let DeValue::Table(table) = value.get_ref() else {
        return text(site_values::redirect)(source, value);
    };
    let mut section = Section::new(table, value.span());
    let from = section.required(source, "from", text(plain));
    let to = section.required(source, "to", text(plain));
    let status = section.one(source, "status", number("301, 302, 307 or 308", site_values::redirect_status));
    section.finish(source);
    source.check(value.span(), site_values::redirect_from(&from?, &to?, status))
}

fn path(text: &str) -> Result<PathBuf, BadValue> {
    if text.is_empty() || text.contains('\0') {
        return Err(BadValue::new(format!("{text:?} is not a path")));
    }
    Ok(text.into())
}

fn plain(text: &str) -> Result<String, BadValue> {
    Ok(text.to_owned())
}
