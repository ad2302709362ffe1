//! All options of the server.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use actors::config::{AccessLogFormat, Limits, Listen};
use actors::site::{MediaTypeRule, PagePrefix, RedirectRule};
use clap::builder::{BoolishValueParser, Resettable};
use clap::{ArgAction, Args, Command, FromArgMatches as _, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use super::super::administer::Administer;
use super::argument;
use super::place::Places;
use super::site_values::{CacheControl, Header, Host, Origin};
use super::values::{Advertised, ClusterName, Lifetime, NatsUrl, Setting};

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
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,
    /// Check the whole configuration, print it as a configuration file, and exit: with status 1 if anything is wrong
    #[arg(long)]
    pub check: bool,
    /// Print all options in effect, each with where it comes from, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Move the names, the stored mail and the lists of files in the --data directory into the --cluster, and exit. The server must
    /// not run. If it is interrupted, the same command continues
    #[arg(long)]
    pub cluster_import: bool,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<clap_complete::Shell>,
    /// Read a password from standard input, print the line of this user for the --users file, and exit
    #[arg(long, value_name = "NAME")]
    pub hash_password: Option<String>,
    /// Make a certificate for these host names and addresses, and its private key, in the current directory, print its
    /// fingerprint, and exit
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub make_certificate: Vec<String>,
    #[command(flatten)]
    pub(super) options: Options,
    /// A command to a running server.
    #[command(subcommand)]
    pub command: Option<Administer>,
}

/// The options that every source can set.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) site: SiteOptions,
    /// The sites with host names, which only the file can have.
    #[arg(skip)]
    pub(super) sites: Vec<SiteOptions>,
    /// The sources of the options that do not have their default value.
    #[arg(skip)]
    pub(super) origins: Origins,
    /// Where the values of the file are in it.
    #[arg(skip)]
    pub(super) places: Places,
}

/// The strongest source that has set an option, by its key.
#[derive(Debug, Default)]
pub(super) struct Origins(HashMap<String, &'static str>);

impl Origins {
    /// The source of what the file sets.
    pub(super) const FILE: &str = "file";

    /// Notes that a stronger source than the previous ones has set an option.
    pub(super) fn set(&mut self, key: &str, source: &'static str) {
        self.0.insert(key.to_owned(), source);
    }

    /// Where an option comes from.
    pub(super) fn of(&self, key: &str) -> &'static str {
        self.0.get(key).copied().unwrap_or("default")
    }
}

