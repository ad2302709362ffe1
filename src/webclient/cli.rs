//! The command line of `webclient` and its exit status.

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use wire::escape::Escaped;

use super::request::encode_reference;
use super::{
    Check, Field, Journal, Outcome, Ranges, Request, Screen, Timeouts, Url, Wanted, WebClientError, transfer,
};
use crate::terminal;

/// Fetch a file from a web server and print the status line, the header fields and the body.
///
/// Exit status: 0 if the status of the response is below 400; 1 if it is 400 or more, if the output cannot be written, or if
/// there is a redirection instead of a file to save; 2 if there is no complete response or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(
    name = "webclient",
    version,
    override_usage = "webclient [OPTIONS] <HOST> <PORT> <FILE>\n       webclient [OPTIONS] <URL>",
    after_help = "Examples: webclient localhost 6789 HelloWorld.html\n          webclient https://example.org/index.html"
)]
pub struct Arguments {
    #[command(flatten)]
    fetch: Option<Fetch>,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum, exclusive = true)]
    completions: Option<clap_complete::Shell>,
}

#[derive(Debug, Args)]
struct Fetch {
    /// Name or address of the server; or a whole URL, http://HOST[:PORT]/FILE or https://HOST[:PORT]/FILE
    host: String,
    /// Port of the server
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Path of the file, with or without a leading slash. Characters that a request cannot carry are percent-encoded; a
    /// query after ? and existing percent-encodings are sent unchanged
    file: Option<String>,
    /// Accept the certificates of the authorities in this PEM file, and those in it, instead of those of the authorities
    /// that this machine trusts
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca: Option<PathBuf>,
    /// Accept the certificate whose fingerprint this file has for the server, whoever has issued it; at first use, the
    /// fingerprint is printed and added to the file
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
    /// Save the body to this file instead of printing it; - is standard output. Only a status from 200 to 299 saves a
    /// body, and only a complete one
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Continue an earlier call with the same --output that was interrupted, if the file on the server is unchanged. An
    /// incomplete body is kept in PATH.part
    #[arg(long, requires = "output", conflicts_with = "range")]
    resume: bool,
    /// Request only these bytes: FIRST-LAST, FIRST- or -LENGTH, counted from 0; several are separated by commas
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<Ranges>,
    /// Send this header field, instead of the default one of that name; may be repeated. After a redirection to another
    /// server only fields that cannot be secret are sent (Accept, User-Agent and the like)
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Field>,
    /// Follow up to N redirections
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    follow: Option<u16>,
    /// Print only the status line and the header fields; sends HEAD, so that no body is transferred
    #[arg(long)]
    head: bool,
    /// Print only the body; with --head, print both
    #[arg(long)]
    body: bool,
    /// Show on standard error what is sent (>) and received (<), and how long it takes
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(arguments: Arguments) -> ExitCode {
    let command = match (arguments.completions, arguments.fetch) {
        (Some(shell), _) => return terminal::print_completions::<Arguments>(shell, "webclient"),
        (None, Some(command)) => command,
        // clap requires the arguments of `Fetch` unless there is --completions.
        (None, None) => return ExitCode::from(2),
    };
    match fetch(command) {
        Ok(outcome) if outcome.is_success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("webclient: {}", Escaped(&error.to_string()));
            let known = error.downcast_ref::<WebClientError>();
            ExitCode::from(known.map_or(2, WebClientError::exit_status))
        }
    }
}

fn fetch(command: Fetch) -> anyhow::Result<Outcome> {
    let both = command.head == command.body;
    let is_printed = command.output.as_deref() == Some(Path::new("-"));
    let wanted = Wanted {
        head: both || command.head,
        body: both || command.body,
        output: command.output.filter(|_| !is_printed),
        resume: command.resume,
        redirects_max: command.follow.map_or(0, usize::from),
    };
    anyhow::ensure!(
        wanted.body || wanted.output.is_none(),
        "--head fetches no body that --output could save; leave one of them out"
    );
    anyhow::ensure!(
        !wanted.resume || !is_printed,
        "--resume continues a file, but --output - is standard output; give --output a name"
    );
    let check = match (command.ca, command.pin) {
        (Some(path), _) => Check::Authorities(path),
        (None, Some(path)) => Check::Pins(path),
        (None, None) => Check::System,
    };
    let is_host = |field: &&Field| field.is_called("host");
    anyhow::ensure!(
        command.headers.iter().filter(is_host).count() <= 1,
        "a request has one Host; leave the others out"
    );
    let request = request(&command.host, command.port, command.file.as_deref())?;
    let request = Request { check, fields: command.headers, ranges: command.range, ..request };
    let mut screen = Screen::new(stdout().lock(), stdout().is_terminal());
    let journal = Journal { is_verbose: command.verbose };
    let outcome = transfer(&request, &wanted, &Timeouts::default(), &mut screen, journal)?;
    if !outcome.is_success() {
        let (server, target) = (outcome.request.server(), &outcome.request.target);
        let (status, advice) = (outcome.status, advice(outcome.status));
        journal.remark(format_args!("{server} answered {status} for {target}; {advice}"));
    }
    Ok(outcome)
}

/// The request for `HOST PORT FILE`, or for a URL in the place of the host.
fn request(host: &str, port: Option<u16>, file: Option<&str>) -> anyhow::Result<Request> {
    let bad = |why: &str| anyhow::anyhow!("cannot use the host {host:?}: {why}");
    match (port, file) {
        (Some(port), Some(file)) => Request::new(host, port, file).map_err(bad),
        (None, None) if host.contains("://") => {
            let url = Url::parse(&encode_reference(host))
                .map_err(|_| bad("a URL is http://HOST[:PORT]/FILE or https://..."))?;
            Request::of_url(&url).map_err(bad)
        }
        _ => Err(anyhow::anyhow!("HOST, PORT and FILE are needed, or one URL; see webclient --help")),
    }
}

/// What the user can do about a status of 400 or more (RFC 9110, sections 15.5 and 15.6).
fn advice(status: u16) -> &'static str {
    match status {
        401 => "it requires a password; send one with --header 'Authorization: Basic ...'",
        403 => "access is denied; ask the owner of the server",
        404 | 410 => "check the name of the file",
        416 => "the file has none of these bytes; choose another --range",
        429 => "it gets too many requests; try again later",
        500.. => "it could not serve the request; try again later",
        _ => "check the request and its options",
    }
}
