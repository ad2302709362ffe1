//! Builds and finds the binaries, because cargo gives their paths only to tests of their own package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
///
/// # Panics
/// Never: this package is one directory below the root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the repository")
}

/// The binary `name` of the root package, built once for this process, with the profile of the test.
///
/// # Panics
/// The build fails.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

/// Cargo, as if a person had started it. Cargo sets variables for the tests that it runs, and with those of another package
/// it would build some dependencies again, because their build scripts read them.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    let names = std::env::vars_os().map(|(name, _)| name);
    let is_of_package = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for name in names.filter(is_of_package) {
        command.env_remove(name);
    }
    command
}

/// A test is `<target>/<profile>/deps/<name>`; the binaries are one directory above it.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the system knows where this test is");
    let folder = test.ancestors().nth(2).expect("a test is in deps/ of its profile's folder").to_owned();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder.parent().expect("the profile's folder is in the target folder");
    let status = cargo()
        .args([
            "build",
            "--quiet",
            // Build with the features of `cargo test --workspace`; with others, cargo would build all dependencies
            // again. Naming one test makes cargo include the features of dev-dependencies.
            "--workspace",
            "--bins",
            "--test",
            "architecture",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(repository())
        .status()
        .expect("the cargo that built this test can be started");
    assert!(status.success(), "the binaries cannot be built: {status}");
    folder
}
