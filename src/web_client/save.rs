//! Saving a body.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::{BodyReader, PROGRESS_BYTES_MIN, WebClientError};

/// Reads a body to its end into a file, which gets its name only then.
pub(super) fn save(body: &mut BodyReader, path: &Path) -> Result<(), WebClientError> {
    let save_error = |cause| WebClientError::Save { path: path.to_owned(), cause };
    let mut file = PartialFile::create(path).map_err(save_error)?;
    let progress = progress_bar(body.announced_bytes());
    while let Some(data) = body.next_part()? {
        file.file.write_all(data).map_err(save_error)?;
        progress.inc(data.len() as u64);
    }
    progress.finish_and_clear();
    file.finish().map_err(save_error)
}

/// A bar on standard error; it shows nothing when that is no terminal.
fn progress_bar(announced_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match announced_bytes {
        Some(bytes) if bytes < PROGRESS_BYTES_MIN => return ProgressBar::hidden(),
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}, {binary_bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A file under a name of its own until it is whole. Dropped before that, it is removed.
pub(super) struct PartialFile {
    file: File,
    /// The name now and the name to come; none if the output is no file, and written to directly.
    rename: Option<(PathBuf, PathBuf)>,
}

impl PartialFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let target = match fs::metadata(path) {
            // Renaming would replace a device or a pipe, and a link instead of what it leads to.
            Ok(there) if there.is_file() => fs::canonicalize(path)?,
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self { file, rename: None });
            }
            Err(_) => path.to_owned(),
        };
        if target.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of a file"));
        }
        // Short, because the name to come may be as long as names can be; random, because what a process that was killed
        // has left behind must not be in the way of one with the same number.
        let partial = target.with_file_name(format!(".webclient-{:016x}.part", rand::random::<u64>()));
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        Ok(Self { file, rename: Some((partial, target)) })
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
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
