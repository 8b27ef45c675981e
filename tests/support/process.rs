//! What a process costs, as the kernel counts it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each user uses a part of it"
)]

use std::{fs, time::Duration};

/// For how long its threads have been on a CPU; one that ended is not counted any more.
pub fn cpu(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let on_cpu = tasks.map(|task| schedstat(&task.path().join("schedstat").to_string_lossy()));
    on_cpu.sum()
}

/// For how long the running thread has been on a CPU.
pub fn own_cpu() -> Duration {
    schedstat("/proc/thread-self/schedstat")
}

fn schedstat(path: &str) -> Duration {
    let stat = fs::read_to_string(path).unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|on_cpu| on_cpu.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// Resident memory in KiB.
pub fn resident(id: u32) -> u64 {
    memory(id, "VmRSS:")
}

/// The most that was resident, in KiB.
pub fn most_resident(id: u32) -> u64 {
    memory(id, "VmHWM:")
}

fn memory(id: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    kib.trim().trim_end_matches(" kB").parse().unwrap()
}
