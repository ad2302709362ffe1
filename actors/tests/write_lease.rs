//! The lease on writing to a session's socket, over interleavings and all reorderings that the memory model allows. This checks
//! the source file of the server, with loom's atomics in place of those of the standard library.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
    pub(super) use loom::thread::yield_now;
}
#[path = "../src/runtime/write_lease.rs"]
mod write_lease;

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Mutex, MutexGuard};

use write_lease::WriteLease;

/// A model of a session: its mailbox, and what is on its connection.
#[derive(Default)]
struct Model {
    lease: WriteLease,
    mailbox: Mutex<Vec<u64>>,
    /// The number of uses of the connection at the moment.
    uses: AtomicU64,
    connection: Mutex<Vec<u64>>,
}

impl Model {
    fn write(&self, messages: impl IntoIterator<Item = u64>) {
        assert_eq!(self.uses.fetch_add(1, Ordering::Relaxed), 0, "two write at once");
        lock(&self.connection).extend(messages);
        self.uses.fetch_sub(1, Ordering::Relaxed);
    }

    /// A sender writes a message to the connection, or puts it into the mailbox.
    fn send(&self, message: u64) {
        if let Some(_writing) = self.lease.enter() {
            self.write([message]);
        } else {
            lock(&self.mailbox).push(message);
            self.lease.withdraw();
        }
    }

    /// The owner waits once, and then writes what is in the mailbox.
    fn wait(&self) {
        self.lease.lend(|| lock(&self.mailbox).is_empty());
        loom::thread::yield_now();
        self.lease.take_back();
        self.write(std::mem::take(&mut *lock(&self.mailbox)));
    }
}

fn lock(messages: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    messages.lock().expect("nobody panics with it")
}

fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

#[test]
fn the_messages_of_each_sender_stay_in_order_and_nobody_writes_beside_another() {
    check(|| {
        let model = Arc::new(Model::default());
        let send = |messages: &'static [u64]| {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || messages.iter().for_each(|message| model.send(*message)))
        };
        let senders = [send(&[10, 11, 12]), send(&[20, 21])];
        model.wait();
        model.wait();
        senders.into_iter().for_each(|sender| sender.join().expect("it does not panic"));
        model.wait();
        let connection = lock(&model.connection).clone();
        let of = |sender: u64| {
            connection.iter().copied().filter(|message| message / 10 == sender).collect::<Vec<_>>()
        };
        assert_eq!((of(1), of(2)), (vec![10, 11, 12], vec![20, 21]), "{connection:?}");
    });
}
