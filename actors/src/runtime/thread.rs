//! The threads of actors that the whole server stands on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

/// Exit status of the process after a panic in a vital actor: the one Rust itself uses for a panic.
const EXIT_PANIC: i32 = 101;

/// Runs what belongs to one connection. A panic in it ends it alone: then this is false.
pub(crate) fn isolated(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

/// A running vital actor. Joined when dropped: drop the last [`super::Address`] of its mailbox first.
#[derive(Debug)]
pub struct Vital(Option<JoinHandle<()>>);

impl Drop for Vital {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic in there ended the process, so there is nothing left to report.
            let _ = thread.join();
        }
    }
}

/// Runs an actor without which the server has no meaning. If it panics the process ends with a non-zero status: what
/// was acknowledged is on disk, and a server that has lost its Router or store must not seem to be alive.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_vital(name: &'static str, run: impl FnOnce() + Send + 'static) -> std::io::Result<Vital> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            tracing::error!(target: "runtime", actor = name, "a vital actor panicked; the server ends");
            std::process::exit(EXIT_PANIC);
        }
    })?;
    Ok(Vital(Some(thread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_isolated_work_ends_alone() {
        assert!(isolated(|| {}));
        assert!(!isolated(|| panic!("this panic is part of a test")));
    }
}
