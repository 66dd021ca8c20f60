//! The loop of the publishing thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::repeat::Repeats;
use super::replay::Replay;
use super::{REPLAY_WINDOW, Shared};
use crate::domain::timestamp::now_unix_ms;
use crate::error::error_chain;
use crate::ledger::{EventRef, Ledger, LedgerError};
use crate::observe::metrics::{EVENTS_PUBLISHED, OUTBOX_BUFFERED};
use crate::transport::zmq::{
    PublishSocket, SendOutcome, Subscription, TransportError, WakeReceiver,
};

/// Events that are marked as published in one go.
const BATCH: u32 = 32;

/// Pause before a full subscriber is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(50);

/// Pause after the ledger or the socket has failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait: events that were stored without a call are found after it.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// News of subscribers that are read in a row, lest a peer keeps the thread busy with them.
const SUBSCRIPTIONS_PER_TURN: usize = 64;

pub(super) struct Publisher {
    ledger: Ledger,
    socket: PublishSocket,
    calls: WakeReceiver,
    direct: Receiver<Vec<Bytes>>,
    /// A direct message that a full queue has refused.
    refused_direct: Option<Vec<Bytes>>,
    shared: Arc<Shared>,
    replay: Replay,
    repeats: Repeats,
    has_subscriber: bool,
    /// When the last subscriber came of those whose replay is not listed to its end.
    unserved_since_ms: Option<i64>,
    /// Events that are sent and not yet marked, with their times.
    sent: Vec<(EventRef, i64)>,
    /// An event that a full queue has refused, with its frames: they are not read for every try.
    refused: Option<(EventRef, Vec<Bytes>)>,
    last_stamp_ms: i64,
}

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What is left to do after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing, until somebody calls.
    Idle,
    /// More events may wait.
    More,
    /// A subscriber takes nothing now.
    QueueFull,
}

impl Publisher {
    pub(super) fn new(
        ledger: Ledger,
        socket: PublishSocket,
        calls: WakeReceiver,
        direct: Receiver<Vec<Bytes>>,
        shared: Arc<Shared>,
        republish: &[Duration],
    ) -> Self {
        Self {
            ledger,
            socket,
            calls,
            direct,
            refused_direct: None,
            shared,
            replay: Replay::new(Instant::now()),
            repeats: Repeats::new(republish, Instant::now()),
            has_subscriber: false,
            unserved_since_ms: None,
            sent: Vec::new(),
            refused: None,
            last_stamp_ms: 0,
        }
    }

