//! The compressor: a thread with the lowest priority. FileServer never waits for it.

use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use wire::http::Coding;

use super::cache::Key;
use super::core::Input;
use super::disk::Stamp;
use super::keep::COMPRESSIONS_AT_ONCE;
use crate::commands::asset::Body;
use crate::runtime::{Address, Answers, Mailbox, mailbox};

/// Shorter files fit into one packet anyway.
const BYTES_MIN: u64 = 256;

/// Compressing a longer file would take many seconds and much of the cache. The administrator should put a compressed
/// copy beside it instead. Files that are too large for the cache (above 256 KiB) are read here, and only the compressed forms are
/// cached.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Up to this size brotli uses its best and slowest quality (about half a second).
const BROTLI_BEST_BYTES_MAX: usize = 256 * 1024;
const BROTLI_BEST: u32 = 11;
const BROTLI_LARGE: u32 = 9;

/// Binary logarithm of the window, 4 MiB: all browsers support this.
const BROTLI_WINDOW: u32 = 22;

const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    pub(super) body: Body,
}

/// The result: the codings that are worth using.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    pub(super) coded: Vec<(Coding, Bytes)>,
}

/// Whether a file of this length is worth compressing.
pub(super) fn is_worth_trying(bytes: u64) -> bool {
    (BYTES_MIN..=BYTES_MAX).contains(&bytes)
}

/// Starts the compressor. It ends when its address is dropped. If it fails, files are served uncompressed.
pub(super) fn start(results: Answers<Input>) -> io::Result<Address<Job>> {
    let (address, mailbox) = mailbox(COMPRESSIONS_AT_ONCE);
    std::thread::Builder::new().name("compressor".into()).spawn(move || run(&mailbox, &results))?;
    Ok(address)
}

fn run(mailbox: &Mailbox<Job>, results: &Answers<Input>) {
    crate::linux::yield_to_others();
    while let Some(job) = mailbox.next() {
        if results.send(Input::Compressed(compress(job))).is_err() {
            return;
        }
    }
}

pub(super) fn compress(job: Job) -> Compressed {
    let Job { key, stamp, body } = job;
    let coded = match content_of(&body, &stamp) {
        Some(content) => [(Coding::Brotli, brotli(&content)), (Coding::Gzip, gzip(&content))]
            .into_iter()
            .filter_map(|(coding, written)| Some((coding, Bytes::from(written.ok()?))))
            // A form that is hardly smaller is not worth decompressing.
            .filter(|(_, coded)| coded.len() <= content.len() - content.len() / 20)
            .collect(),
        None => Vec::new(),
    };
    Compressed { key, stamp, coded }
}

/// The content; `None` if the file has changed.
fn content_of(body: &Body, stamp: &Stamp) -> Option<Bytes> {
    let (file, bytes) = match body {
        Body::Memory(content) => return Some(content.clone()),
        Body::File { file, bytes } => (file, usize::try_from(*bytes).ok()?),
    };
    let mut content = vec![0; bytes];
    file.read_exact_at(&mut content, 0).ok()?;
    (Stamp::of(file).as_ref() == Some(stamp)).then(|| content.into())
}

fn brotli(content: &[u8]) -> io::Result<Vec<u8>> {
    let quality = if content.len() <= BROTLI_BEST_BYTES_MAX { BROTLI_BEST } else { BROTLI_LARGE };
    let mut writer = CompressorWriter::new(Vec::new(), BUFFER_BYTES, quality, BROTLI_WINDOW);
    writer.write_all(content)?;
    writer.flush()?;
    Ok(writer.into_inner())
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(content)?;
    writer.finish()
}
