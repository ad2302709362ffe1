//! What others write to the connection of a session themselves, while the session waits for its socket. That saves the session a
//! wake-up each time.
//!
//! - The session of a sender writes envelopes. The session of the recipient learns of them when it is woken for something else,
//!   which is at the latest when its peer acknowledges them.
//! - The Index writes the answer to a search. The session learns of it when its peer sends something again.

use std::net::TcpStream;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::session::{Delivery, SessionMailbox};
use crate::runtime::{WriteLease, Writing};
use crate::transport::try_send;

/// The maximum number of deliveries of which the recipient's session has not learned. The next one wakes it.
const UNLEARNED_MAX: usize = 64;

#[derive(Debug)]
struct Shared {
    lease: WriteLease,
    socket: Arc<TcpStream>,
}

/// A delivery that is on the connection.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) delivery: Box<Delivery>,
    /// How many of its bytes are there; fewer than all only for the last one before the lease was taken back.
    pub(crate) bytes: usize,
}

/// What has become of a delivery.
#[derive(Debug)]
pub(crate) enum Direct {
    Written,
    /// The recipient's session must be woken to write the rest.
    Begun,
    /// Nothing of it is written.
    Refused(Box<Delivery>),
}

/// The end for senders.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    shared: Arc<Shared>,
    written: Sender<Written>,
}

/// The end of the session that has the connection.
#[derive(Debug)]
pub(crate) struct DirectReader {
    shared: Arc<Shared>,
    written: Receiver<Written>,
}

/// Makes both ends for a connection. Nothing but plain bytes may be on the socket.
pub(crate) fn direct(socket: Arc<TcpStream>) -> (DirectWriter, DirectReader) {
    let shared = Arc::new(Shared { lease: WriteLease::default(), socket });
    let (sender, receiver) = unbounded();
    (
        DirectWriter { shared: Arc::clone(&shared), written: sender },
        DirectReader { shared, written: receiver },
    )
}

impl DirectWriter {
    /// Writes a delivery as far as the socket takes it without waiting.
    pub(crate) fn write(&self, delivery: Box<Delivery>) -> Direct {
        if self.written.len() >= UNLEARNED_MAX {
            return Direct::Refused(delivery);
        }
        let Some(connection) = self.shared.borrow() else { return Direct::Refused(delivery) };
        let bytes = connection.write(&delivery.frames.bytes);
        if bytes == 0 {
            return Direct::Refused(delivery);
        }
        let is_whole = bytes == delivery.frames.bytes.len();
        // Fails only if the session has ended, and then the connection is not lent.
        let _ = self.written.send(Written { delivery, bytes });
        drop(connection);
        if is_whole { Direct::Written } else { Direct::Begun }
    }

    /// Called after a delivery was added to the mailbox, so that later ones of the same sender do not overtake it.
    pub(crate) fn withdraw(&self) {
        self.shared.lease.withdraw();
    }
}

/// The end for who answers a question of the session.
#[derive(Debug)]
pub(crate) struct AnswerWriter(Arc<Shared>);

impl AnswerWriter {
    pub(crate) fn borrow(&self) -> Option<Borrowed<'_>> {
        self.0.borrow()
    }
}

/// The connection, while its session has lent it and nobody else writes to it. The session does nothing until this is dropped.
pub(crate) struct Borrowed<'a> {
    shared: &'a Shared,
    _writing: Writing<'a>,
}

impl Shared {
    /// `None` if it is not lent, or somebody else writes to it.
    fn borrow(&self) -> Option<Borrowed<'_>> {
        self.lease.enter().map(|writing| Borrowed { shared: self, _writing: writing })
    }
}

impl Borrowed<'_> {
    /// Writes as many bytes as the socket takes without waiting. If it does not take all, the session must be woken to write the
    /// rest, and nobody writes before that.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        // The session finds an error itself.
        let count = try_send(&self.shared.socket, bytes).unwrap_or(0);
        if count < bytes.len() {
            self.shared.lease.withdraw();
        }
        count
    }
}

impl DirectReader {
    pub(crate) fn answer_writer(&self) -> AnswerWriter {
        AnswerWriter(Arc::clone(&self.shared))
    }

    /// Lets others write, if the mailbox of the session is empty. The session must not write before it takes the lease back.
    pub(crate) fn lend(&self, mailbox: &SessionMailbox) {
        self.shared.lease.lend(|| mailbox.is_empty());
    }

    /// Ends that.
    pub(crate) fn take_back(&self) {
        self.shared.lease.take_back();
    }

    /// The next delivery that was written, in the order on the connection.
    pub(crate) fn next(&self) -> Option<Written> {
        self.written.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};
    use std::net::TcpListener;

    use bytes::Bytes;

    use super::*;
    use crate::commands::memory::Memory;
    use crate::commands::network::Network;
    use crate::commands::router::PeerKey;
    use crate::commands::session::{Port as _, STORED_ELSEWHERE, SessionCommand, SessionId, SessionPort};
    use crate::commands::store::{Frames, Origin};
    use crate::runtime::poll_mailbox;

    /// The port of a session, its mailbox, its end for direct writing, and the peer's end of its connection.
    fn session() -> (SessionPort, SessionMailbox, DirectReader, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let peer = TcpStream::connect(address).expect("it listens");
        let (socket, _) = listener.accept().expect("somebody connects");
        let (writer, reader) = direct(Arc::new(socket));
        let (address, mailbox) = poll_mailbox(4).expect("there is a descriptor");
        let held = Memory::new(1 << 30).account(Network::UNKNOWN);
        let port = SessionPort::new(address, held, Some(writer));
        port.lease().grant(0);
        (port, mailbox, reader, peer)
    }

