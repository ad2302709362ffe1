//! Builds the files of `page/` into the server: writes a list of their names and contents, which `src/http/page.rs` includes.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=page");
    let variable = |name| env::var(name).expect("cargo sets it");
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join("page");
    let entries = fs::read_dir(&folder).expect("the folder of the page is beside this file");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    // Editors keep copies with such names for a moment.
    let is_copy = |name: &str| name.starts_with('.') || name.ends_with('~');
    let mut files: Vec<(String, String)> = paths
        .map(|path| {
            let text = path.to_str().expect("the path is UTF-8").to_owned();
            (text.rsplit('/').next().unwrap_or_default().to_owned(), text)
        })
        .filter(|(name, _)| !is_copy(name))
        .collect();
    files.sort();
    let list: String = files
        .iter()
        .map(|(name, path)| format!("({name:?}, include_bytes!({path:?}) as &[u8]),\n"))
        .collect();
    let list_path = Path::new(&variable("OUT_DIR")).join("page.rs");
    fs::write(list_path, format!("[{list}]")).expect("cargo's folder for output can be written");
}
