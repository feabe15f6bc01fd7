//! The machine that a server runs on: folder, disk, memory, swap, core dumps.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use acquaint_server::config::Config;
use acquaint_server::upkeep::{self, Health};

use super::{Seen, ok, warning, wrong};
use crate::store::{free_bytes, size};

/// Below this, the next import or removal may not find room for the log.
const LEAST_FREE: u64 = 64 << 20;
const MIB: u64 = 1 << 20;

/// The process that holds a data folder, as far as the kernel tells (proc(5), `/proc/locks`).
pub(super) fn holder(folder: &Path) -> Option<u32> {
    let lock = fs::metadata(folder.join("acquaint.lock")).ok()?;
    let (major, minor) = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", lock.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, "WRITE", pid, at, ..] if *at == place => pid.parse().ok().filter(|pid| *pid > 0),
            _ => None,
        }
    })
}

pub(super) fn data_folder(folder: &Path) -> Seen {
    const WHAT: &str = "data folder";
    let Ok(metadata) = fs::metadata(folder) else {
        return ok(WHAT, format!("{} is made at the first start", folder.display()));
    };
    if metadata.mode() & 0o077 != 0 {
        let command = format!("`chmod 700 {}`", folder.display());
        return warning(WHAT, "others than its owner can look into it", command);
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        let told = format!("{} belongs to user {}, and this is user {me}", folder.display(), metadata.uid());
        return warning(WHAT, told, "run the server and this command as the same user");
    }
    ok(WHAT, format!("{} is private", folder.display()))
}

pub(super) fn disk(database: &Path, health: Option<&Health>) -> Seen {
    const WHAT: &str = "disk";
    let Some(free) = free_bytes(database) else {
        return warning(WHAT, "the free space cannot be read", "look with `df`");
    };
    let (bytes, log) = health.map_or((0, 0), |health| health.bytes);
    let told = format!("{} free; the database has {}, its log {}", size(free), size(bytes), size(log));
    if free < LEAST_FREE {
        return wrong(WHAT, told, "make room: a full disk refuses imports, codes and removals");
    }
    if free < bytes.saturating_mul(2) {
        return warning(WHAT, told, "make room: a back-up beside the database needs twice its size");
    }
    ok(WHAT, told)
}

pub(super) fn pool(config: &Config, server: Option<u32>) -> Seen {
    const WHAT: &str = "memory";
    let (threads, each) = upkeep::pool_plan(config);
    if threads == 0 {
        let told = format!(
            "`pool.memory_mib` is {}, and suite `{}` needs {each} MiB for one hash",
            config.pool.memory_mib, config.keys.suite
        );
        return wrong(
            WHAT,
            told,
            format!("set `pool.memory_mib` to {each} or more: the server does not start"),
        );
    }
    let needs = u64::try_from(threads).unwrap_or(u64::MAX).saturating_mul(each);
    let Some(limit) = memory_limit(server) else {
        return warning(WHAT, "the memory of this machine cannot be read", "look with `free`");
    };
    let told = format!("{threads} hashing threads take up to {needs} MiB of {} MiB", limit / MIB);
    let advice = "lower `pool.memory_mib` or `pool.threads`, or give the server more memory";
    match needs.saturating_mul(MIB) {
        needs if needs >= limit => wrong(WHAT, told, advice),
        needs if needs > limit / 2 => warning(WHAT, told, advice),
        _ => ok(WHAT, told),
    }
}

/// What the machine has, or the least that a control group of the process allows (cgroups(7), both versions).
fn memory_limit(process: Option<u32>) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.saturating_mul(1024);
    let process = process.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let (root, group, file) = match line.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [_, "", group] => ("/sys/fs/cgroup", *group, "memory.max"),
            [_, "memory", group] => ("/sys/fs/cgroup/memory", *group, "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let own = Path::new(root).join(group.trim_start_matches('/'));
        let parents = own.ancestors().take_while(|path| path.starts_with(root));
        let limit = |path: &Path| fs::read_to_string(path.join(file)).ok()?.trim().parse::<u64>().ok();
        parents.filter_map(limit).collect()
    });
    Some(limits.fold(machine, u64::min))
}

pub(super) fn swap() -> Seen {
    const WHAT: &str = "swap";
    match fs::read_to_string("/proc/swaps") {
        Ok(text) if text.lines().count() <= 1 => ok(WHAT, "off"),
        Ok(_) => warning(
            WHAT,
            "on: keys and numbers can be written to the disk",
            "`swapoff -a`, or encrypt the swap",
        ),
        Err(_) => warning(WHAT, "cannot be read", "look with `swapon --show`"),
    }
}

/// Of the server, if it runs; else of a server that is started from here.
pub(super) fn core_dumps(server: Option<u32>) -> Seen {
    const WHAT: &str = "core dumps";
    let process = server.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("0") => ok(WHAT, "off"),
        Some(_) => warning(
            WHAT,
            "on: a crash writes keys and numbers to the disk",
            "`LimitCORE=0` in the systemd unit, or `ulimit -c 0` before the start",
        ),
        None => warning(WHAT, "cannot be read", "look with `ulimit -c`"),
    }
}

/// Whether a file can be written to or made; makes none.
pub(super) fn can_append(file: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = file.parent().unwrap_or(Path::new("."));
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            Ok(rustix::fs::access(folder, access)?)
        }
        opened => opened.map(drop),
    }
}
