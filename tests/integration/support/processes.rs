//! Processes as `/proc` shows them.

use std::collections::BTreeMap;

/// A process that may end at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u32);

impl Process {
    /// The fields of `/proc/<pid>/status`; none when the process is gone.
    pub fn status(self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// True while there is such a process, dead ones that nobody has reaped included.
    pub fn exists(self) -> bool {
        !self.status().is_empty()
    }

    /// The numbers of its open descriptors.
    pub fn descriptors(self) -> Vec<u32> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<u32> = names.map(|name| name.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The soft limit of a resource, by its name in `/proc/<pid>/limits`.
    pub fn limit(self, name: &str) -> String {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.0)).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    }
}

/// The children of a process.
pub fn children(parent: u32) -> Vec<Process> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<Process> = names
        .filter_map(|name| name.parse().ok().map(Process))
        .filter(|process| process.status().get("PPid") == Some(&parent))
        .collect();
    found.sort_unstable();
    found
}
