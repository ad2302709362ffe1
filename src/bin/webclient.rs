//! `webclient`: fetches a file from a web server and prints or saves it.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use switchboard::web_client::{Request, Screen, Timeouts, Wanted, WebClientError, transfer};
use wire::escape::Escaped;

/// Fetch a file from a web server and print the status line, the header fields and the body.
///
/// Exit status: 0 for an answer with a status below 400, 1 for one of 400 or more or when the output cannot be written or a
/// redirection has nothing to be saved, 2 when there is no whole answer or the arguments are wrong.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: webclient localhost 6789 HelloWorld.html")]
struct Arguments {
    /// Name or address of the server.
    host: String,
    /// Port of the server.
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Path of the file, with or without a slash at its start. What a request cannot carry is percent-encoded; a query
    /// after ? and what is percent-encoded already are sent as they are.
    file: String,
    /// Save the body here instead of printing it. Only a status from 200 to 299 saves anything, and only a body that is
    /// whole.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print only the status line and the header fields; the body is not even asked for (HEAD instead of GET).
    #[arg(long)]
    head: bool,
    /// Print only the body. With --head: both, as without the two.
    #[arg(long)]
    body: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(status) if status < 400 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("webclient: {}", Escaped(&error.to_string()));
            let known = error.downcast_ref::<WebClientError>();
            ExitCode::from(known.map_or(2, WebClientError::exit_status))
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<u16> {
    let both = arguments.head == arguments.body;
    let wanted = Wanted {
        head: both || arguments.head,
        body: both || arguments.body,
        output: arguments.output.clone(),
    };
    anyhow::ensure!(
        wanted.body || wanted.output.is_none(),
        "--head fetches no body that --output could save; leave one of them out"
    );
    let request = Request::new(&arguments.host, arguments.port, &arguments.file)
        .map_err(|bad| anyhow::anyhow!("cannot ask {:?}: {bad}", arguments.host))?;
    let mut screen = Screen::new(stdout().lock(), stdout().is_terminal());
    let status = transfer(&request, &wanted, &Timeouts::default(), &mut screen)?;
    if status >= 400 {
        let (server, target) = (request.server(), request.target());
        eprintln!("webclient: {server} answered {status} for {target}; check the name of the file");
    }
    Ok(status)
}
