//! MongoDB is cut, stalls and is slow while jobs go on; its documents wait, and are written once it is back.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting, latency};
use crate::load::{Load, Message, Mix};
use crate::report::Row;
use crate::scale::Scale;
use crate::subscriber::lock;
use crate::support::proxy::Link;
use crate::support::{now_ms, wait_until};

/// Share of the capacity at which jobs are pushed.
const LOAD_SHARE: f64 = 0.7;

/// Bound of the time from the end of an outage until no document waits, seconds.
const MAX_CATCH_UP_SECS: f64 = 60.0;

/// Cuts MongoDB off in the middle of a load, with a kill in the middle of that; then lets it stall, and be slow.
pub fn mongo_cut(seed: u64, scale: Scale) -> Row {
    let setting = Setting {
        has_database: true,
        ..Setting::default()
    };
    let mut bench = Bench::start("mongo-cut", seed, setting);
    if bench.database.is_none() {
        return bench.skip("there is no MongoDB to cut off");
    }
    let mut load = Load::new(seed);
    let per_second = LOAD_SHARE * capacity(&mut bench, &mut load, scale.choose(200, 12));
    let (calm, outage, stall) = scale.choose((30, 60, 30), (1, 4, 2));
    let mut push = |bench: &mut Bench, seconds: u64| {
        let count = (per_second * seconds as f64).ceil() as usize;
        let messages: Vec<Message> = load.messages(count, Mix::USUAL);
        bench.push_over(&messages, Duration::from_secs(seconds));
    };
    let calm_at_ms = now_ms();
    push(&mut bench, calm);
    let cut_at_ms = now_ms();
    bench.link(Link::Cut);
    push(&mut bench, outage / 2);
    bench.kill();
    bench.daemon.launch();
    push(&mut bench, outage - outage / 2);
    bench.link(Link::Open);
    let catch_up = catch_up(&bench);
    bench.row.require_where(
        scale.judges_time(),
        "documents wait after the cut, seconds",
        catch_up,
        MAX_CATCH_UP_SECS,
    );
    let back_at_ms = now_ms();
    bench.link(Link::Stalled);
    push(&mut bench, stall);
    bench.link(Link::Slow(Duration::from_millis(50)));
    push(&mut bench, stall);
    bench.link(Link::Open);
    bench.settle();
    tell_latency(&mut bench, [calm_at_ms, cut_at_ms, back_at_ms]);
    let mut row = bench.finish();
    row.notes
        .push(format!("{per_second:.1} jobs per second were pushed"));
    row.require(
        "duplicate documents",
        row.counts.duplicate_documents as f64,
        0.0,
    );
    row
}

/// Jobs per second that the daemon ends when it is never idle.
fn capacity(bench: &mut Bench, load: &mut Load, jobs: usize) -> f64 {
    let began = Instant::now();
    for message in load.messages(jobs, Mix::USUAL) {
        bench.sender.push(&message);
    }
    bench.settle();
    jobs as f64 / began.elapsed().as_secs_f64()
}

/// Seconds until no document waits.
fn catch_up(bench: &Bench) -> f64 {
    let ledger = bench.daemon.ledger();
    let began = Instant::now();
    let is_written = || (ledger.unsettled().ok()?.documents == 0).then_some(());
    // Twice the bound: then it is clear that it was missed.
    let patience = Duration::from_secs_f64(2.0 * MAX_CATCH_UP_SECS);
    match wait_until(patience, is_written) {
        Some(()) => began.elapsed().as_secs_f64(),
        None => f64::INFINITY,
    }
}

/// How long events took before the outage and in it: they must not wait for MongoDB.
fn tell_latency(bench: &mut Bench, [calm_at_ms, cut_at_ms, back_at_ms]: [i64; 3]) {
    let sent = bench.sender.log();
    let between = |from: i64, to: i64| {
        let chosen: Vec<_> = sent
            .iter()
            .filter(|sent| (from..to).contains(&sent.at_ms))
            .cloned()
            .collect();
        latency(&chosen, &lock(&bench.receipts), |_| true)
    };
    let (before, during) = (
        between(calm_at_ms, cut_at_ms),
        between(cut_at_ms, back_at_ms),
    );
    bench.row.notes.push(format!(
        "events: p50 {} ms, p95 {} ms before the cut; p50 {} ms, p95 {} ms in it, with a kill",
        before.p50, before.p95, during.p50, during.p95
    ));
}