/// The server as a whole.
#[derive(Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Server")]
#[serde(default = "defaults")]
pub(super) struct ServerOptions {
    /// Listen here: an address and port (port 0 picks a free one), tls:ADDR:PORT for TLS, unix:PATH[,mode=0660], or systemd
    /// for the sockets that it passes; may be repeated
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6789")]
    pub(super) listen: Vec<Setting<Listen>>,
    /// Use this certificate for TLS: a PEM file with the certificate, followed by those of the authorities that issued it;
    /// may be repeated, and clients get the first one that has the name that they ask for (SNI)
    #[arg(long, help_heading = "TLS", value_name = "FILE")]
    pub(super) tls_cert: Vec<PathBuf>,
    /// The private key of the certificate, a PEM file; as many as --tls-cert, in the same order
    #[arg(long, help_heading = "TLS", value_name = "FILE")]
    pub(super) tls_key: Vec<PathBuf>,
    /// Redirect web clients that come without TLS to the first --listen tls:ADDR:PORT; peers and Unix sockets stay
    #[arg(long, help_heading = "TLS", value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) redirect_to_https: bool,
    /// Keep names, stored mail and the index of files in this directory
    #[arg(long, value_name = "DIR", default_value = "server_data", global = true)]
    pub(super) data: PathBuf,
    /// Let only the members in this file join, and peers with an invitation (see server invite). The server creates the file
    /// if it is missing, and changes it when an invitation is made or used
    #[arg(long, value_name = "FILE")]
    pub(super) members: Option<PathBuf>,
    /// Be one of many servers, which share names and pass envelopes to each other through this nats-server (with JetStream):
    /// nats://HOST:PORT or tls://HOST:PORT; may be repeated, for the nodes of one NATS cluster
    #[arg(long, help_heading = "Many servers", value_name = "URL", value_delimiter = ',')]
    pub(super) cluster: Vec<Setting<NatsUrl>>,
    /// The name of the cluster; servers with different names do not know each other
    #[arg(long, help_heading = "Many servers", value_name = "NAME", default_value = "switchboard")]
    pub(super) cluster_name: Setting<ClusterName>,
    /// Log in to NATS with this file of credentials, as nsc writes it
    #[arg(long, help_heading = "Many servers", value_name = "FILE")]
    pub(super) cluster_credentials: Option<PathBuf>,
    /// Where the other servers of the cluster can connect to this one without TLS. Files that cannot go straight from peer to peer
    /// go from server to server there
    #[arg(long, help_heading = "Many servers", value_name = "HOST:PORT")]
    pub(super) advertise: Option<Setting<Advertised>>,
    /// Accept at most this many connections at once
    #[arg(long, value_name = "N", default_value = "16384")]
    pub(super) sessions_max: NonZeroUsize,
    /// Accept at most this many connections at once from one address or IPv6 network (/64)
    /// [default: three quarters of --sessions-max]
    #[arg(long, value_name = "N")]
    pub(super) connections_per_address: Option<NonZeroUsize>,
    /// Close a connection whose request head is not complete after this time, or that sends nothing at first
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(super) head_timeout: Setting<Duration>,
    /// Close a connection that sends no further request for this time
    #[arg(long, value_name = "TIME", default_value = "75s")]
    pub(super) idle_timeout: Setting<Duration>,
    /// Close a connection whose client reads less than 1 KiB/s over this time, but not before 64 s
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(super) write_timeout: Setting<Duration>,
    /// Give each HTTP connection a thread from its first byte to its last, instead of only while it waits for the disk or a
    /// password
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) http_threads: bool,
    /// Cache at most this many bytes of files in memory, all sites together
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub(super) cache_bytes: Setting<u64>,
    /// Cache at most this many files in memory
    #[arg(long, value_name = "N", default_value = "65536")]
    pub(super) cache_entries: NonZeroUsize,
    /// Serve metrics and a health check here, such as 127.0.0.1:6790; nowhere unless given
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) admin: Option<SocketAddr>,
    /// Show who is connected and what passes between peers at /switchboard/flow: at the --admin address only, at all
    /// addresses, or nowhere
    #[arg(
        long,
        value_name = "admin|public|off",
        value_enum,
        hide_possible_values = true,
        default_value = "admin"
    )]
    pub(super) flow: Flow,
    /// Store at most this many bytes of mail; each envelope counts 1 KiB more than its size
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "16G")]
    pub(super) mail_bytes: Setting<u64>,
    /// Store at most this many bytes of mail of all senders at one address or IPv6 network (/64)
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "4G")]
    pub(super) mail_bytes_per_address: Setting<u64>,
    /// Store at most this many bytes of mail of one sender
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "64M")]
    pub(super) mail_bytes_per_sender: Setting<u64>,
    /// Store at most this many bytes of mail for one recipient
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "256M")]
    pub(super) mail_bytes_per_recipient: Setting<u64>,
    /// Store at most this many bytes of mail a second for each sender; the server reads faster senders more slowly
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "8M")]
    pub(super) mail_rate: Setting<u64>,
    /// Drop mail that was stored for this time, and tell its sender
    #[arg(long, help_heading = "Peers", value_name = "TIME", default_value = "30d")]
    pub(super) mail_lifetime: Setting<Lifetime>,
    /// Keep at most this many names that nobody has joined under and that have mail or that a peer waits for
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "10000")]
    pub(super) waiting_names: NonZeroUsize,
    /// Keep at most this many of them for all senders at one address or IPv6 network (/64)
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "2500")]
    pub(super) waiting_names_per_address: NonZeroUsize,
    /// Keep at most this many of them for one sender
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "256")]
    pub(super) waiting_names_per_sender: NonZeroUsize,
    /// Send one peer the new cards of at most this many others
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "4096")]
    pub(super) watched_names: NonZeroUsize,
    /// Disconnect a peer that reads less than 1 KiB/s over this time
    #[arg(long, help_heading = "Peers", value_name = "TIME", default_value = "30s")]
    pub(super) read_timeout: Setting<Duration>,
    /// Disconnect a peer that acknowledges no envelope for this time
    #[arg(long, help_heading = "Peers", value_name = "TIME", default_value = "30s")]
    pub(super) taken_timeout: Setting<Duration>,
    /// Hold at most this many bytes in memory that peers have not read or acknowledged
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "256M")]
    pub(super) session_memory: Setting<u64>,
    /// Index at most this many files, and as many pairs of a keyword and a file
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "16000000")]
    pub(super) index_pairs: NonZeroUsize,
    /// Index at most this many of them of all peers at one address or IPv6 network (/64)
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "4000000")]
    pub(super) index_pairs_per_address: NonZeroUsize,
    /// Index at most this many of them of one peer
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "1000000")]
    pub(super) index_pairs_per_peer: NonZeroUsize,
    /// Let at most this many new names join in an hour from one address or IPv6 network (/64)
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "256")]
    pub(super) new_names_per_hour: NonZeroU32,
    /// Let one sender open at most this many conversations in a minute
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "6000")]
    pub(super) openings_per_minute: NonZeroU32,
    /// Serve at most this many ends of file transfers through the server
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "512")]
    pub(super) transfers: NonZeroUsize,
    /// Serve at most this many of them for one address or IPv6 network (/64)
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "128")]
    pub(super) transfers_per_address: NonZeroUsize,
    /// Serve at most this many of them for one peer
    #[arg(long, help_heading = "Peers", value_name = "N", default_value = "32")]
    pub(super) transfers_per_peer: NonZeroUsize,
    /// Relay at most this many bytes a second of the files that one peer sends through the server
    #[arg(long, help_heading = "Peers", value_name = "SIZE", default_value = "64M")]
    pub(super) transfer_rate: Setting<u64>,
    /// Print the log, with a line for each transmission between peers, in this format
    #[arg(long, help_heading = "Logs", value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Print only the addresses, warnings and errors
    #[arg(long, help_heading = "Logs", value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) quiet: bool,
    /// Append a line for each HTTP request to this file
    #[arg(long, help_heading = "Logs", value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// Write the access log in this format: combined or json [default: combined]
    #[arg(long, help_heading = "Logs", value_name = "FORMAT")]
    pub(super) access_log_format: Option<Setting<AccessLogFormat>>,
}

