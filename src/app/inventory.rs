//! What is installed, for those who ask.

use std::path::Path;

use super::models::transcribes_on_gpu;
use crate::config::{ModelSettings, Settings};
use crate::error::error_chain;
use crate::http::{InstalledModel, Inventory};
use crate::onnx::Device;
use crate::registry::catalogue::Catalogue;
use crate::registry::{Engine, Model, Registry};
use crate::stages::synthesize::base::PiperVoice;
use crate::stages::synthesize::{XttsMetadata, decoder_device};
use crate::stages::translate::Routes;
use crate::stages::translate::marian::device_of;

/// The models that the manifest lists, and where the engines run.
pub(super) fn of(settings: &Settings, device: Device) -> Inventory {
    let name = |is_gpu| if is_gpu { "cuda" } else { "cpu" };
    let onnx = name(device == Device::Cuda);
    let folder = |engine: Engine| settings.models.path.join(engine.as_str());
    let decoder = decoder_device(&folder(Engine::Xtts), device);
    // One that stays on the processor makes the engine as slow as that.
    let pairs = Routes::scan(&folder(Engine::Marian)).unwrap_or_default();
    let mut runs_on = pairs
        .pairs()
        .iter()
        .map(|pair| device_of(&pair.directory, device));
    let translator = runs_on.find(|found| *found != device).unwrap_or(device);
    let devices = [
        (
            "transcribe",
            name(transcribes_on_gpu(&settings.transcribe, device)),
        ),
        ("translate", name(translator == Device::Cuda)),
        ("embed", onnx),
        ("condition", onnx),
        ("synthesize", name(decoder == Device::Cuda)),
        ("base_voice", onnx),
    ];
    let settings = settings.models.clone();
    let catalogue = Catalogue::load(None).inspect_err(|error| {
        tracing::warn!(
            error = error_chain(error),
            "the models that can be pulled are not known"
        );
    });
    let known = catalogue.iter().flat_map(|catalogue| &catalogue.models);
    let pullable = known.filter(|model| matches!(model.engine, Engine::Xtts | Engine::Piper));
    Inventory {
        pullable: pullable.map(|model| model.id.clone()).collect(),
        models: Box::new(move || models(&settings)),
        devices: devices.into(),
    }
}

/// The models that the manifest lists; `None` while it cannot be read, which the engines tell of.
fn models(settings: &ModelSettings) -> Option<Vec<InstalledModel>> {
    let registry = Registry::open(&settings.path, &settings.accept_licenses).ok()?;
    let catalogue = Catalogue::load(None).ok();
    let memory_bytes = |model: &Model| {
        let known = catalogue.as_ref()?.model(&model.id)?;
        Some(known.memory_mb.saturating_mul(1_000_000))
    };
    let installed = |model: &Model| InstalledModel {
        id: model.id.clone(),
        kind: model.engine.as_str(),
        languages: languages(model, registry.directory()),
        size_bytes: model.size_bytes(),
        memory_bytes: memory_bytes(model),
        licence: model.licence.clone(),
        is_usable: registry.may_use(model),
        engine: match model.engine {
            Engine::Vad | Engine::Whisper => "transcribe",
            Engine::Marian => "translate",
            Engine::Openvoice => "embed",
            Engine::Xtts => "synthesize",
            Engine::Piper => "base_voice",
        },
    };
    let all = Engine::ALL.into_iter();
    let models = all.flat_map(|engine| registry.models(engine).map(installed));
    Some(models.collect())
}

/// The languages that a model covers, by their codes; of one that translates, its source first. `multilingual`,
/// `any` or `unknown` where nothing more can be told.
pub(crate) fn languages(model: &Model, directory: &Path) -> Vec<String> {
    match model.engine {
        Engine::Whisper => {
            let mut files = model.files.iter();
            let is_english = files.all(|file| file.path.to_string_lossy().contains(".en."));
            vec![if is_english { "en" } else { "multilingual" }.to_owned()]
        }
        Engine::Marian => {
            let source = model.source.as_deref().unwrap_or("?").to_owned();
            let targets = model.targets.iter().cloned();
            std::iter::once(source).chain(targets).collect()
        }
        Engine::Xtts => match XttsMetadata::read(&directory.join("xtts")) {
            Ok(spoken) => {
                let languages = spoken.languages.iter();
                let spoken = languages.filter(|language| spoken.speaks(**language));
                spoken.map(ToString::to_string).collect()
            }
            Err(_) => vec!["unknown".to_owned()],
        },
        Engine::Piper => {
            let graphs = model.files.iter().map(|file| directory.join(&file.path));
            let graphs = graphs.filter(|path| path.extension().is_some_and(|e| e == "onnx"));
            let language = |graph: std::path::PathBuf| match PiperVoice::read(&graph) {
                Ok(voice) => voice.language().to_string(),
                Err(_) => "unknown".to_owned(),
            };
            graphs.map(language).collect()
        }
        Engine::Openvoice | Engine::Vad => vec!["any".to_owned()],
    }
}
