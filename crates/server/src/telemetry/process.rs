//! What the operating system tells of this process (proc(5)).

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) open_files: usize,
    pub(super) max_files: u64,
}

/// `None` where there is no /proc.
pub(super) fn usage() -> Option<Usage> {
    // The second number is the resident set, in pages.
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Some(Usage {
        resident_bytes: pages * u64::try_from(rustix::param::page_size()).ok()?,
        cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        open_files: std::fs::read_dir("/proc/self/fd").ok()?.count(),
        max_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    })
}
