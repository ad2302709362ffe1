//! What a transfer that fails reports.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;

use wire::Digest;
use wire::frame::{self, PREFACE};
use wire::protocol::{Greeting, ToPeer, ToServer, TransferId};
use wire::transfer::{CHUNK_BYTES, FileSealer, TransferKey};
use zeroize::Zeroizing;

use super::*;
use crate::peer::access::{Access, Server};
use crate::peer::command::Existing;
use crate::peer::folder::FileError;
use crate::tls::Trust;

/// What is reported, without the text.
fn kind(outcome: &TransferOutcome) -> &'static str {
    match outcome {
        TransferOutcome::CannotDial(_) => "cannot dial",
        TransferOutcome::CutOff(..) => "cut off",
        TransferOutcome::Wrong(..) => "wrong",
        TransferOutcome::DiskFull(_) => "disk full",
        TransferOutcome::Received(Err(_)) => "failed",
        _ => "something else",
    }
}

#[test]
fn each_error_of_a_transfer_is_reported_by_what_can_be_done_about_it() {
    let broken = || TransferError::Connection(io::ErrorKind::ConnectionReset.into());
    let disk =
        |number| TransferError::from(FileError::of("write", "x")(io::Error::from_raw_os_error(number)));
    let no_space = 28;
    for (error, at_once, later) in [
        (TransferError::CutOff { missing: 1 }, "cannot dial", "cut off"),
        (broken(), "cannot dial", "cut off"),
        (TransferError::TimedOut, "cannot dial", "cut off"),
        (disk(no_space), "disk full", "disk full"),
        (disk(5), "failed", "failed"),
        (TransferError::NotAuthentic, "wrong", "wrong"),
        (TransferError::OtherFile, "wrong", "wrong"),
        (TransferError::Cancelled, "failed", "failed"),
    ] {
        let kinds = [false, true].map(|has_begun| kind(&failure(&error, has_begun, 5, 9)));
        assert_eq!(kinds, [at_once, later], "{error}");
    }
    let TransferOutcome::DiskFull(why) = failure(&disk(no_space), true, 5, 9) else {
        panic!("there is no room")
    };
    assert!(
        why.starts_with("the disk is full: ")
            && why.ends_with("; 5 of 9 bytes are kept, and the same command fetches the rest"),
        "{why}"
    );
    assert!(matches!(failure(&broken(), true, 5, 9), TransferOutcome::CutOff(_, 5)));
}

const TRANSFER: TransferId = [7; 16];

fn joined(server: &str) -> Membership {
    let access = Access::new(server.parse().expect("an address"), &Trust::SystemOrUnknown);
    let access = access.expect("no certificates are needed");
    let server = Server { access, unknown_certificate: None };
    Membership { server, member: "A".parse().expect("a good name"), token: [0; 32] }
}

#[test]
fn a_holder_that_waits_at_the_server_can_be_stopped() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let membership = joined(&listener.local_addr().expect("it is bound").to_string());
    let stop = Stop::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("it is dialled");
            stream.write_all(&frame::frame(&ToPeer::Hello(Greeting::default()))).expect("it is open");
            let Membership { member, token, .. } = membership.clone();
            let splice = ToServer::Splice { transfer: TRANSFER, side: Side::Sender, member, token };
            let mut asked = vec![0; PREFACE.len() + frame::frame(&splice).len()];
            stream.read_exact(&mut asked).expect("it asks for the other end");
            stop.set();
            // The server says nothing.
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let stopped = connection_of_receiver(&membership, None, &TRANSFER, &stop);
        assert!(matches!(stopped, Err(TransferError::Connection(_))), "{stopped:?}");
        let caller = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let stopped = connection_of_receiver(&membership, Some(caller), &TRANSFER, &stop);
        assert!(matches!(stopped, Err(TransferError::Cancelled)), "{stopped:?}");
    });
}

/// What receiving a file of three chunks into a folder reports from a holder that sends so many of them, from `offset` on. `is_right`:
/// whether these are the right ones.
fn received(dir: &Path, chunks: usize, offset: u64, is_right: bool) -> TransferOutcome {
    let home = Home::open(dir).expect("it is a folder");
    let content = vec![1; 3 * CHUNK_BYTES];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let key = || TransferKey { transfer: TRANSFER, secret: Zeroizing::new([9; 32]), salt: [5; 16] };
    let name: wire::FileName = "x".parse().expect("a good name");
    let total_bytes = content.len() as u64;
    let sha256 = if is_right { Digest::of(&content) } else { Digest::of(b"other") };
    let header = FileHeader { name: name.clone(), total_bytes, offset, sha256 };
    let output = Some(dir.join("there"));
    let download = Download {
        name: name.clone(),
        here: name,
        bytes: total_bytes,
        sha256,
        output,
        existing: Existing::Refuse,
    };
    let holder = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it is dialled");
        let mut sealer = FileSealer::new(&key());
        let mut sent = sealer.header(&header);
        let first = usize::try_from(offset).expect("it is small") / CHUNK_BYTES;
        for chunk in first..first + chunks {
            sent.extend(sealer.chunk(&vec![1; CHUNK_BYTES], chunk == 2));
        }
        // The receiver may have closed it.
        let _ = stream.write_all(&sent);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Until it closes the connection, so that what was sent is not lost in a reset.
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let server = joined("127.0.0.1:1");
    let job = ReceiveJob { key: key(), download, offset, address: Some(address) };
    let outcome = receive(&home, &server, &job, &Stop::default(), &mut |_, _| {});
    holder.join().expect("it does not panic");
    outcome
}

#[test]
fn a_file_of_which_nothing_comes_can_come_another_way_and_one_that_is_cut_off_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(kind(&received(dir.path(), 0, 0, true)), "cannot dial");
    assert_eq!(kind(&received(dir.path(), 1, 0, true)), "cut off");
    assert!(matches!(received(dir.path(), 2, CHUNK_BYTES as u64, true), TransferOutcome::Received(Ok(_))));
}

#[test]
fn nothing_is_kept_of_a_wrong_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(received(dir.path(), 3, 0, false), TransferOutcome::Wrong(_, 0)));
    let some = CHUNK_BYTES as u64;
    assert!(matches!(received(dir.path(), 1, 0, false), TransferOutcome::CutOff(_, kept) if kept == some));
    assert!(matches!(received(dir.path(), 2, some, false), TransferOutcome::Wrong(_, 0)));
}
