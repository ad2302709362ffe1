//! The wake-up of a mailbox that waits in `poll(2)`, over all interleavings and all reorderings that the memory model allows.
//! This checks the source file of the server, with loom's atomics in place of those of the standard library.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}
#[path = "../src/runtime/bell.rs"]
mod bell;

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

use bell::Bell;

/// A model of a mailbox, with only the number of commands and the weakest ordering of a channel, and of an eventfd.
#[derive(Default)]
struct Model {
    bell: Bell,
    commands: AtomicUsize,
    event: AtomicUsize,
}

impl Model {
    fn put(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        if self.bell.must_wake() {
            self.event.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn refuse(&self) {
        self.bell.note_refused();
        self.event.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes all commands. Returns how many there were.
    fn take(&self) -> usize {
        self.commands.swap(0, Ordering::Relaxed)
    }

    fn park(&self) -> bool {
        self.bell.park(|| self.commands.load(Ordering::Relaxed) == 0)
    }

    fn is_woken(&self) -> bool {
        self.event.load(Ordering::SeqCst) > 0
    }
}

#[test]
fn no_command_is_left_behind_while_its_owner_sleeps() {
    loom::model(|| {
        let model = Arc::new(Model::default());
        let sender = {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || model.put())
        };
        let taken = model.take();
        let sleeps = model.park();
        sender.join().expect("it does not panic");
        if sleeps && taken == 0 {
            assert!(model.is_woken(), "it sleeps, and a command is there");
        }
    });
}

#[test]
fn a_refusal_wakes_the_owner_or_keeps_it_awake() {
    loom::model(|| {
        let model = Arc::new(Model::default());
        let sender = {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || model.refuse())
        };
        let sleeps = model.park();
        sender.join().expect("it does not panic");
        assert!(!sleeps || model.is_woken());
        assert!(model.bell.take_refused(), "the owner learns of it");
        assert!(!model.bell.take_refused(), "once");
    });
}

#[test]
fn who_waits_no_more_is_not_woken_for_what_comes_then() {
    loom::model(|| {
        let model = Model::default();
        assert!(model.park());
        model.bell.unpark();
        model.put();
        assert!(!model.is_woken());
    });
}
