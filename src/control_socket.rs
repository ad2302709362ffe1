//! The Unix socket in a private directory, over which other processes send commands to the one that uses the directory.
//! Each line is a JSON value.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, Read as _, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const NAME: &str = "control";
/// The maximum length of a line. A command may contain many long messages.
const LINE_BYTES_MAX: u64 = 64 << 20;
const MODE: u32 = 0o600;

/// The path of the socket, relative to a descriptor of its directory, because the path of a socket is limited to 107
/// bytes.
fn address(directory: &Path) -> io::Result<(File, PathBuf)> {
    let directory = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()));
    Ok((directory, path))
}

/// Makes the socket. The caller must hold the lock on the directory: an existing socket is removed, because it must be
/// that of a process that was killed.
///
/// # Errors
/// The error of the system.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    let (_directory, path) = address(directory)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// Connects to the process that uses the directory.
///
/// # Errors
/// The error of the system.
pub(crate) fn connect(directory: &Path) -> io::Result<UnixStream> {
    let (_directory, path) = address(directory)?;
    UnixStream::connect(path)
}

/// Writes a value as a line.
///
/// # Errors
/// The error of the system.
pub(crate) fn write_line<T: serde::Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Reads a value; `None` at the end of the connection.
///
/// The error of the system, or the line is not such a value.
pub(crate) fn read_line<T: serde::de::DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if reader.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
