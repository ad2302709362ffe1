//! Checks a configuration against the file system.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use actors::Config;
use actors::config::Listen;
use actors::credentials;
use actors::site::SiteConfig;
use actors::tls::{TlsBase, TlsFiles};

use super::place::{At, Report};
use super::shown;

/// Reports everything that would prevent the server from starting or from serving its sites.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let mut add = |at: At, path: &Path, found: Result<(), String>| {
        if let Err(why) = found {
            report.add(at, format_args!("{}: {}: {why}", at.1, shown(path)));
        }
    };
    add(At::key("data"), &config.data, data(&config.data));
    for (number, listen) in config.listen.iter().enumerate() {
        if let Listen::Unix { path, .. } = listen {
            add(At(None, "listen", number), path, socket(path));
        }
    }
    if let Some(log) = &config.access_log {
        add(At::key("access_log"), &log.path, file_to_write(&log.path));
    }
    for (number, SiteConfig { root, spa, users_file, .. }) in config.sites.iter().enumerate() {
        let at = |key| At(number.checked_sub(1), key, 0);
        // Listing the directory also checks the permission.
        let listed = fs::read_dir(root);
        if listed.is_ok() && *spa && !root.join("index.html").is_file() {
            add(at("spa"), root, Err("there is no index.html in it to answer with".to_owned()));
        }
        add(at("root"), root, listed.map(drop).map_err(|error| error.to_string()));
        if let Some(path) = users_file {
            users(path).into_iter().for_each(|problem| add(at("users"), path, Err(problem)));
        }
    }
    if let Some(cluster) = &config.cluster
        && let Err(error) = actors::cluster::check(cluster)
    {
        report.add(At::key("cluster"), format_args!("cluster: {error}"));
    }
    check_certificates(config, report);
}

fn check_certificates(config: &Config, report: &mut Report<'_>) {
    let tls = match TlsBase::new() {
        Ok(tls) => tls,
        Err(error) => return report.add(At::key("tls_cert"), error),
    };
    let mut before: Option<(&TlsFiles, usize)> = None;
    for files in &config.tls {
        let number = before.filter(|(of, _)| of.hosts == files.hosts).map_or(0, |(_, number)| number + 1);
        before = Some((files, number));
        if let Err(error) = tls.load(std::slice::from_ref(files)) {
            // The first site is the one without hosts.
            let site = config.sites.iter().position(|site| site.hosts == files.hosts);
            let key = if error.is_of_key() { "tls_key" } else { "tls_cert" };
            report.add(At(site.and_then(|site| site.checked_sub(1)), key, number), error);
        }
    }
}

/// The server creates a missing data directory.
fn data(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err("it is not a directory".to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn socket(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
        Ok(_) => Err("something that is not a socket is there".to_owned()),
        Err(_) => parent(path),
    }
}

fn file_to_write(path: &Path) -> Result<(), String> {
    if path.is_dir() { Err("it is a directory".to_owned()) } else { parent(path) }
}

fn parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() { Ok(()) } else { Err("the directory that it would be in does not exist".to_owned()) }
}

fn users(path: &Path) -> Vec<String> {
    match fs::read_to_string(path).map(|text| credentials::parse(&text)) {
        Ok(Ok(users)) if users.is_empty() => vec!["it has no user, so nobody could see the site".to_owned()],
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(lines)) => lines.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}
