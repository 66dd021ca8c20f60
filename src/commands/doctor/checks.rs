//! The checks. None changes anything that stays.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{Check, voices};
use crate::app;
use crate::commands::healthcheck::{get, local_url};
use crate::commands::human_bytes;
use crate::config::{DeviceChoice, Settings, Warning};
use crate::error::error_chain;
use crate::onnx::{Device, Onnx, cuda};
use crate::registry::{CheckedFiles, Engine, Registry, RegistryError};
use crate::stages::synthesize::{XttsMetadata, decoder_device};
use crate::stages::translate::Routes;
use crate::stages::translate::marian::device_of;

/// What to do about a model that cannot be used.
const UNUSABLE_MODEL: &str = "`translator models pull` fetches it, `translator models lock` registers one that you put there; or accept its licence";

pub(super) fn settings(warnings: &[Warning]) -> Vec<Check> {
    if warnings.is_empty() {
        return vec![Check::ok("settings", "valid")];
    }
    let warn = |warning: &Warning| {
        let hint = format!("correct {} or unset it", warning.variable);
        Check::warn("settings", warning.to_string(), hint)
    };
    warnings.iter().map(warn).collect()
}

/// The library and the device that graphs run on.
pub(super) fn onnxruntime(settings: &Settings) -> Vec<Check> {
    let library = app::onnxruntime_library(settings);
    let device = app::device(settings, &library);
    let onnx = match Onnx::load(&library, device) {
        Ok(onnx) => onnx,
        Err(error) => {
            let hint = "`make setup` installs it, or set ORT_DYLIB_PATH to libonnxruntime.so of version 1.24 or later";
            return vec![Check::fail("onnxruntime", error_chain(&error), hint)];
        }
    };
    // The loader may have searched for it.
    let library = cuda::loaded_from(&library).unwrap_or(library);
    let version = version_of(&library).unwrap_or_else(|| "version not known".to_owned());
    let loaded = Check::ok("onnxruntime", format!("{version}, {}", library.display()));
    let whisper = whisper_device(settings, device);
    let device = match (device, onnx.require_device()) {
        (Device::Cuda, Ok(())) => Check::ok(
            "device",
            format!("cuda (CUDAExecutionProvider), {}", cuda_devices()),
        ),
        (Device::Cuda, Err(error)) => Check::fail(
            "device",
            error_chain(&error),
            "set device = \"cpu\" under [models], or install onnxruntime-gpu with CUDA and cuDNN",
        ),
        (Device::Cpu, Err(error)) => Check::fail(
            "device",
            error_chain(&error),
            "install another ONNX Runtime",
        ),
        (Device::Cpu, Ok(())) => {
            let chosen = match settings.models.device {
                DeviceChoice::Auto => {
                    cuda::obstacle(&library).unwrap_or_else(|| "cuda does not work".to_owned())
                }
                DeviceChoice::Cpu | DeviceChoice::Cuda => "by the settings".to_owned(),
            };
            Check::ok("device", format!("cpu (CPUExecutionProvider), {chosen}"))
        }
    };
    vec![loaded, device, whisper]
}

/// The devices and the driver, as the driver tells.
fn cuda_devices() -> String {
    let devices = cuda::devices();
    let names = devices.as_ref().map(|found| found.names.join(", "));
    let name = names
        .filter(|names| !names.is_empty())
        .unwrap_or_else(|| "a device without a name".to_owned());
    match devices.and_then(|found| found.driver_version) {
        Some(version) => format!("{name}, driver {version}"),
        None => name,
    }
}

