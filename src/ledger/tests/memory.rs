//! What outlives jobs: the cache, the voice API's history, and what is forgotten of a user.

use super::*;

fn cached(key: &str, user_id: Option<&str>) -> NewCacheEntry {
    NewCacheEntry {
        kind: CacheKind::Speech,
        key: key.into(),
        user_id: user_id.map(str::to_owned),
        payload: key.as_bytes().to_vec().into(),
        blob: Some(Bytes::from(format!("speech {key}")).into()),
    }
}

async fn is_cached(ledger: &Ledger, key: &str, max_age: Duration) -> bool {
    let entry = ledger
        .cached(CacheKind::Speech, key, max_age)
        .await
        .unwrap();
    let Some(entry) = entry else { return false };
    let blob = ledger.blob(entry.blob.unwrap()).await.unwrap();
    assert_eq!(
        (entry.payload.expose().as_slice(), blob),
        (key.as_bytes(), Bytes::from(format!("speech {key}")))
    );
    true
}

#[tokio::test]
async fn cache_entries_live_as_long_as_age_number_and_user_allow() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let hour = Duration::from_secs(3600);
    for (key, user_id) in [("a", None), ("b", Some("user")), ("c", Some("other"))] {
        ledger.cache(cached(key, user_id)).await.unwrap();
        // Later entries have later times.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(is_cached(&ledger, "a", hour).await);
    assert!(!is_cached(&ledger, "a", Duration::ZERO).await);
    let other_kind = ledger.cached(CacheKind::Text, "a", hour).await.unwrap();
    assert!(other_kind.is_none());

    ledger.purge(retention(60_000)).await.unwrap();
    assert!(
        !is_cached(&ledger, "a", hour).await,
        "the oldest makes room"
    );
    assert!(is_cached(&ledger, "b", hour).await);

    let forgotten = ledger.forget_user("user", false).await.unwrap();
    assert_eq!((forgotten.cached, forgotten.jobs), (1, 0));
    assert!(!is_cached(&ledger, "b", hour).await);
    assert!(is_cached(&ledger, "c", hour).await);

    ledger.purge(retention(-60_000)).await.unwrap();
    assert!(!is_cached(&ledger, "c", hour).await, "too old");
}

#[tokio::test]
async fn jobs_of_a_user_are_found_newest_first() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut ids = Vec::new();
    for (key, user_id, kind) in [
        ("a", "ann", "audio_process"),
        ("b", "bob", "audio_process"),
        ("c", "ann", "voice_recalibrate"),
        ("d", "ann", "audio_process"),
    ] {
        let job = NewJob {
            user_id: Some(user_id.to_owned()),
            kind: kind.to_owned(),
            ..job(key)
        };
        let Accepted::New(job_id) = ledger.accept(job).await.unwrap() else {
            panic!("{key} is no duplicate");
        };
        ids.push(job_id);
    }
    let [a, _, _, d] = ids[..] else {
        panic!("{ids:?}");
    };
    let kind = "audio_process";
    let jobs = ledger.jobs_of_user("ann", kind, None, 10).await.unwrap();
    assert_eq!(jobs, [d, a]);
    let jobs = ledger.jobs_of_user("ann", kind, None, 1).await.unwrap();
    assert_eq!(jobs, [d]);
    let jobs = ledger.jobs_of_user("ann", kind, Some(d), 10).await.unwrap();
    assert_eq!(jobs, [a]);
    assert_eq!(ledger.unfinished_jobs_of_user("ann").await.unwrap(), 3);

    let emission = Emission {
        events: vec![event("first"), event("second")],
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(a, emission).await.unwrap();
    assert_eq!(ledger.unfinished_jobs_of_user("ann").await.unwrap(), 2);
}

