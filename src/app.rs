//! The composition root: builds everything from the settings, runs it, stops it in order.

mod descriptors;
mod housekeeping;
pub(crate) mod inventory;
mod models;
mod recalibration;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, watch};

use crate::config::{BaseVoiceChoice, MongoWrite, Secret, Settings, Unsupported};
use crate::decoder::{DecoderOptions, DecoderPool};
use crate::http;
use crate::intake::{Receiver, SignOfLife};
use crate::ledger::{Ledger, LedgerError};
use crate::observe::Health;
use crate::observe::health::DatabaseStatus;
use crate::onnx::{Device, OnnxError};
use crate::outbox::{self, Outbox};
use crate::pipeline::voice_api::Webhooks;
use crate::pipeline::{
    CacheOptions, Conversations, Engines, Pipeline, PipelineOptions, RecentTimes, RecordingOptions,
    Spoken, UnspokenLanguage, WebOptions,
};
use crate::scheduler::{Scheduler, SchedulerOptions};
use crate::stages::decode::DecodeLimits;
use crate::stages::encode::Mp3Options;
use crate::stages::synthesize::base::BaseVoiceError;
use crate::storage;
use crate::store::{IdPolicy, MongoOptions, MongoStore};
use crate::transport::zmq::{
    Intake, IntakeOptions, IntakeSocket, PublishOptions, PublishSocket, TransportError,
};
use crate::voices::{VoiceOptions, Voices};
use descriptors::Descriptors;
use models::Models;

pub(crate) use models::{device, espeak, onnxruntime_library};

/// Silence after which a sign of life is published.
const PONG_INTERVAL: Duration = Duration::from_secs(30);
/// How often that silence is looked at.
const PONG_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often the threads that must not end are looked at.
const LIFE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time for publishing what is stored when the daemon stops.
const PUBLISH_GRACE: Duration = Duration::from_secs(5);
/// Seconds of audio that a second of computing decodes at least; codecs manage hundreds.
const DECODE_SPEED: u64 = 90;
/// Computing time for a recording where the longest allowed one is short.
const MIN_DECODE_CPU_SECS: u64 = 5;
/// Messages to listeners about the progress of jobs that may wait.
const PROGRESS_QUEUE_LENGTH: usize = 1024;

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory cannot be used.
    #[error("the ledger could not be opened")]
    Ledger(#[from] LedgerError),
    /// A ZeroMQ socket cannot be bound.
    #[error("a socket could not be bound")]
    Transport(#[from] TransportError),
    /// The HTTP port cannot be bound.
    #[error("http: {address} could not be bound; give this daemon a port of its own (HTTP_PORT)")]
    Http {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A part without which the daemon is useless has panicked.
    #[error("the {0} crashed; start the daemon again, it goes on where it stood")]
    Crashed(&'static str),
    /// The ledger cannot be trusted any more.
    #[error(
        "the ledger turned out to be damaged; start the daemon again, it keeps what can be read"
    )]
    LedgerDamaged,
    /// The device that is asked for cannot be used.
    #[error("the device cannot be used")]
    Device(#[source] OnnxError),
    /// Base voices are to speak always, and cannot.
    #[error("synthesize.base_voice (TRANSLATOR_BASE_VOICE) is \"always\", and there is none")]
    BaseVoice(#[source] BaseVoiceError),
    /// Whisper is to run on a device that the binary was not built for.
    #[error(
        "transcription on cuda needs a binary built with --features cuda; set transcribe.device (WHISPER_DEVICE) to cpu"
    )]
    TranscribeDevice,
    /// Whisper is to run on CUDA, and there is none.
    #[error(
        "transcription on cuda: no NVIDIA driver is loaded (in a container: start it with --gpus all); or set transcribe.device (WHISPER_DEVICE) to cpu"
    )]
    TranscribeDriver,
}

/// The part that does jobs, without any socket.
pub struct Core {
    /// Where jobs are kept.
    pub ledger: Ledger,
    /// What does them.
    pub pipeline: Arc<Pipeline>,
    /// The database, where one is configured.
    pub store: Option<Arc<MongoStore>>,
    /// How the parts are.
    pub health: Arc<Health>,
    /// Where the models run.
    pub device: Device,
}