/// Where whisper.cpp computes: it has CUDA built in, or not.
fn whisper_device(settings: &Settings, onnx: Device) -> Check {
    const NAME: &str = "whisper device";
    let is_built_in = cfg!(feature = "cuda");
    let has_driver = cuda::devices().is_some();
    match settings.transcribe.device {
        DeviceChoice::Cuda if !is_built_in => Check::fail(
            NAME,
            "cuda is asked for, and this binary is built without it",
            "build with --features cuda, or set device = \"cpu\" under [transcribe]",
        ),
        DeviceChoice::Cuda if !has_driver => Check::fail(
            NAME,
            "cuda is asked for, and no NVIDIA driver is loaded",
            "set device = \"cpu\" under [transcribe]",
        ),
        DeviceChoice::Cuda => Check::ok(NAME, format!("cuda, {}", cuda_devices())),
        DeviceChoice::Auto if is_built_in && onnx == Device::Cuda => {
            Check::ok(NAME, format!("cuda, {}", cuda_devices()))
        }
        DeviceChoice::Auto if is_built_in => Check::ok(NAME, "cpu, as for the other models"),
        DeviceChoice::Auto if onnx == Device::Cuda => Check::warn(
            NAME,
            "cpu: this binary is built without cuda",
            "build with --features cuda",
        ),
        DeviceChoice::Auto | DeviceChoice::Cpu => Check::ok(NAME, "cpu"),
    }
}

/// The version of a library that was loaded. Its symbols carry it as `VERS_1.24.0`; the library says it
/// only to C callers.
fn version_of(library: &Path) -> Option<String> {
    version_in(&std::fs::read(library).ok()?)
}

fn version_in(library: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"\0VERS_";
    let start = library
        .windows(MARK.len())
        .position(|bytes| bytes == MARK)?;
    let version = library
        .get(start + MARK.len()..)?
        .split(|byte| *byte == 0)
        .next()?;
    let is_version = version.len() < 20
        && version
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    is_version.then(|| String::from_utf8_lossy(version).into_owned())
}

/// What each engine would load.
pub(super) fn models(settings: &Settings) -> Vec<Check> {
    let models = &settings.models;
    let registry = match Registry::open(&models.path, &models.accept_licenses) {
        Ok(registry) => registry,
        Err(error) => {
            let hint = "`translator models pull small` fetches some; or set MODELS_PATH to a folder of models, `translator models lock` writes its manifest";
            return vec![Check::fail("models", error_chain(&error), hint)];
        }
    };
    let directory = registry.directory().display();
    let mut checks = vec![if registry.manifest().fixture {
        let hint = "their output is noise: set MODELS_PATH to real models";
        Check::warn(
            "models",
            format!("{directory} holds tiny models for tests"),
            hint,
        )
    } else {
        Check::ok("models", directory.to_string())
    }];
    let device = app::device(settings, &app::onnxruntime_library(settings));
    // Every byte is read, whatever the daemon remembers.
    let checked = CheckedFiles::default();
    for engine in [
        Engine::Whisper,
        Engine::Marian,
        Engine::Openvoice,
        Engine::Xtts,
    ] {
        checks.push(match registry.verified_folder(engine, &checked) {
            Ok(folder) => runs_on(device, engine, &folder, describe(&registry, engine)),
            Err(RegistryError::NotInstalled(Engine::Xtts)) if voices::are_there(settings) => {
                Check::warn(
                    engine.as_str(),
                    "not installed: base voices speak everything",
                    "to hear the sender's voice, put XTTS v2 into the folder xtts and run `translator models lock`",
                )
            }
            Err(error) => Check::fail(engine.as_str(), error_chain(&error), UNUSABLE_MODEL),
        });
    }
    if registry.models(Engine::Piper).next().is_some() {
        let name = Engine::Piper.as_str();
        checks.push(match registry.verified_folder(Engine::Piper, &checked) {
            Ok(_) => Check::ok(name, describe(&registry, Engine::Piper)),
            Err(error) => Check::fail(name, error_chain(&error), UNUSABLE_MODEL),
        });
    }
    checks.push(match registry.vad_file(&checked) {
        Ok(Some(_)) => Check::ok(Engine::Vad.as_str(), describe(&registry, Engine::Vad)),
        Ok(None) => Check::warn(
            Engine::Vad.as_str(),
            "not installed: music and noise are taken for speech",
            "`translator models pull vad-silero` fetches it",
        ),
        Err(error) => Check::fail(Engine::Vad.as_str(), error_chain(&error), UNUSABLE_MODEL),
    });
    checks
}

