//! Models from a hub: found, fetched, checked and installed.
//!
//! ```text
//! catalogue ─ plan ─▶ downloads, several at a time ─▶ .pull/<digest>.partial ─ rename ─▶ folder, manifest
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`plan`] | what there is to fetch, and what is here |
//! | [`hub`] | the API of a hub |
//! | [`retry`] | how long it is asked again |
//! | [`download`] | one file, resumed and checked |
//! | [`content`] | digests of files |
//! | [`install`] | files to their places, the manifest last |
//!
//! Blocking; knows neither terminals nor settings.

mod content;
mod download;
mod error;
mod hub;
mod install;
mod plan;
mod retry;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

pub use content::Digest;
pub use error::{HubError, PullError};
pub use hub::Hub;
pub use install::DirectoryLock;
pub use plan::{Origin, Plan, PlannedFile, PlannedModel};

use super::{Evidence, Model};
use download::{Partials, Task, Told};
use install::Installer;
pub(super) use install::WORK_FOLDER;
use retry::Stop;

/// What must stay free on the disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// What happens while models are pulled.
#[derive(Debug)]
pub enum Event<'a> {
    /// A file that is here is read.
    Checking {
        /// The file.
        path: &'a Path,
    },
    /// A file is being fetched.
    Fetching {
        /// Number of the download.
        download: usize,
        /// Path in the repository.
        path: &'a str,
        /// Length.
        size_bytes: u64,
        /// Bytes that are here.
        position: u64,
    },
    /// A file is here and holds what it shall.
    Fetched {
        /// Number of the download.
        download: usize,
    },
    /// Something went wrong that may pass.
    Retrying {
        /// The model, repository or file.
        what: &'a str,
        /// What went wrong.
        error: &'a HubError,
        /// Time until the next try.
        wait: Duration,
    },
    /// A model is in the manifest.
    Installed {
        /// Its entry.
        model: &'a Model,
    },
}

