//! Files and directories that only their owner may read.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Opens a file for reading and writing, and creates it if it is missing. Sets its mode to 0600.
///
/// # Errors
/// The error of the system.
pub fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Creates a directory and its parents if they are missing. Sets its mode to 0700.
///
/// # Errors
/// The error of the system.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
}