/// A model that is as it should be, unless its decoder stays on the processor where there is a better device.
fn runs_on(device: Device, engine: Engine, folder: &Path, detail: String) -> Check {
    let name = engine.as_str();
    let left: Vec<String> = match engine {
        _ if device == Device::Cpu => Vec::new(),
        Engine::Xtts if decoder_device(folder, device) != device => vec!["its decoder".to_owned()],
        Engine::Marian => match Routes::scan(folder) {
            Ok(routes) => {
                let pairs = routes.pairs().iter();
                let left = pairs.filter(|pair| device_of(&pair.directory, device) != device);
                left.map(|pair| pair.name.to_string()).collect()
            }
            Err(error) => return Check::fail(name, error_chain(&error), UNUSABLE_MODEL),
        },
        _ => Vec::new(),
    };
    if left.is_empty() {
        return Check::ok(name, detail);
    }
    Check::warn(
        name,
        format!("{detail}; on the processor: {}", left.join(", ")),
        "CUDA has the attention of decoders in 16-bit floats only: export with --precisions fp32,int8r,fp16",
    )
}

fn describe(registry: &Registry, engine: Engine) -> String {
    let models: Vec<_> = registry.models(engine).collect();
    let bytes = models.iter().map(|model| model.size_bytes()).sum();
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let folder = registry.directory().join(engine.as_str());
    let covers = match engine {
        Engine::Marian => Routes::scan(&folder)
            .map(|routes| format!(", {} pairs", routes.pairs().len()))
            .ok(),
        Engine::Xtts => XttsMetadata::read(&folder)
            .map(|xtts| {
                let spoken = xtts
                    .languages
                    .iter()
                    .filter(|language| xtts.speaks(**language));
                format!(", {} languages", spoken.count())
            })
            .ok(),
        Engine::Whisper | Engine::Openvoice | Engine::Piper | Engine::Vad => None,
    };
    format!(
        "{} intact, {}{}",
        ids.join(" "),
        human_bytes(bytes),
        covers.unwrap_or_default()
    )
}

/// Whether the daemon's ports are free, or its own already.
pub(super) fn ports(settings: &Settings) -> Vec<Check> {
    let is_running = get(&local_url(&settings.http, "/live"))
        .is_ok_and(|body| body.contains(env!("CARGO_PKG_NAME")));
    let zmq = &settings.zmq;
    // An interface's name is bound by libzmq only; any address of it will do here.
    let zmq_address = if zmq.bind_address.parse::<std::net::IpAddr>().is_ok() {
        zmq.bind_address.as_str()
    } else {
        "0.0.0.0"
    };
    [
        (
            "requests port",
            zmq_address,
            zmq.pull_port,
            "TRANSLATOR_ZMQ_PULL_PORT",
        ),
        (
            "events port",
            zmq_address,
            zmq.pub_port,
            "TRANSLATOR_ZMQ_PUB_PORT",
        ),
        (
            "http port",
            settings.http.bind_address.as_str(),
            settings.http.port,
            "HTTP_PORT",
        ),
    ]
    .into_iter()
    .map(|(name, address, port, variable)| {
        let error = match TcpListener::bind((address, port)) {
            Ok(_) => return Check::ok(name, format!("{address}:{port} is free")),
            Err(error) => error,
        };
        if error.kind() == std::io::ErrorKind::AddrInUse && is_running {
            return Check::ok(
                name,
                format!("{address}:{port} is used by a running daemon"),
            );
        }
        let hint = format!("stop what uses it, or set {variable}");
        Check::fail(
            name,
            format!("{address}:{port} cannot be bound: {error}"),
            hint,
        )
    })
    .collect()
}

/// Whether files can be made in a folder, or in the one that it would be created in.
pub(super) fn writable(name: &'static str, folder: &Path) -> Check {
    let existing = existing(folder);
    let shown = folder.display();
    match tempfile::tempfile_in(existing) {
        Ok(_) if existing == folder => Check::ok(name, format!("{shown} can be written")),
        Ok(_) => Check::ok(name, format!("{shown} will be created")),
        Err(error) => {
            let hint = format!(
                "let this user write to {}, or choose another folder",
                existing.display()
            );
            Check::fail(name, format!("{shown} cannot be written: {error}"), hint)
        }
    }
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> &Path {
    folder
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("."))
}

/// Free space that lets a daemon work for a while: a thousand recordings with their speech.
const MIN_FREE_BYTES: u64 = 512 << 20;

