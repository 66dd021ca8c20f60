use super::*;
use crate::domain::Deadline;

pub(super) fn options() -> SchedulerOptions {
    SchedulerOptions {
        max_running_audio: 2,
        max_running_bytes: 100,
        max_running_text: 1,
        max_queued_fast: 2,
        max_queued_normal: 2,
        max_queued_audio: 2,
        max_queued_bytes: 1_000,
        max_sender_percent: 100,
        max_decoded_bytes: 100,
        job_budget: Duration::from_secs(1),
        drain: Duration::ZERO,
    }
}

fn scheduler() -> Scheduler {
    Scheduler::new(options())
}

fn demand(lane: Lane, memory_bytes: u64) -> Demand {
    Demand {
        lane,
        sender: None,
        size_bytes: 1,
        memory_bytes,
    }
}

fn job(id: i64, lane: Lane) -> Queued {
    Queued {
        job_id: JobId(id),
        demand: demand(lane, 1),
        crashes: 0,
        since: Instant::now(),
    }
}

fn suspect(id: i64, lane: Lane, crashes: u32) -> Queued {
    Queued {
        crashes,
        ..job(id, lane)
    }
}

/// Jobs that run until the test is over.
fn start(running: &mut Running, queued: Queued) {
    running.note(queued, Deadline::none(), std::future::pending());
}

/// Starts all that may start; returns their ids.
fn start_all(scheduler: &Scheduler, running: &mut Running) -> Vec<i64> {
    let mut started = Vec::new();
    while let Some(queued) = scheduler.next(running) {
        started.push(queued.job_id.0);
        start(running, queued);
    }
    started
}

/// Ends a job.
async fn end(running: &mut Running, id: i64) {
    running.abort(JobId(id));
    let scheduler = Arc::new(scheduler());
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let ended = running.join_next().await.unwrap();
    running.ended(&scheduler, &ledger, ended);
}

#[test]
fn a_full_lane_refuses_and_the_others_do_not() {
    let scheduler = scheduler();
    let reserve = |lane| scheduler.reserve(demand(lane, 0));
    reserve(Lane::TextFast).unwrap().enqueue(JobId(1));
    let promised = reserve(Lane::TextFast).unwrap();
    assert_eq!(
        reserve(Lane::TextFast).err(),
        Some(LaneFull(Lane::TextFast))
    );
    assert!(reserve(Lane::Audio).is_ok());
    drop(promised);
    assert!(reserve(Lane::TextFast).is_ok());
}

#[test]
fn one_sender_cannot_take_all_places_of_a_lane_of_recordings() {
    let scheduler = Scheduler::new(SchedulerOptions {
        max_sender_percent: 50,
        ..options()
    });
    let demand = |lane, sender: Option<&str>| Demand {
        sender: sender.map(Arc::from),
        ..demand(lane, 0)
    };
    for sender in [None, Some("a")] {
        let place = scheduler.reserve(demand(Lane::Audio, sender)).unwrap();
        let again = scheduler.reserve(demand(Lane::Audio, sender));
        assert_eq!(again.err(), Some(LaneFull(Lane::Audio)), "{sender:?}");
        drop(place);
    }
    // Texts come without a sender.
    let _places = [1, 2].map(|_| scheduler.reserve(demand(Lane::TextFast, None)).unwrap());
}

#[test]
fn jobs_of_an_earlier_run_are_not_refused() {
    let scheduler = scheduler();
    for id in 0..9 {
        scheduler.push(job(id, Lane::Audio));
    }
    assert!(scheduler.reserve(demand(Lane::Audio, 0)).is_err());
    let removed = JobId(5);
    scheduler.remove(removed);
    let order: Vec<i64> = std::iter::from_fn(|| scheduler.next(&Running::default()))
        .map(|queued| queued.job_id.0)
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 6, 7, 8]);
}

#[test]
fn questions_and_short_texts_go_first_and_audio_holds_nobody_up() {
    let scheduler = scheduler();
    for (id, lane) in [
        (0, Lane::AudioLow),
        (1, Lane::Audio),
        (2, Lane::TextAny),
        (3, Lane::TextNormal),
        (4, Lane::TextFast),
        (5, Lane::Query),
    ] {
        scheduler.push(job(id, lane));
    }
    let order: Vec<i64> = std::iter::from_fn(|| scheduler.next(&Running::default()))
        .map(|queued| queued.job_id.0)
        .collect();
    assert_eq!(order, [5, 4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn recordings_wait_for_memory_in_order_and_a_larger_one_runs_alone() {
    let scheduler = scheduler();
    for (id, lane, memory_bytes) in [
        (1, Lane::Audio, 60),
        (2, Lane::Audio, 500),
        (3, Lane::AudioLow, 1),
        (4, Lane::TextFast, 500),
    ] {
        scheduler.push(Queued {
            demand: demand(lane, memory_bytes),
            ..job(id, lane)
        });
    }
    let mut running = Running::default();
    assert_eq!(start_all(&scheduler, &mut running), [4, 1]);
    assert_eq!(running.memory_bytes(), 60, "texts do not count");
    end(&mut running, 1).await;
    assert_eq!(start_all(&scheduler, &mut running), [2], "in its turn");
    end(&mut running, 2).await;
    assert_eq!(start_all(&scheduler, &mut running), [3]);
}

#[tokio::test]
async fn one_suspect_runs_at_a_time_beside_others() {
    let scheduler = scheduler();
    for id in [1, 2] {
        scheduler.push(suspect(id, Lane::Audio, 1));
    }
    scheduler.push(suspect(3, Lane::TextFast, 1));
    scheduler.push(job(4, Lane::Audio));
    scheduler.push(job(5, Lane::Query));
    let mut running = Running::default();
    assert_eq!(start_all(&scheduler, &mut running), [3, 5, 4]);
    end(&mut running, 3).await;
    assert_eq!(start_all(&scheduler, &mut running), [1]);
    assert!(start_all(&scheduler, &mut running).is_empty());
    end(&mut running, 1).await;
    assert_eq!(start_all(&scheduler, &mut running), [2]);
}

#[tokio::test]
async fn a_suspect_whose_next_crash_is_the_last_runs_apart_and_no_text_waits_for_it() {
    let scheduler = scheduler();
    scheduler.push(suspect(1, Lane::Audio, 2));
    scheduler.push(suspect(2, Lane::Audio, 1));
    for (id, lane) in [(3, Lane::Audio), (4, Lane::Analysis), (5, Lane::TextFast)] {
        scheduler.push(job(id, lane));
    }
    let mut running = Running::default();
    start(&mut running, job(6, Lane::Audio));
    assert_eq!(start_all(&scheduler, &mut running), [5], "6 runs still");
    end(&mut running, 6).await;
    assert_eq!(start_all(&scheduler, &mut running), [1]);
    end(&mut running, 1).await;
    assert_eq!(start_all(&scheduler, &mut running), [2, 4, 3]);
}

#[tokio::test]
async fn all_wait_for_a_suspect_text_that_runs_apart_and_it_waits_for_no_recording() {
    let scheduler = scheduler();
    scheduler.push(suspect(1, Lane::TextNormal, 2));
    for (id, lane) in [(3, Lane::Audio), (4, Lane::Query)] {
        scheduler.push(job(id, lane));
    }
    let mut running = Running::default();
    start(&mut running, job(5, Lane::Audio));
    assert_eq!(start_all(&scheduler, &mut running), [1]);
    end(&mut running, 1).await;
    assert_eq!(start_all(&scheduler, &mut running), [4, 3]);
}
