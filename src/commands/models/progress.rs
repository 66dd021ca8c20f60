//! What a pull shows: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::pull::installed;
use crate::commands::{complain, human_bytes, say};
use crate::error::error_chain;
use crate::registry::pull::Event;

/// Share of a file after which a line is written, in percent.
const LINE_PERCENT: u64 = 25;

/// Shows the events of a pull.
pub(super) struct Display {
    /// None where nobody watches.
    bars: Option<MultiProgress>,
    whole: ProgressBar,
    downloads: Mutex<HashMap<usize, Download>>,
}

struct Download {
    bar: ProgressBar,
    position: u64,
    /// Quarters that have been told.
    told: u64,
}

impl Display {
    pub fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            whole: ProgressBar::hidden(),
            downloads: Mutex::default(),
        }
    }

    /// Tells how much will come in all.
    pub fn begin(&self, bytes: u64) {
        if let Some(bars) = self.bars.as_ref().filter(|_| bytes > 0) {
            let style = style("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left");
            self.whole.set_style(style);
            self.whole.set_length(bytes);
            bars.add(self.whole.clone());
        }
    }

    pub fn finish(&self) {
        self.whole.finish_and_clear();
        for (_, download) in self.lock().drain() {
            download.bar.finish_and_clear();
        }
    }

    pub fn show(&self, event: Event<'_>) {
        match event {
            Event::Checking { path } => {
                if self.bars.is_none() {
                    complain(format_args!("checking {}", path.display()));
                }
            }
            Event::Fetching {
                download,
                path,
                size_bytes,
                position,
            } => self.fetching(download, path, size_bytes, position),
            Event::Fetched { download } => {
                if let Some(download) = self.lock().remove(&download) {
                    download.bar.finish_and_clear();
                }
            }
            Event::Retrying { what, error, wait } => {
                let wait = wait_text(wait);
                self.line(|| {
                    complain(format_args!(
                        "{what}: {}; trying again {wait}",
                        error_chain(error)
                    ));
                });
            }
            Event::Installed { model } => self.line(|| say(installed(model))),
        }
    }

    fn fetching(&self, number: usize, path: &str, size_bytes: u64, position: u64) {
        let mut downloads = self.lock();
        let download = downloads.entry(number).or_insert_with(|| Download {
            bar: self.bar(path, size_bytes),
            position: 0,
            told: 0,
        });
        // Back to the start, after what came was thrown away.
        let fell_back = download.position.saturating_sub(position);
        self.whole
            .set_position(self.whole.position().saturating_sub(fell_back));
        self.whole.inc(position.saturating_sub(download.position));
        download.position = position;
        download.bar.set_position(position);
        if self.bars.is_some() {
            return;
        }
        let percent = (position.saturating_mul(100))
            .checked_div(size_bytes)
            .unwrap_or(100);
        let due = percent / LINE_PERCENT;
        if due > download.told || position == 0 {
            download.told = due;
            complain(format_args!(
                "{path}: {percent} % of {}",
                human_bytes(size_bytes)
            ));
        }
    }

    fn bar(&self, path: &str, size_bytes: u64) -> ProgressBar {
        let Some(bars) = &self.bars else {
            return ProgressBar::hidden();
        };
        let style = style("{bar:40} {bytes}/{total_bytes} {wide_msg}");
        let bar = ProgressBar::new(size_bytes).with_style(style);
        bars.add(bar.with_message(path.to_owned()))
    }

    /// Writes lines above the bars.
    fn line(&self, write: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Download>> {
        self.downloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn wait_text(wait: Duration) -> String {
    match wait.as_secs() {
        0 => "at once".to_owned(),
        seconds => format!("in {seconds} s"),
    }
}
