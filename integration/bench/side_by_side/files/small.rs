//! Switchboard: a peer that shares a folder of small files, and one that gets them by a pattern.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use integration::{Process, Sandbox};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::command::{self, Moved};
use super::ours::Peers;
use super::{SMALL_BYTES, Way};
use crate::interrupt::Interrupt;

const NAME: &str = "holder-of-small-files";
const FOLDER: &str = "small";

/// A way of the small files.
pub(super) struct Small<'a> {
    peers: &'a Peers<'a>,
    holder: Process,
    folder: PathBuf,
}

impl<'a> Small<'a> {
    /// Makes the files, and shares them.
    pub(super) fn start(
        peers: &'a Peers<'a>,
        sandbox: &Sandbox,
        files: u64,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let shares = sandbox.path(NAME);
        let folder = shares.join(FOLDER);
        std::fs::create_dir_all(&folder).context("cannot make a folder for small files")?;
        let mut rng = StdRng::seed_from_u64(2);
        let mut content = vec![0; usize::try_from(SMALL_BYTES)?];
        for number in 0..files {
            rng.fill_bytes(&mut content);
            std::fs::write(folder.join(format!("{number:05}.bin")), &content)
                .context("cannot write a small file")?;
        }
        std::fs::write(shares.join("keyword.txt"), format!("{FOLDER}, {FOLDER}/*;"))?;
        let holder = peers.share_quietly(NAME, &shares, FOLDER, interrupt)?;
        Ok(Self { peers, holder, folder })
    }

    /// The files at their holder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Way for Small<'_> {
    fn name(&self) -> &'static str {
        "switchboard"
    }

    fn fetch(&mut self, to: &Path, interrupt: &Interrupt) -> Result<Moved> {
        std::fs::create_dir(to).context("cannot make a folder for what is fetched")?;
        let output = to.to_str().context("temporary folders have plain names")?;
        let pattern = format!("{FOLDER}/*");
        let command = self.peers.get(&[&pattern, "--from", NAME, "--output", output]);
        let others = [("the holder", self.holder.id()), ("the server", self.peers.server().id())];
        command::run("the receiver", command, &others, interrupt)
    }
}
