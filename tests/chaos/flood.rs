//! More than the daemon can take: how much of it is on its way when a kill comes, and what becomes of the rest.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting, latency};
use crate::checker::POOL_FULL;
use crate::load::{Load, Message, Mix};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::subscriber::lock;
use crate::support::now_ms;

/// Size of a request of the flood.
const REQUEST_BYTES: usize = 20_000;

/// Share of what was pushed that a kill may catch on its way, percent.
const MAX_EXPOSED_PERCENT: f64 = 1.0;

/// The same if the sender's kernel uses BBR, which lets it hold what fits into thrice a congestion window that does
/// not shrink for a receiver that reads slowly. The daemon has no say in that.
const MAX_EXPOSED_PERCENT_BBR: f64 = 2.0;

/// What else may be on its way: what libzmq holds at both ends, and a batch before it is durable, MiB.
const MORE_EXPOSED_MIB: f64 = 1.5;

/// Texts under a full load of audio may take that many times as long as without.
const MAX_SLOWDOWN: f64 = 2.0;

/// What memory may grow between the halves of a soak, MiB.
const MAX_GROWTH_MIB: f64 = 32.0;

/// A flood of requests, then a kill: what was pushed and never accepted is lost, and must be little.
pub fn intake_exposure(seed: u64, scale: Scale) -> Row {
    let count = scale.choose(3_000, 300);
    let mut bench = Bench::start("intake-exposure", seed, Setting::default());
    let mut load = Load::new(seed);
    let flood: Vec<Message> = (0..count)
        .map(|_| load.padded_text(REQUEST_BYTES))
        .collect();
    let began = Instant::now();
    for message in &flood {
        bench.sender.push(message);
    }
    let seconds = began.elapsed().as_secs_f64();
    bench.kill();
    bench.daemon.launch();
    bench.daemon.wait_loaded();
    bench.settle();
    let mut row = bench.finish();
    row.notes.push(format!(
        "{count} requests of {REQUEST_BYTES} bytes were pushed in {seconds:.2} s"
    ));
    let exposed_mib = (row.counts.never_accepted * REQUEST_BYTES) as f64 / f64::from(1 << 20);
    row.require(
        "pushed but never accepted, MiB, of which the sender's kernel alone may hold most",
        exposed_mib,
        kernel_send_buffer_mib() + MORE_EXPOSED_MIB,
    );
    let congestion_control = congestion_control();
    row.notes.push(format!(
        "the sender's kernel controls congestion by {congestion_control}"
    ));
    let most = match congestion_control.as_str() {
        "bbr" => MAX_EXPOSED_PERCENT_BBR,
        _ => MAX_EXPOSED_PERCENT,
    };
    row.require_where(
        // What the kernels hold does not shrink with the flood.
        scale.judges_time(),
        "pushed but never accepted, percent",
        100.0 * row.counts.never_accepted as f64 / count as f64,
        most,
    );
    row
}

/// What Linux lets a socket hold that was sent and has not arrived.
fn kernel_send_buffer_mib() -> f64 {
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most = limits
        .split_whitespace()
        .last()
        .and_then(|most| most.parse().ok());
    most.unwrap_or(4_194_304.0) / f64::from(1 << 20)
}

/// How Linux finds out how fast a socket may send.
fn congestion_control() -> String {
    let name = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(
        |_| "unknown means".to_owned(),
        |name| name.trim().to_owned(),
    )
}

/// Far more requests than there are places: each is answered, by a result or by a refusal.
pub fn overload(seed: u64, scale: Scale) -> Row {
    let (texts, audios) = scale.choose((3_000, 300), (300, 20));
    let bounds = "[jobs]\nmax_queued_texts = 50\nmax_concurrent_texts = 8\n\
                  max_queued_audio = 10\nmax_concurrent_audio = 2\n";
    let settings = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(settings.path(), bounds).expect("a settings file");
    let path = settings.path().to_string_lossy().into_owned();
    let setting = Setting {
        environment: vec![("TRANSLATOR_CONFIG".to_owned(), path)],
        ..Setting::default()
    };
    let mut bench = Bench::start("overload", seed, setting);
    let mut load = Load::new(seed);
    let mut messages = load.messages(texts, Mix::TEXT);
    let every = texts / audios;
    for (number, audio) in load.messages(audios, Mix::AUDIO).into_iter().enumerate() {
        messages.insert(number * (every + 1), audio);
    }
    for message in &messages {
        bench.sender.push(message);
    }
    bench.settle();
    bench.row.refusals_in(&lock(&bench.receipts));
    let mut row = bench.finish();
    row.require(
        "requests without an answer",
        row.counts.never_accepted as f64,
        0.0,
    );
    if row.counts.refused == 0 {
        row.blame("nothing was refused: the load was too small to prove anything");
    }
    row
}

