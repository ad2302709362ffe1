//! All options of the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actors::config::{AccessLogFormat, Listen};
use actors::site::{FieldRule, MediaTypeRule, RedirectRule};
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, ValueEnum};

use super::site_values::{cache_control, header, media_type, origin, redirect};
use super::values::{address, bytes, count, listen, path, switch, timeout};

/// Serves a web site, relays messages that only their two ends can read, and indexes the files that peers share.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    after_help = "Each option is also a key of the --config file, with _ for -, and an environment variable, \
        SWITCHBOARD_NAME_OF_OPTION. The command line takes precedence over the environment, and the environment over the \
        file.\n\nStop the server with Ctrl-C: it completes the requests in progress and exits with status 0."
)]
pub struct Arguments {
    /// Read options from a TOML file; server.example.toml shows all of them
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Check the whole configuration, print it, and exit: with status 1 if anything is wrong
    #[arg(long)]
    pub check: bool,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<clap_complete::Shell>,
    /// Read a password from standard input, print the line of this user for the --users file, and exit
    #[arg(long, value_name = "NAME")]
    pub hash_password: Option<String>,
    #[command(flatten)]
    pub(super) options: Options,
}

/// The options that every source can set.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) site: SiteOptions,
    #[command(flatten)]
    pub(super) log: LogOptions,
}

/// The server as a whole.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerOptions {
    /// Listen here: an address and port (port 0 picks a free one), unix:PATH[,mode=0660], or systemd for the sockets that it
    /// passes; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen, default_value = "127.0.0.1:6789")]
    pub(super) listen: Vec<Listen>,
    /// Keep names, stored mail and the index of files in this directory
    #[arg(long, value_name = "DIR", value_parser = path_parser(), default_value = "server_data")]
    pub(super) data: PathBuf,
    /// Accept at most this many connections at once
    #[arg(long, value_name = "N", value_parser = count, default_value = "16384")]
    pub(super) sessions_max: usize,
    /// Accept at most this many connections at once from one address or IPv6 network (/64)
    /// [default: three quarters of --sessions-max]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) connections_per_address: Option<usize>,
    /// Close a connection whose request head is not complete after this time, or that sends nothing at first
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "30s")]
    pub(super) head_timeout: Duration,
    /// Close a connection that sends no further request for this time
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "75s")]
    pub(super) idle_timeout: Duration,
    /// Close a connection whose client reads less than 1 KiB/s over this time, but not before 64 s
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "30s")]
    pub(super) write_timeout: Duration,
    /// Give each HTTP connection a thread from its first byte to its last, instead of only while it waits for the disk or a
    /// password
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) http_threads: bool,
    /// Cache at most this many bytes of files in memory, all sites together
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "64M")]
    pub(super) cache_bytes: u64,
    /// Cache at most this many files in memory
    #[arg(long, value_name = "N", value_parser = count, default_value = "65536")]
    pub(super) cache_entries: usize,
    /// Serve metrics and a health check here, such as 127.0.0.1:6790; nowhere unless given
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(super) admin: Option<SocketAddr>,
}

/// One web site; on the command line and in the environment the default one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Web site")]
pub(super) struct SiteOptions {
    /// Serve this directory
    #[arg(long, value_name = "DIR", value_parser = path_parser(), default_value = "www")]
    pub(super) root: PathBuf,
    /// List the contents of directories without index.html
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) listing: bool,
    /// Serve files whose names start with a dot
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) hidden_files: bool,
    /// Answer /a with a.html if there is no a
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) clean_urls: bool,
    /// For single-page applications: answer with index.html if there is no file and the last part of the path has no dot
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) spa: bool,
    /// Compress responses for browsers that accept it
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "on")]
    pub(super) compression: bool,
    #[command(flatten)]
    pub(super) rules: Rules,
    /// Send files whose path matches a pattern with this media type ('*.go=text/plain'); of several patterns that match, the
    /// last decides; may be repeated
    #[arg(long, value_name = "PATTERN=TYPE", value_parser = media_type)]
    pub(super) media_type: Vec<MediaTypeRule>,
    /// Let pages of this origin read the site (CORS), * for all; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(super) cors: Vec<String>,
    /// Show the site only to the users in this file, which has lines NAME:HASH
    #[arg(long, value_name = "FILE", value_parser = path_parser())]
    pub(super) users: Option<PathBuf>,
}

/// The options of a site that the file can also write as tables.
#[derive(Debug, Default, Args)]
pub(super) struct Rules {
    /// Add a header field to all responses, or to those whose path matches a pattern ('*.pdf X-Robots-Tag: noindex'); may be
    /// repeated
    #[arg(long, value_name = "[PATTERN ]NAME: VALUE", value_parser = header)]
    pub(super) header: Vec<FieldRule>,
    /// Set Cache-Control for all responses, or for those whose path matches a pattern
    /// ('/assets/**=max-age=31536000, immutable'); of several patterns that match, the last decides; may be repeated
    /// [default: no-cache]
    #[arg(long, value_name = "[PATTERN=]VALUE", value_parser = cache_control)]
    pub(super) cache_control: Vec<FieldRule>,
    /// Redirect requests for FROM to TO, with status 301 unless given; a * at the end of both stands for the rest of the
    /// path; may be repeated
    #[arg(long, value_name = "FROM TO [STATUS]", value_parser = redirect)]
    pub(super) redirect: Vec<RedirectRule>,
}

/// What is printed and logged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogOptions {
    /// Print the log, with a line for each transmission between peers, in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Print only the addresses, warnings and errors
    #[arg(long, value_name = "on|off", value_parser = switch, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) quiet: bool,
    /// Append a line for each HTTP request to this file
    #[arg(long, value_name = "FILE", value_parser = path_parser())]
    pub(super) access_log: Option<PathBuf>,
    /// Write the access log in this format [default: combined]
    #[arg(long, value_name = "FORMAT", value_parser = access_log_format())]
    pub(super) access_log_format: Option<AccessLogFormat>,
}

/// The format of the log on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

fn access_log_format() -> impl TypedValueParser<Value = AccessLogFormat> {
    PossibleValuesParser::new(["combined", "json"]).map(|format| match &*format {
        "json" => AccessLogFormat::Json,
        _ => AccessLogFormat::Combined,
    })
}

fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(path)
}

impl Rules {
    /// Takes from `other` what was not given here.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            header: if self.header.is_empty() { other.header } else { self.header },
            cache_control: if self.cache_control.is_empty() {
                other.cache_control
            } else {
                self.cache_control
            },
            redirect: if self.redirect.is_empty() { other.redirect } else { self.redirect },
        }
    }
}
