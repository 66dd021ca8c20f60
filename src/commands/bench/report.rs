//! The figures, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::machine::{Machine, UsedModel};
use super::recorder::percentile;
use crate::commands::human_bytes;
use crate::domain::Language;
use crate::protocol::Timestamp;

/// Everything that was measured, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) is_optimised: bool,
    pub(super) measured_at: Timestamp,
    pub(super) machine: Machine,
    /// Load average of the minute before the first run.
    pub(super) load_before: f64,
    /// That of the minute before the end.
    pub(super) load_after: f64,
    pub(super) models: Vec<UsedModel>,
    pub(super) workloads: Vec<Measured>,
}

/// The figures of one workload; sums are over all its messages.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) messages: usize,
    pub(super) concurrency: usize,
    pub(super) languages: Vec<Language>,
    /// Length of the recordings; 0 for text messages.
    pub(super) audio_secs: f64,
    /// Length of the speech.
    pub(super) speech_secs: f64,
    pub(super) wall_secs: f64,
    /// Processor time of this process and of those that decode for it.
    pub(super) cpu_secs: f64,
    pub(super) message_secs: Spread,
    /// Most resident memory.
    pub(super) peak_memory_bytes: u64,
    /// False: the peak may be that of an earlier workload.
    pub(super) is_own_peak: bool,
    /// Seconds by stage.
    pub(super) stages: BTreeMap<String, Spread>,
    /// Seconds that a request is in an engine's batch, by engine.
    pub(super) engines: BTreeMap<String, Spread>,
    /// Seconds that a request waits for a place there.
    pub(super) queues: BTreeMap<String, Spread>,
    /// Requests in an engine at a step.
    pub(super) requests: BTreeMap<String, Batch>,
    /// Sequences that are decoded together at a step.
    pub(super) rows: BTreeMap<String, Batch>,
    pub(super) threads: Vec<Threads>,
    /// Failures by stage and reason.
    pub(super) errors: BTreeMap<String, u64>,
}

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) p50: f64,
    pub(super) p95: f64,
}

/// How full batches were.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Batch {
    pub(super) steps: usize,
    pub(super) mean: f64,
    pub(super) max: f64,
}

/// Processor time of the threads with one name.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Threads {
    pub(super) name: String,
    pub(super) cpu_secs: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Self {
        Self {
            count: values.len(),
            p50: percentile(values, 50),
            p95: percentile(values, 95),
        }
    }
}

impl Measured {
    pub(super) fn messages_per_hour(&self) -> f64 {
        self.messages as f64 / self.wall_secs * 3600.0
    }

    /// Processing time of a message over the length of its recording; `None` for texts.
    pub(super) fn real_time_factor(&self) -> Option<f64> {
        let audio_secs = self.audio_secs / self.messages as f64;
        (audio_secs > 0.0).then(|| self.message_secs.p50 / audio_secs)
    }