#[tokio::test]
async fn speech_files_are_known_by_user_until_they_are_gone() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for (file, user_id) in [("a", "ann"), ("b", "bob"), ("c", "ann"), ("a", "ann")] {
        ledger
            .note_speech_file(user_id, Path::new(file))
            .await
            .unwrap();
    }
    let files = async |user_id| ledger.speech_files_of_user(user_id).await.unwrap();
    assert_eq!(files("ann").await, [Path::new("a"), Path::new("c")]);
    ledger.forget_user("ann", false).await.unwrap();
    assert_eq!(files("ann").await.len(), 2, "the files are still there");
    ledger
        .forget_speech_files(files("ann").await)
        .await
        .unwrap();
    assert_eq!((files("ann").await.len(), files("bob").await.len()), (0, 1));

    let for_ever = Retention {
        speech_ms: None,
        ..retention(-60_000)
    };
    ledger.purge(for_ever).await.unwrap();
    assert_eq!(files("bob").await, [Path::new("b")]);
    ledger.purge(retention(-60_000)).await.unwrap();
    assert!(files("bob").await.is_empty());
}

fn translation(id: &str, user_id: &str, created_at_ms: i64) -> VoiceTranslationRecord {
    VoiceTranslationRecord {
        id: id.into(),
        user_id: user_id.into(),
        created_at_ms,
        source_language: "fr".into(),
        original_text: "Bonjour".into(),
        translated_texts: r#"{"en":"Hello","es":"Hola"}"#.into(),
        audio_duration_ms: 1500,
        voice_cloned: true,
        processing_time_ms: 100,
        rating: None,
    }
}

fn feedback(id: &str, user_id: &str, translation_id: &str, rating: f64) -> VoiceFeedback {
    VoiceFeedback {
        id: id.into(),
        user_id: user_id.into(),
        translation_id: translation_id.into(),
        rating,
        kind: "quality".into(),
        comment: None,
        metadata: None,
        created_at_ms: 30,
    }
}

#[tokio::test]
async fn history_and_figures_are_those_of_the_user() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for (id, user_id, at) in [
        ("1", "a", 10),
        ("2", "a", 20),
        ("3", "b", 30),
        ("4", "a", 40),
    ] {
        let record = translation(id, user_id, at);
        ledger.remember_translation(record).await.unwrap();
    }
    for (id, user_id, about, rating) in [("f", "a", "2", 4.0), ("g", "b", "2", 0.0)] {
        let record = feedback(id, user_id, about, rating);
        // Keeping it again changes nothing.
        ledger.remember_feedback(record.clone()).await.unwrap();
        ledger.remember_feedback(record).await.unwrap();
    }
    let range = HistoryRange {
        from_ms: 10,
        until_ms: 30,
        limit: 1,
        offset: 0,
    };
    let page = ledger.history("a".into(), range).await.unwrap();
    let found: Vec<_> = page
        .translations
        .iter()
        .map(|translation| (translation.id.as_str(), translation.rating))
        .collect();
    assert_eq!((found, page.total), (vec![("2", Some(4.0))], 2));
    let next = HistoryRange { offset: 1, ..range };
    let page = ledger.history("a".into(), next).await.unwrap();
    assert_eq!((page.translations[0].id.as_str(), page.total), ("1", 2));

    let figures = ledger.user_statistics("a".into(), 20).await.unwrap();
    assert_eq!(
        figures,
        UserStatistics {
            translations: 2,
            audio_duration_ms: 3000,
            languages: vec!["en".into(), "es".into()],
            mean_processing_time_ms: 100.0,
            mean_rating: Some(4.0),
            feedback: 1,
        }
    );
    let nobody = ledger.user_statistics("nobody".into(), 0).await.unwrap();
    assert_eq!((nobody.translations, nobody.mean_rating), (0, None));

    assert_eq!(ledger.forget_user("a", false).await.unwrap().history, 4);
    let all = HistoryRange {
        from_ms: 0,
        until_ms: i64::MAX,
        ..range
    };
    assert_eq!(ledger.history("a".into(), all).await.unwrap().total, 0);
    assert_eq!(ledger.history("b".into(), all).await.unwrap().total, 1);
}

