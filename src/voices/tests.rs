use std::path::Path;

use super::*;
use crate::domain::{Pcm, Recording};
use crate::engine::Loading;
use crate::onnx::testing::{fixture, onnx};
use crate::stages::decode::decode;

const ANN: &str = "ann";

/// Voices in a folder of their own, heard by the bundled models.
struct Bench {
    folder: tempfile::TempDir,
    voices: Voices,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut VoiceOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = VoiceOptions {
            directory: folder.path().join("voices"),
            clone_log: folder.path().join("clone_log.jsonl"),
            default_voice: fixture("xtts/default_voice.ogg"),
            ..VoiceOptions::default()
        };
        change(&mut options);
        let embed = EngineHandle::spawn("embed", 4, Loading::AtOnce, || {
            let model = fixture("openvoice/tone_embedding.onnx");
            Ok(OpenVoiceEngine::load(&onnx(), &model, 1)?)
        });
        let condition = EngineHandle::spawn("condition", 4, Loading::AtOnce, || {
            Ok(ConditioningEngine::load(&onnx(), &fixture("xtts"), 1)?)
        });
        let model = XttsMetadata::read(&fixture("xtts")).unwrap();
        Self {
            voices: Voices::new(
                options,
                embed.unwrap(),
                Some(condition.unwrap()),
                Some(model),
            ),
            folder,
        }
    }

    async fn choose(&self, task_id: &str, recording: &Recording) -> ChosenVoice {
        self.choose_with(task_id, recording, Vec::new()).await
    }

    async fn choose_with(
        &self,
        task_id: &str,
        recording: &Recording,
        earlier: Vec<Recording>,
    ) -> ChosenVoice {
        let request = request(task_id, recording);
        let chosen = self.voices.choose(request, async || earlier).await;
        chosen.unwrap()
    }

    fn stored(&self) -> StoredVoice {
        self.voices.store.load(ANN).unwrap().unwrap()
    }

    /// What the clone log says was done, in order.
    fn logged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("clone_log.jsonl"));
        let lines = text.unwrap_or_default();
        lines
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["action"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

fn request<'a>(task_id: &'a str, recording: &'a Recording) -> VoiceRequest<'a> {
    VoiceRequest {
        occasion: Occasion {
            requested_by: ANN,
            task_id,
        },
        user_id: ANN,
        accepted_at: OffsetDateTime::now_utc(),
        may_clone: true,
        supplied: None,
        identity: None,
        recording,
        deadline: Deadline::none(),
    }
}

fn occasion(task_id: &str) -> Occasion<'_> {
    Occasion {
        requested_by: "test",
        task_id,
    }
}

/// `seconds` of a bundled speaker, from the beginning.
fn speech(file: &str, seconds: usize) -> Recording {
    let bytes = std::fs::read(fixture(file)).unwrap();
    let decoded = decode(&bytes, &DecodeLimits::default(), &Deadline::none()).unwrap();
    let rate = decoded.pcm.sample_rate_hz();
    let samples: Vec<f32> = decoded
        .pcm
        .samples()
        .iter()
        .copied()
        .cycle()
        .take(seconds * rate as usize)
        .collect();
    Recording {
        pcm: Pcm::new(samples, rate),
        sha256: format!("{file}:{seconds}"),
    }
}

fn first(seconds: usize) -> Recording {
    speech("audio/voice_message.ogg", seconds)
}

fn second(seconds: usize) -> Recording {
    speech("audio/second_speaker.ogg", seconds)
}

/// Makes the voice look as if it had been changed so many days ago.
fn age(bench: &Bench, days: i64) {
    let mut metadata = bench.stored().metadata;
    metadata.updated_at -= time::Duration::days(days);
    metadata.next_recalibration_at -= time::Duration::days(days);
    bench.voices.store.save_metadata(&metadata).unwrap();
}

#[tokio::test]
async fn a_short_recording_is_helped_out_by_earlier_ones() {
    let bench = Bench::new();
    let too_short_to_tell = first(1);
    let earlier = vec![first(4), too_short_to_tell, first(5)];
    let chosen = bench.choose_with("a", &first(3), earlier).await;
    let metadata = bench.stored().metadata;
    assert_eq!(metadata.audio_count, 3);
    assert_eq!(metadata.total_duration_ms, 12_000);
    // 12 seconds, and two further recordings.
    assert!((metadata.quality_score - 0.6).abs() < 1e-6);
    assert_eq!(chosen.key, bench.stored().key());
    assert!(chosen.is_cloned);

    // The mean of three recordings by their length, not the voice of the first.
    let mut parts = Vec::new();
    for seconds in [3, 4, 5] {
        let alone = Bench::new();
        alone.choose("a", &first(seconds)).await;
        let identity = alone.stored().profile.speaker_embedding;
        parts.push((1000 * seconds as u64, identity));
    }
    let together = bench.stored().profile.speaker_embedding;
    assert_eq!(together, profile::mean_embedding(&parts));
}

