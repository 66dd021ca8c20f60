//! How much work was done, and how much of it again: stages that ended well, from the metrics of every life.

use std::collections::BTreeMap;

use crate::load::Message;

/// Share of the needed work that the metrics must tell of.
const LEAST_KNOWN: f64 = 0.95;

/// Stages that ended well: how often, and how long they took together, seconds.
#[derive(Debug, Clone, Default)]
pub struct Work(BTreeMap<String, (f64, f64)>);

impl Work {
    /// Adds what a daemon's metrics say of the life that they are of.
    pub fn add(&mut self, metrics: &str) {
        const NAME: &str = "translator_stage_duration_seconds_";
        for line in metrics
            .lines()
            .filter(|line| line.contains("outcome=\"ok\""))
        {
            let sample = line
                .strip_prefix(NAME)
                .and_then(|rest| rest.split_once('{'));
            let Some((suffix, rest)) = sample else {
                continue;
            };
            let stage = rest
                .split("stage=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let value = rest
                .rsplit(' ')
                .next()
                .and_then(|value| value.parse::<f64>().ok());
            let (Some(stage), Some(value)) = (stage, value) else {
                continue;
            };
            let (count, seconds) = self.0.entry(stage.to_owned()).or_default();
            match suffix {
                "count" => *count += value,
                "sum" => *seconds += value,
                _ => {}
            }
        }
    }

    /// What was done beyond what the messages need, in percent of that: each stage weighs as long as it takes
    /// on average. What a kill interrupts has not ended and is not in it.
    ///
    /// `None` where less is known than was needed: then jobs were set aside, or the metrics were asked too long
    /// before the kills, as happens where the machine is busy with other things.
    pub fn repeated_percent(&self, messages: &[Message]) -> Option<f64> {
        let (mut again, mut known, mut once) = (0.0, 0.0, 0.0);
        for (stage, needed) in needed(messages) {
            let (count, seconds) = self.0.get(stage).copied().unwrap_or_default();
            let average = if count > 0.0 { seconds / count } else { 0.0 };
            again += (count - needed).max(0.0) * average;
            known += count.min(needed) * average;
            once += needed * average;
        }
        (once > 0.0 && known >= LEAST_KNOWN * once).then(|| 100.0 * again / once)
    }

    /// How often each stage ended well, and how often it had to.
    pub fn counts(&self, messages: &[Message]) -> String {
        let counts = needed(messages).into_iter().map(|(stage, needed)| {
            let (count, _) = self.0.get(stage).copied().unwrap_or_default();
            format!("{stage} {count} ({needed} needed)")
        });
        counts.collect::<Vec<_>>().join(", ")
    }
}

fn needed(messages: &[Message]) -> BTreeMap<&'static str, f64> {
    let mut needed: BTreeMap<&str, f64> = BTreeMap::new();
    for (stage, count) in messages.iter().flat_map(|message| &message.work) {
        *needed.entry(stage).or_default() += *count as f64;
    }
    needed
}
