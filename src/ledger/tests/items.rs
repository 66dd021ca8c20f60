//! Requests that can be answered in parts, and their repeats.

use super::*;

fn request(items: &[&str]) -> NewJob {
    NewJob {
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        ..job("task")
    }
}

fn new(answer: Accepted) -> JobId {
    let Accepted::New(job_id) = answer else {
        panic!("{answer:?}");
    };
    job_id
}

fn repeated(answer: Accepted) -> (JobId, JobState) {
    let Accepted::Duplicate { job_id, state } = answer else {
        panic!("{answer:?}");
    };
    (job_id, state)
}

async fn items_of(ledger: &Ledger, job_id: JobId) -> Vec<String> {
    let mut items = ledger.load(job_id).await.unwrap().unwrap().items;
    items.sort_unstable();
    items
}

/// Ends a job with these events, as if all of them had been published.
async fn end(ledger: &Ledger, job_id: JobId, events: &[&str]) -> Vec<i64> {
    let emission = Emission {
        events: events.iter().map(|key| event(key)).collect(),
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    pending(ledger)
}

/// Events that wait; afterwards they count as published.
fn pending(ledger: &Ledger) -> Vec<i64> {
    let events = ledger.pending_events_blocking(100).unwrap();
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    let published: Vec<_> = events.iter().map(|event| (*event, 2_000)).collect();
    ledger.mark_published_blocking(&published).unwrap();
    ids
}

#[tokio::test]
async fn a_repeat_becomes_a_job_for_what_no_job_has() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    // Within one batch as well as later.
    let batch = vec![
        request(&["fr", "es"]),
        request(&["es"]),
        request(&["es", "de", "it"]),
        request(&["it", "fr"]),
    ];
    let store = ledger.clone();
    let accept = tokio::task::spawn_blocking(move || store.accept_blocking(batch));
    let answers = accept.await.unwrap().unwrap();
    let (first, second) = (new(answers[0]), new(answers[2]));
    assert_eq!(repeated(answers[1]), (first, JobState::Accepted));
    assert_eq!(repeated(answers[3]), (second, JobState::Accepted));
    assert_eq!(items_of(&ledger, first).await, ["es", "fr"]);
    assert_eq!(items_of(&ledger, second).await, ["de", "it"]);

    let (_copy, ledger) = after_kill(directory.path());
    let answer = ledger.accept(request(&["de", "es"])).await.unwrap();
    assert_eq!(repeated(answer), (second, JobState::Accepted));
    let other = NewJob {
        key: "another task".into(),
        ..request(&["es"])
    };
    new(ledger.accept(other).await.unwrap());
}

#[tokio::test]
async fn a_repeat_of_what_has_ended_publishes_what_it_asks_for() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = new(ledger.accept(request(&["fr", "es", "ru"])).await.unwrap());
    let ids = end(&ledger, job_id, &["fr", "es", "error"]).await;
    let [fr, es, error] = ids[..] else {
        panic!("{ids:?}");
    };
    for (items, expected) in [
        (&["es"][..], &[es][..]),
        (&["es", "fr"], &[fr, es]),
        (&["ru"], &[error]),
        (&["ru", "es"], &[es, error]),
    ] {
        let answer = ledger.accept(request(items)).await.unwrap();
        assert_eq!(repeated(answer), (job_id, JobState::Done));
        assert_eq!(pending(&ledger), expected, "{items:?}");
    }

    // New work beside it.
    let further = new(ledger.accept(request(&["fr", "de"])).await.unwrap());
    assert_eq!(items_of(&ledger, further).await, ["de"]);
    assert_eq!(pending(&ledger), [fr]);

    // A request that is answered as a whole is answered as a whole again.
    let whole = new(ledger.accept(job("whole")).await.unwrap());
    let ids = end(&ledger, whole, &["1", "2"]).await;
    let answer = ledger.accept(job("whole")).await.unwrap();
    assert_eq!(repeated(answer), (whole, JobState::Done));
    assert_eq!(pending(&ledger), ids);
}

#[tokio::test]
async fn what_has_no_place_may_repeat_but_not_begin() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let surplus = |items: &[&str]| NewJob {
        is_surplus: true,
        ..request(items)
    };
    let refused = ledger.accept(surplus(&["fr"])).await.unwrap();
    assert_eq!(refused, Accepted::Refused);
    let job_id = new(ledger.accept(request(&["fr"])).await.unwrap());
    let answer = ledger.accept(surplus(&["fr"])).await.unwrap();
    assert_eq!(repeated(answer), (job_id, JobState::Accepted));
    let refused = ledger.accept(surplus(&["fr", "es"])).await.unwrap();
    assert_eq!(refused, Accepted::Refused);
    let whole = NewJob {
        is_surplus: true,
        ..job("whole")
    };
    let refused = ledger.accept(whole).await.unwrap();
    assert_eq!(refused, Accepted::Refused);
    assert_eq!(ledger.unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_task_whose_jobs_are_deleted_begins_anew() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let first = new(ledger.accept(request(&["fr", "es"])).await.unwrap());
    let second = new(ledger.accept(request(&["es", "de"])).await.unwrap());
    end(&ledger, first, &["fr", "es"]).await;
    ledger.purge(retention(-60_000)).await.unwrap();
    let third = new(ledger.accept(request(&["fr", "es", "de"])).await.unwrap());
    assert_eq!(items_of(&ledger, second).await, ["de"]);
    assert_eq!(items_of(&ledger, third).await, ["es", "fr"]);
}
