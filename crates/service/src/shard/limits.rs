//! How much memory a shard takes, and how much there is.

use std::fs;
use std::path::Path;

use acquaint_pir::Shape;

use super::{RECORD_BYTES, ShardError};

/// Bytes of a polynomial's records (`acquaint-pir`: one for each coefficient), and words of 32 bits that it takes.
const POLYNOMIAL: usize = 2048;
/// A keyword, and whether there is one.
const PLACE_BYTES: u64 = 17;
/// An owner's number and keyword in a tree whose nodes are two thirds full, as those of one that grew in no order.
const OWNER_BYTES: u64 = 43;
/// A record beside the table, and its number by keyword in a hash table that has just grown.
const BUILD_BYTES: u64 = RECORD_BYTES as u64 + 64;

/// Places for records.
pub(super) fn places(shape: Shape) -> usize {
    shape.rows.saturating_mul(shape.columns).saturating_mul(POLYNOMIAL / RECORD_BYTES)
}

pub(super) fn memory_of(shape: Shape, records: usize) -> u64 {
    let places = places(shape) as u64;
    let place = 4 * RECORD_BYTES as u64 + PLACE_BYTES;
    places.saturating_mul(place).saturating_add(OWNER_BYTES.saturating_mul(records as u64))
}

/// The memory that a shard of a shape takes when it is full, in bytes.
#[must_use]
pub fn memory_needed(shape: Shape) -> u64 {
    memory_of(shape, places(shape))
}

/// The memory that building a shard of so many records takes at its peak, in bytes.
#[must_use]
pub fn memory_to_build(shape: Shape, records: u64) -> u64 {
    memory_needed(shape).saturating_add(records.saturating_mul(BUILD_BYTES))
}

/// Whether so many bytes of memory are there. Where the system does not tell, they are taken to be.
///
/// # Errors
/// [`ShardError::Memory`] when they are not.
pub fn check_memory(needed: u64) -> Result<(), ShardError> {
    match available_memory() {
        Some(available) if available < needed => Err(ShardError::Memory { needed, available }),
        _ => Ok(()),
    }
}

/// The memory that can be had without pushing anything out, in bytes: what the machine has available, or less if a control
/// group of this process allows less (proc(5), cgroups(7), both versions). `None` where the system does not tell.
#[must_use]
pub fn available_memory() -> Option<u64> {
    available_in(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

pub(super) fn available_in(proc: &Path, groups: &Path) -> Option<u64> {
    let machine = fs::read_to_string(proc.join("meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let allowed = own.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next(), fields.next()) {
            (Some(""), Some(group)) => left_in(groups, group, &UNIFIED),
            (Some(controllers), Some(group)) if controllers.split(',').any(|name| name == "memory") => {
                left_in(&groups.join("memory"), group, &LEGACY)
            }
            _ => Vec::new(),
        }
    });
    machine.into_iter().chain(allowed).min()
}

/// What the files of a control group are called.
struct Names {
    limit: &'static str,
    used: &'static str,
    /// What of the used the system gives back when it is needed: file pages that nobody has read lately.
    reclaimable: &'static str,
}

const UNIFIED: Names = Names { limit: "memory.max", used: "memory.current", reclaimable: "inactive_file " };
const LEGACY: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

/// What a group and each above it leave. In a container the group's path can be one of the machine outside: the groups
/// that are seen then are those above.
fn left_in(root: &Path, group: &str, names: &Names) -> Vec<u64> {
    let own = root.join(group.trim_start_matches('/'));
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |group: &Path| {
        let limit = number(&group.join(names.limit))?;
        let used = number(&group.join(names.used))?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(names.reclaimable)?.parse().ok());
        Some(limit.saturating_sub(used.saturating_sub(reclaimable.unwrap_or(0))))
    };
    own.ancestors().take_while(|path| path.starts_with(root)).filter_map(left).collect()
}
