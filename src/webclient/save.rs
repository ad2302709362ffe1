//! Saving a body.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use super::{BodyReader, WebClientError};

/// Shortest body that gets a progress bar: less is there before anybody looks.
const PROGRESS_BYTES_MIN: u64 = 1024 * 1024;

/// Where a body goes.
pub(super) enum Place {
    /// A device, a pipe: written to as it is, since a file with its name would replace it.
    Special(PathBuf),
    /// A file, there or not; no link.
    File(PathBuf),
}

impl Place {
    /// Follows links, so that what they lead to is replaced and not they.
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

/// Reads a body to its end into `place`; a file gets its name only then.
pub(super) fn save(body: &mut BodyReader, place: &Place) -> Result<(), WebClientError> {
    match place {
        Place::Special(path) => {
            let file = OpenOptions::new().write(true).open(path);
            copy(body, &mut file.map_err(|cause| WebClientError::save(path, &cause))?, path, 0)
        }
        Place::File(path) => {
            let save_error = |cause| WebClientError::save(path, &cause);
            // From here on there is a file to remove.
            body.catch_signals().map_err(save_error)?;
            let mut partial = create_beside(path).map_err(save_error)?;
            copy(body, partial.as_file_mut(), path, 0)?;
            rename(partial, path).map_err(save_error)
        }
    }
}

/// A file in the directory of `target`, removed when it is dropped.
pub(super) fn create_beside(target: &Path) -> io::Result<NamedTempFile> {
    // Short, because the name of the target may be as long as names can be.
    tempfile::Builder::new()
        .prefix(".webclient-")
        .suffix(".part")
        // As for any new file, the process's umask takes permissions away.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory(target))
}

/// Gives a file its name once all of it is on the disk.
pub(super) fn rename(file: NamedTempFile, target: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// The directory of a file.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a body to its end into a file that has `have_bytes` of it already. `path` is its name for people.
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

/// A bar on standard error; it shows nothing when that is no terminal.
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
    // What was there before has not come at this speed.
    bar.reset_eta();
    bar
}
