use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

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
    let start = Chain::new().link();
    let behind = |link: &Link, number, content| {
        let mut chain = Chain::at(link, number);
        chain.update(content);
        chain.link_behind(number, BYTES)
    };
    let middle = behind(&start, 0, first);
    let end = behind(&middle, 1, second);
    let pieces = [Piece { number: 0, from: start, to: middle }, Piece { number: 1, from: middle, to: end }];
    let (mut store, _) = PieceStore::open(&to, BYTES, &end.0).expect("the folder can be written");
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
    assert_eq!(PieceStore::open(&to, BYTES, &end.0).expect("it is free").1, []);
}
