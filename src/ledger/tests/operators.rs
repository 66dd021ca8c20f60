//! What operators list, try again and delete.

use std::collections::HashSet;

use super::*;

fn everything() -> JobFilter {
    JobFilter {
        limit: 100,
        ..JobFilter::default()
    }
}

async fn end(ledger: &Ledger, job_id: JobId, finish: Finish, events: &[&str]) {
    let emission = Emission {
        events: events.iter().map(|key| event(key)).collect(),
        finish: Some(finish),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
}

fn publish_all(ledger: &Ledger) {
    let events = ledger.pending_events_blocking(100).unwrap();
    let published: Vec<_> = events.into_iter().map(|event| (event, 1)).collect();
    ledger.mark_published_blocking(&published).unwrap();
}

#[tokio::test]
async fn jobs_are_listed_by_what_they_are_and_page_by_page() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        let job = NewJob {
            user_id: Some(format!("user {}", number % 2)),
            ..job(&number.to_string())
        };
        let Accepted::New(job_id) = ledger.accept(job).await.unwrap() else {
            panic!("the job is new");
        };
        ids.push(job_id);
    }
    end(&ledger, ids[1], Finish::Failed("no_audio"), &["error"]).await;
    let listed = async |filter: JobFilter| {
        let page = ledger.jobs(filter).await.unwrap();
        let ids: Vec<i64> = page.jobs.iter().map(|job| job.id.0).collect();
        (ids, page.next_before)
    };
    assert_eq!(listed(everything()).await, (vec![5, 4, 3, 2, 1], None));
    let by = |set: fn(&mut JobFilter)| {
        let mut filter = everything();
        set(&mut filter);
        filter
    };
    let failed = by(|filter| filter.state = Some(JobState::Failed));
    assert_eq!(listed(failed).await.0, [2]);
    let of_user = by(|filter| filter.user_id = Some("user 1".into()));
    assert_eq!(listed(of_user).await.0, [4, 2]);
    let of_task = by(|filter| filter.task_id = Some("task of 3".into()));
    assert_eq!(listed(of_task).await.0, [4]);
    let of_kind = by(|filter| filter.kind = Some("translation".into()));
    assert_eq!(listed(of_kind).await.0, [] as [i64; 0]);
    let unpublished = by(|filter| filter.event_state = Some("pending".into()));
    assert_eq!(listed(unpublished).await.0, [2]);
    let unconfirmed = by(|filter| filter.event_state = Some("unconfirmed".into()));
    assert_eq!(listed(unconfirmed).await.0, [] as [i64; 0]);
    let first = by(|filter| filter.limit = 2);
    assert_eq!(listed(first).await, (vec![5, 4], Some(JobId(4))));
    let second = by(|filter| {
        filter.limit = 2;
        filter.before = Some(JobId(4));
    });
    assert_eq!(listed(second).await, (vec![3, 2], Some(JobId(2))));
    // The same without the daemon's connection.
    let page = read_page(directory.path(), &everything()).unwrap();
    assert_eq!(page.jobs.len(), 5);
    let details = read_details(directory.path(), ids[1]).unwrap().unwrap();
    assert_eq!(details.summary.reason.as_deref(), Some("no_audio"));
    assert_eq!(details.events[0].key, "error");
    let shown = serde_json::to_string(&details).unwrap();
    assert!(
        !shown.contains("secret") && !shown.contains("speech"),
        "{shown}"
    );
    assert!(ledger.job_details(JobId(99)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_retried_job_begins_anew_with_what_its_stages_made() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let refused = ledger.retry(job_id, &["error"]).await.unwrap_err();
    let state = JobState::Accepted;
    assert!(matches!(refused, LedgerError::WrongState { state: found, .. } if found == state));
    for _ in 0..MAX_SOFT_FAILURES {
        ledger.start_attempt(job_id).await.unwrap();
        ledger.count_soft_failure(job_id).await.unwrap();
    }
    ledger.start_attempt(job_id).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    let tried = ledger.job_details(job_id).await.unwrap().unwrap().summary;
    assert_eq!(
        (tried.attempts, tried.crashes, tried.soft_failures),
        (6, 1, 5)
    );
    let checkpoint = NewCheckpoint {
        stage: "transcribe".into(),
        item: String::new(),
        payload: b"{}".to_vec().into(),
        blob: None,
    };
    ledger.checkpoint(job_id, checkpoint).await.unwrap();
    let finish = Finish::Quarantined("internal");
    end(&ledger, job_id, finish, &["audio:fr", "error"]).await;
    publish_all(&ledger);
    ledger.retry(job_id, &["error"]).await.unwrap();
    let again = ledger.load(job_id).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts), (JobState::Accepted, 0));
    assert_eq!((again.crashes, again.soft_failures), (0, 0));
    assert_eq!((again.finished_at_ms, again.is_damaged), (None, false));
    assert_eq!(ledger.checkpoints(job_id).await.unwrap().len(), 1);
    assert_eq!(
        ledger.event_keys(job_id).await.unwrap(),
        HashSet::from(["audio:fr".to_owned()])
    );
    assert_eq!(ledger.start_attempt(job_id).await.unwrap(), 1);
    // The new outcome is published, also when it is the same.
    end(&ledger, job_id, Finish::Failed("no_audio"), &["error"]).await;
    assert_eq!(ledger.pending_events_blocking(10).unwrap().len(), 1);
    let unknown = ledger.retry(JobId(9), &["error"]).await.unwrap_err();
    assert!(matches!(unknown, LedgerError::UnknownJob(JobId(9))));
}