#[tokio::test]
async fn jobs_are_counted_by_lane_and_end() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut ids = Vec::new();
    for key in ["done", "failed", "running", "waiting"] {
        match ledger.accept(job(key)).await.unwrap() {
            Accepted::New(job_id) => ids.push(job_id),
            duplicate => panic!("{duplicate:?}"),
        }
    }
    for (job_id, finish) in ids.iter().zip([Finish::Done, Finish::Failed("no_audio")]) {
        let emission = Emission {
            finish: Some(finish),
            ..Emission::default()
        };
        ledger.emit(*job_id, emission).await.unwrap();
    }
    ledger.start_attempt(ids[2]).await.unwrap();
    let counted = ledger.job_statistics(["other", "audio"], 0).await.unwrap();
    assert_eq!(
        (
            counted.done,
            counted.failed,
            counted.running,
            counted.waiting
        ),
        (1, 1, 1, 1)
    );
    let counted = ledger
        .job_statistics(["audio", "other"], i64::MAX)
        .await
        .unwrap();
    assert_eq!((counted.done, counted.failed), (0, 0));
    let counted = ledger
        .job_statistics(["text_fast", "other"], 0)
        .await
        .unwrap();
    assert_eq!((counted.running, counted.waiting), (0, 0));
}

#[tokio::test]
async fn what_waits_to_be_published_of_a_user_can_be_kept() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let of_user = NewJob {
        user_id: Some("user".into()),
        events: vec![event("reply")],
        ..job("a")
    };
    let Accepted::New(job_id) = ledger.accept(of_user).await.unwrap() else {
        panic!("the job is new");
    };
    let end = Emission {
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(job_id, end).await.unwrap();
    let kept = ledger.forget_user("user", true).await.unwrap();
    assert_eq!((kept.jobs, kept.unpublished), (0, 1));
    let events = ledger.pending_events_blocking(10).unwrap();
    ledger.mark_published_blocking(&[(events[0], 1)]).unwrap();
    let gone = ledger.forget_user("user", true).await.unwrap();
    assert_eq!((gone.jobs, gone.unpublished), (1, 0));
    assert!(ledger.load(job_id).await.unwrap().is_none());
}

fn large_payloads(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    entries(&data_dir.join("blobs"))
        .flat_map(|shard| entries(&shard).collect::<Vec<_>>())
        .filter(|path| fs::metadata(path).unwrap().len() >= 100_000)
        .collect()
}

#[tokio::test]
async fn a_large_request_lies_beside_the_database() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let large = |key: &str, filling: &str, is_surplus| NewJob {
        request: filling.repeat(100_000).into(),
        public_id: Some(format!("job_{key}")),
        is_surplus,
        ..job(key)
    };
    let Accepted::New(job_id) = ledger.accept(large("a", "x", false)).await.unwrap() else {
        panic!("the job is new");
    };
    let record = ledger.load(job_id).await.unwrap().unwrap();
    assert_eq!(record.request.expose(), &"x".repeat(100_000));
    assert_eq!(
        ledger.frames(job_id).await.unwrap(),
        job("a").frames.into_exposed()
    );
    let public = ledger.load_public("job_a".into()).await.unwrap().unwrap();
    assert_eq!((public.id, public.request.expose().len()), (job_id, 0));

    let payloads = large_payloads(directory.path()).len();
    let repeated = ledger.accept(large("a", "y", false)).await.unwrap();
    assert!(matches!(repeated, Accepted::Duplicate { .. }));
    let refused = ledger.accept(large("c", "z", true)).await.unwrap();
    assert_eq!(refused, Accepted::Refused);
    assert_eq!(large_payloads(directory.path()).len(), payloads);

    for path in large_payloads(directory.path()) {
        fs::write(path, "damaged").unwrap();
    }
    let damaged = ledger.load(job_id).await.unwrap().unwrap();
    assert_eq!((payloads, damaged.request.expose().len()), (1, 0));
}
