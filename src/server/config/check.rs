//! What only a look at the disk can tell about a configuration.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use actors::Config;
use actors::config::Listen;
use actors::credentials;
use actors::site::SiteConfig;
use wire::escape::Escaped;

use super::problem::Problem;

/// Everything that would keep the server from starting or from serving what it was told to.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    problems.data(&config.data);
    for listen in &config.listen {
        if let Listen::Unix { path, .. } = listen {
            problems.socket(path);
        }
    }
    if let Some(log) = &config.access_log {
        problems.file_to_write("access_log", &log.path);
    }
    for site in &config.sites {
        problems.site(site);
    }
    problems.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, option: &str, path: &Path, why: impl std::fmt::Display) {
        self.0.push(Problem::whole(format!("{option}: {}: {why}", Escaped(&path.to_string_lossy()))));
    }

    /// The directory of what the server keeps is made when it is missing.
    fn data(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => self.add("data", path, "it is not a directory"),
            Err(error) if error.kind() != ErrorKind::NotFound => self.add("data", path, error),
            Ok(_) | Err(_) => {}
        }
    }

    fn socket(&mut self, path: &Path) {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                self.add("listen", path, "something that is not a socket is there");
            }
            Ok(_) => {}
            Err(_) => self.folder_of("listen", path),
        }
    }

    fn file_to_write(&mut self, option: &str, path: &Path) {
        if path.is_dir() {
            self.add(option, path, "it is a directory");
        } else {
            self.folder_of(option, path);
        }
    }

    fn folder_of(&mut self, option: &str, path: &Path) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if !folder.unwrap_or(Path::new(".")).is_dir() {
            self.add(option, path, "the directory that it would be in does not exist");
        }
    }

    fn site(&mut self, site: &SiteConfig) {
        // Reading it tells more than looking at it: whether the server may.
        if let Err(error) = fs::read_dir(&site.root) {
            self.add("root", &site.root, error);
        } else if site.spa && !site.root.join("index.html").is_file() {
            self.add("spa", &site.root, "there is no index.html in it to answer with");
        }
        if let Some(users) = &site.users_file {
            self.users(users);
        }
    }

    fn users(&mut self, path: &Path) {
        match fs::read_to_string(path).map(|text| credentials::parse(&text)) {
            Ok(Ok(users)) if users.is_empty() => {
                self.add("users", path, "nobody is in it, so nobody could see the site");
            }
            Ok(Ok(_)) => {}
            Ok(Err(lines)) => lines.iter().for_each(|line| self.add("users", path, line)),
            Err(error) => self.add("users", path, error),
        }
    }
}
