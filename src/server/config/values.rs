//! The grammar of values for the server as a whole. Errors are texts for whoever has written the value.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::config::Listen;

/// Mode of a Unix socket without `,mode=`: its owner and its group may connect.
const UNIX_SOCKET_MODE: u32 = 0o660;
/// `sun_path` of `unix(7)` has 108 bytes, and the last one is NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// A longer timeout is a mistake in the unit.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

/// A number of things, at least one.
pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| format!("{text:?} is not a number of at least 1"))
}

/// `512`, `64K`, `64M`, `2G`, in powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text:?} is not a size such as 500K, 64M or 2G"))
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|e| format!("{text:?} is not a time such as 500ms, 30s or 2m: {e}"))?;
    if time.is_zero() || time > TIMEOUT_MAX {
        return Err(format!("{text:?} is not a time over zero and up to a day"));
    }
    Ok(time)
}

pub(super) fn path(text: OsString) -> Result<PathBuf, String> {
    if text.is_empty() || text.as_bytes().contains(&0) {
        return Err(format!("{text:?} is not a path"));
    }
    Ok(text.into())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse();
    address.map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:6789 or [::1]:6789"))
}

/// `ADDR:PORT`, `unix:PATH`, `unix:PATH,mode=0660`, or `systemd`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if text == "systemd" {
        return Ok(Listen::Inherited);
    }
    let Some(rest) = text.strip_prefix("unix:") else {
        return address(text).map(Listen::Address).map_err(|e| format!("{e}, nor unix:PATH or systemd"));
    };
    let (path, mode) = match rest.rsplit_once(",mode=") {
        Some((path, mode)) => (path, unix_mode(mode)?),
        None => (rest, UNIX_SOCKET_MODE),
    };
    if path.is_empty() || path.contains('\0') {
        return Err(format!("{text:?} has no path of a socket after unix:"));
    }
    Ok(Listen::Unix { path: path.into(), mode })
}

/// Whether the system can give a Unix socket this name.
pub(super) fn is_unix_path_short_enough(path: &Path) -> bool {
    path.as_os_str().len() <= UNIX_PATH_BYTES_MAX
}

fn unix_mode(text: &str) -> Result<u32, String> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| is_octal && mode <= 0o777);
    mode.ok_or_else(|| format!("{text:?} is not a mode of a socket such as 0660"))
}
