//! The values of options that belong to the server as a whole, from their text.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use actors::config::{AccessLogFormat, Listen};

use super::problem::BadValue;

/// Who may connect to a Unix socket unless `,mode=` says otherwise: its owner and its group.
const UNIX_SOCKET_MODE: u32 = 0o660;
/// `sun_path` of `unix(7)` has 108 bytes, and the last one is NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// A timeout of more is a mistake in the unit.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the log of the server looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, BadValue> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(BadValue::new(format!("{text:?} is not a format; it is text or json"))),
    }
}

pub(super) fn access_log_format(text: &str) -> Result<AccessLogFormat, BadValue> {
    match text {
        "combined" => Ok(AccessLogFormat::Combined),
        "json" => Ok(AccessLogFormat::Json),
        _ => Err(BadValue::new(format!("{text:?} is not a format; it is combined or json"))),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, BadValue> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(BadValue::new(format!("{text:?} is neither on nor off"))),
    }
}

/// A number of things, at least one.
pub(super) fn count(text: &str) -> Result<usize, BadValue> {
    text.parse()
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| BadValue::new(format!("{text:?} is not a number of at least 1")))
}

/// `512`, `64K`, `64M`, `2G`, in powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, BadValue> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| BadValue::new(format!("{text:?} is not a size such as 500K, 64M or 2G")))
}

pub(super) fn timeout(text: &str) -> Result<Duration, BadValue> {
    let time = humantime::parse_duration(text)
        .map_err(|e| BadValue::new(format!("{text:?} is not a time such as 500ms, 30s or 2m: {e}")))?;
    if time.is_zero() || time > TIMEOUT_MAX {
        return Err(BadValue::new(format!("{text:?} is not a time over zero and up to a day")));
    }
    Ok(time)
}

pub(super) fn address(text: &str) -> Result<SocketAddr, BadValue> {
    text.parse().map_err(|_| {
        BadValue::new(format!("{text:?} is not an address and port such as 127.0.0.1:6789 or [::1]:6789"))
    })
}

/// `ADDR:PORT`, `unix:PATH`, `unix:PATH,mode=0660`, or `systemd`.
pub(super) fn listen(text: &str) -> Result<Listen, BadValue> {
    if text == "systemd" {
        return Ok(Listen::Inherited);
    }
    let Some(rest) = text.strip_prefix("unix:") else {
        return address(text)
            .map(Listen::Address)
            .map_err(|e| BadValue::new(format!("{e}, nor unix:PATH or systemd")));
    };
    let (path, mode) = match rest.rsplit_once(",mode=") {
        Some((path, mode)) => (path, unix_mode(mode)?),
        None => (rest, UNIX_SOCKET_MODE),
    };
    if path.is_empty() || path.contains('\0') {
        return Err(BadValue::new(format!("{text:?} has no path of a socket after unix:")));
    }
    Ok(Listen::Unix { path: path.into(), mode })
}

/// Whether the system can give a Unix socket this name.
pub(super) fn is_unix_path_short_enough(path: &Path) -> bool {
    path.as_os_str().len() <= UNIX_PATH_BYTES_MAX
}

fn unix_mode(text: &str) -> Result<u32, BadValue> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| is_octal && mode <= 0o777);
    mode.ok_or_else(|| BadValue::new(format!("{text:?} is not a mode of a socket such as 0660")))
}