    /// Processor time for each second of a recording and each language; `None` for texts.
    pub(super) fn cpu_per_audio_and_language(&self) -> Option<f64> {
        let work = self.audio_secs * self.languages.len() as f64;
        (work > 0.0).then(|| self.cpu_secs / work)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "machine  {}, {} cores, {}, {}, Linux {}",
            machine.processor,
            machine.cores,
            machine.instructions.join(" "),
            human_bytes(machine.memory_bytes),
            machine.system
        )?;
        writeln!(
            f,
            "load     {:.2} before, {:.2} after",
            self.load_before, self.load_after
        )?;
        for (index, model) in self.models.iter().enumerate() {
            let title = if index == 0 { "models" } else { "" };
            let sha256 = model.sha256.get(..12).unwrap_or_default();
            writeln!(
                f,
                "{title:<8} {:<9} {:<28} {:<10} {sha256}",
                model.engine, model.id, model.precision
            )?;
        }
        for measured in &self.workloads {
            writeln!(f)?;
            measured.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} messages, {} at a time",
            self.name, self.messages, self.concurrency
        )?;
        let Spread { p50, p95, .. } = self.message_secs;
        write!(
            f,
            "  a message    p50 {p50:.3} s, p95 {p95:.3} s, {:.0} an hour",
            self.messages_per_hour()
        )?;
        if let Some(factor) = self.real_time_factor() {
            write!(f, ", real-time factor {factor:.3}")?;
        }
        let each = self.cpu_secs / self.messages as f64;
        write!(f, "\n  processor    {each:.3} s a message")?;
        if let Some(cost) = self.cpu_per_audio_and_language() {
            write!(f, ", {cost:.3} s for each second of audio and language")?;
        }
        let whose = if self.is_own_peak {
            ""
        } else {
            " since the start"
        };
        writeln!(
            f,
            "\n  peak memory  {}{whose}",
            human_bytes(self.peak_memory_bytes)
        )?;
        writeln!(
            f,
            "  {:<12} {:>6} {:>10} {:>10}",
            "stage", "times", "p50", "p95"
        )?;
        for (stage, Spread { count, p50, p95 }) in &self.stages {
            writeln!(f, "  {stage:<12} {count:>6} {p50:>8.3} s {p95:>8.3} s")?;
        }
        writeln!(
            f,
            "  {:<12} {:>10} {:>6}   {:<22} rows mean, most",
            "threads", "processor", "share", "requests mean, most"
        )?;
        for Threads { name, cpu_secs } in &self.threads {
            let share = cpu_secs / self.cpu_secs * 100.0;
            let batch = |batches: &BTreeMap<String, Batch>| {
                let batch = batches.get(name);
                batch.map_or_else(String::new, |batch| {
                    format!("{:.1}, {:.0}", batch.mean, batch.max)
                })
            };
            let row = format!(
                "  {name:<12} {cpu_secs:>8.3} s {share:>4.0} %   {:<22} {}",
                batch(&self.requests),
                batch(&self.rows)
            );
            writeln!(f, "{}", row.trim_end())?;
        }
        for (error, count) in &self.errors {
            writeln!(f, "  FAILED       {count} × {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::commands::bench) fn report() -> Report {
        let spread = |p50| Spread {
            count: 4,
            p50,
            p95: p50 * 2.0,
        };
        let measured = Measured {
            name: "a <voice> message".to_owned(),
            messages: 4,
            concurrency: 2,
            languages: ["fr", "es"]
                .into_iter()
                .filter_map(Language::parse)
                .collect(),
            audio_secs: 24.0,
            speech_secs: 30.0,
            wall_secs: 8.0,
            cpu_secs: 12.0,
            message_secs: spread(3.0),
            peak_memory_bytes: 300 << 20,
            is_own_peak: true,
            stages: BTreeMap::from([
                ("transcribe".to_owned(), spread(0.5)),
                ("synthesize".to_owned(), spread(1.5)),
            ]),
            engines: BTreeMap::new(),
            queues: BTreeMap::new(),
            requests: BTreeMap::new(),
            rows: BTreeMap::from([(
                "synthesize".to_owned(),
                Batch {
                    steps: 100,
                    mean: 3.5,
                    max: 4.0,
                },
            )]),
            threads: vec![Threads {
                name: "synthesize".to_owned(),
                cpu_secs: 9.0,
            }],
            errors: BTreeMap::from([("synthesize internal".to_owned(), 1)]),
        };
        Report {
            version: "0",
            is_optimised: true,
            measured_at: Timestamp::now(),
            machine: Machine::of_this_process(),
            load_before: 0.1,
            load_after: 1.5,
            models: Vec::new(),
            workloads: vec![measured],
        }
    }

    #[test]
    fn the_table_tells_the_figures() {
        let table = report().to_string();
        for part in [
            "load     0.10 before, 1.50 after",
            "4 messages, 2 at a time",
            "p50 3.000 s, p95 6.000 s, 1800 an hour, real-time factor 0.500",
            "3.000 s a message, 0.250 s for each second of audio and language",
            "peak memory  300.00 MiB",
            "transcribe        4    0.500 s    1.000 s",
            "synthesize      9.000 s   75 %                          3.5, 4",
            "FAILED       1 × synthesize internal",
        ] {
            assert!(table.contains(part), "{part:?} is not in\n{table}");
        }
    }

    #[test]
    fn texts_have_no_real_time_factor() {
        let mut report = report();
        report.workloads[0].audio_secs = 0.0;
        assert_eq!(report.workloads[0].real_time_factor(), None);
        assert_eq!(report.workloads[0].cpu_per_audio_and_language(), None);
    }
}