/// One web site; on the command line and in the environment the default one.
#[derive(Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Web site")]
#[serde(default = "defaults")]
pub(super) struct SiteOptions {
    /// Only of a site in the file.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<Setting<Host>>,
    /// The certificates for these hosts, and their keys. Only of a site in the file; those of the server have options.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tls_cert: Vec<PathBuf>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tls_key: Vec<PathBuf>,
    /// Serve this directory
    #[arg(long, value_name = "DIR", default_value = "www")]
    pub(super) root: PathBuf,
    /// List the contents of directories without index.html
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) listing: bool,
    /// Serve files whose names start with a dot
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) hidden_files: bool,
    /// Answer /a with a.html if there is no a
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) clean_urls: bool,
    /// For single-page applications: answer with index.html if there is no file and the last part of the path has no dot
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) spa: bool,
    /// Compress responses for browsers that accept it
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, default_value = "on")]
    pub(super) compression: bool,
    /// Add a header field to all responses, or to those whose path matches a pattern ('*.pdf X-Robots-Tag: noindex'); may be
    /// repeated
    #[arg(long, value_name = "[PATTERN ]NAME: VALUE")]
    pub(super) header: Vec<Setting<Header>>,
    /// Set Cache-Control for all responses, or for those whose path matches a pattern
    /// ('/assets/**=max-age=31536000, immutable'); of several patterns that match, the last decides; may be repeated
    /// [default: no-cache]
    #[arg(long, value_name = "[PATTERN=]VALUE")]
    pub(super) cache_control: Vec<Setting<CacheControl>>,
    /// Redirect requests for FROM to TO, with status 301 unless given; a * at the end of both stands for the rest of the
    /// path; may be repeated
    #[arg(long, value_name = "FROM TO [STATUS]")]
    pub(super) redirect: Vec<Setting<RedirectRule>>,
    /// Send files whose path matches a pattern with this media type ('*.go=text/plain'); of several patterns that match, the
    /// last decides; may be repeated
    #[arg(long, value_name = "PATTERN=TYPE")]
    pub(super) media_type: Vec<Setting<MediaTypeRule>>,
    /// Let pages of this origin read the site (CORS), * for all; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub(super) cors: Vec<Setting<Origin>>,
    /// Serve the page for peers in a browser [default: on, but off for a [[site]] in the file]
    #[arg(long, value_name = "on|off", value_parser = BoolishValueParser::new(), hide_possible_values = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(super) app: Option<bool>,
    /// Serve the page here
    #[arg(long, value_name = "/PATH/", default_value = "/switchboard/")]
    pub(super) app_prefix: Setting<PagePrefix>,
    /// Show the site only to the users in this file, which has lines NAME:HASH
    #[arg(long, value_name = "FILE")]
    pub(super) users: Option<PathBuf>,
}

/// Who may watch what passes through the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flow {
    Admin,
    Public,
    Off,
}

/// The format of the log on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Options {
    /// Sets the options whose default is not always the same, so that they are printed too.
    pub(super) fn fill_in(&mut self) {
        let share = Limits::share_of_one_address(self.server.sessions_max.get());
        self.server.connections_per_address =
            self.server.connections_per_address.or(NonZeroUsize::new(share));
        self.site.app.get_or_insert(true);
        for site in &mut self.sites {
            site.app.get_or_insert(false);
        }
    }

    /// Sets the option `key` as the command line would. A list replaces the list that was there.
    ///
    /// # Errors
    /// A value is wrong, or there are several for an option that has one.
    pub(super) fn set(&mut self, key: &str, values: &[OsString]) -> Result<(), clap::Error> {
        let arguments = values.iter().map(|value| argument(key, value));
        let command = Self::augment_args_for_update(Command::new("").no_binary_name(true));
        let matches = without_defaults(command).try_get_matches_from(arguments)?;
        self.update_from_arg_matches(&matches)
    }
}

/// All options of `T` as if no source had set any.
pub(super) fn defaults<T: Args>() -> T {
    let matches = T::augment_args(Command::new("").no_binary_name(true)).try_get_matches_from([""; 0]);
    let options = matches.and_then(|matches| T::from_arg_matches(&matches));
    options.expect("each option has a default that it accepts, or can be missing")
}

pub(super) fn keys<T: Args>() -> impl Iterator<Item = String> {
    let command = T::augment_args(Command::new(""));
    command.get_arguments().map(|option| option.get_id().to_string()).collect::<Vec<_>>().into_iter()
}

/// `command` for parsing on top of options from weaker sources, which defaults must not replace.
pub(super) fn without_defaults(command: Command) -> Command {
    command.mut_args(|option| option.default_value(Resettable::Reset))
}
