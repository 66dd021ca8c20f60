//! Whether the machine has the memory that jobs may take.

use super::Check;
use crate::commands::human_bytes;
use crate::config::Settings;

/// Share of the memory that jobs may take; the rest is for models and the system.
const MAX_PERCENT: u64 = 50;

/// Compares the budget of jobs with what there is.
pub(super) fn check(settings: &Settings) -> Check {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = memory_bytes(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"));
    judge(settings.jobs.max_running_bytes, memory)
}

fn judge(budget: u64, memory: Option<u64>) -> Check {
    let name = "memory";
    let Some(memory) = memory else {
        return Check::warn(name, "not known", "/proc/meminfo did not tell");
    };
    let detail = format!(
        "{}, {} of it for recordings in work",
        human_bytes(memory),
        human_bytes(budget)
    );
    if budget <= memory / 100 * MAX_PERCENT {
        return Check::ok(name, detail);
    }
    let hint = "models need memory too: lower jobs.max_running_bytes, or give the daemon more";
    Check::warn(name, detail, hint)
}

/// The machine's memory, or the container's where that is less.
fn memory_bytes(meminfo: &str, cgroup_max: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    // "max" where there is no limit.
    let limit = cgroup_max.trim().parse().unwrap_or(u64::MAX);
    Some(kibibytes.saturating_mul(1024).min(limit))
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn the_container_limits_the_machine() {
        let meminfo = "MemTotal:       8000000 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_bytes(meminfo, "max\n"), Some(8_192_000_000));
        assert_eq!(memory_bytes(meminfo, "1000000\n"), Some(1_000_000));
        assert_eq!(memory_bytes("", "1000000\n"), None);
    }

    #[test]
    fn a_budget_that_leaves_too_little_is_a_warning() {
        for (budget, memory, status) in [
            (100, Some(1_000), Status::Ok),
            (600, Some(1_000), Status::Warn),
            (1, None, Status::Warn),
        ] {
            assert_eq!(judge(budget, memory).status, status, "{budget} {memory:?}");
        }
    }
}
