//! Messages through the daemon's own pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use super::recorder::{Samples, mean, percentile};
use super::report::{Batch, Measured, Spread, Threads};
use super::workload::{Content, Workload, Workloads};
use crate::app::{self, Core};
use crate::commands::request::Outgoing;
use crate::commands::{CommandError, process};
use crate::config::Settings;
use crate::domain::Deadline;
use crate::ledger::{Finish, Ledger};
use crate::observe::metrics::{
    AUDIO_DECODED, AUDIO_SYNTHESIZED, ENGINE_BATCH_SIZE, ENGINE_DECODED_ROWS, ENGINE_DURATION,
    ENGINE_QUEUE_WAIT, ERRORS, STAGE_DURATION,
};
use crate::observe::process::{cpu_time_by_thread, peak_resident_bytes, reset_peak};
use crate::pipeline::{Attempt, Pipeline};
use crate::scheduler::Lane;

/// Messages of each workload that are not measured: they load what is loaded when it is first needed, and
/// make the sender's voice.
const WARM_UPS: usize = 1;

/// Share of a workload's processor time below which threads are not listed.
const MIN_SHARE: f64 = 0.002;

/// Measures every workload, one after the other, with one set of loaded engines.
pub(super) async fn all(
    settings: &Settings,
    workloads: &Workloads,
    samples: &Samples,
) -> Result<Vec<Measured>, CommandError> {
    let ledger = Ledger::open(&settings.data_dir)?;
    let Core {
        pipeline, health, ..
    } = app::build(settings, ledger.clone(), None)?;
    process::wait_for_models(&health).await?;
    let worker = Worker {
        ledger,
        pipeline,
        budget: Duration::from_secs(settings.jobs.deadline_secs),
        bar: progress(workloads),
    };
    let mut measured = Vec::with_capacity(workloads.workloads.len());
    for workload in &workloads.workloads {
        worker.bar.set_message(workload.name.clone());
        let content = workload.content(settings.audio.max_bytes)?;
        let messages = workloads.messages(workload);
        measured.push(
            worker
                .measure(workload, &content, messages, samples)
                .await?,
        );
    }
    worker.bar.finish_and_clear();
    Ok(measured)
}