/// Builds the part that does jobs. Models are loaded on the engines' threads, after this returns.
///
/// # Errors
/// The data directory cannot be used, or the device that is asked for is not there.
pub fn build(
    settings: &Settings,
    ledger: Ledger,
    outbox: Option<Outbox>,
) -> Result<Core, AppError> {
    let models = Models::of(settings)?;
    let cache = models.cache_options();
    let transcribe = models.transcribe(settings).map_err(AppError::Thread)?;
    let translate = models.translate(settings).map_err(AppError::Thread)?;
    let base = models.base_voices(settings)?;
    let base_voice = base.as_ref();
    let base_voice = base_voice.map(|base| models.base_voice(settings, base));
    let base_voice = base_voice.transpose().map_err(AppError::Thread)?;
    let embed = models.embed().map_err(AppError::Thread)?;
    // Without base voices XTTS is needed, and says what it lacks.
    let (condition, synthesize) = if base.as_ref().is_none_or(|base| !base.are_alone) {
        let condition = models.condition().map_err(AppError::Thread)?;
        let synthesize = models.synthesize(settings).map_err(AppError::Thread)?;
        (Some(condition), Some(synthesize))
    } else {
        tracing::info!("no XTTS is installed: base voices speak alone");
        (None, None)
    };
    let database = match &settings.mongo.url {
        Some(_) if settings.mongo.write == MongoWrite::Seed => DatabaseStatus::Unknown,
        _ => DatabaseStatus::Disabled,
    };
    let store = mongo_store(settings).map(Arc::new);
    let health = Health::new(
        [
            Some((transcribe.name(), transcribe.watch())),
            Some((translate.name(), translate.watch())),
            Some((embed.name(), embed.watch())),
            condition.as_ref().map(|c| (c.name(), c.watch())),
            synthesize.as_ref().map(|s| (s.name(), s.watch())),
            base_voice.as_ref().map(|b| (b.name(), b.watch())),
        ]
        .into_iter()
        .flatten()
        .collect(),
        database,
        store.as_ref().map(|store| store.watch_breaker()),
    );
    let voice_options = VoiceOptions {
        directory: settings.voices_dir(),
        clone_log: settings.clone_log(),
        default_voice: models.default_voice(),
        max_age: days(settings.voices.max_age_days),
        min_duration_ms: settings.voices.min_duration_ms,
        ..VoiceOptions::default()
    };
    let xtts = condition.as_ref().and_then(|_| models.xtts());
    let health = Arc::new(health);
    let pipeline = Pipeline {
        ledger: ledger.clone(),
        outbox,
        engines: Engines {
            transcribe,
            translate,
            synthesize,
            base_voice,
        },
        decoder: Arc::new(DecoderPool::new(decoder_options(settings)).map_err(AppError::Thread)?),
        voices: Voices::new(voice_options, embed, condition, xtts.clone()),
        routes: models.routes(),
        spoken: Spoken {
            xtts,
            base: base.as_ref().map(|base| Arc::clone(&base.voices)),
            prefers_base: settings.synthesize.base_voice == BaseVoiceChoice::Always,
            converts: base.as_ref().is_some_and(|base| base.converts),
        },
        conversations: Conversations::default(),
        database: store.clone(),
        documents: (database != DatabaseStatus::Disabled).then_some(id_policy(settings)),
        options: pipeline_options(settings, cache),
        webhooks: Webhooks::new(WebOptions {
            allowed_hosts: settings.voice_api.allowed_webhook_hosts.clone(),
            allowed_networks: settings.audio.allowed_url_networks.clone(),
            timeout: Duration::from_secs(settings.voice_api.webhook_timeout_secs),
        }),
        progress: broadcast::Sender::new(PROGRESS_QUEUE_LENGTH),
        running: Arc::default(),
        recent_times: RecentTimes::default(),
        health: Arc::clone(&health),
    };
    Ok(Core {
        ledger,
        pipeline: Arc::new(pipeline),
        store,
        health,
        device: models.device(),
    })
}

fn id_policy(settings: &Settings) -> IdPolicy {
    if settings.mongo.string_ids {
        IdPolicy::Strings
    } else {
        IdPolicy::ObjectIdsOnly
    }
}

/// The database, where one is configured; the network is not touched yet.
pub(crate) fn mongo_store(settings: &Settings) -> Option<MongoStore> {
    let url = settings.mongo.url.as_ref()?;
    let options = MongoOptions {
        selection_timeout: Duration::from_millis(settings.mongo.selection_timeout_ms),
        ids: id_policy(settings),
    };
    Some(MongoStore::new(url.expose(), options))
}

