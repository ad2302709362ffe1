//! Parses the output of wrk.
//!
//! The summary that wrk prints is rounded ("1.23k", "99.9us"). So a Lua function that wrk calls after the turn prints one
//! line with the exact figures. It costs nothing during the turn: without a `request` function wrk sends the same bytes
//! each time and never enters Lua.

use serde::Deserialize;
use thiserror::Error;

use super::report::Turn;

/// The start of the line with the figures.
const MARK: &str = "side_by_side ";

/// The Lua function that prints the line.
pub const SAY_RESULT: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        'side_by_side {"requests":%.0f,"bytes":%.0f,"microseconds":%.0f,"p50":%.0f,"p99":%.0f,' ..
        '"connect":%.0f,"read":%.0f,"write":%.0f,"status":%.0f,"timeout":%.0f}\n',
        summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect, e.read, e.write, e.status, e.timeout))
end
"#;

/// Why a turn is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// wrk was killed, or the program is not wrk.
    #[error("wrk gave no figures")]
    NoFigures,
    #[error("there was no answer")]
    NoAnswers,
    #[error(
        "{connect} connections failed, {read} reads, {write} writes, {timeout} took too long, {status} not 2xx or 3xx"
    )]
    Errors { connect: u64, read: u64, write: u64, timeout: u64, status: u64 },
}

/// The line that [`SAY_RESULT`] writes.
#[derive(Deserialize)]
struct Line {
    requests: u64,
    bytes: u64,
    microseconds: u64,
    p50: u64,
    p99: u64,
    connect: u64,
    read: u64,
    write: u64,
    status: u64,
    timeout: u64,
}

/// The figures in the output of wrk, without processor time.
///
/// # Errors
/// A request failed. A server that drops requests is fast for the others, so such a turn is invalid.
pub fn parse(output: &str) -> Result<Turn, Invalid> {
    let line = output.lines().find_map(|line| line.strip_prefix(MARK)).ok_or(Invalid::NoFigures)?;
    let line: Line = serde_json::from_str(line).map_err(|_| Invalid::NoFigures)?;
    let Line { connect, read, write, status, timeout, .. } = line;
    if [connect, read, write, status, timeout].iter().any(|&count| count > 0) {
        return Err(Invalid::Errors { connect, read, write, timeout, status });
    }
    if line.requests == 0 || line.microseconds == 0 {
        return Err(Invalid::NoAnswers);
    }
    let seconds = line.microseconds as f64 / 1e6;
    Ok(Turn {
        requests: line.requests,
        requests_per_second: line.requests as f64 / seconds,
        bytes_per_second: line.bytes as f64 / seconds,
        p50_us: line.p50 as f64,
        p99_us: line.p99 as f64,
        cpu_us_per_request: None,
        cpu_beneath_us_per_request: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As wrk 4.1 prints it, with the line of [`SAY_RESULT`] at its end.
    fn said(requests: u64, read: u64, status: u64) -> String {
        format!(
            "Running 2s test @ http://127.0.0.1:8080/small.html\n  2 threads and 16 connections\n\
             Requests/sec:  99.9k\nTransfer/sec:    111.84MB\n\
             side_by_side {{\"requests\":{requests},\"bytes\":117300,\"microseconds\":2000000,\"p50\":121,\"p99\":433,\
             \"connect\":0,\"read\":{read},\"write\":0,\"status\":{status},\"timeout\":0}}\n"
        )
    }

    #[test]
    fn a_good_turn_gives_its_figures() {
        let turn = parse(&said(100, 0, 0)).expect("nothing failed");
        let expected = Turn {
            requests: 100,
            requests_per_second: 50.0,
            bytes_per_second: 58_650.0,
            p50_us: 121.0,
            p99_us: 433.0,
            cpu_us_per_request: None,
            cpu_beneath_us_per_request: None,
        };
        assert_eq!(turn, expected);
    }

    #[test]
    fn a_turn_with_failures_does_not_count() {
        for (read, status) in [(1, 0), (0, 1)] {
            let errors = Invalid::Errors { connect: 0, read, write: 0, timeout: 0, status };
            assert_eq!(parse(&said(100, read, status)), Err(errors));
        }
        assert_eq!(parse(&said(0, 0, 0)), Err(Invalid::NoAnswers));
    }

    #[test]
    fn a_turn_without_figures_does_not_count() {
        assert_eq!(parse(""), Err(Invalid::NoFigures));
        assert_eq!(parse("Requests/sec: 12\n"), Err(Invalid::NoFigures));
        assert_eq!(parse("side_by_side {\"requests\":1"), Err(Invalid::NoFigures));
    }
}