impl Row {
    /// Whatever is refused for want of room says so in the words that the gateway knows.
    fn refusals_in(&mut self, received: &[crate::checker::evidence::Receipt]) {
        let full = received
            .iter()
            .filter(|receipt| receipt.facts.error.as_deref() == Some(POOL_FULL))
            .count();
        self.notes
            .push(format!("{full} requests were answered \"{POOL_FULL}\""));
    }
}

/// Texts take little longer while every audio slot is busy, and memory stays flat under mixed lengths.
pub fn text_under_audio(seed: u64, scale: Scale) -> Row {
    let (texts, interval_ms, soak_secs) = scale.choose((300, 100, 600), (30, 60, 6));
    let mut bench = Bench::start("text-under-audio", seed, Setting::default());
    let mut load = Load::new(seed);
    let time = Duration::from_millis(texts as u64 * interval_ms);
    bench.progress.tell("texts alone");
    let idle = texts_latency(&mut bench, &mut load, texts, time);
    bench.progress.tell("texts under audio");
    // As many as may wait, to keep all slots busy until the last text.
    let audios = load.messages(scale.choose(950, 24), Mix::AUDIO);
    for message in &audios {
        bench.sender.push(message);
    }
    // Texts on the same connection must not wait for the intake of all that.
    bench.wait_accepted();
    let busy = texts_latency(&mut bench, &mut load, texts, time);
    let left = bench.daemon.ledger().unfinished().unwrap_or(0);
    bench.row.notes.push(format!(
        "texts: p50 {} ms and p95 {} ms alone, p50 {} ms and p95 {} ms under {} voice messages, of which {left} were \
         left at the end",
        idle.p50,
        idle.p95,
        busy.p50,
        busy.p95,
        audios.len(),
    ));
    bench.row.require_where(
        scale.judges_time(),
        "text p95 under audio, times that without",
        busy.p95 as f64 / idle.p95.max(1) as f64,
        MAX_SLOWDOWN,
    );
    if scale.judges_time() && left == 0 {
        bench
            .row
            .blame("the voice messages ended before the texts: nothing was measured");
    }
    bench.settle();
    soak(&mut bench, &mut load, Duration::from_secs(soak_secs));
    bench.settle();
    bench.finish()
}

/// Pushes texts evenly and gives how long they took.
fn texts_latency(bench: &mut Bench, load: &mut Load, count: usize, time: Duration) -> Percentiles {
    let from_ms = now_ms();
    let messages: Vec<Message> = (0..count).map(|_| load.text(1)).collect();
    bench.push_over(&messages, time);
    bench.wait_answered(&messages);
    let sent = bench.sender.log();
    let of_phase: Vec<_> = sent
        .iter()
        .filter(|sent| sent.at_ms >= from_ms)
        .cloned()
        .collect();
    latency(&of_phase, &lock(&bench.receipts), |task_id| {
        task_id.starts_with("text")
    })
}

/// Texts of 50 to 8,000 bytes and recordings, one after another; memory must not grow with time.
fn soak(bench: &mut Bench, load: &mut Load, time: Duration) {
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        let message = match samples.len() % 8 {
            0 => load.audio(),
            1 => load.long_text(8_000),
            2 => load.long_text(1_000),
            _ => load.text(1),
        };
        bench.sender.push(&message);
        bench.wait_answered(std::slice::from_ref(&message));
        samples.push(bench.daemon.rss_bytes());
        bench
            .progress
            .tell(format_args!("soak, {} jobs", samples.len()));
    }
    let mib_of = |samples: &[u64]| median(samples) as f64 / f64::from(1 << 20);
    let tenth = samples.len().div_ceil(10).max(1);
    let by_tenth: Vec<String> = samples
        .chunks(tenth)
        .map(|samples| format!("{:.0}", mib_of(samples)))
        .collect();
    bench.row.notes.push(format!(
        "memory in a soak of {} jobs, median of each tenth, MiB: {}",
        samples.len(),
        by_tenth.join(" ")
    ));
    let (first, second) = samples.split_at(samples.len() / 2);
    bench.row.require(
        "growth of memory between the halves of a soak, median, MiB",
        mib_of(second) - mib_of(first),
        MAX_GROWTH_MIB,
    );
}

/// The middle of some samples; 0 without any.
fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}