/// Runs the daemon until `stop` completes, then drains it.
///
/// # Errors
/// It cannot start.
pub async fn serve(
    settings: &Settings,
    metrics: PrometheusHandle,
    stop: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let ledger = Ledger::open(&settings.data_dir)?;
    let descriptors = Descriptors::raise();
    let max_connections = descriptors.share("zmq.max_connections", settings.zmq.max_connections);
    let http_connections = descriptors.share("http.max_connections", settings.http.max_connections);
    let publish = PublishSocket::bind(&PublishOptions {
        endpoint: endpoint(&settings.zmq.bind_address, settings.zmq.pub_port),
        send_queue_length: i32::try_from(settings.zmq.publish_high_water_mark).unwrap_or(i32::MAX),
        buffer_bytes: usize::try_from(settings.zmq.publish_buffer_bytes).unwrap_or(usize::MAX),
        stall_limit: Duration::from_secs(settings.zmq.subscriber_stall_secs),
        max_connections,
        ..PublishOptions::default()
    })?;
    let pub_endpoint = publish.endpoint().to_owned();
    let intake = IntakeSocket::bind(&IntakeOptions {
        endpoint: endpoint(&settings.zmq.bind_address, settings.zmq.pull_port),
        max_message_bytes: usize::try_from(settings.zmq.max_message_bytes).unwrap_or(usize::MAX),
        max_connections,
        receive_buffer_bytes: i32::try_from(settings.zmq.receive_buffer_bytes).unwrap_or(i32::MAX),
        ..IntakeOptions::default()
    })?;
    let http_listener = bind_http(settings).await?;
    // A port that is taken is told before models are loaded.
    let (outbox, publisher) = Outbox::start(ledger.clone(), publish, &republish(settings))?;
    let core = build(settings, ledger.clone(), Some(outbox.clone()))?;
    let http_address = http_listener
        .local_addr()
        .map(|address| address.to_string());

    let (stop_sender, stopping) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    let scheduler = Arc::new(Scheduler::new(scheduler_options(settings)));
    // Before HTTP takes jobs too.
    scheduler.restore(&ledger).await?;
    let token = |secret: &Option<Secret>| {
        let secret = secret.as_ref();
        secret.map(|secret| http::BearerToken::new(secret.expose()))
    };
    let router = http::router(http::Services {
        probes: http::ProbeState {
            health: Arc::clone(&core.health),
            metrics: metrics.clone(),
            ledger: ledger.clone(),
        },
        work: http::WorkState {
            pipeline: Arc::clone(&core.pipeline),
            scheduler: Arc::clone(&scheduler),
        },
        jobs: http::JobsState::new(
            Arc::clone(&core.pipeline),
            Arc::clone(&scheduler),
            http::JobsOptions {
                audio_enabled: settings.audio.enabled,
                voice_api_enabled: settings.voice_api.enabled,
                stopping: stopping.clone(),
            },
        ),
        inventory: inventory::of(settings, core.device),
        admin: http::AdminState {
            ledger: ledger.clone(),
            pipeline: Arc::clone(&core.pipeline),
            scheduler: Arc::clone(&scheduler),
            token: token(&settings.http.admin_token),
        },
        token: token(&settings.http.token),
        has_console: settings.console.enabled,
        request_timeout: Duration::from_secs(settings.http.request_timeout_secs),
    });
    tasks.spawn(http::server::serve(
        http_listener,
        router,
        http_connections,
        stopped(stopping.clone()),
    ));
    let settlement = outbox::settle::run(ledger.clone(), core.store.clone());
    tasks.spawn(until_stopped(settlement, stopping.clone()));
    if let Some(store) = core.store
        && core.health.database() != DatabaseStatus::Disabled
    {
        let health = Arc::clone(&core.health);
        tasks.spawn(outbox::documents::run(
            store,
            ledger.clone(),
            health,
            stopping.clone(),
        ));
    }
    let monitor = storage::monitor(Arc::clone(ledger.storage()), settings.ledger.min_free_bytes);
    tasks.spawn(until_stopped(monitor, stopping.clone()));
    let housekeeping = housekeeping::run(ledger.clone(), settings.clone(), metrics);
    tasks.spawn(until_stopped(housekeeping, stopping.clone()));

    let mut jobs = tokio::spawn(Arc::clone(&scheduler).run(
        ledger.clone(),
        Arc::clone(&core.pipeline),
        stopped(stopping.clone()),
    ));

    let recalibration = recalibration::run(
        Arc::clone(&core.pipeline),
        Arc::clone(&scheduler),
        days(settings.voices.max_age_days),
    );
    tasks.spawn(until_stopped(recalibration, stopping.clone()));

    // Requests are taken last, when everything that they need is there.
    let intake_stopping = Arc::new(AtomicBool::new(false));
    let pipeline = Arc::clone(&core.pipeline);
    let sign_of_life = SignOfLife {
        pull_port: port_of(intake.endpoint()).unwrap_or(settings.zmq.pull_port),
        pub_port: port_of(&pub_endpoint).unwrap_or(settings.zmq.pub_port),
        audio_available: Arc::new({
            let enabled = settings.audio.enabled;
            move || enabled && is_audio_available(&pipeline)
        }),
    };
    let receiver = Arc::new(Receiver {
        ledger: ledger.clone(),
        scheduler,
        outbox: outbox.clone(),
        sign_of_life: sign_of_life.clone(),
        audio_enabled: settings.audio.enabled,
        voice_api_enabled: settings.voice_api.enabled,
        stopping: Arc::clone(&intake_stopping),
    });
    let intake = {
        let gate = Arc::clone(&receiver);
        Intake::start(
            intake,
            move || gate.is_paused(),
            move |batch| receiver.receive(batch),
        )?
    };
    let signs_of_life = signs_of_life(outbox.clone(), sign_of_life);
    tasks.spawn(until_stopped(signs_of_life, stopping.clone()));
    core.health.set_sockets_bound();
    tracing::info!(
        requests = intake.endpoint(),
        events = pub_endpoint,
        http = http_address.as_deref().unwrap_or_default(),
        data_dir = %settings.data_dir.display(),
        models = %settings.models.path.display(),
        "translator is listening"
    );

    let crashed = tokio::select! {
        () = stop => None,
        _ = &mut jobs => Some(AppError::Crashed("scheduler")),
        () = ended(|| !intake.is_running()) => Some(AppError::Crashed("intake")),
        () = ended(|| !publisher.is_running()) => Some(AppError::Crashed("publisher")),
        Some(_) = tasks.join_next() => Some(AppError::Crashed("background work")),
        () = ended(|| !ledger.is_running()) => Some(AppError::Crashed("ledger")),
        () = ended(|| ledger.is_corrupt()) => Some(AppError::LedgerDamaged),
    };
    if let Some(error) = crashed {
        // Everything that was accepted is in the ledger: the next start goes on with it.
        return Err(error);
    }
    tracing::info!("stopping: no more requests are taken");
    core.health.set_draining();
    intake_stopping.store(true, Ordering::Relaxed);
    blocking(move || intake.stop()).await;
    stop_sender.send_replace(true);
    // What the panic says, which the error would repeat, may quote a text.
    if jobs.await.is_err() {
        tracing::error!("scheduler panicked");
    }
    blocking(move || publisher.stop(PUBLISH_GRACE)).await;
    if tokio::time::timeout(PUBLISH_GRACE, async {
        while tasks.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        tracing::warn!("background work did not end in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Waits until a part of the daemon has ended.
async fn ended(has_ended: impl Fn() -> bool) {
    while !has_ended() {
        tokio::time::sleep(LIFE_CHECK_INTERVAL).await;
    }
}

/// Runs what blocks a thread for a moment.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    if tokio::task::spawn_blocking(work).await.is_err() {
        tracing::error!("a thread that was waited for panicked");
    }
}

/// Runs background work that may be dropped anywhere.
async fn until_stopped(work: impl Future<Output = ()>, stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = work => {}
        () = stopped(stopping) => {}
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

async fn bind_http(settings: &Settings) -> Result<tokio::net::TcpListener, AppError> {
    let address = format!("{}:{}", settings.http.bind_address, settings.http.port);
    tokio::net::TcpListener::bind(&address)
        .await
        .map_err(|source| AppError::Http { address, source })
}

async fn signs_of_life(outbox: Outbox, sign: SignOfLife) {
    loop {
        tokio::time::sleep(PONG_CHECK_INTERVAL).await;
        if outbox.idle_for() < PONG_INTERVAL {
            continue;
        }
        if let Ok(frames) = sign.pong().frames()
            && outbox.publish_now(frames).is_err()
        {
            tracing::debug!("no sign of life, the publisher is busy");
        }
    }
}

fn is_audio_available(pipeline: &Pipeline) -> bool {
    let engines = &pipeline.engines;
    engines.transcribe.is_ready() && engines.translate.is_ready() && engines.can_speak()
}

fn endpoint(bind_address: &str, port: u16) -> String {
    format!("tcp://{bind_address}:{port}")
}

fn port_of(endpoint: &str) -> Option<u16> {
    endpoint.rsplit(':').next()?.parse().ok()
}

fn republish(settings: &Settings) -> Vec<Duration> {
    let schedule = settings.outbox.republish_secs.iter();
    schedule.copied().map(Duration::from_secs).collect()
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

fn scheduler_options(settings: &Settings) -> SchedulerOptions {
    let jobs = &settings.jobs;
    SchedulerOptions {
        max_running_audio: jobs.max_concurrent_audio,
        max_running_bytes: jobs.max_running_bytes,
        max_running_text: jobs.max_concurrent_texts,
        max_queued_fast: jobs.max_queued_texts.div_ceil(2),
        max_queued_normal: jobs.max_queued_texts,
        max_queued_audio: jobs.max_queued_audio,
        max_queued_bytes: jobs.max_queued_bytes,
        max_sender_percent: jobs.max_sender_percent,
        max_decoded_bytes: decode_limits(settings).max_decoded_bytes as u64,
        job_budget: Duration::from_secs(jobs.deadline_secs),
        drain: Duration::from_secs(jobs.drain_secs),
    }
}

fn decoder_options(settings: &Settings) -> DecoderOptions {
    let audio = &settings.audio;
    // Decoding is all computing, so one for each core would do; two, lest a few recordings that hang
    // hold up all others.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    DecoderOptions {
        // The program of this very process, even when a new version has taken its place on disk.
        program: PathBuf::from("/proc/self/exe"),
        max_workers: (2 * cores).min(settings.jobs.max_concurrent_audio),
        memory_bytes: audio.max_bytes.saturating_add(audio.decode_memory_bytes),
        cpu_secs: (audio.max_duration_secs / DECODE_SPEED).max(MIN_DECODE_CPU_SECS),
    }
}

fn decode_limits(settings: &Settings) -> DecodeLimits {
    let audio = &settings.audio;
    DecodeLimits {
        max_bytes: usize::try_from(audio.max_bytes).unwrap_or(usize::MAX),
        max_duration_ms: audio.max_duration_secs.saturating_mul(1000),
        max_decoded_bytes: usize::try_from(audio.max_decoded_bytes()).unwrap_or(usize::MAX),
        ..DecodeLimits::default()
    }
}

fn pipeline_options(settings: &Settings, cache: CacheOptions) -> PipelineOptions {
    let (audio, speech) = (&settings.audio, &settings.synthesize);
    PipelineOptions {
        decode_limits: decode_limits(settings),
        recording: RecordingOptions {
            upload_roots: audio.upload_roots.clone(),
            web: WebOptions {
                allowed_hosts: audio.allowed_url_hosts.clone(),
                allowed_networks: audio.allowed_url_networks.clone(),
                timeout: Duration::from_secs(audio.url_timeout_secs),
            },
            max_url_bytes: audio.url_max_bytes,
        },
        mp3: Mp3Options {
            bitrate_kbps: speech.bitrate_kbps,
        },
        output_directory: settings.output.path.clone(),
        default_language: settings.transcribe.default_language,
        default_text_language: settings.translate.default_detect_language,
        max_text_characters: settings.translate.max_characters,
        unspoken_language: match speech.unsupported {
            Unsupported::Skip => UnspokenLanguage::Skip,
            Unsupported::English => UnspokenLanguage::English,
            Unsupported::Related => UnspokenLanguage::Related,
        },
        max_spoken_languages: speech.max_eager_languages,
        translate_budget: Duration::from_secs(settings.translate.timeout_secs),
        synthesize_budget: Duration::from_secs(speech.timeout_secs),
        cache,
        model_patience: Duration::from_secs(settings.jobs.model_wait_secs),
    }
}