#[tokio::test]
async fn a_long_recording_needs_no_other() {
    let bench = Bench::new();
    let (recording, asked) = (first(10), std::cell::Cell::new(false));
    let earlier = async || {
        asked.set(true);
        vec![first(5)]
    };
    let chosen = bench.voices.choose(request("a", &recording), earlier).await;
    assert!(chosen.unwrap().news.is_some());
    assert!(!asked.get());
    assert_eq!(bench.stored().metadata.audio_count, 1);
}

#[tokio::test]
async fn a_recording_that_tells_nothing_is_replaced_by_earlier_ones() {
    let bench = Bench::new();
    let (nothing, deadline) = (first(1), Deadline::none());
    let error = bench
        .voices
        .choose(request("a", &nothing), async || Vec::new())
        .await;
    assert!(matches!(error, Err(VoiceError::Embed(_))));
    assert_eq!(bench.logged(), [""; 0], "nothing was made");
    let chosen = bench.choose_with("b", &nothing, vec![first(4)]).await;
    assert!(chosen.is_cloned);
    assert_eq!(bench.stored().metadata.total_duration_ms, 4_000);
    let default = bench.voices.default_voice(&deadline).await.unwrap();
    assert!(default.key.starts_with("default:"));
}

#[tokio::test]
async fn a_voice_is_used_improved_when_old_and_improved_early_by_a_better_recording() {
    let bench = Bench::new();
    bench.choose("a", &first(10)).await;
    assert!(bench.choose("b", &first(15)).await.news.is_none());
    // Twenty seconds are first-rate, and longer than all before.
    let improved = bench.choose("c", &first(20)).await;
    assert_eq!(improved.news.unwrap().metadata.version, 2);
    assert!(
        bench.choose("d", &first(20)).await.news.is_none(),
        "heard 30 s"
    );
    let metadata = bench.stored().metadata;
    assert_eq!(
        (metadata.audio_count, metadata.total_duration_ms),
        (2, 30_000)
    );
    assert!((metadata.quality_score - 0.55).abs() < 1e-6);

    age(&bench, 30);
    let other = bench.choose("e", &second(12)).await;
    assert!(other.news.is_none() && other.is_cloned, "another speaker");
    let improved = bench.choose("f", &first(4)).await.news.unwrap();
    assert_eq!(improved.metadata.version, 3);
    assert_eq!(improved.metadata.total_duration_ms, 34_000);
    // The same attempt once more, after a crash.
    assert_eq!(bench.choose("f", &first(4)).await.news.unwrap(), improved);
    let used = ["used"; 3];
    assert_eq!(bench.logged()[..2], ["created", "used"]);
    assert_eq!(
        bench.logged()[2..],
        ["improved", used[0], used[1], "improved"]
    );
}

#[tokio::test]
async fn who_is_known_keeps_most_of_the_identity() {
    let bench = Bench::new();
    bench.choose("a", &first(12)).await;
    let heard = bench.stored().profile;
    let doubled = |identity: &SpeakerEmbedding| {
        SpeakerEmbedding(identity.0.iter().map(|value| 2.0 * value).collect())
    };
    let known = doubled(&heard.speaker_embedding);
    bench.voices.forget(ANN, &occasion("b")).await.unwrap();
    let recording = first(12);
    let with_identity = |task_id, identity| VoiceRequest {
        identity: Some(identity),
        ..request(task_id, &recording)
    };
    let chosen = bench
        .voices
        .choose(with_identity("c", known), async || Vec::new());
    let made = chosen.await.unwrap().news.unwrap().profile;
    assert_eq!(made.conditioning, heard.conditioning);
    for (made, heard) in made
        .speaker_embedding
        .0
        .iter()
        .zip(&*heard.speaker_embedding.0)
    {
        // 0.7 × 2 + 0.3
        assert!((made - 1.7 * heard).abs() < 1e-4, "{made} {heard}");
    }

    // Of another model, or of somebody else: it does not count.
    for stranger in [
        SpeakerEmbedding([1.0; 256].into()),
        SpeakerEmbedding(
            heard
                .speaker_embedding
                .0
                .iter()
                .map(|value| -value)
                .collect(),
        ),
    ] {
        bench.voices.forget(ANN, &occasion("d")).await.unwrap();
        let chosen = bench
            .voices
            .choose(with_identity("e", stranger), async || Vec::new());
        assert_eq!(chosen.await.unwrap().news.unwrap().profile, heard);
    }
}

