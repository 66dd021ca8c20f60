//! What the voice API tells about the daemon: health, languages, figures.

use time::OffsetDateTime;

use crate::domain::{Language, timestamp};
use crate::engine::EngineStatus;
use crate::observe::health::DatabaseStatus;
use crate::observe::process;
use crate::pipeline::{AUDIO_LANES, JobFailure, Pipeline};
use crate::protocol::{
    AdminMetrics, HealthStatus, LanguageFeatures, LanguageSupport, VoiceHealth, VoiceLatency,
    VoiceServices,
};
use crate::stages::transcribe;

/// Which services work, and how long they took lately.
pub fn health(pipeline: &Pipeline) -> VoiceHealth {
    let services = services(pipeline);
    let engines = [
        services.transcription,
        services.translation,
        services.tts,
        services.voice_clone,
    ];
    let status = if engines.iter().all(|works| *works) && services.database {
        HealthStatus::Healthy
    } else if engines.iter().any(|works| *works) {
        HealthStatus::Degraded
    } else {
        HealthStatus::Unhealthy
    };
    let recent = &pipeline.recent_times;
    VoiceHealth {
        status,
        services,
        latency: VoiceLatency {
            transcription_ms: recent.transcribe.ms(),
            translation_ms: recent.translate.ms(),
            tts_ms: recent.synthesize.ms(),
        },
        timestamp: OffsetDateTime::now_utc(),
    }
}

fn services(pipeline: &Pipeline) -> VoiceServices {
    let engines = &pipeline.engines;
    VoiceServices {
        transcription: engines.transcribe.is_ready(),
        translation: engines.translate.is_ready(),
        tts: engines.can_speak(),
        voice_clone: pipeline.voices.is_ready(),
        analytics: true,
        database: pipeline.health.database() != DatabaseStatus::Unreachable,
    }
}

/// How busy the daemon is, and what it takes.
///
/// # Errors
/// The ledger fails.
pub async fn admin_metrics(pipeline: &Pipeline) -> Result<AdminMetrics, JobFailure> {
    let midnight = OffsetDateTime::now_utc().replace_time(time::Time::MIDNIGHT);
    let jobs = pipeline
        .ledger
        .job_statistics(AUDIO_LANES, timestamp::unix_ms(midnight))
        .await?;
    let uptime = pipeline.health.uptime_seconds();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = process::cpu_time().as_secs_f64() / (uptime.max(1e-3) * cores as f64);
    let loaded = |(name, status)| (status == EngineStatus::Ready).then_some(name);
    Ok(AdminMetrics {
        active_jobs: jobs.running,
        queued_jobs: jobs.waiting,
        completed_today: jobs.done,
        failed_today: jobs.failed,
        average_processing_time_ms: jobs.mean_processing_time_ms.round() as u64,
        cpu_usage: one_decimal(100.0 * share.min(1.0)),
        memory_usage_mb: one_decimal(process::resident_bytes() as f64 / 1e6),
        models_loaded: pipeline.health.engines().filter_map(loaded).collect(),
        uptime: uptime as u64,
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn one_decimal(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The languages that the installed models serve in any way, by their codes.
pub(super) fn languages(pipeline: &Pipeline) -> Vec<LanguageSupport> {
    let supported = Language::listed()
        .map(|language| (language, features(pipeline, language)))
        .filter(|(_, features)| features.transcription || features.translation || features.tts)
        .map(|(language, features)| LanguageSupport {
            code: language,
            name: language.english_name().to_owned(),
            native_name: language.native_name().to_owned(),
            supported_features: features,
        });
    supported.collect()
}

fn features(pipeline: &Pipeline, language: Language) -> LanguageFeatures {
    LanguageFeatures {
        transcription: transcribe::knows(language),
        translation: pipeline.routes.covers(language),
        tts: pipeline.spoken.speaks(language),
        voice_clone: pipeline.spoken.clones(language),
    }
}
