//! What a person types, and the exit status.

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use wire::escape::Escaped;

use super::{Field, Journal, Outcome, Ranges, Request, Screen, Timeouts, Wanted, WebClientError, transfer};
use crate::terminal;

/// Fetch a file from a web server and print the status line, the header fields and the body.
///
/// Exit status: 0 for an answer with a status below 400, 1 for one of 400 or more or when the output cannot be written or a
/// redirection has nothing to be saved, 2 when there is no whole answer or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(name = "webclient", version, after_help = "Example: webclient localhost 6789 HelloWorld.html")]
pub struct Arguments {
    #[command(flatten)]
    errand: Option<Errand>,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL", value_enum, exclusive = true)]
    completions: Option<clap_complete::Shell>,
}

#[derive(Debug, Args)]
struct Errand {
    /// Name or address of the server.
    host: String,
    /// Port of the server.
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Path of the file, with or without a slash at its start. What a request cannot carry is percent-encoded; a query
    /// after ? and what is percent-encoded already are sent as they are.
    file: String,
    /// Save the body here instead of printing it; - is standard output. Only a status from 200 to 299 saves anything,
    /// and only a body that is whole.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Go on where an earlier call with the same --output was cut off, if the file is still the same. What has come so far
    /// is kept in PATH.part.
    #[arg(long, requires = "output", conflicts_with = "range")]
    resume: bool,
    /// Ask for these bytes only: FIRST-LAST, FIRST- or -LENGTH, counted from 0, several with commas between them.
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<Ranges>,
    /// Send this header field too, or instead of the own one of that name; again for another. To other servers than HOST
    /// only harmless ones go along (Accept, User-Agent and the like).
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Field>,
    /// Follow redirections, at most N.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    follow: Option<u16>,
    /// Print only the status line and the header fields; the body is not even asked for (HEAD instead of GET).
    #[arg(long)]
    head: bool,
    /// Print only the body. With --head: both, as without the two.
    #[arg(long)]
    body: bool,
    /// Show on standard error what is sent (>) and received (<), and how long it takes.
    #[arg(short, long)]
    verbose: bool,
}

/// Does what the command line says.
pub fn run(arguments: Arguments) -> ExitCode {
    let errand = match (arguments.completions, arguments.errand) {
        (Some(shell), _) => return terminal::print_completions::<Arguments>(shell, "webclient"),
        (None, Some(errand)) => errand,
        // Its arguments are required, so that this is never met.
        (None, None) => return ExitCode::from(2),
    };
    match fetch(errand) {
        Ok(outcome) if outcome.is_success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("webclient: {}", Escaped(&error.to_string()));
            let known = error.downcast_ref::<WebClientError>();
            ExitCode::from(known.map_or(2, WebClientError::exit_status))
        }
    }
}

fn fetch(errand: Errand) -> anyhow::Result<Outcome> {
    let both = errand.head == errand.body;
    let is_printed = errand.output.as_deref() == Some(Path::new("-"));
    let wanted = Wanted {
        head: both || errand.head,
        body: both || errand.body,
        output: errand.output.filter(|_| !is_printed),
        resume: errand.resume,
        redirects_max: errand.follow.map_or(0, usize::from),
    };
    anyhow::ensure!(
        wanted.body || wanted.output.is_none(),
        "--head fetches no body that --output could save; leave one of them out"
    );
    anyhow::ensure!(
        !wanted.resume || !is_printed,
        "--resume goes on with a file, and standard output is none; give --output a name"
    );
    let request = Request::new(&errand.host, errand.port, &errand.file)
        .map_err(|bad| anyhow::anyhow!("cannot ask {:?}: {bad}", errand.host))?
        .with_fields(errand.headers)?
        .with_ranges(errand.range);
    let mut screen = Screen::new(stdout().lock(), stdout().is_terminal());
    let journal = Journal { is_verbose: errand.verbose };
    let outcome = transfer(&request, &wanted, &Timeouts::default(), &mut screen, journal)?;
    if !outcome.is_success() {
        let (server, target) = (outcome.request.server(), outcome.request.target());
        let (status, advice) = (outcome.status, advice(outcome.status));
        journal.remark(format_args!("{server} answered {status} for {target}; {advice}"));
    }
    Ok(outcome)
}

/// What a person can do about a status of 400 or more (RFC 9110, sections 15.5 and 15.6).
fn advice(status: u16) -> &'static str {
    match status {
        401 => "it wants a name and a password; give them with --header 'Authorization: Basic ...'",
        403 => "it does not show it to you; ask for access, or for another file",
        404 | 410 => "check the name of the file",
        416 => "it has none of these bytes; choose another --range",
        429 => "it gets too many requests; try again later",
        500.. => "it could not serve the request; try again later",
        _ => "check the request and its options",
    }
}
