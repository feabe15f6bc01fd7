use std::fs;
use std::path::Path;

use super::*;
use crate::shard::limits::available_in;

/// Files below a folder.
fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn available(files: &[(&str, &str)]) -> Option<u64> {
    let folder = system(files);
    available_in(&folder.path().join("proc"), &folder.path().join("groups"))
}

const MEMORY: (&str, &str) =
    ("proc/meminfo", "MemTotal:       24684032 kB\nMemFree:  1000 kB\nMemAvailable:       2000 kB\n");

#[test]
fn the_machine_tells_what_it_has() {
    assert_eq!(available(&[MEMORY]), Some(2_048_000));
    assert_eq!(available(&[]), None);
    assert_eq!(available(&[("proc/meminfo", "MemTotal: 1 kB\n")]), None);
    assert_eq!(available(&[("proc/meminfo", "MemAvailable: many kB\n")]), None);
    assert_eq!(available_in(Path::new("/nowhere"), Path::new("/nowhere")), None);
}

#[test]
fn a_control_group_or_one_above_it_leaves_less() {
    let group = ("proc/self/cgroup", "0::/a/b\n");
    let unlimited = ("groups/a/b/memory.max", "max\n");
    let used = ("groups/a/b/memory.current", "7000\n");
    assert_eq!(available(&[MEMORY, group, unlimited, used]), Some(2_048_000));
    let own = ("groups/a/b/memory.max", "10000\n");
    assert_eq!(available(&[MEMORY, group, own, used]), Some(3000));
    // File pages that are not in use come back.
    let stat = ("groups/a/b/memory.stat", "anon 1\ninactive_file 2500\nactive_file 900\n");
    assert_eq!(available(&[MEMORY, group, own, used, stat]), Some(5500));
    let above = [("groups/a/memory.max", "1000\n"), ("groups/a/memory.current", "1500\n")];
    assert_eq!(available(&[MEMORY, group, own, used, stat, above[0], above[1]]), Some(0));
    // In a container: the path is the machine's, and only the root is seen.
    let root = [("groups/memory.max", "8000\n"), ("groups/memory.current", "1000\n")];
    assert_eq!(available(&[MEMORY, group, root[0], root[1]]), Some(7000));
    // Without the machine's word the group's counts.
    assert_eq!(available(&[group, own, used]), Some(3000));
}

#[test]
fn the_former_version_of_control_groups_is_read_too() {
    let group = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n");
    let limit = ("groups/memory/docker/1/memory.limit_in_bytes", "50000\n");
    let used = ("groups/memory/docker/1/memory.usage_in_bytes", "20000\n");
    let stat = ("groups/memory/docker/1/memory.stat", "inactive_file 1\ntotal_inactive_file 4000\n");
    assert_eq!(available(&[MEMORY, group, limit, used]), Some(30_000));
    assert_eq!(available(&[MEMORY, group, limit, used, stat]), Some(34_000));
    assert_eq!(available(&[MEMORY, ("proc/self/cgroup", "5:cpu:/docker/1\n"), limit, used]), Some(2_048_000));
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_taken() {
    check_memory(1).unwrap();
    let largest = Shape { rows: 2048, columns: 1 << 16, slots: 4, answers: 2 };
    let needed = memory_needed(largest);
    assert!(needed > 1 << 40);
    let refused = check_memory(needed).unwrap_err();
    assert!(matches!(refused, ShardError::Memory { needed: told, .. } if told == needed));
    assert!(matches!(anonymous(1 << 40), Err(ShardError::Memory { .. })));
}

#[test]
fn a_shard_takes_five_times_its_records_at_the_most() {
    let (records, shape) = (1 << 20, Shape::MILLION_KEYWORDS);
    let shard = crate::shard::limits::memory_of(shape, records);
    assert!(shard <= 5 * 128 * records as u64, "{shard}");
    assert!(memory_needed(shape) >= shard);
    assert!(memory_to_build(shape, records as u64) > memory_needed(shape) + 128 * records as u64);
}
