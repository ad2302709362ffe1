//! The shape of every actor: a core that decides, a shell that acts, and the loop that joins them.
//!
//! A core is a plain struct. It takes commands and puts the resulting effects into `out`. It has no channel, socket,
//! file, clock or randomness, so a test can call it directly and a simulation can run many cores in one thread. A shell
//! has those things. [`start`] runs both on a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use super::{Address, Mailbox};

/// Exit status of the process after a panic in an actor, as after a panic in the main thread.
const EXIT_PANIC: i32 = 101;

/// The maximum number of commands between two calls of [`Shell::settle`].
const BATCH_COMMANDS_MAX: usize = 256;

/// The time on both clocks, read once for each batch.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For display, and for comparison with the times of files.
    pub time: SystemTime,
}

impl Now {
    /// Seconds since 1970.
    pub(crate) fn unix(self) -> u64 {
        self.time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    pub(crate) fn read() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

/// The state and decisions of an actor.
pub trait Core {
    type Command;
    /// Where it puts effects: a list, or ports that report at once whether they have room.
    type Out;

    fn handle(&mut self, now: Now, command: Self::Command, out: &mut Self::Out);
}

/// The part of an actor that is not its core: files, sockets, addresses of other actors.
pub trait Shell: Send + 'static {
    type Core: Core<Command: Send, Out: Default> + Send + 'static;

    /// The maximum number of commands in a batch.
    const BATCH_COMMANDS_MAX: usize = BATCH_COMMANDS_MAX;

    /// Executes the effects of a batch, which it takes out of `out`, and whatever else is due. Returns when to call it again
    /// if no command comes first.
    fn settle(
        &mut self,
        core: &mut Self::Core,
        out: &mut <Self::Core as Core>::Out,
        now: Now,
    ) -> Option<Instant>;

    /// The last call, after the last batch.
    fn end(&mut self, _core: &mut Self::Core) {}
}

/// A running actor: its thread, and the handle, of which other actors get clones. Dropping it ends the actor after the
/// commands that are in its mailbox, and joins the thread. Remaining clones of the handle do not prevent this.
pub struct Running<H> {
    handle: H,
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
    thread: Option<JoinHandle<()>>,
}

impl<H> Running<H> {
    /// An actor whose thread waits for more than its mailbox, so that [`start`] cannot run it. `end` makes the thread end.
    pub(crate) fn with_thread(
        handle: H,
        end: impl FnOnce() + Send + Sync + 'static,
        thread: JoinHandle<()>,
    ) -> Self {
        Self { handle, end: Some(Box::new(end)), thread: Some(thread) }
    }
}

impl<H: std::fmt::Debug> std::fmt::Debug for Running<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl<H> std::ops::Deref for Running<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handle
    }
}

impl<H> Drop for Running<H> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has ended the process.
            let _ = thread.join();
        }
    }
}

/// Runs an actor until its [`Running`] is dropped. A panic ends the process with a non-zero status, because a server
/// without its Router or store must not seem to be alive. What was acknowledged is on disk.
///
/// `address` and `mailbox` belong together; `handle` is what others get.
///
/// # Errors
/// When the system has no thread for it.
pub fn start<P, S, H>(
    name: &'static str,
    (address, mailbox): (Address<P>, Mailbox<P, <S::Core as Core>::Command>),
    handle: H,
    core: S::Core,
    shell: S,
) -> std::io::Result<Running<H>>
where
    P: Send + 'static,
    S: Shell<Core: Core<Command: From<P> + 'static>>,
{
    let thread = spawn_vital(name, move || run(core, shell, mailbox))?;
    Ok(Running::with_thread(handle, move || address.end(), thread))
}

fn run<P, S: Shell<Core: Core<Command: From<P>>>>(
    mut core: S::Core,
    mut shell: S,
    mut mailbox: Mailbox<P, <S::Core as Core>::Command>,
) {
    let (mut batch, mut out) = (Vec::new(), Default::default());
    let mut wake_at = shell.settle(&mut core, &mut out, Now::read());
    let mut goes_on = true;
    while goes_on {
        goes_on = mailbox.wait(wake_at, S::BATCH_COMMANDS_MAX, &mut batch);
        let now = Now::read();
        for command in batch.drain(..) {
            core.handle(now, command, &mut out);
        }
        wake_at = shell.settle(&mut core, &mut out, now);
    }
    shell.end(&mut core);
}

/// Starts a thread whose panic ends the process.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn spawn_vital(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        if !isolated(run) {
            tracing::error!(target: "runtime", actor = name, "an actor panicked; the server ends");
            std::process::exit(EXIT_PANIC);
        }
    })
}

/// Runs `work` and returns whether it finished. A panic ends only this work.
pub(crate) fn isolated(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::{Reply, mailbox, reply};

    /// Adds up numbers; a shell that counts how often it was called.
    #[derive(Default)]
    struct Sum(u64);

    enum Command {
        Add(u64),
        Total(Reply<(u64, u32)>),
    }

    #[derive(Default)]
    struct Settled {
        count: u32,
    }

    impl Core for Sum {
        type Command = Command;
        type Out = Vec<(Reply<(u64, u32)>, u64)>;

        fn handle(&mut self, _now: Now, command: Command, out: &mut Self::Out) {
            match command {
                Command::Add(number) => self.0 += number,
                Command::Total(reply) => out.push((reply, self.0)),
            }
        }
    }

    impl Shell for Settled {
        type Core = Sum;

        fn settle(
            &mut self,
            _core: &mut Sum,
            answers: &mut Vec<(Reply<(u64, u32)>, u64)>,
            now: Now,
        ) -> Option<Instant> {
            self.count += 1;
            for (reply, total) in answers.drain(..) {
                reply.answer((total, self.count));
            }
            Some(now.instant + Duration::from_millis(1))
        }
    }

    fn running() -> Running<Address<Command>> {
        let (address, mailbox) = mailbox(64);
        start("sum", (address.clone(), mailbox), address, Sum::default(), Settled::default())
            .expect("there is a thread")
    }

    fn total(address: &Address<Command>) -> (u64, u32) {
        let (reply, pending) = reply();
        address.send(Command::Total(reply)).expect("it runs");
        pending.wait(Duration::from_secs(20)).expect("it answers")
    }

    #[test]
    fn commands_are_taken_in_order_and_time_passes_without_any() {
        let sum = running();
        for number in 1..=10 {
            sum.send(Command::Add(number)).expect("it runs");
        }
        let (first, settled) = total(&sum);
        assert_eq!(first, 55);
        let since = Instant::now();
        while total(&sum).1 < settled + 20 {
            assert!(since.elapsed() < Duration::from_secs(20), "it is never woken");
            std::thread::yield_now();
        }
    }

    #[test]
    fn dropping_it_ends_and_joins_it_whoever_keeps_an_address() {
        let sum = running();
        let kept = (*sum).clone();
        let (reply, pending) = reply();
        kept.send(Command::Add(2)).expect("it runs");
        kept.send(Command::Total(reply)).expect("it runs");
        drop(sum);
        assert_eq!(
            pending.wait(Duration::ZERO).map(|(total, _)| total),
            Ok(2),
            "what was sent before was done"
        );
        assert!(kept.send(Command::Add(1)).is_err(), "it has ended");
    }

    #[test]
    fn a_panic_in_isolated_work_ends_alone() {
        assert!(isolated(|| {}));
        assert!(!isolated(|| panic!("this panic is part of a test")));
    }
}
