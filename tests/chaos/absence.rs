//! Subscribers that are not there, that read nothing, and that come and go.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting};
use crate::load::{Load, Mix};
use crate::report::Row;
use crate::scale::Scale;
use crate::subscriber::Mode;

/// What memory may be at most, beside 1.3 times that of an idle daemon.
const MORE_MIB: f64 = 256.0;

/// Every event reaches a subscriber that was away, has stalled or comes and goes.
pub fn subscribers(seed: u64, scale: Scale) -> Row {
    let phase = Duration::from_secs(scale.choose(300, 5));
    let stay = Duration::from_millis(scale.choose(30_000, 1_500));
    let per_second = scale.choose(4, 5);
    let mut bench = Bench::start("subscribers", seed, Setting::default());
    let mut load = Load::new(seed);
    let mut push = |bench: &mut Bench, time: Duration| {
        let count = (time.as_secs_f64() * f64::from(per_second)).ceil() as usize;
        bench.push_over(&load.messages(count, Mix::USUAL), time);
    };
    bench.progress.tell("nobody subscribes");
    bench.subscriber.set(Mode::Away);
    push(&mut bench, phase);
    bench.subscriber.set(Mode::Listen);
    bench.settle();

    bench.progress.tell("the subscriber has stalled");
    bench.subscriber.set(Mode::Stall);
    push(&mut bench, phase);
    bench.subscriber.set(Mode::Listen);
    bench.settle();

    let began = Instant::now();
    let mut times = 0;
    while began.elapsed() < phase {
        bench.progress.tell(format_args!("recreated {times} times"));
        push(&mut bench, stay);
        bench.subscriber.set(Mode::Away);
        bench.subscriber.set(Mode::Listen);
        times += 1;
    }
    bench.settle();
    bench
        .row
        .notes
        .push(format!("the subscriber was recreated {times} times"));
    let mut row = bench.finish();
    row.require(
        "most memory, MiB",
        row.rss_peak_mib as f64,
        row.rss_idle_mib as f64 * 1.3 + MORE_MIB,
    );
    row
}
