//! The lease on a session's mailbox, over interleavings and all reorderings that the memory model allows. This checks the source
//! file of the server, with loom's atomics in place of those of the standard library.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::thread::yield_now;
}
#[expect(unreachable_pub, reason = "the file belongs to a library")]
#[path = "../src/runtime/lease.rs"]
mod lease;

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};

use lease::Lease;

/// A model of a mailbox, with only the number of commands and the weakest ordering of a channel.
#[derive(Default)]
struct Model {
    lease: Lease,
    commands: AtomicU64,
}

impl Model {
    /// A sender uses the lease, if it is granted.
    fn send(&self) -> Option<u64> {
        let entered = self.lease.enter()?;
        let number = entered.draw(1);
        self.commands.fetch_add(1, Ordering::Relaxed);
        Some(number)
    }

    /// The owner takes the lease back. Returns the next number, and how many commands the owner sees then.
    fn revoke(&self) -> (u64, u64) {
        (self.lease.revoke(), self.commands.load(Ordering::Relaxed))
    }
}

fn spawn(model: &Arc<Model>) -> loom::thread::JoinHandle<Option<u64>> {
    let model = Arc::clone(model);
    loom::thread::spawn(move || model.send())
}

/// With three switches of threads at most, which are enough for each order of the few steps here; more take long.
fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

#[test]
fn no_use_is_under_way_when_it_is_revoked_and_the_owner_goes_on_behind_all_numbers() {
    check(|| {
        let model = Arc::new(Model::default());
        model.lease.grant(5);
        let senders = [spawn(&model), spawn(&model)];
        let (next, seen) = model.revoke();
        assert!(!model.lease.is_granted());
        let drawn: Vec<u64> =
            senders.into_iter().filter_map(|sender| sender.join().expect("it does not panic")).collect();
        assert!(drawn.iter().all(|number| (5..next).contains(number)), "{drawn:?} and then {next}");
        assert_eq!((next, seen), (5 + drawn.len() as u64, drawn.len() as u64));
        assert!(drawn.len() < 2 || drawn[0] != drawn[1]);
    });
}

#[test]
fn a_second_grant_goes_on_where_its_owner_says() {
    check(|| {
        let model = Arc::new(Model::default());
        model.lease.grant(0);
        let sender = spawn(&model);
        let (next, _) = model.revoke();
        model.lease.grant(next + 10);
        let drawn = sender.join().expect("it does not panic");
        let (next_now, _) = model.revoke();
        match drawn {
            Some(number) if number < next => assert_eq!((number, next_now), (0, 11)),
            Some(number) => assert_eq!((number, next_now), (10, 11)),
            None => assert_eq!((next, next_now), (0, 10)),
        }
    });
}