#[tokio::test]
async fn only_what_has_ended_and_is_published_is_purged() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let payloads = || {
        let shards = fs::read_dir(directory.path().join("blobs")).unwrap();
        shards
            .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
            .count()
    };
    let job_id = accept(&ledger, "a").await;
    // The empty frame is the same in all jobs.
    let other = accept(&ledger, "b").await;
    let running = ledger.purge_job(job_id, true).await.unwrap_err();
    assert!(matches!(running, LedgerError::WrongState { .. }));
    end(&ledger, job_id, Finish::Done, &["completed"]).await;
    let unpublished = ledger.purge_job(job_id, false).await.unwrap_err();
    assert!(matches!(unpublished, LedgerError::Unpublished(id) if id == job_id));
    publish_all(&ledger);
    assert_eq!(payloads(), 4);
    let purged = ledger.purge_job(job_id, false).await.unwrap();
    assert_eq!((purged.jobs, purged.blobs), (1, 2));
    assert_eq!(payloads(), 2);
    assert!(ledger.load(job_id).await.unwrap().is_none());
    assert_eq!(
        ledger.frames(other).await.unwrap(),
        job("b").frames.into_exposed()
    );
    let gone = ledger.purge_job(job_id, true).await.unwrap_err();
    assert!(matches!(gone, LedgerError::UnknownJob(_)));
}

#[tokio::test]
async fn a_document_that_is_not_written_keeps_its_job() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let [waiting, written] = [accept(&ledger, "a").await, accept(&ledger, "b").await];
    for job_id in [waiting, written] {
        let emission = Emission {
            documents: vec![write(&job_id.to_string(), "{}")],
            finish: Some(Finish::Done),
            ..Emission::default()
        };
        ledger.emit(job_id, emission).await.unwrap();
    }
    let documents = ledger.pending_documents(10, i64::MAX).await.unwrap();
    let of_written = documents.iter().find(|document| document.job_id == written);
    ledger
        .mark_document(of_written.unwrap().id, DocumentOutcome::Done)
        .await
        .unwrap();
    let unwritten = ledger.purge_job(waiting, false).await.unwrap_err();
    assert!(matches!(unwritten, LedgerError::Unwritten(id) if id == waiting));
    let purged = ledger.purge_jobs(JobState::Done, i64::MAX, false).await;
    let purged = purged.unwrap();
    assert_eq!((purged.jobs, purged.kept), (1, 1));
    assert_eq!(ledger.counts().await.unwrap().pending_documents, 1);
    let purged = ledger.purge_jobs(JobState::Done, i64::MAX, true).await;
    let purged = purged.unwrap();
    assert_eq!((purged.jobs, purged.kept), (1, 0));
    assert_eq!(ledger.counts().await.unwrap().pending_documents, 0);
}

#[tokio::test]
async fn many_are_purged_by_state_and_age() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for number in 0..450 {
        let job_id = accept(&ledger, &number.to_string()).await;
        let finish = if number % 3 == 0 {
            Finish::Done
        } else {
            Finish::Quarantined("crashed")
        };
        end(&ledger, job_id, finish, &[]).await;
    }
    let waiting = accept(&ledger, "waiting").await;
    end(&ledger, waiting, Finish::Quarantined("crashed"), &["error"]).await;
    let state = JobState::Quarantined;
    let purged = ledger.purge_jobs(state, 0, false).await.unwrap();
    assert_eq!(purged.jobs, 0);
    let purged = ledger.purge_jobs(state, i64::MAX, false).await.unwrap();
    assert_eq!((purged.jobs, purged.kept), (300, 1));
    assert_eq!(ledger.counts().await.unwrap().quarantined, 1);
    let purged = ledger.purge_jobs(state, i64::MAX, true).await.unwrap();
    assert_eq!(purged.jobs, 1);
    assert_eq!(ledger.jobs(everything()).await.unwrap().jobs.len(), 100);
}
