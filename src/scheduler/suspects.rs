//! Jobs that were in work when an earlier process ended, perhaps because of one of them.
//!
//! A crash takes down everything that runs, so the ledger counts it for every job in work, and after
//! the third one a job is quarantined. Innocent jobs must not get there. So
//!
//! - one suspect runs at a time: of those that a crash has made, the next one hits one at most;
//! - a job that has seen one crash runs beside ordinary jobs, which may hold an unknown culprit;
//! - a job that has seen all but the last runs apart from them: what crashes then is its own doing.

use super::Lane;
use super::queue::{Places, Queued};
use crate::ledger::{JobId, MAX_CRASHES};

impl Queued {
    /// True when the next crash would be the job's last.
    pub(super) fn runs_apart(&self) -> bool {
        self.crashes + 1 == MAX_CRASHES
    }

    /// True when nothing of `lane` may begin while this job waits at the head of the suspects, or runs.
    /// Texts and questions are short, so all wait for them; they themselves never wait for recordings.
    pub(super) fn holds(&self, lane: Lane) -> bool {
        self.runs_apart() && (lane.needs_audio() || !self.demand.lane.needs_audio())
    }

    /// True when a running job of `lane` has to end before this one begins: again no text waits for a
    /// recording.
    pub(super) fn waits_for(&self, lane: Lane) -> bool {
        self.runs_apart() && lane.needs_audio() == self.demand.lane.needs_audio()
    }
}

/// The suspects that wait: those with most crashes first, then short work, then in order.
#[derive(Default)]
pub(super) struct Suspects(Vec<Queued>);

impl Suspects {
    pub(super) fn push(&mut self, queued: Queued) {
        let position = self.0.partition_point(|other| rank(other) <= rank(&queued));
        self.0.insert(position, queued);
    }

    /// The one whose turn it is.
    pub(super) fn first(&self) -> Option<&Queued> {
        self.0.first()
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    pub(super) fn remove(&mut self, job_id: JobId) {
        self.0.retain(|queued| queued.job_id != job_id);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that wait for a lane's slots.
    pub(super) fn waiting(&self, lane: Lane) -> Places {
        let of_lane = self.0.iter().filter(|queued| queued.demand.lane == lane);
        of_lane.fold(Places::default(), |sum, queued| Places {
            jobs: sum.jobs + 1,
            bytes: sum.bytes.saturating_add(queued.demand.size_bytes),
        })
    }
}

fn rank(queued: &Queued) -> (std::cmp::Reverse<u32>, Option<usize>, JobId) {
    let lane = Lane::ALL
        .iter()
        .position(|lane| *lane == queued.demand.lane);
    (std::cmp::Reverse(queued.crashes), lane, queued.job_id)
}