/// Pulls models into a directory.
pub struct Puller<'a> {
    /// Where they come from.
    pub hub: &'a Hub,
    /// The model directory.
    pub directory: &'a Path,
    /// Repository with models that were exported: `owner/name`, or `owner/name@revision`.
    pub exported_repository: Option<&'a str>,
    /// Set when the user interrupts.
    pub cancelled: &'a AtomicBool,
    /// Is told what happens.
    pub report: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Puller<'_> {
    /// Fetches what a plan lacks, `parallel` files at a time, and installs each model as soon as it is
    /// complete. Returns the models that could not be had, and why. Partial files stay for the next try.
    ///
    /// The caller holds the lock of the directory.
    ///
    /// # Errors
    /// The disk is too small or cannot be written, the hub is not reached, or the user interrupts.
    pub fn carry_out(
        &self,
        plan: &Plan,
        parallel: usize,
    ) -> Result<Vec<(String, String)>, PullError> {
        let folder = self.directory.join(WORK_FOLDER);
        std::fs::create_dir_all(&folder).map_err(PullError::io(&folder))?;
        let partials = Partials { folder: &folder };
        let tasks = tasks(plan);
        self.check_space(plan, &tasks, &partials)?;

        let stop = Stop::new(self.cancelled);
        let next = AtomicUsize::new(0);
        let (done, results) = sync_channel(parallel);
        let mut installer = Installer::new(self, plan, &partials);
        let outcome = std::thread::scope(|scope| {
            for _ in 0..parallel.min(tasks.len()) {
                let done = done.clone();
                let (tasks, partials, stop, next) = (&tasks, &partials, &stop, &next);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(task) = tasks.get(number) else {
                            return;
                        };
                        let fetched = self.fetch(number, task, partials, stop);
                        if done.send((number, fetched)).is_err() {
                            return;
                        }
                    }
                });
            }
            // The results end with the last of them.
            drop(done);
            let mut outcome = installer.install_complete();
            if outcome.is_err() {
                stop.given_up.store(true, Ordering::Relaxed);
            }
            for (number, fetched) in results {
                let step = match (fetched, tasks.get(number)) {
                    (Ok(sha256), Some(task)) => {
                        installer.have(&task.digest, sha256);
                        installer.install_complete()
                    }
                    (Err(error), Some(task)) if !error.ends_all() => {
                        installer.lack(&task.digest, &error);
                        Ok(())
                    }
                    (Err(error), _) => Err(error),
                    (Ok(_), None) => Ok(()),
                };
                // The first failure that ends all is the one that is told.
                if outcome.is_ok() {
                    outcome = step;
                }
                if outcome.is_err() {
                    stop.given_up.store(true, Ordering::Relaxed);
                }
            }
            outcome
        });
        let failed = installer.finish()?;
        outcome?;
        // It stays while there are partial files in it.
        drop(std::fs::remove_dir(&folder));
        Ok(failed)
    }

    fn fetch(
        &self,
        number: usize,
        task: &Task,
        partials: &Partials<'_>,
        stop: &Stop<'_>,
    ) -> Result<String, PullError> {
        let told = Told {
            position: &|position| {
                (self.report)(Event::Fetching {
                    download: number,
                    path: &task.remote,
                    size_bytes: task.size_bytes,
                    position,
                });
            },
            retry: &|error, wait| {
                (self.report)(Event::Retrying {
                    what: &task.remote,
                    error,
                    wait,
                });
            },
        };
        let sha256 = download::fetch(self.hub, task, partials, stop, &told)?;
        (self.report)(Event::Fetched { download: number });
        Ok(sha256)
    }

    fn check_space(
        &self,
        plan: &Plan,
        tasks: &[Task],
        partials: &Partials<'_>,
    ) -> Result<(), PullError> {
        let here = tasks.iter().map(|task| partials.length(task));
        let here = here.fold(0, u64::saturating_add);
        // Where two models share a file, each has its own in the end.
        let missing = plan.missing_bytes();
        if missing == 0 {
            return Ok(());
        }
        let needed_bytes = missing.saturating_sub(here).saturating_add(RESERVE_BYTES);
        let disk = rustix::fs::statvfs(self.directory)
            .map_err(|error| PullError::io(self.directory)(error.into()))?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed_bytes > free_bytes {
            return Err(PullError::NoSpace {
                directory: self.directory.to_owned(),
                needed_bytes,
                free_bytes,
            });
        }
        Ok(())
    }
}

/// What is to be fetched, each content once.
fn tasks(plan: &Plan) -> Vec<Task> {
    let mut seen = HashSet::new();
    let mut tasks = Vec::new();
    for model in &plan.models {
        for file in model.files.iter().filter(|file| file.here.is_none()) {
            if seen.insert(&file.digest) {
                tasks.push(Task {
                    repository: model.origin.repository.clone(),
                    commit: model.origin.commit.clone(),
                    remote: file.remote.clone(),
                    size_bytes: file.size_bytes,
                    digest: file.digest.clone(),
                    told: match file.evidence {
                        Evidence::Catalogue => "the catalogue",
                        Evidence::PublishedManifest => "the manifest of the exported models",
                        Evidence::HubSha256 | Evidence::HubGitSha1 => "the hub",
                    },
                });
            }
        }
    }
    tasks
}

/// Works on several items at a time; the results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut results = HashMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else {
                return results;
            };
            results.insert(number, work(item));
        }
    };
    let mut results: HashMap<usize, R> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(items.len()))
            .map(|_| scope.spawn(take))
            .collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.flatten().collect()
    });
    (0..items.len())
        .filter_map(|number| results.remove(&number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..50).collect();
        let squares = in_parallel(&items, 4, |item| item * item);
        assert_eq!(
            squares,
            items.iter().map(|item| item * item).collect::<Vec<_>>()
        );
        assert!(in_parallel(&[] as &[u64], 4, |item| *item).is_empty());
    }
}