#[tokio::test]
async fn what_was_deleted_is_not_made_again_for_jobs_from_before() {
    let bench = Bench::new();
    let recording = first(12);
    let before = OffsetDateTime::now_utc();
    bench.choose("a", &recording).await;
    let held = bench.voices.hold(ANN, before).await.unwrap();
    assert!(held.is_some(), "nothing was deleted yet");
    // The deletion waits for whoever holds the voice.
    let deletion = async {
        assert!(bench.voices.forget(ANN, &occasion("b")).await.unwrap());
    };
    let news = async {
        tokio::task::yield_now().await;
        assert!(bench.voices.folder(ANN).exists());
        drop(held);
    };
    tokio::join!(deletion, news);
    assert!(!bench.voices.folder(ANN).exists());
    assert!(bench.voices.hold(ANN, before).await.unwrap().is_none());

    let late = VoiceRequest {
        accepted_at: before,
        ..request("a", &recording)
    };
    let chosen = bench
        .voices
        .choose(late, async || Vec::new())
        .await
        .unwrap();
    assert!(!chosen.is_cloned);
    assert!(!bench.voices.folder(ANN).exists());
    let made_before = bench.voices.made_before(ANN, &occasion("a")).await.unwrap();
    assert_eq!(made_before, None);
    // A job that comes afterwards may.
    let chosen = bench.choose("c", &recording).await;
    assert_eq!(chosen.news.unwrap().metadata.version, 1);
    assert_eq!(bench.logged(), ["created", "deleted", "created"]);
}

#[tokio::test]
async fn a_voice_is_made_anew_from_what_its_speaker_said() {
    let bench = Bench::new();
    let deadline = Deadline::none();
    let recalibrate = async |task_id: &str, recordings: &[Recording]| {
        let occasion = occasion(task_id);
        bench
            .voices
            .recalibrate(ANN, &occasion, recordings, &deadline)
            .await
    };
    let error = recalibrate("a", &[first(5)]).await.unwrap_err();
    assert!(matches!(error, VoiceError::NoVoice), "{error}");

    bench.choose("b", &first(12)).await;
    age(&bench, 31);
    let before = bench.stored().metadata;
    let due = bench.voices.due(OffsetDateTime::now_utc()).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0], before);
    let error = recalibrate("c", &[first(1)]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AudioTooShort);
    assert_eq!(bench.stored().metadata, before);

    let recordings = [first(40), first(1), first(30)];
    let made = recalibrate("d", &recordings).await.unwrap();
    assert_eq!(made, bench.stored());
    let after = &made.metadata;
    assert_eq!((after.version, after.audio_count), (2, 2));
    assert_eq!(after.total_duration_ms, 70_000);
    assert!((after.quality_score - 0.95).abs() < 1e-6);
    assert_eq!(after.created_at, before.created_at);
    assert!(after.next_recalibration_at > OffsetDateTime::now_utc());
    assert!(
        bench
            .voices
            .due(OffsetDateTime::now_utc())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        recalibrate("d", &recordings).await.unwrap(),
        made,
        "once is enough"
    );
    assert_eq!(bench.logged(), ["created", "recalibrated"]);

    age(&bench, 31);
    bench.voices.postpone(ANN).await.unwrap();
    assert!(
        bench
            .voices
            .due(OffsetDateTime::now_utc())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(bench.stored().metadata.version, 2);
}

#[tokio::test]
async fn without_its_log_no_voice_is_made_changed_or_used() {
    let bench = Bench::new();
    bench.choose("a", &first(12)).await;
    let before = bench.stored();
    let log = bench.folder.path().join("clone_log.jsonl");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let (recording, deadline) = (first(12), Deadline::none());
    let refused = |error: &VoiceError| matches!(error, VoiceError::CloneLog { .. });
    let choose = async |task_id: &str| {
        let chosen = bench
            .voices
            .choose(request(task_id, &recording), async || Vec::new());
        chosen.await.unwrap_err()
    };
    assert!(refused(&choose("used").await));
    age(&bench, 31);
    assert!(refused(&choose("improved").await));
    let recordings = [first(12)];
    let for_test = occasion("c");
    let made = bench
        .voices
        .recalibrate(ANN, &for_test, &recordings, &deadline);
    assert!(refused(&made.await.unwrap_err()));
    assert_eq!(bench.stored().profile, before.profile);
    assert_eq!(bench.stored().metadata.version, 1);
    let supplied = VoiceRequest {
        supplied: Some(SuppliedVoice {
            profile: before.profile,
            quality: None,
        }),
        ..request("supplied", &recording)
    };
    let chosen = bench.voices.choose(supplied, async || Vec::new()).await;
    assert!(refused(&chosen.unwrap_err()));
    // Deleting is never refused.
    assert!(bench.voices.forget(ANN, &occasion("d")).await.unwrap());
    assert!(refused(&choose("created").await));
    assert!(!bench.voices.folder(ANN).exists());
    assert!(Path::new(&log).is_dir());
}

#[tokio::test]
async fn writers_of_one_user_take_turns() {
    let bench = Bench::new();
    let recording = first(12);
    let tasks = ["a", "b", "c"];
    let [a, b, c] = tasks.map(|task_id| bench.choose(task_id, &recording));
    let (a, b, c) = tokio::join!(a, b, c);
    let news = [a, b, c]
        .iter()
        .filter(|voice| voice.news.is_some())
        .count();
    assert_eq!(news, 1, "one makes the voice, the others use it");
    assert_eq!(bench.logged(), ["created", "used", "used"]);
    assert!(bench.voices.changes.len() <= 1);
}
