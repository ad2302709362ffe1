use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use wire::pieces::Linker;

use super::*;
use crate::peer::command::Existing;

const BYTES: u64 = 2 * PIECE_BYTES;

fn destination(directory: &Path) -> Destination {
    let name = "tide.csv".parse().expect("a good name");
    Destination::output(directory, &name, Existing::Refuse).expect("a directory")
}

#[test]
fn what_the_disk_may_have_lost_does_not_count() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = destination(dir.path());
    let content = vec![7; 2 << 20];
    let (first, second) = content.split_at(1 << 20);
    let mut linker = Linker::new();
    linker.update(&content);
    let (sha256, links) = linker.finish();
    let pieces = [(0, links[0], links[1]), (1, links[1], Link(sha256))];
    let pieces = pieces.map(|(number, from, to)| Piece { number, from, to });
    let (mut store, _) = PieceStore::open(&to, BYTES, &sha256).expect("the folder can be written");
    for (piece, content) in pieces.into_iter().zip([first, second]) {
        assert!(store.put(piece, &[content.to_vec()]).expect("it is written"));
    }
    // A file that takes what is written, but has no disk to wait for.
    let (mut read, write_end) = io::pipe().expect("a pipe");
    let drain = thread::spawn(move || io::copy(&mut read, &mut io::sink()));
    let file = std::mem::replace(&mut store.part, File::from(OwnedFd::from(write_end)));
    store.record(&pieces).expect_err("nobody can wait until a pipe is on disk");
    // From now on the system has forgotten it.
    store.part = file;
    store.finish(&to).expect_err("a file of which a part may be lost gets no name");
    drop(store);
    drain.join().expect("the pipe is closed").expect("it can be read");
    assert_eq!(PieceStore::open(&to, BYTES, &sha256).expect("it is free").1, []);
}
