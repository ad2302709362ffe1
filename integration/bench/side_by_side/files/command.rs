//! Runs a command to its end, and measures it and the processes that it talks to.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::interrupt::Interrupt;
use crate::machine;

/// How long a command may take.
const WAIT: Duration = Duration::from_secs(300);
/// How often its end is looked for: much shorter than it takes.
const LOOK: Duration = Duration::from_millis(2);

/// What it has cost to move a file.
pub(super) struct Moved {
    pub(super) time: Duration,
    /// The processes that took part.
    pub(super) sides: Vec<Side>,
}

impl Moved {
    /// Of all processes.
    pub(super) fn cpu(&self) -> Duration {
        self.sides.iter().map(|side| side.cpu).sum()
    }
}

/// A process that took part, and its children.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) cpu: Duration,
    /// The most memory so far, without children.
    pub(super) peak_kib: u64,
}

/// A process that is killed if it is dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command`, called `name`, while it talks to the processes `others`, each with its name.
pub(super) fn run(
    name: &'static str,
    mut command: Command,
    others: &[(&'static str, u32)],
    interrupt: &Interrupt,
) -> Result<Moved> {
    let cpu = || others.iter().map(|(_, id)| machine::cpu_time_of_family(*id)).collect::<Result<Vec<_>>>();
    let before = cpu()?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let mut running = Running(command.spawn().with_context(|| format!("cannot start {name}"))?);
    let id = running.0.id();
    let mut peak_kib = 0;
    while !has_ended(&running.0)? {
        interrupt.check()?;
        ensure!(start.elapsed() < WAIT, "{name} takes longer than {WAIT:?}");
        peak_kib = machine::peak_kib(id).unwrap_or_default().max(peak_kib);
        thread::sleep(LOOK);
    }
    let time = start.elapsed();
    // It stays in /proc until it is waited for.
    let cpu_time = machine::cpu_time_of_family(id)?;
    let status = running.0.wait()?;
    ensure!(status.success(), "{name} ends with {status}");
    let mut sides = vec![Side { name, cpu: cpu_time, peak_kib }];
    for (((name, id), before), after) in others.iter().zip(before).zip(cpu()?) {
        // One that sends a single file may have ended.
        let peak_kib = machine::peak_kib(*id).unwrap_or_default();
        sides.push(Side { name, cpu: after.saturating_sub(before), peak_kib });
    }
    Ok(Moved { time, sides })
}

fn has_ended(child: &Child) -> Result<bool> {
    let id = Pid::from_raw(i32::try_from(child.id())?).context("a process has an id")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(id), options)?.is_some())
}
