//! A sentence in every message, which must be found nowhere but in messages.

use std::io::{BufRead as _, BufReader};

use crate::daemon::Daemon;

/// What every message says; the words occur nowhere else, so a part of the sentence is found as well.
pub const SENTENCE: &str = "quaggas whisper of zymurgy at vermilion crossroads";

/// The words that are looked for.
const WORDS: [&str; 4] = ["quagga", "zymurgy", "vermilion", "crossroads"];

/// Longest part of a finding that is told.
const MAX_SHOWN_BYTES: usize = 160;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lines with a word of the sentence.
    pub count: usize,
    /// Lines that were looked at.
    pub lines: usize,
    /// The first finding.
    pub first: Option<String>,
}

/// Looks through the log, which has the panics too, and through everything that `/metrics` has said.
pub fn search(daemon: &Daemon) -> std::io::Result<Findings> {
    let mut findings = Findings::default();
    let mut log = BufReader::new(daemon.open_log()?);
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        findings.look_at(&String::from_utf8_lossy(&line));
        line.clear();
    }
    for line in daemon.scrapes().iter().flat_map(|text| text.lines()) {
        findings.look_at(line);
    }
    Ok(findings)
}

impl Findings {
    fn look_at(&mut self, line: &str) {
        self.lines += 1;
        let lower = line.to_lowercase();
        if WORDS.iter().any(|word| lower.contains(word)) {
            self.count += 1;
            self.first
                .get_or_insert_with(|| line.chars().take(MAX_SHOWN_BYTES).collect());
        }
    }
}
