//! Saving a body.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use super::{BodyReader, WebClientError};

/// Shorter bodies arrive too quickly for a progress bar.
const PROGRESS_BYTES_MIN: u64 = 1024 * 1024;

pub(super) enum Target {
    /// A device or a pipe. It is written to directly, because a rename would replace it by a file.
    Special(PathBuf),
    /// A file that may or may not exist, but is no link.
    File(PathBuf),
}

impl Target {
    /// Follows links, so that the rename replaces the file that a link points to and not the link.
    pub(super) fn of(path: &Path) -> Result<Self, WebClientError> {
        let target = match fs::metadata(path) {
            Ok(there) if there.is_file() => fs::canonicalize(path),
            Ok(_) => return Ok(Self::Special(path.to_owned())),
            Err(_) if path.file_name().is_none() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of a file"))
            }
            Err(_) => Ok(path.to_owned()),
        };
        target.map(Self::File).map_err(|cause| WebClientError::save(path, &cause))
    }
}

/// Saves a body. A file gets its name only when the body is complete.
pub(super) fn save(body: &mut BodyReader, target: &Target) -> Result<(), WebClientError> {
    match target {
        Target::Special(path) => {
            let file = OpenOptions::new().write(true).open(path);
            copy(body, &mut file.map_err(|cause| WebClientError::save(path, &cause))?, path, 0)
        }
        Target::File(path) => {
            let save_error = |cause| WebClientError::save(path, &cause);
            // From here on there is a temporary file to remove.
            body.catch_signals().map_err(save_error)?;
            let mut partial = create_beside(path).map_err(save_error)?;
            copy(body, partial.as_file_mut(), path, 0)?;
            rename(partial, path).map_err(save_error)
        }
    }
}

/// A temporary file in the directory of `target`, removed when it is dropped.
pub(super) fn create_beside(target: &Path) -> io::Result<NamedTempFile> {
    // The name does not contain that of the target, which may have the maximum length already.
    tempfile::Builder::new()
        .prefix(".webclient-")
        .suffix(".part")
        // The usual mode of a new file, before the umask; the default of tempfile is 0600.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory(target))
}

/// Syncs a temporary file, then renames it to `target`.
pub(super) fn rename(file: NamedTempFile, target: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Appends a body to a file that already has `have_bytes`. `path` is its name in messages.
pub(super) fn copy(
    body: &mut BodyReader,
    file: &mut File,
    path: &Path,
    have_bytes: u64,
) -> Result<(), WebClientError> {
    let progress = progress_bar(body.announced_bytes(), have_bytes);
    let result = loop {
        match body.next_piece() {
            Ok(Some(data)) => {
                if let Err(cause) = file.write_all(data) {
                    break Err(WebClientError::save(path, &cause));
                }
                progress.inc(data.len() as u64);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    progress.finish_and_clear();
    result
}

/// A progress bar on standard error; hidden if that is no terminal.
fn progress_bar(announced_bytes: Option<u64>, have_bytes: u64) -> ProgressBar {
    let (bar, template) = match announced_bytes {
        Some(bytes) if bytes < PROGRESS_BYTES_MIN => return ProgressBar::hidden(),
        Some(bytes) => (
            ProgressBar::new(have_bytes.saturating_add(bytes)),
            "{wide_bar} {binary_bytes} of {binary_total_bytes}{msg}, {binary_bytes_per_sec}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}{msg}, {binary_bytes_per_sec}"),
    };
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    if have_bytes == 0 {
        return bar;
    }
    let bar = bar.with_position(have_bytes);
    bar.set_message(format!(" (from {})", indicatif::BinaryBytes(have_bytes)));
    // The bytes that were there before must not count towards the speed.
    bar.reset_eta();
    bar
}
