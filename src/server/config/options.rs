//! All options, as one of their sources says them: what is `None` or empty was not said.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::config::{AccessLogFormat, Listen};
use actors::site::{FieldRule, RedirectRule};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::site_values::{cache_control, header, origin, redirect};
use super::values::{self, LogFormat, access_log_format, address, bytes, count, listen, switch, timeout};

/// What one source says.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) site: SiteOptions,
    #[command(flatten)]
    pub(super) log: LogOptions,
}

/// About the server as a whole.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerOptions {
    /// Where to listen: an address and port (port 0 picks a free one), unix:PATH[,mode=0660], or systemd for the
    /// sockets it hands over; may be repeated [default: 127.0.0.1:6789]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    pub(super) listen: Vec<Listen>,
    /// The directory of what the server keeps: names, stored mail, who shares what [default: server_data]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Most connections at once [default: 16384]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) sessions_max: Option<usize>,
    /// Most connections at once from one address, or one IPv6 network (/64) [default: three quarters of --sessions-max]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) connections_per_address: Option<usize>,
    /// How long the head of a request may take, or a new connection say nothing [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) head_timeout: Option<Duration>,
    /// How long a connection may be without a further request [default: 75s]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) idle_timeout: Option<Duration>,
    /// How long a client may take less than 1 KiB a second of what is sent to it [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(super) write_timeout: Option<Duration>,
    /// Most bytes of files to keep in memory, all sites together, such as 64M [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(super) cache_bytes: Option<u64>,
    /// Most files to keep in memory, however small [default: 65536]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) cache_entries: Option<usize>,
    /// Where to answer questions about the server itself, such as 127.0.0.1:6790; nowhere unless given
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(super) admin: Option<SocketAddr>,
}

/// About one web site; on the command line and in the environment the default one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Web site")]
pub(super) struct SiteOptions {
    /// The directory of the web site [default: www]
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Show directories without index.html as lists [default: off]
    #[arg(long, value_name = "on|off", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) listing: Option<bool>,
    /// Serve files whose names start with a dot [default: off]
    #[arg(long, value_name = "on|off", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) hidden_files: Option<bool>,
    /// Answer /a with a.html when there is no a [default: off]
    #[arg(long, value_name = "on|off", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) clean_urls: Option<bool>,
    /// Answer what is not there with index.html, unless its last part has a dot, for applications of a single page
    /// [default: off]
    #[arg(long, value_name = "on|off", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) spa: Option<bool>,
    /// Compress what browsers take compressed [default: on]
    #[arg(long, value_name = "on|off", value_parser = switch)]
    pub(super) compression: Option<bool>,
    /// Add a header field to answers, or to those whose path fits a pattern ('*.pdf X-Robots-Tag: noindex'); may be
    /// repeated
    #[arg(long, value_name = "[PATTERN ]NAME: VALUE", value_parser = header)]
    pub(super) header: Vec<FieldRule>,
    /// How long browsers and proxies may keep answers, or those whose path fits a pattern
    /// ('/assets/**=max-age=31536000, immutable'); of the patterns that fit the last decides; may be repeated
    /// [default: no-cache]
    #[arg(long, value_name = "[PATTERN=]VALUE", value_parser = cache_control)]
    pub(super) cache_control: Vec<FieldRule>,
    /// Let pages of another origin read the site, * for all; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(super) cors: Vec<String>,
    /// Send who asks for FROM to TO, with status 301 unless given; a * at the end of both is the rest of the path;
    /// may be repeated
    #[arg(long, value_name = "FROM TO [STATUS]", value_parser = redirect)]
    pub(super) redirect: Vec<RedirectRule>,
    /// Show the site only to those in this file, with lines NAME:HASH
    #[arg(long, value_name = "FILE")]
    pub(super) users: Option<PathBuf>,
}

/// About what is printed and written down.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogOptions {
    /// How to print each transmission and request [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]).try_map(|text| values::log_format(&text)))]
    pub(super) log_format: Option<LogFormat>,
    /// Print nothing but the address and what goes wrong [default: off]
    #[arg(long, value_name = "on|off", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) quiet: Option<bool>,
    /// Write each request to the end of this file
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// What its lines look like [default: combined]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["combined", "json"]).try_map(|text| access_log_format(&text)))]
    pub(super) access_log_format: Option<AccessLogFormat>,
}

/// What one source says, over what another says that counts less.
pub(super) trait Over {
    fn over(self, below: Self) -> Self;
}

impl<T> Over for Option<T> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }
}

/// A list replaces a list: whoever names one redirect does not want those of the file as well.
impl<T> Over for Vec<T> {
    fn over(self, below: Self) -> Self {
        if self.is_empty() { below } else { self }
    }
}

impl Over for Options {
    fn over(self, below: Self) -> Self {
        Self {
            server: self.server.over(below.server),
            site: self.site.over(below.site),
            log: self.log.over(below.log),
        }
    }
}

impl Over for ServerOptions {
    fn over(self, below: Self) -> Self {
        Self {
            listen: self.listen.over(below.listen),
            data: self.data.over(below.data),
            sessions_max: self.sessions_max.over(below.sessions_max),
            connections_per_address: self.connections_per_address.over(below.connections_per_address),
            head_timeout: self.head_timeout.over(below.head_timeout),
            idle_timeout: self.idle_timeout.over(below.idle_timeout),
            write_timeout: self.write_timeout.over(below.write_timeout),
            cache_bytes: self.cache_bytes.over(below.cache_bytes),
            cache_entries: self.cache_entries.over(below.cache_entries),
            admin: self.admin.over(below.admin),
        }
    }
}

impl Over for SiteOptions {
    fn over(self, below: Self) -> Self {
        Self {
            root: self.root.over(below.root),
            listing: self.listing.over(below.listing),
            hidden_files: self.hidden_files.over(below.hidden_files),
            clean_urls: self.clean_urls.over(below.clean_urls),
            spa: self.spa.over(below.spa),
            compression: self.compression.over(below.compression),
            header: self.header.over(below.header),
            cache_control: self.cache_control.over(below.cache_control),
            cors: self.cors.over(below.cors),
            redirect: self.redirect.over(below.redirect),
            users: self.users.over(below.users),
        }
    }
}

impl Over for LogOptions {
    fn over(self, below: Self) -> Self {
        Self {
            log_format: self.log_format.over(below.log_format),
            quiet: self.quiet.over(below.quiet),
            access_log: self.access_log.over(below.access_log),
            access_log_format: self.access_log_format.over(below.access_log_format),
        }
    }
}

impl Options {
    /// Takes relative paths as relative to `folder`.
    pub(super) fn rebase(&mut self, folder: &Path) {
        for listen in &mut self.server.listen {
            if let Listen::Unix { path, .. } = listen {
                *path = folder.join(&*path);
            }
        }
        rebase(&mut self.server.data, folder);
        rebase(&mut self.log.access_log, folder);
        self.site.rebase(folder);
    }
}

impl SiteOptions {
    /// Takes relative paths as relative to `folder`.
    pub(super) fn rebase(&mut self, folder: &Path) {
        rebase(&mut self.root, folder);
        rebase(&mut self.users, folder);
    }
}

fn rebase(path: &mut Option<PathBuf>, folder: &Path) {
    *path = path.take().map(|path| folder.join(path));
}
