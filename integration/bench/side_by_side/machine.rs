//! Reads data about this machine and about processes from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use measure::Machine;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const KIB_PER_GIB: f64 = 1024.0 * 1024.0;

/// This machine.
pub(crate) fn this() -> Machine {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    Machine {
        cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or("unknown processor").to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_gib: kib(&text("/proc/meminfo"), "MemTotal").unwrap_or_default() as f64 / KIB_PER_GIB,
    }
}

/// Raises the limit of descriptors of this process and its children to the hard limit, and returns it.
pub(crate) fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(id: u32) -> Result<u64> {
    // The counters in `status` can be some pages per thread off, but old kernels have only these.
    let exact = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    if let Some(rss) = kib(&exact, "Rss") {
        return Ok(rss);
    }
    kib(&status(id)?, "VmRSS").with_context(|| format!("process {id} has no resident memory"))
}

/// The most resident memory that a process has had, in KiB.
pub(crate) fn peak_kib(id: u32) -> Result<u64> {
    kib(&status(id)?, "VmHWM").with_context(|| format!("process {id} has ended"))
}

/// User and system time of a process so far, without its children.
pub(crate) fn cpu_time(id: u32) -> Result<Duration> {
    times(id, 2)
}

/// User and system time of a process so far, and of its children that have ended.
pub(crate) fn cpu_time_of_family(id: u32) -> Result<Duration> {
    times(id, 4)
}

/// The sum of the first `count` of utime, stime, cutime and cstime.
fn times(id: u32, count: usize) -> Result<Duration> {
    let stat =
        fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("process {id} has ended"))?;
    // The second field, the name of the program, is in parentheses and can contain any character.
    let (_, fields) = stat.rsplit_once(") ").context("a process has a name")?;
    // utime is field 14 of proc_pid_stat(5), and the others follow; the first field after the name is field 3.
    let ticks = fields.split(' ').skip(11).take(count).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs(1) * u32::try_from(ticks)? / u32::try_from(clock_ticks_per_second())?)
}

/// The number of threads of a process.
pub(crate) fn threads(id: u32) -> Result<u64> {
    let status = status(id)?;
    let threads = field(&status, "Threads").context("a process has threads")?;
    Ok(threads.parse()?)
}

/// The number of open descriptors of a process.
pub(crate) fn descriptors(id: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

/// The running children of a process.
pub(crate) fn children(id: u32) -> Result<Vec<u32>> {
    let parent = id.to_string();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process can end between the two reads.
        if status(id).is_ok_and(|status| field(&status, "PPid") == Some(&parent)) {
            children.push(id);
        }
    }
    Ok(children)
}

fn status(id: u32) -> Result<String> {
    fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id} has ended"))
}

/// The value in a line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// The value in a line `name: value kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.strip_suffix("kB")?.trim().parse().ok()
}
