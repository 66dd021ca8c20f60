//! How the engines find, check and load their models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppError;
use crate::config::{DeviceChoice, Settings};
use crate::engine::{EngineHandle, lower_priority};
use crate::onnx::{Device, Onnx, OnnxError};
use crate::pipeline::CacheOptions;
use crate::registry::{CheckedFiles, Engine, Registry};
use crate::stages::embed::OpenVoiceEngine;
use crate::stages::synthesize::{ConditioningEngine, SynthesizeOptions, XttsEngine, XttsMetadata};
use crate::stages::transcribe::{SileroVad, WhisperEngine, WhisperOptions};
use crate::stages::translate::{Routes, TranslateEngine, TranslateOptions};

/// Requests that wait for a place in an engine's batch; further jobs wait in the scheduler.
const ENGINE_QUEUE_LENGTH: usize = 256;

/// Windows of speech that are computed at once at most; each has a graph of its own in memory. With more cores
/// each has more threads.
const MAX_VOCODERS: usize = 4;

/// How the engines find and run their models.
#[derive(Clone)]
pub(super) struct Models {
    directory: PathBuf,
    accepted_licences: Vec<String>,
    library: PathBuf,
    device: Device,
    checked: Arc<CheckedFiles>,
    cache: CacheOptions,
}

type LoadError = Box<dyn std::error::Error + Send + Sync>;

impl Models {
    pub(super) fn of(settings: &Settings) -> Result<Self, AppError> {
        let models = &settings.models;
        let library = onnxruntime_library(settings);
        let device = device(settings, &library);
        let found = Self {
            directory: models.path.clone(),
            accepted_licences: models.accept_licenses.clone(),
            library,
            device,
            checked: Arc::new(CheckedFiles::with_cache(
                settings.data_dir.join("checked-models.json"),
            )),
            cache: CacheOptions {
                max_age: settings.cache.max_age(),
                ..CacheOptions::default()
            },
        };
        if models.device == DeviceChoice::Cuda {
            // Asked for by name: missing is an error now, not a slow daemon later.
            found
                .onnx()
                .and_then(|onnx| onnx.require_device())
                .map_err(AppError::Device)?;
        }
        if settings.transcribe.device == DeviceChoice::Cuda && !cfg!(feature = "cuda") {
            return Err(AppError::TranscribeDevice);
        }
        tracing::info!(device = ?device, library = %found.library.display(), "onnx runtime");
        Ok(found)
    }

    fn onnx(&self) -> Result<Onnx, OnnxError> {
        Onnx::load(&self.library, self.device)
    }

    fn registry(&self) -> Result<Registry, LoadError> {
        Ok(Registry::open(&self.directory, &self.accepted_licences)?)
    }

    fn folder(&self, engine: Engine) -> Result<PathBuf, LoadError> {
        Ok(self.registry()?.verified_folder(engine, &self.checked)?)
    }

    /// Which models translate what; none while no such model is installed.
    pub(super) fn routes(&self) -> Routes {
        Routes::scan(&self.directory.join(Engine::Marian.to_string())).unwrap_or_default()
    }

    /// What the synthesizer can speak; `None` while no such model is installed.
    pub(super) fn spoken(&self) -> Option<XttsMetadata> {
        XttsMetadata::read(&self.directory.join("xtts")).ok()
    }

    pub(super) fn default_voice(&self) -> PathBuf {
        self.directory.join("xtts").join("default_voice.ogg")
    }