    fn deliver(port: &SessionPort, bytes: impl Into<Bytes>) {
        deliver_from(port, 1, bytes);
    }

    fn deliver_from(port: &SessionPort, session: SessionId, bytes: impl Into<Bytes>) {
        let origin = Origin { peer: PeerKey(1), session, first: 0 };
        port.deliver(Frames::of(bytes.into()), true, origin).expect("there is room");
    }

    fn in_mailbox(mailbox: &SessionMailbox) -> Vec<Bytes> {
        let commands = std::iter::from_fn(|| mailbox.next());
        let bytes = |command| match command {
            SessionCommand::Deliver(delivery) => delivery.frames.bytes,
            other => panic!("{other:?}"),
        };
        commands.map(bytes).collect()
    }

    #[test]
    fn a_sender_writes_while_the_session_waits_and_overtakes_nothing() {
        let (port, mailbox, reader, mut peer) = session();
        deliver(&port, "before it waits");
        reader.lend(&mailbox);
        deliver(&port, "behind that");
        reader.take_back();
        assert_eq!(in_mailbox(&mailbox), ["before it waits", "behind that"]);

        reader.lend(&mailbox);
        deliver(&port, "directly");
        reader.take_back();
        deliver(&port, "after it has waited");
        let mut bytes = [0; 8];
        peer.read_exact(&mut bytes).expect("it is written");
        assert_eq!(&bytes, b"directly");
        let Written { delivery, bytes } = reader.next().expect("the session learns of it");
        assert_eq!((&delivery.frames.bytes[..], bytes, delivery.first), (&b"directly"[..], 8, 2));
        assert!(reader.next().is_none());
        assert_eq!(in_mailbox(&mailbox), ["after it has waited"]);
    }

    #[test]
    fn nothing_overtakes_what_is_in_the_mailbox_of_a_session_that_still_waits() {
        let (port, mailbox, reader, mut peer) = session();
        let writer = reader.answer_writer();
        reader.lend(&mailbox);
        let in_use = writer.borrow().expect("it is lent");
        deliver(&port, "while somebody else writes");
        drop(in_use);
        deliver(&port, "behind that");
        reader.take_back();
        assert_eq!(in_mailbox(&mailbox), ["while somebody else writes", "behind that"]);

        reader.lend(&mailbox);
        deliver_from(&port, STORED_ELSEWHERE, "never written by others");
        deliver(&port, "behind that too");
        reader.take_back();
        assert_eq!(in_mailbox(&mailbox), ["never written by others", "behind that too"]);
        drop((port, reader, mailbox, writer));
        assert_eq!(peer.read(&mut [0]).expect("it ends"), 0, "nothing is on the connection");
    }

    #[test]
    fn the_session_writes_what_the_socket_had_no_room_for() {
        let (port, mailbox, reader, peer) = session();
        reader.lend(&mailbox);
        let large = Bytes::from(vec![7; 256 << 10]);
        let mut count = 0;
        while reader.shared.lease.enter().is_some() {
            deliver(&port, large.clone());
            count += 1;
            assert!(count < UNLEARNED_MAX, "the socket takes everything");
        }
        deliver(&port, "behind that");
        reader.take_back();
        let written: Vec<usize> = std::iter::from_fn(|| reader.next()).map(|written| written.bytes).collect();
        let (last, whole) = written.split_last().expect("the socket takes something");
        assert!(whole.iter().all(|bytes| *bytes == large.len()) && *last < large.len(), "{written:?}");
        let mut in_mailbox = in_mailbox(&mailbox);
        assert_eq!(in_mailbox.pop().as_deref(), Some(&b"behind that"[..]));
        assert_eq!(written.len() + in_mailbox.len(), count);
        // Nothing else was written.
        drop((port, reader, mailbox));
        let copied = io::copy(&mut io::BufReader::new(peer), &mut io::sink()).expect("it ends");
        assert_eq!(copied, written.iter().map(|bytes| *bytes as u64).sum::<u64>());
    }

    #[test]
    fn an_answer_is_written_while_the_session_waits_and_as_far_as_there_is_room() {
        let (_port, mailbox, reader, mut peer) = session();
        let writer = reader.answer_writer();
        assert!(writer.borrow().is_none(), "it does not wait yet");
        reader.lend(&mailbox);
        let write = |bytes: &[u8]| writer.borrow().map_or(0, |connection| connection.write(bytes));
        assert_eq!(write(b"directly"), 8);
        let mut bytes = [0; 8];
        peer.read_exact(&mut bytes).expect("it is written");
        assert_eq!(&bytes, b"directly");
        let large = vec![7; 256 << 10];
        let written = std::iter::repeat_with(|| write(&large));
        let rest = written.take(UNLEARNED_MAX).find(|written| *written < large.len());
        assert!(rest.is_some(), "the socket takes everything");
        assert!(writer.borrow().is_none(), "the session writes the rest first");
        assert_eq!(write(b"behind that"), 0, "the session writes the rest first");
        reader.take_back();
    }

    #[test]
    fn a_session_is_woken_before_it_has_too_much_to_learn() {
        let (port, mailbox, reader, _peer) = session();
        reader.lend(&mailbox);
        (0..=UNLEARNED_MAX).for_each(|_| deliver(&port, "x"));
        reader.take_back();
        assert_eq!(std::iter::from_fn(|| reader.next()).count(), UNLEARNED_MAX);
        assert_eq!(in_mailbox(&mailbox), ["x"]);
    }
}
