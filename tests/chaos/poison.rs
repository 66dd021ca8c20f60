//! Jobs that abort, hang or fill memory among sound ones: each of them ends with its event, and the others hardly
//! notice.

use std::collections::HashSet;
use std::time::Duration;

use crate::bench::{Bench, Setting, latency};
use crate::checker::evidence::sha256;
use crate::load::{Load, Message, Mix};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::subscriber::lock;

/// What the sound jobs' p95 may be, as a multiple of that without poison.
const MAX_SLOWDOWN: f64 = 1.5;

/// A daemon that dies of a job is started again, as a supervisor would; that many times at most.
const MAX_DEATHS: usize = 20;

/// What a decoding process does with a poisoned recording.
const DECODER_FAULTS: [&str; 3] = ["abort", "hang", "leak"];

/// One in a hundred of each kind.
pub fn poison(seed: u64, scale: Scale) -> Row {
    let (jobs, of_each) = scale.choose((500, 5), (40, 1));
    let time = Duration::from_secs(scale.choose(150, 10));
    let without = {
        let (sound, _) = load(seed, jobs, of_each);
        let mut bench = Bench::start("poison reference", seed, Setting::default());
        bench.push_over(&sound, time);
        bench.settle();
        sound_latency(&bench, &HashSet::new())
    };
    let (messages, poison) = load(seed, jobs, of_each);
    let setting = Setting {
        environment: vec![("TRANSLATOR_FAULT".to_owned(), poison.faults.join(";"))],
        ..Setting::default()
    };
    let mut bench = Bench::start("poison", seed, setting);
    let interval = time / jobs as u32;
    for message in &messages {
        bench.sender.push(message);
        std::thread::sleep(interval);
        bench.revive(MAX_DEATHS);
    }
    bench.settle_reviving(MAX_DEATHS);
    let with = sound_latency(&bench, &poison.task_ids);
    let ends = bench.ends_of(&poison.task_ids);
    bench.row.notes.push(format!("poison ended so: {ends:?}"));
    bench.row.notes.push(format!(
        "sound jobs: p50 {} ms, p95 {} ms without poison; p50 {} ms, p95 {} ms with it",
        without.p50, without.p95, with.p50, with.p95
    ));
    let harmless = ends.iter().filter(|(_, state)| state == "done").count();
    bench
        .row
        .require("poison that had no effect", harmless as f64, 0.0);
    bench.row.require_where(
        scale.judges_time(),
        "sound jobs' p95, times that without poison",
        with.p95 as f64 / without.p95.max(1) as f64,
        MAX_SLOWDOWN,
    );
    let poison_aside = ends
        .iter()
        .filter(|(_, state)| state == "quarantined")
        .count();
    let mut row = bench.finish();
    row.require_where(
        scale.judges_time(),
        "sound jobs that were set aside",
        row.counts.quarantined.saturating_sub(poison_aside) as f64,
        0.0,
    );
    row
}

/// The jobs that are poisoned.
struct Poison {
    task_ids: HashSet<String>,
    /// What `TRANSLATOR_FAULT` says of them.
    faults: Vec<String>,
}

/// A usual load in which recordings are poisoned in their decoder, and one text takes the daemon with it.
fn load(seed: u64, jobs: usize, of_each: usize) -> (Vec<Message>, Poison) {
    let mut load = Load::new(seed);
    let poisoned = DECODER_FAULTS.len() * of_each + 1;
    let mut messages = load.messages(jobs - poisoned, Mix::USUAL);
    let mut poison = Poison {
        task_ids: HashSet::new(),
        faults: Vec::new(),
    };
    let every = messages.len() / poisoned;
    let mut faults = DECODER_FAULTS.into_iter().cycle();
    for number in 0..poisoned {
        let message = if number == poisoned / 2 {
            let text = load.text(1);
            poison
                .faults
                .push(format!("translate@{}:abort", text.task_id));
            text
        } else {
            let audio = load.audio();
            let action = faults.next().unwrap_or("abort");
            let hash = sha256(&audio.frames[1]);
            poison
                .faults
                .push(format!("decode_worker.{}:{action}", &hash[..8]));
            audio
        };
        poison.task_ids.insert(message.task_id.clone());
        messages.insert(number * (every + 1), message);
    }
    (messages, poison)
}

fn sound_latency(bench: &Bench, poisoned: &HashSet<String>) -> Percentiles {
    latency(bench.sender.log(), &lock(&bench.receipts), |task_id| {
        !poisoned.contains(task_id)
    })
}