    pub(super) fn transcribe(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<WhisperEngine>> {
        let (models, transcribe) = (self.clone(), settings.transcribe.clone());
        EngineHandle::spawn("transcribe", ENGINE_QUEUE_LENGTH, move || {
            lower_priority();
            let hint = transcribe.model.as_deref().unwrap_or_default();
            let registry = models.registry()?;
            let file = registry.whisper_file(hint, &models.checked)?;
            let options = WhisperOptions {
                threads: threads(transcribe.threads),
                beam_size: transcribe.beam_size as usize,
                full_window: transcribe.full_window,
                use_gpu: cfg!(feature = "cuda")
                    && match transcribe.device {
                        DeviceChoice::Cpu => false,
                        DeviceChoice::Cuda => true,
                        DeviceChoice::Auto => models.device == Device::Cuda,
                    },
            };
            let engine = WhisperEngine::load(&file, options)?.with_vad(models.vad(&registry)?);
            models.cache.transcriber.set(format!(
                "{} {} {hint:?} {} {}",
                registry.fingerprint(Engine::Whisper),
                registry.fingerprint(Engine::Vad),
                transcribe.beam_size,
                transcribe.full_window,
            ));
            Ok(engine)
        })
    }

    /// Which results may be given out again: those of the same models with the same settings.
    pub(super) fn cache_options(&self) -> CacheOptions {
        self.cache.clone()
    }

    /// The voice activity detector; speech is told by its loudness where none is installed.
    fn vad(&self, registry: &Registry) -> Result<Option<SileroVad>, LoadError> {
        let Some(file) = registry.vad_file(&self.checked)? else {
            tracing::info!("no voice activity detector is installed: what is loud is speech");
            return Ok(None);
        };
        // Frames of 32 ms are no work for a GPU.
        let onnx = self.onnx()?.on(Device::Cpu);
        Ok(Some(SileroVad::load(&onnx, &file)?))
    }

    pub(super) fn translate(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<TranslateEngine>> {
        let (models, translate) = (self.clone(), settings.translate.clone());
        EngineHandle::spawn("translate", ENGINE_QUEUE_LENGTH, move || {
            let routes = Routes::scan(&models.folder(Engine::Marian)?)?;
            let options = TranslateOptions {
                threads: threads(translate.threads),
                max_batch_rows: translate.max_batch_rows,
                max_loaded_models: translate.max_loaded_models,
                max_text_characters: translate.max_characters,
                ..TranslateOptions::default()
            };
            Ok(TranslateEngine::new(models.onnx()?, routes, options))
        })
    }

    pub(super) fn embed(&self) -> std::io::Result<EngineHandle<OpenVoiceEngine>> {
        let models = self.clone();
        EngineHandle::spawn("embed", ENGINE_QUEUE_LENGTH, move || {
            lower_priority();
            let folder = models.folder(Engine::Openvoice)?;
            let model = folder.join("tone_embedding.onnx");
            Ok(OpenVoiceEngine::load(&models.onnx()?, &model, 1)?)
        })
    }

    pub(super) fn condition(&self) -> std::io::Result<EngineHandle<ConditioningEngine>> {
        let models = self.clone();
        EngineHandle::spawn("condition", ENGINE_QUEUE_LENGTH, move || {
            lower_priority();
            let folder = models.folder(Engine::Xtts)?;
            Ok(ConditioningEngine::load(
                &models.onnx()?,
                &folder,
                threads(None),
            )?)
        })
    }

    pub(super) fn synthesize(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<XttsEngine>> {
        let (models, synthesize) = (self.clone(), settings.synthesize.clone());
        EngineHandle::spawn("synthesize", ENGINE_QUEUE_LENGTH, move || {
            lower_priority();
            let registry = models.registry()?;
            let folder = registry.verified_folder(Engine::Xtts, &models.checked)?;
            let options = SynthesizeOptions {
                threads: threads(synthesize.threads),
                vocoders: match models.device {
                    Device::Cpu => cores().min(MAX_VOCODERS),
                    Device::Cuda => 1,
                },
                slots: synthesize.slots,
                ..SynthesizeOptions::default()
            };
            let engine = XttsEngine::load(&models.onnx()?, &folder, options)?;
            models
                .cache
                .synthesizer
                .set(registry.fingerprint(Engine::Xtts));
            Ok(engine)
        })
    }
}

/// The library that is configured, else where `make setup` puts it, else wherever the system's loader
/// finds it.
pub(crate) fn onnxruntime_library(settings: &Settings) -> PathBuf {
    if let Some(library) = &settings.models.onnxruntime_library {
        return library.clone();
    }
    let local = PathBuf::from(".local/onnxruntime/libonnxruntime.so");
    if local.exists() {
        local
    } else {
        PathBuf::from("libonnxruntime.so")
    }
}

/// What the settings mean on this machine with this library.
pub(crate) fn device(settings: &Settings, library: &Path) -> Device {
    match settings.models.device {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda => Device::Cuda,
        DeviceChoice::Auto if has_cuda(library) => Device::Cuda,
        DeviceChoice::Auto => Device::Cpu,
    }
}

/// True when the library can drive a CUDA device and the machine has one.
fn has_cuda(library: &Path) -> bool {
    let provider = library.with_file_name("libonnxruntime_providers_cuda.so");
    provider.exists() && Path::new("/dev/nvidiactl").exists()
}

/// Threads inside one operator: the setting, else half of the cores, since engines run at once.
fn threads(setting: Option<std::num::NonZeroUsize>) -> usize {
    setting.map_or_else(|| cores().div_ceil(2), std::num::NonZeroUsize::get)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
