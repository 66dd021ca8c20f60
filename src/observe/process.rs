//! What this process uses of the machine, as Linux tells it in `/proc`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Ticks per second of the times in `/proc`: 100 on every Linux (`USER_HZ`, see proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_resident(&status))
        .unwrap_or_default()
}

/// Processor time that was used since the start, by all threads; zero where the system does not tell.
pub fn cpu_time() -> Duration {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| parse_cpu_time(&stat))
        .unwrap_or_default()
}

/// Most resident memory since the start, or since [`reset_peak`], in bytes; 0 where the system does not tell.
pub fn peak_resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_size(&status, "VmHWM:"))
        .unwrap_or_default()
}

/// Lets [`peak_resident_bytes`] begin anew.
///
/// # Errors
/// The system does not allow it.
pub fn reset_peak() -> std::io::Result<()> {
    // See proc_pid_clear_refs(5).
    std::fs::write("/proc/self/clear_refs", "5")
}

/// Processor time that was used so far, by this process' threads that still run, under their names
/// without a number at the end, and by its child processes, as `children`. Empty where the system does not
/// tell.
pub fn cpu_time_by_thread() -> BTreeMap<String, Duration> {
    let mut times: BTreeMap<String, Duration> = BTreeMap::new();
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return times;
    };
    for thread in threads.flatten() {
        // A thread may end at any moment.
        let Some((name, time)) = thread_cpu_time(&thread.path()) else {
            continue;
        };
        *times.entry(name).or_default() += time;
        for child in children(&thread.path()) {
            *times.entry("children".to_owned()).or_default() += child;
        }
    }
    times
}

fn thread_cpu_time(thread: &Path) -> Option<(String, Duration)> {
    let name = std::fs::read_to_string(thread.join("comm")).ok()?;
    let times = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    let nanoseconds = times.split_whitespace().next()?.parse().ok()?;
    Some((group(&name), Duration::from_nanos(nanoseconds)))
}

/// `transcribe-0` is `transcribe`.
fn group(thread: &str) -> String {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '\n');
    thread.trim_end_matches(is_number).to_owned()
}

/// Processor time of the child processes that a thread has started.
fn children(thread: &Path) -> Vec<Duration> {
    let Ok(children) = std::fs::read_to_string(thread.join("children")) else {
        return Vec::new();
    };
    children
        .split_whitespace()
        .filter_map(|child| std::fs::read_to_string(format!("/proc/{child}/stat")).ok())
        .filter_map(|stat| parse_cpu_time(&stat))
        .collect()
}

fn parse_resident(status: &str) -> Option<u64> {
    parse_size(status, "VmRSS:")
}

fn parse_size(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1000 / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_found() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 99";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(parse_resident(status), Some(2 << 20));
        assert_eq!((parse_cpu_time(""), parse_resident("")), (None, None));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes() > 1 << 20);
        assert!(peak_resident_bytes() > 1 << 20);
    }

    #[test]
    fn a_thread_is_known_by_its_name() {
        assert_eq!(group("transcribe-0\n"), "transcribe");
        assert_eq!(group("tokio-rt-worker\n"), "tokio-rt-worker");
        let (busy, times) = std::sync::mpsc::sync_channel(1);
        let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
        let worker = std::thread::Builder::new().name("busy-3".to_owned());
        let worker = worker.spawn(move || {
            let started = std::time::Instant::now();
            while started.elapsed() < Duration::from_millis(50) {}
            busy.send(()).unwrap();
            is_done.recv().unwrap();
        });
        times.recv().unwrap();
        let used = cpu_time_by_thread();
        done.send(()).unwrap();
        worker.unwrap().join().unwrap();
        assert!(used["busy"] > Duration::ZERO, "{used:?}");
    }
}