/// Whether the ledger has room.
pub(super) fn disk(settings: &Settings) -> Check {
    let (name, least) = ("disk space", MIN_FREE_BYTES);
    let folder = existing(&settings.data_dir);
    let Some(free) = free_bytes(folder) else {
        let hint = "`df` did not tell";
        return Check::warn(name, format!("not known for {}", folder.display()), hint);
    };
    let detail = format!(
        "{} free for {}",
        human_bytes(free),
        settings.data_dir.display()
    );
    if free >= least {
        return Check::ok(name, detail);
    }
    let hint = format!(
        "{} are needed to accept recordings for a while: make room, or move data_dir",
        human_bytes(least)
    );
    Check::fail(name, detail, hint)
}

/// Free bytes for ordinary users on the folder's file system. POSIX has `df`; std has no call for it.
fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = folder.canonicalize().ok()?;
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    available(&String::from_utf8_lossy(&output.stdout))
}

/// The fourth column of `df -Pk`, in bytes.
fn available(output: &str) -> Option<u64> {
    let line = output.lines().nth(1)?;
    // Device names may hold spaces: columns are counted from the one with the percentage.
    let columns: Vec<&str> = line.split_whitespace().collect();
    let capacity = columns.iter().position(|column| column.ends_with('%'))?;
    let kibibytes: u64 = columns.get(capacity.checked_sub(1)?)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Whether MongoDB answers, when one is configured.
pub(super) async fn database(settings: &Settings) -> Check {
    let name = "mongodb";
    let Some(store) = app::mongo_store(settings) else {
        return Check::ok(name, "not configured: results go to the gateway only");
    };
    match store.ping().await {
        Ok(()) => Check::ok(name, "reachable"),
        // Jobs are done without it; writes wait in the ledger.
        Err(error) => Check::warn(
            name,
            error_chain(&error),
            "start it or correct DATABASE_URL; until then documents wait",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn settings_with(environment: &[(&str, String)]) -> Settings {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        Settings::load(None, environment).unwrap().0
    }

    #[test]
    fn free_space_is_read_from_df() {
        let output = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                      a b        100000  40000     60000      40% /data of mine\n";
        assert_eq!(available(output), Some(60_000 * 1024));
        assert_eq!(available(""), None);
        assert_eq!(available("x\n/dev/sda 1 2 many 4% /\n"), None);
        assert!(free_bytes(Path::new(".")).is_some());
    }

    #[test]
    fn the_version_of_a_library_is_in_its_symbols() {
        assert_eq!(version_in(b"x\0VERS_1.24.0\0y").as_deref(), Some("1.24.0"));
        assert_eq!(version_in(b"x\0VERS_SECRET\0y"), None);
        assert_eq!(version_in(b"nothing"), None);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b");
        let check = writable("data folder", &new);
        assert_eq!(check.status, Status::Ok, "{check:?}");
        assert!(!new.exists(), "nothing is created");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(existing(&file.join("below")), folder.path());
    }

    #[test]
    fn a_port_of_another_program_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port().to_string();
        let settings = settings_with(&[
            ("TRANSLATOR_ZMQ_BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("TRANSLATOR_HTTP_BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("TRANSLATOR_ZMQ_PULL_PORT", taken),
            ("TRANSLATOR_ZMQ_PUB_PORT", "0".to_owned()),
            ("HTTP_PORT", "0".to_owned()),
        ]);
        let statuses: Vec<Status> = ports(&settings).iter().map(|check| check.status).collect();
        assert_eq!(statuses, [Status::Fail, Status::Ok, Status::Ok]);
    }

    #[test]
    fn missing_models_are_a_failure() {
        let settings = settings_with(&[("MODELS_PATH", "no-such-folder".to_owned())]);
        assert_eq!(models(&settings)[0].status, Status::Fail);
    }

    #[tokio::test]
    async fn no_database_is_fine_and_a_lost_one_a_warning() {
        assert_eq!(database(&settings_with(&[])).await.status, Status::Ok);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = format!("mongodb://user:secret@127.0.0.1:{port}/db");
        let mut settings = settings_with(&[("DATABASE_URL", url)]);
        settings.mongo.selection_timeout_ms = 100;
        let check = database(&settings).await;
        assert_eq!(check.status, Status::Warn);
        assert!(!check.detail.contains("secret"), "{}", check.detail);
    }
}
