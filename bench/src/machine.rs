//! What the operating system tells of this process and machine.

use std::hint::black_box;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time that this process has used, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// CPU time that this thread has used, in seconds.
pub(crate) fn thread_cpu_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

/// CPU time that another process has used, all its threads, in seconds, to a hundredth.
pub(crate) fn cpu_seconds_of(process: u32) -> std::io::Result<f64> {
    // User and system time (proc_pid_stat(5)).
    ticks(process, &[11, 12])
}

/// The same of a process with its children, those that have ended included.
pub(crate) fn cpu_seconds_of_family(parent: u32) -> std::io::Result<f64> {
    let mut sum = ticks(parent, &[11, 12, 13, 14])?;
    for entry in std::fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that is gone by now is among its parent's ended children next time.
        if stat(process).is_ok_and(|fields| fields.get(1) == Some(&parent.to_string())) {
            sum += ticks(process, &[11, 12]).unwrap_or(0.0);
        }
    }
    Ok(sum)
}

/// Fields of /proc/PID/stat from the third on, which is the state.
fn stat(process: u32) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = text.rsplit(')').next().unwrap_or_default();
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks(process: u32, fields: &[usize]) -> std::io::Result<f64> {
    let stat = stat(process)?;
    let ticks = |field: &usize| stat.get(*field).and_then(|value| value.parse::<f64>().ok());
    let sum: Option<f64> = fields.iter().map(ticks).sum();
    let sum = sum.ok_or_else(|| std::io::Error::other("no CPU time in /proc/PID/stat"))?;
    Ok(sum / rustix::param::clock_ticks_per_second() as f64)
}

/// Keeps this process, and the threads that it starts from now on, to one core.
pub(crate) fn keep_to(core: usize) -> std::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// The first two cores that this process may use.
pub(crate) fn two_cores() -> std::io::Result<[usize; 2]> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    match (cores.next(), cores.next()) {
        (Some(one), Some(other)) => Ok([one, other]),
        _ => Err(std::io::Error::other("two cores are needed")),
    }
}

/// All memory, in MiB.
pub(crate) fn memory_mib() -> std::io::Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| std::io::Error::other("no MemTotal in /proc/meminfo"))? / 1024)
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

/// Of an odd number of values the middle one; of an even one the upper of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The folder of the build's outputs, for what takes much room.
pub(crate) fn outputs() -> std::io::Result<std::path::PathBuf> {
    let program = std::env::current_exe()?;
    let outputs =
        program.ancestors().nth(2).ok_or_else(|| std::io::Error::other("the program stands nowhere"))?;
    Ok(outputs.to_owned())
}
