//! Saving a body.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::{BodyReader, PROGRESS_BYTES_MIN, WebClientError};

/// Where a body goes.
pub(super) enum Place {
    /// A device, a pipe: written to as it is, since a file with its name would replace it.
    Special(PathBuf),
    /// A file, there or not; no link.
    File(PathBuf),
}

impl Place {
    /// Follows links, so that what they lead to is replaced and not they.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let target = match fs::metadata(path) {
            Ok(there) if there.is_file() => fs::canonicalize(path)?,
            Ok(_) => return Ok(Self::Special(path.to_owned())),
            Err(_) => path.to_owned(),
        };
        if target.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of a file"));
        }
        Ok(Self::File(target))
    }
}

/// Reads a body to its end into `place`; a file gets its name only then.
pub(super) fn save(body: &mut BodyReader, place: &Place) -> Result<(), WebClientError> {
    match place {
        Place::Special(path) => {
            let save_error = |cause| WebClientError::Save { path: path.clone(), cause };
            let mut file = OpenOptions::new().write(true).open(path).map_err(save_error)?;
            copy(body, &mut file, path, 0, u64::MAX)
        }
        Place::File(path) => {
            let save_error = |cause| WebClientError::Save { path: path.clone(), cause };
            // From here on there is something to tidy up.
            body.catch_signals().map_err(save_error)?;
            let mut partial = PartialFile::create(path).map_err(save_error)?;
            copy(body, &mut partial.file, path, 0, u64::MAX)?;
            partial.finish().map_err(save_error)
        }
    }
}

/// Reads a body to its end into a file that has `have_bytes` of it already. `path` is its name for people. Stops early, and
/// writes nothing of what it has read last, once there are more than `bytes_max`.
pub(super) fn copy(
    body: &mut BodyReader,
    file: &mut File,
    path: &Path,
    have_bytes: u64,
    bytes_max: u64,
) -> Result<(), WebClientError> {
    let progress = progress_bar(body.announced_bytes(), have_bytes);
    let mut bytes_left = bytes_max;
    let result = loop {
        match body.next_part() {
            Ok(Some(data)) => {
                match bytes_left.checked_sub(data.len() as u64) {
                    Some(left) => bytes_left = left,
                    None => break Ok(()),
                }
                if let Err(cause) = file.write_all(data) {
                    break Err(WebClientError::Save { path: path.to_owned(), cause });
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

/// A file under a name of its own until it is whole. Dropped before that, it is removed.
pub(super) struct PartialFile {
    pub(super) file: File,
    /// The name now and the name to come; none once it is there.
    rename: Option<(PathBuf, PathBuf)>,
}

impl PartialFile {
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        // Short, because the name to come may be as long as names can be; random, because what a process that was killed
        // has left behind must not be in the way of one with the same number.
        let partial = target.with_file_name(format!(".webclient-{:016x}.part", rand::random::<u64>()));
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        Ok(Self { file, rename: Some((partial, target.to_owned())) })
    }

    /// Gives it its name once all of it is on the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let Some((partial, target)) = self.rename.take() else {
            return Ok(());
        };
        fs::rename(&partial, &target).inspect_err(|_| {
            // What is left over has no use; that it cannot be removed would not be news.
            let _ = fs::remove_file(&partial);
        })
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.rename {
            let _ = fs::remove_file(partial);
        }
    }
}
