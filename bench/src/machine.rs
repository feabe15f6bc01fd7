//! What the operating system tells of this process and machine.

use std::hint::black_box;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time that this process has used, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// CPU time that this thread has used, in seconds.
pub(crate) fn thread_cpu_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Cycles that this thread's core does in a second of CPU time, measured in some milliseconds.
pub(crate) fn hertz() -> f64 {
    const STEPS: u32 = 4_000_000;
    let (xor, add) = (black_box(0x9e37_79b9_7f4a_7c15_u64), black_box(0xd1b5_4a32_d192_ed03_u64));
    let began = thread_cpu_seconds();
    let mut value = black_box(1_u64);
    for _ in 0..STEPS {
        // Each of the two waits for the one before it, and takes one cycle.
        value = (value ^ xor).wrapping_add(add);
    }
    black_box(value);
    2.0 * f64::from(STEPS) / (thread_cpu_seconds() - began)
}

/// The most resident memory that this process ever had, in MiB (`/proc/self/status`, proc(5)).
pub(crate) fn peak_resident_mib() -> std::io::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    Ok(kib.ok_or_else(|| std::io::Error::other("no VmHWM in /proc/self/status"))? / 1024.0)
}

/// Lets this process, and those that it starts, open so many files.
pub(crate) fn allow_files(count: u64) -> std::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })?)
}

/// The processor's name and how many cores this process may use.
pub(crate) fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores", model.map_or("unknown processor", |(_, name)| name.trim()))
}
