//! A process of a scenario. Its output is collected while it runs, and it is killed when the scenario ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::PATIENCE;

/// What a process has written to standard output so far.
#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    /// Ignores poisoning: a scenario that panics while it looks does not change the lines.
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_it` is true of the output, for at most `time`. Returns the output, and whether it is true.
    fn wait(&self, time: Duration, mut is_it: impl FnMut(&Output) -> bool) -> (MutexGuard<'_, Output>, bool) {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |output| !is_it(output));
        let (output, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (output, !result.timed_out())
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
    stderr: Option<JoinHandle<String>>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The lines of its standard output.
    pub lines: Vec<String>,
    /// Its standard error.
    pub stderr: String,
    what: String,
}

impl Process {
    /// Starts `command`; `what` is its name in messages of a failed scenario.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(what: impl Into<String>, command: Command) -> Self {
        Self::start_with_stdin(what, command, Stdio::piped())
    }

    /// Like [`Process::start`], with the given standard input instead of a pipe.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start_with_stdin(what: impl Into<String>, mut command: Command, stdin: Stdio) -> Self {
        let what = what.into();
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{what} cannot be started: {e}"));
        let shared = Arc::new(Shared::default());
        let stdout = child.stdout.take().expect("standard output is piped");
        let collected = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                collected.lock().lines.push(line);
                collected.changed.notify_all();
            }
            collected.lock().is_closed = true;
            collected.changed.notify_all();
        });
        let mut stderr = child.stderr.take().expect("standard error is piped");
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // The output of a killed process may end anywhere.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdin = child.stdin.take();
        Self { what, child, stdin, shared, stderr: Some(stderr) }
    }

    /// Its process id, which is not reused while this value exists.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input. Ignores errors, because the process may have ended.
    pub fn type_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}");
        }
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until `look` finds something in the lines so far, and returns it.
    ///
    /// # Panics
    /// The process ends or the deadline is over before.
    pub fn wait<T>(&self, wanted: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> T {
        let mut found = None;
        let (output, _) = self.shared.wait(PATIENCE, |output| {
            found = look(&output.lines);
            found.is_some() || output.is_closed
        });
        found.unwrap_or_else(|| {
            let why = if output.is_closed { "ended" } else { "had no time left" };
            panic!("{} {why} before {wanted}:\n{}", self.what, output.lines.join("\n"))
        })
    }

    /// Waits for the first line that starts with `start`, and returns the rest of it.
    ///
    /// # Panics
    /// As [`Process::wait`].
    pub fn line(&self, start: &str) -> String {
        self.wait(start, |lines| lines.iter().find_map(|line| line.strip_prefix(start)).map(str::to_owned))
    }

    /// Waits for the first line that is an event of this kind for which `is_it` holds.
    ///
    /// # Panics
    /// As [`Process::wait`].
    pub fn event(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait(kind, |lines| parsed(lines).into_iter().find(|e| e["event"] == kind && is_it(e)))
    }

    /// Waits for `count` events of this kind, and returns all there are.
    ///
    /// # Panics
    /// As [`Process::wait`].
    pub fn events(&self, kind: &str, count: usize) -> Vec<Value> {
        let wanted = format!("{count} events of the kind {kind}");
        self.wait(&wanted, |lines| {
            let found: Vec<Value> = parsed(lines).into_iter().filter(|e| e["event"] == kind).collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits until it has written `count` lines, or has ended.
    ///
    /// # Panics
    /// It does neither.
    pub fn lines_or_end(&self, count: usize) {
        let is_it = |output: &Output| output.lines.len() >= count || output.is_closed;
        assert!(self.shared.wait(PATIENCE, is_it).1, "{} says nothing more", self.what);
    }

    /// Waits until it and all processes that it has started have closed standard output, for at most `time`. Returns
    /// whether they have.
    pub fn wait_end(&self, time: Duration) -> bool {
        self.shared.wait(time, |output| output.is_closed).1
    }

    /// Whether it has closed its standard output.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().is_closed
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id of Linux is positive");
        let pid = Pid::from_raw(id).expect("a process id is not 0");
        // The process was not waited for, so its id is not reused.
        let _ = kill_process(pid, signal);
    }

    /// Kills it (SIGKILL), and returns its output.
    pub fn kill(self) -> Finished {
        self.signal(Signal::KILL);
        self.finish()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It does not.
    pub fn finish(mut self) -> Finished {
        let (mut output, has_ended) = self.shared.wait(PATIENCE, |output| output.is_closed);
        assert!(has_ended, "{} does not end:\n{}", self.what, output.lines.join("\n"));
        let lines = std::mem::take(&mut output.lines);
        drop(output);
        let status = self.child.wait().expect("a child can be waited for");
        let stderr = self.stderr.take().expect("it is taken only here");
        Finished {
            code: status.code(),
            lines,
            stderr: stderr.join().expect("the thread only reads"),
            what: std::mem::take(&mut self.what),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // This does nothing if the process was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Checks the exit status.
    ///
    /// # Panics
    /// It is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.what, self.lines.join("\n"), self.stderr);
        self
    }

    /// The events of this kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        parsed(&self.lines).into_iter().filter(|e| e["event"] == kind).collect()
    }

    /// The answers of this kind.
    pub fn answers(&self, kind: &str) -> Vec<Value> {
        self.events("result").into_iter().filter(|e| e["kind"] == kind).collect()
    }

    /// Checks that standard error is exactly one line that contains all of `words`.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        assert_eq!(self.stderr.lines().count(), 1, "{}: {:?}", self.what, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{}: {word} is not in {:?}", self.what, self.stderr);
        }
        self
    }
}

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Events by their number; each number must occur once.
///
/// # Panics
/// A number occurs twice or is missing.
#[track_caller]
pub fn numbered(events: Vec<Value>) -> BTreeMap<u64, Value> {
    let mut by_number = BTreeMap::new();
    for event in events {
        let number = event["number"].as_u64().expect("events of messages carry their number");
        let before = by_number.insert(number, event);
        assert_eq!(before, None, "number {number} came twice");
    }
    by_number
}

/// The SHA-256 digest of `bytes` in hexadecimal, computed without the code under test.
pub fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}
