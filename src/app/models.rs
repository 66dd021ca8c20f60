//! How the engines find, check and load their models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppError;
use crate::config::{
    BaseVoiceChoice, DeviceChoice, EngineName, Settings, TranscribeSettings, program_path,
};
use crate::engine::{EngineHandle, LoadError, Loading, lower_priority};
use crate::error::error_chain;
use crate::onnx::{Device, Onnx, OnnxError, cuda};
use crate::pipeline::CacheOptions;
use crate::registry::{CheckedFiles, Engine, Registry};
use crate::stages::embed::OpenVoiceEngine;
use crate::stages::synthesize::base::{
    BaseVoiceEngine, BaseVoiceError, BaseVoices, CONVERTER_FILE, Espeak, PiperVoice, ToneConverter,
};
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
    /// Engines that their first request loads.
    lazy: Arc<[EngineName]>,
}

/// What speaks where XTTS does not.
pub(super) struct InstalledBase {
    pub voices: Arc<BaseVoices>,
    /// What they say can be given another voice.
    pub converts: bool,
    /// It is known that no XTTS is installed.
    pub are_alone: bool,
}

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
            lazy: models.lazy.clone().into(),
        };
        if models.device == DeviceChoice::Cuda {
            // Asked for by name: missing is an error now, not a slow daemon later.
            found
                .onnx()
                .and_then(|onnx| onnx.require_device())
                .map_err(AppError::Device)?;
        }
        if settings.transcribe.device == DeviceChoice::Cuda {
            if !cfg!(feature = "cuda") {
                return Err(AppError::TranscribeDevice);
            }
            // whisper.cpp would take the processor without a word.
            if cuda::devices().is_none() {
                return Err(AppError::TranscribeDriver);
            }
        }
        tracing::info!(device = ?device, library = %found.library.display(), "onnx runtime");
        Ok(found)
    }

    pub(super) fn device(&self) -> Device {
        self.device
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

    /// What XTTS can speak; `None` while no such model is installed.
    pub(super) fn xtts(&self) -> Option<XttsMetadata> {
        XttsMetadata::read(&self.directory.join("xtts")).ok()
    }

    /// The base voices; `None` where there are none.
    ///
    /// # Errors
    /// They are to speak always, and cannot.
    pub(super) fn base_voices(
        &self,
        settings: &Settings,
    ) -> Result<Option<InstalledBase>, AppError> {
        let choice = settings.synthesize.base_voice;
        if choice == BaseVoiceChoice::Off {
            return Ok(None);
        }
        let espeak = match espeak(settings) {
            Ok(espeak) => espeak,
            Err(error) if choice == BaseVoiceChoice::Always => {
                return Err(AppError::BaseVoice(error));
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::info!(error, "there are no base voices: XTTS speaks alone");
                return Ok(None);
            }
        };
        tracing::info!(espeak = espeak.version(), "base voices found");
        // What is wrong with the manifest the engines tell.
        let registry = self.registry().ok();
        let registry = registry.as_ref();
        let lists_converter =
            |registry: &Registry| registry.lists(Engine::Openvoice, CONVERTER_FILE);
        let lists_no_xtts = |registry: &Registry| registry.models(Engine::Xtts).next().is_none();
        Ok(Some(InstalledBase {
            voices: Arc::new(BaseVoices::new(espeak, piper_voices(registry))),
            converts: settings.synthesize.convert_base_voice
                && registry.is_some_and(lists_converter),
            are_alone: registry.is_some_and(lists_no_xtts),
        }))
    }

    pub(super) fn default_voice(&self) -> PathBuf {
        self.directory.join("xtts").join("default_voice.ogg")
    }

    /// When an engine is loaded; `check` finds its files and compares them with the manifest.
    fn loading<T>(
        &self,
        engine: EngineName,
        check: impl Fn(&Self) -> Result<T, LoadError> + Send + 'static,
    ) -> Loading {
        if !self.lazy.contains(&engine) {
            return Loading::AtOnce;
        }
        let models = self.clone();
        Loading::AtFirstRequest(Box::new(move || {
            lower_priority();
            models.onnx()?;
            check(&models).map(drop)
        }))
    }

    pub(super) fn transcribe(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<WhisperEngine>> {
        let (models, transcribe) = (self.clone(), settings.transcribe.clone());
        let find = {
            let transcribe = transcribe.clone();
            move |models: &Self| models.find_whisper(&transcribe)
        };
        let loading = self.loading(EngineName::Transcribe, find.clone());
        EngineHandle::spawn("transcribe", ENGINE_QUEUE_LENGTH, loading, move || {
            lower_priority();
            let (whisper, vad) = find(&models)?;
            let options = WhisperOptions {
                threads: threads(transcribe.threads),
                at_once: cores(),
                beam_size: transcribe.beam_size as usize,
                full_window: transcribe.full_window,
                use_gpu: transcribes_on_gpu(&transcribe, models.device),
            };
            if vad.is_none() {
                tracing::info!("no voice activity detector is installed: what is loud is speech");
            }
            let onnx = vad.is_some().then(|| models.onnx()).transpose()?;
            let load_vad = move || {
                let Some((onnx, vad)) = onnx.as_ref().zip(vad.as_ref()) else {
                    return Ok(None);
                };
                // Frames of 32 ms are no work for a GPU.
                SileroVad::load(&onnx.on(Device::Cpu), vad).map(Some)
            };
            Ok(WhisperEngine::load(&whisper, options, load_vad)?)
        })
    }

    /// The files of the recognizer and of the voice activity detector, if there is one.
    fn find_whisper(
        &self,
        transcribe: &TranscribeSettings,
    ) -> Result<(PathBuf, Option<PathBuf>), LoadError> {
        let registry = self.registry()?;
        let hint = transcribe.model.as_deref().unwrap_or_default();
        let whisper = registry.whisper_file(hint, &self.checked)?;
        let vad = registry.vad_file(&self.checked)?;
        self.cache.transcriber.set(format!(
            "{} {} {hint:?} {} {}",
            registry.fingerprint(Engine::Whisper),
            registry.fingerprint(Engine::Vad),
            transcribe.beam_size,
            transcribe.full_window,
        ));
        Ok((whisper, vad))
    }

    /// Which results may be given out again: those of the same models with the same settings.
    pub(super) fn cache_options(&self) -> CacheOptions {
        self.cache.clone()
    }

    pub(super) fn translate(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<TranslateEngine>> {
        let (models, translate) = (self.clone(), settings.translate.clone());
        let find = |models: &Self| models.folder(Engine::Marian);
        let loading = self.loading(EngineName::Translate, find);
        let is_lazy = matches!(loading, Loading::AtFirstRequest(_));
        EngineHandle::spawn("translate", ENGINE_QUEUE_LENGTH, loading, move || {
            let routes = Routes::scan(&find(&models)?)?;
            let options = TranslateOptions {
                threads: threads(translate.threads),
                max_batch_rows: translate.max_batch_rows,
                max_loaded_models: translate.max_loaded_models,
                max_text_characters: translate.max_characters,
                ..TranslateOptions::default()
            };
            let mut engine = TranslateEngine::new(models.onnx()?, routes, options);
            if !is_lazy {
                engine.preload();
            }
            Ok(engine)
        })
    }

    pub(super) fn embed(&self) -> std::io::Result<EngineHandle<OpenVoiceEngine>> {
        let models = self.clone();
        let find = |models: &Self| models.folder(Engine::Openvoice);
        let loading = self.loading(EngineName::Embed, find);
        EngineHandle::spawn("embed", ENGINE_QUEUE_LENGTH, loading, move || {
            lower_priority();
            let model = find(&models)?.join("tone_embedding.onnx");
            Ok(OpenVoiceEngine::load(&models.onnx()?, &model, 1)?)
        })
    }

    pub(super) fn condition(&self) -> std::io::Result<EngineHandle<ConditioningEngine>> {
        let models = self.clone();
        let find = |models: &Self| models.folder(Engine::Xtts);
        let loading = self.loading(EngineName::Condition, find);
        EngineHandle::spawn("condition", ENGINE_QUEUE_LENGTH, loading, move || {
            lower_priority();
            Ok(ConditioningEngine::load(
                &models.onnx()?,
                &find(&models)?,
                threads(None),
            )?)
        })
    }

    pub(super) fn synthesize(
        &self,
        settings: &Settings,
    ) -> std::io::Result<EngineHandle<XttsEngine>> {
        let (models, synthesize) = (self.clone(), settings.synthesize.clone());
        let loading = self.loading(EngineName::Synthesize, Self::find_xtts);
        EngineHandle::spawn("synthesize", ENGINE_QUEUE_LENGTH, loading, move || {
            lower_priority();
            let options = SynthesizeOptions {
                threads: threads(synthesize.threads),
                vocoders: match models.device {
                    Device::Cpu => cores().min(MAX_VOCODERS),
                    Device::Cuda => 1,
                },
                slots: synthesize.slots,
                ..SynthesizeOptions::default()
            };
            Ok(XttsEngine::load(
                &models.onnx()?,
                &models.find_xtts()?,
                options,
            )?)
        })
    }

    /// The folder of the synthesizer.
    fn find_xtts(&self) -> Result<PathBuf, LoadError> {
        let registry = self.registry()?;
        let folder = registry.verified_folder(Engine::Xtts, &self.checked)?;
        self.cache
            .synthesizer
            .set(registry.fingerprint(Engine::Xtts));
        Ok(folder)
    }

    pub(super) fn base_voice(
        &self,
        settings: &Settings,
        base: &InstalledBase,
    ) -> std::io::Result<EngineHandle<BaseVoiceEngine>> {
        let (models, voices) = (self.clone(), Arc::clone(&base.voices));
        let (converts, synthesize) = (base.converts, settings.synthesize.clone());
        EngineHandle::spawn(
            "base_voice",
            ENGINE_QUEUE_LENGTH,
            Loading::AtOnce,
            move || {
                lower_priority();
                let registry = models.registry()?;
                let has_piper = !voices.piper().is_empty();
                if has_piper {
                    registry.verified_folder(Engine::Piper, &models.checked)?;
                }
                let onnx = (has_piper || converts).then(|| models.onnx()).transpose()?;
                let threads = threads(synthesize.threads);
                let converter = match &onnx {
                    Some(onnx) if converts => {
                        let folder =
                            registry.verified_folder(Engine::Openvoice, &models.checked)?;
                        let tau = synthesize.conversion_tau;
                        Some(ToneConverter::load(onnx, &folder, threads, tau)?)
                    }
                    _ => None,
                };
                models.cache.base_voice.set(format!(
                    "espeak-ng {} {} {}",
                    voices.espeak().version(),
                    registry.fingerprint(Engine::Piper),
                    match &converter {
                        Some(_) => format!(
                            "{} {}",
                            registry.fingerprint(Engine::Openvoice),
                            synthesize.conversion_tau
                        ),
                        None => "unconverted".to_owned(),
                    },
                ));
                Ok(BaseVoiceEngine::new(
                    Arc::clone(&voices),
                    onnx,
                    threads,
                    converter,
                ))
            },
        )
    }
}

/// The Piper voices that can be read; others are told of.
fn piper_voices(registry: Option<&Registry>) -> Vec<PiperVoice> {
    let read = |graph: PathBuf| {
        let voice = PiperVoice::read(&graph);
        voice
            .inspect_err(|error| {
                tracing::warn!(error = error_chain(error), "a piper voice cannot be used");
            })
            .ok()
    };
    let graphs = registry.map(Registry::piper_graphs).unwrap_or_default();
    graphs.into_iter().filter_map(read).collect()
}

/// espeak-ng where the settings say.
///
/// # Errors
/// It is not there, or another program.
pub(crate) fn espeak(settings: &Settings) -> Result<Espeak, BaseVoiceError> {
    let name = &settings.synthesize.espeak_program;
    let missing = || BaseVoiceError::NoProgram {
        program: name.clone(),
    };
    Espeak::find(&program_path(name).ok_or_else(missing)?)
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
        DeviceChoice::Auto => working_device(library),
    }
}

/// Whether Whisper runs on the GPU, beside engines on `device`.
pub(super) fn transcribes_on_gpu(transcribe: &TranscribeSettings, device: Device) -> bool {
    cfg!(feature = "cuda")
        && match transcribe.device {
            DeviceChoice::Cpu => false,
            DeviceChoice::Cuda => true,
            DeviceChoice::Auto => device == Device::Cuda,
        }
}

/// CUDA where it works. Where there is no driver nothing is tried.
fn working_device(library: &Path) -> Device {
    if cuda::devices().is_none() {
        return Device::Cpu;
    }
    let tried = Onnx::load(library, Device::Cuda).and_then(|onnx| onnx.require_device());
    match tried {
        Ok(()) => Device::Cuda,
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "there is an NVIDIA driver, but cuda does not work");
            Device::Cpu
        }
    }
}

/// Threads inside one operator: the setting, else half of the cores, since engines run at once.
fn threads(setting: Option<std::num::NonZeroUsize>) -> usize {
    setting.map_or_else(|| cores().div_ceil(2), std::num::NonZeroUsize::get)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