fn progress(workloads: &Workloads) -> ProgressBar {
    let messages = workloads
        .workloads
        .iter()
        .map(|workload| workloads.messages(workload) + WARM_UPS)
        .sum::<usize>();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} messages, {elapsed}  {msg}");
    let bar = ProgressBar::new(messages as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What does messages.
#[derive(Clone)]
struct Worker {
    ledger: Ledger,
    pipeline: Arc<Pipeline>,
    budget: Duration,
    bar: ProgressBar,
}

impl Worker {
    async fn measure(
        &self,
        workload: &Workload,
        content: &Content,
        messages: usize,
        samples: &Samples,
    ) -> Result<Measured, CommandError> {
        let numbered = |numbers: std::ops::Range<usize>| {
            numbers
                .map(|number| workload.message(content, number))
                .collect::<VecDeque<_>>()
        };
        let lane = match content {
            Content::Voice(_) => Lane::Audio,
            Content::Text => Lane::TextNormal,
        };
        self.send(numbered(0..WARM_UPS), lane, 1).await?;
        samples.clear();
        // Where that is not allowed the peak is that of the process so far.
        let is_own_peak = reset_peak().is_ok();
        let outgoing = numbered(WARM_UPS..WARM_UPS + messages);
        let before = Usage::now();
        let times = self.send(outgoing, lane, workload.concurrency()).await?;
        let used = Usage::now().since(&before);
        Ok(Measured {
            name: workload.name.clone(),
            messages,
            concurrency: workload.concurrency(),
            languages: workload.to.clone(),
            audio_secs: sum(samples, AUDIO_DECODED),
            speech_secs: sum(samples, AUDIO_SYNTHESIZED),
            wall_secs: used.wall.as_secs_f64(),
            cpu_secs: used.cpu.as_secs_f64(),
            message_secs: Spread::of(&times),
            peak_memory_bytes: peak_resident_bytes(),
            is_own_peak,
            stages: spreads(samples, STAGE_DURATION, "stage"),
            engines: spreads(samples, ENGINE_DURATION, "engine"),
            queues: spreads(samples, ENGINE_QUEUE_WAIT, "engine"),
            requests: batches(samples, ENGINE_BATCH_SIZE),
            rows: batches(samples, ENGINE_DECODED_ROWS),
            threads: used.threads(),
            errors: samples.counted(ERRORS),
        })
    }

    /// Sends messages, so many at a time, and returns how many seconds each took.
    async fn send(
        &self,
        messages: VecDeque<Outgoing>,
        lane: Lane,
        concurrency: usize,
    ) -> Result<Vec<f64>, CommandError> {
        let messages = Arc::new(Mutex::new(messages));
        let next = |messages: &Mutex<VecDeque<Outgoing>>| {
            let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            messages.pop_front()
        };
        let mut senders = JoinSet::new();
        for _ in 0..concurrency {
            let (worker, messages) = (self.clone(), Arc::clone(&messages));
            senders.spawn(async move {
                let mut times = Vec::new();
                while let Some(outgoing) = next(&messages) {
                    let started = Instant::now();
                    worker.carry(outgoing, lane).await?;
                    times.push(started.elapsed().as_secs_f64());
                    worker.bar.inc(1);
                }
                Ok::<_, CommandError>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(sent) = senders.join_next().await {
            let sent = sent.map_err(|_| CommandError::JobFailed("it panicked".to_owned()))?;
            times.extend(sent?);
        }
        Ok(times)
    }

    /// One message, from its acceptance to its end.
    async fn carry(&self, outgoing: Outgoing, lane: Lane) -> Result<(), CommandError> {
        let record = process::accept(&self.ledger, outgoing, lane).await?;
        let deadline = Deadline::after(self.budget);
        match self.pipeline.run(record, false, deadline).await? {
            Attempt::Finished(Finish::Done) => Ok(()),
            Attempt::Finished(Finish::Failed(reason) | Finish::Quarantined(reason)) => {
                Err(CommandError::JobFailed(reason.to_owned()))
            }
            Attempt::Retry(failure) => Err(CommandError::JobFailed(
                failure.reason().as_str().to_owned(),
            )),
        }
    }
}

/// What the process has used, or between two moments.
struct Usage {
    at: Instant,
    wall: Duration,
    cpu: Duration,
    by_thread: BTreeMap<String, Duration>,
}

impl Usage {
    fn now() -> Self {
        let by_thread = cpu_time_by_thread();
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec as u64, own.tv_nsec as u32);
        let children = by_thread.get("children").copied().unwrap_or_default();
        Self {
            at: Instant::now(),
            wall: Duration::ZERO,
            cpu: own + children,
            by_thread,
        }
    }

    fn since(self, before: &Self) -> Self {
        let by_thread = self
            .by_thread
            .into_iter()
            .map(|(name, time)| {
                let earlier = before.by_thread.get(&name).copied().unwrap_or_default();
                (name, time.saturating_sub(earlier))
            })
            .collect();
        Self {
            at: self.at,
            wall: self.at - before.at,
            cpu: self.cpu.saturating_sub(before.cpu),
            by_thread,
        }
    }

    /// Threads that used a share worth telling; what has ended meanwhile is with the others.
    fn threads(&self) -> Vec<Threads> {
        let whole = self.cpu.as_secs_f64();
        let mut threads: Vec<Threads> = self
            .by_thread
            .iter()
            .map(|(name, time)| Threads {
                name: name.clone(),
                cpu_secs: time.as_secs_f64(),
            })
            .filter(|threads| threads.cpu_secs > whole * MIN_SHARE)
            .collect();
        threads.sort_by(|a, b| b.cpu_secs.total_cmp(&a.cpu_secs));
        let known: f64 = threads.iter().map(|threads| threads.cpu_secs).sum();
        let others = whole - known;
        if others > whole * MIN_SHARE {
            threads.push(Threads {
                name: "others".to_owned(),
                cpu_secs: others,
            });
        }
        threads
    }
}

fn sum(samples: &Samples, metric: &str) -> f64 {
    samples.by_label(metric, "").values().flatten().sum()
}

fn spreads(samples: &Samples, metric: &str, label: &str) -> BTreeMap<String, Spread> {
    let groups = samples.by_label(metric, label);
    groups
        .into_iter()
        .map(|(name, values)| (name, Spread::of(&values)))
        .collect()
}

fn batches(samples: &Samples, metric: &str) -> BTreeMap<String, Batch> {
    let groups = samples.by_label(metric, "engine");
    groups
        .into_iter()
        .map(|(engine, sizes)| {
            let batch = Batch {
                steps: sizes.len(),
                mean: mean(&sizes),
                max: percentile(&sizes, 100),
            };
            (engine, batch)
        })
        .collect()
}