    pub(super) fn run(mut self) {
        let mut is_failing = false;
        loop {
            let outcome = self.turn();
            // Once for all turns in a row: a full disk may last.
            if let Err(error) = &outcome
                && !is_failing
            {
                tracing::error!(error = %error_chain(error), "publishing failed; it is tried again");
            }
            is_failing = outcome.is_err();
            if let Some(stop_at) = self.shared.stop_at()
                && (matches!(outcome, Ok(Progress::Idle)) || Instant::now() >= stop_at)
            {
                return;
            }
            let pause = match outcome {
                Ok(Progress::More) => continue,
                Ok(Progress::Idle) => self.replay.pause(IDLE_PAUSE),
                Ok(Progress::QueueFull) => QUEUE_FULL_PAUSE,
                Err(_) => {
                    // Not `wait`: calls would cut the pause short.
                    std::thread::sleep(FAILURE_PAUSE);
                    continue;
                }
            };
            if let Err(error) = self.socket.wait(&self.calls, pause) {
                tracing::error!(error = %error_chain(&error), "the publish socket cannot be polled");
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
    }

    fn turn(&mut self) -> Result<Progress, PublishError> {
        // Signs of life need no disk.
        self.attend()?;
        // What a failed turn has sent is marked before more is sent, or it would be sent for ever.
        self.mark_sent()?;
        let mut progress = self.publish_pending()?;
        if progress != Progress::QueueFull && self.publish_replay()? == Progress::QueueFull {
            progress = Progress::QueueFull;
        }
        if progress == Progress::Idle && self.publish_repeats()? == Progress::QueueFull {
            progress = Progress::QueueFull;
        }
        self.mark_sent()?;
        metrics::gauge!(OUTBOX_BUFFERED).set(self.socket.held_bytes() as f64);
        Ok(progress)
    }

    /// Takes news of subscribers, sends direct messages, and sees to the replay for who has come.
    fn attend(&mut self) -> Result<(), PublishError> {
        for _ in 0..SUBSCRIPTIONS_PER_TURN {
            match self.socket.next_subscription()? {
                Some(Subscription::Added) => {
                    self.has_subscriber = true;
                    self.unserved_since_ms = Some(self.stamp_ms());
                }
                Some(Subscription::Gone) => self.has_subscriber = false,
                None => break,
            }
        }
        self.shared
            .has_subscriber
            .store(self.has_subscriber, Ordering::Relaxed);
        while let Some(frames) = self
            .refused_direct
            .take()
            .or_else(|| self.direct.try_recv().ok())
        {
            if self.socket.send(&frames)? == SendOutcome::QueueFull {
                self.refused_direct = Some(frames);
                break;
            }
            self.shared.note_sent();
            self.repeats.note_sent();
        }
        if let Some(subscribed_at_ms) = self.unserved_since_ms
            && self.replay.may_be_filled(Instant::now())
        {
            self.begin_replay(subscribed_at_ms)?;
        }
        Ok(())
    }

    /// Lists the events that a subscriber who came at `subscribed_at_ms` may have missed. If there are more
    /// than a list may have, the rest is listed later.
    fn begin_replay(&mut self, subscribed_at_ms: i64) -> Result<(), PublishError> {
        self.mark_sent()?;
        let since_ms = subscribed_at_ms - REPLAY_WINDOW.as_millis() as i64;
        let after = self.replay.last_job();
        let limit = Replay::MAX_EVENTS;
        let events = self
            .ledger
            .unsettled_blocking(since_ms, subscribed_at_ms, after, limit)?;
        if !events.is_empty() {
            tracing::info!(events = events.len(), "replaying to a new subscriber");
        }
        if events.len() < limit as usize {
            self.unserved_since_ms = None;
        }
        self.replay.fill(events, Instant::now());
        Ok(())
    }

    /// The time in milliseconds since 1970, later at every call: what was published before a
    /// subscription has an earlier stamp than it, also when the clock is set back.
    fn stamp_ms(&mut self) -> i64 {
        self.last_stamp_ms = now_unix_ms().max(self.last_stamp_ms + 1);
        self.last_stamp_ms
    }

    /// Publishes what waits, at most [`BATCH`] events.
    fn publish_pending(&mut self) -> Result<Progress, PublishError> {
        if !self.has_subscriber {
            return Ok(Progress::Idle);
        }
        let pending = self.ledger.pending_events_blocking(BATCH)?;
        for event in &pending {
            self.attend()?;
            if !self.has_subscriber {
                return Ok(Progress::Idle);
            }
            // Events of one job keep their order: those to be replayed go before its next one.
            while let Some(earlier) = self.replay.first_of(event.job_id) {
                if self.publish(earlier, "replayed")? == SendOutcome::QueueFull {
                    return Ok(Progress::QueueFull);
                }
                self.replay.remove(earlier);
            }
            if self.publish(*event, "new")? == SendOutcome::QueueFull {
                return Ok(Progress::QueueFull);
            }
        }
        Ok(if pending.is_empty() {
            Progress::Idle
        } else {
            Progress::More
        })
    }

    /// Publishes of the replay what its rate allows now.
    fn publish_replay(&mut self) -> Result<Progress, PublishError> {
        while self.has_subscriber {
            let Some(event) = self.replay.next(Instant::now()) else {
                break;
            };
            if self.publish(event, "replayed")? == SendOutcome::QueueFull {
                self.replay.put_back(event);
                return Ok(Progress::QueueFull);
            }
            self.attend()?;
        }
        Ok(Progress::Idle)
    }

    /// Publishes again what its time has come for, while nothing else is to be published.
    fn publish_repeats(&mut self) -> Result<Progress, PublishError> {
        if !self.has_subscriber || !self.replay.is_done() {
            return Ok(Progress::Idle);
        }
        for event in self.repeats.due(&self.ledger, Instant::now())? {
            if self.publish(event, "repeated")? == SendOutcome::QueueFull {
                return Ok(Progress::QueueFull);
            }
        }
        Ok(Progress::Idle)
    }

    fn publish(
        &mut self,
        event: EventRef,
        occasion: &'static str,
    ) -> Result<SendOutcome, PublishError> {
        let refused = self.refused.take().filter(|(refused, _)| *refused == event);
        let frames = match refused {
            Some((_, frames)) => Ok(frames),
            None => self.ledger.event_frames_blocking(event.id),
        };
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) if error.is_damage() => {
                tracing::error!(
                    job.id = event.job_id.0,
                    event.id = event.id,
                    %error,
                    "an event cannot be published any more"
                );
                self.ledger.mark_damaged_blocking(event.id)?;
                return Ok(SendOutcome::Sent);
            }
            Err(error) => return Err(error.into()),
        };
        // Purged since the list was made.
        if frames.is_empty() {
            return Ok(SendOutcome::Sent);
        }
        let outcome = self.socket.send(&frames)?;
        match outcome {
            SendOutcome::QueueFull => self.refused = Some((event, frames)),
            SendOutcome::Sent => {
                let sent_at_ms = self.stamp_ms();
                self.sent.push((event, sent_at_ms));
                self.shared.note_sent();
                self.repeats.note_sent();
                metrics::counter!(EVENTS_PUBLISHED, "occasion" => occasion).increment(1);
            }
        }
        Ok(outcome)
    }

    fn mark_sent(&mut self) -> Result<(), LedgerError> {
        if !self.sent.is_empty() {
            self.ledger.mark_published_blocking(&self.sent)?;
            self.sent.clear();
        }
        Ok(())
    }
}
