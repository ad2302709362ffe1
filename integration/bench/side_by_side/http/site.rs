//! The files that both servers serve.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The file of most shapes, and its size.
pub(super) const SMALL: &str = "/small.html";
const SMALL_BYTES: usize = 1000;
/// The file of the shape that is measured in bytes.
pub(super) const LARGE: &str = "/large.bin";
const LARGE_BYTES: usize = 100 << 20;
/// Large enough for the ranges of an attack, small enough for the cache.
pub(super) const MIDDLE: &str = "/middle.bin";
const MIDDLE_BYTES: usize = 64 << 10;
/// The many files: the number of directories, of files in each, and the size of a file.
pub(super) const FOLDERS: usize = 100;
pub(super) const FILES: usize = 100;
const MANY_BYTES: usize = 1024;

/// Makes all files in `root`.
pub(super) fn make(root: &Path) -> Result<()> {
    fs::create_dir(root).context("cannot make a folder for the site")?;
    for (path, length) in [(SMALL, SMALL_BYTES), (LARGE, LARGE_BYTES), (MIDDLE, MIDDLE_BYTES)] {
        write(root, path, length)?;
    }
    for folder in 0..FOLDERS {
        fs::create_dir_all(root.join(format!("many/{folder:02}")))?;
    }
    for path in many() {
        write(root, &path, MANY_BYTES)?;
    }
    Ok(())
}

/// The paths of the many files.
pub(super) fn many() -> impl Iterator<Item = String> {
    (0..FOLDERS).flat_map(|folder| (0..FILES).map(move |file| format!("/many/{folder:02}/{file:02}.html")))
}

/// The expected body for `path`.
pub(super) fn body(root: &Path, path: &str) -> Result<Vec<u8>> {
    Ok(fs::read(file(root, path))?)
}

fn file(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Fills the file with its own path, so that no two files are equal.
fn write(root: &Path, path: &str, length: usize) -> Result<()> {
    let line = format!("{path}\n");
    let mut text = line.repeat(length / line.len() + 1);
    text.truncate(length);
    fs::write(file(root, path), text).with_context(|| format!("cannot write {path}"))
}
