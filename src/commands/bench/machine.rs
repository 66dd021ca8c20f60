//! What the figures were measured on.

use std::path::Path;

use serde::Serialize;

use crate::onnx::Device;
use crate::registry::{Engine, Model, Registry};

/// Load average, for each core, above which others use the machine.
const MAX_LOAD_PER_CORE: f64 = 0.2;

/// Instruction sets on which the speed of matrix products depends.
const FLAGS: [&str; 10] = [
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
];

/// The machine.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) instructions: Vec<String>,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) system: String,
}

/// A model that was measured.
#[derive(Debug, Serialize)]
pub(super) struct UsedModel {
    pub(super) engine: Engine,
    pub(super) id: String,
    /// Number format of the weights, where the model tells.
    pub(super) precision: String,
    /// SHA-256 over the hashes of the files.
    pub(super) sha256: String,
}

impl Machine {
    pub(super) fn of_this_process() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (processor, instructions) = parse_cpuinfo(&read("/proc/cpuinfo"));
        Self {
            processor,
            instructions,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: parse_memory(&read("/proc/meminfo")),
            system: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// A warning when others use the machine so much that times say little.
    pub(super) fn doubt(&self, load: f64) -> Option<String> {
        (load > MAX_LOAD_PER_CORE * self.cores as f64).then(|| {
            format!(
                "load average {load:.2} on {} cores before the first run: others use the machine, times say little",
                self.cores
            )
        })
    }
}

/// Load average of the last minute; 0 where the system does not tell.
pub(super) fn load_average() -> f64 {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last_minute = loads.split_whitespace().next();
    last_minute
        .and_then(|load| load.parse().ok())
        .unwrap_or_default()
}

fn parse_cpuinfo(cpuinfo: &str) -> (String, Vec<String>) {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let known = field("flags").unwrap_or_default();
    let instructions = FLAGS
        .into_iter()
        .filter(|flag| known.split(' ').any(|known| known == *flag))
        .map(str::to_owned)
        .collect();
    (
        field("model name").unwrap_or("unknown").to_owned(),
        instructions,
    )
}

fn parse_memory(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

/// The models of a folder, as they are used on a device.
pub(super) fn models(registry: &Registry, device: Device) -> Vec<UsedModel> {
    Engine::ALL
        .into_iter()
        .flat_map(|engine| registry.models(engine))
        .map(|model| UsedModel {
            engine: model.engine,
            id: model.id.clone(),
            precision: precision(model, registry.directory(), device),
            sha256: model.fingerprint(),
        })
        .collect()
}

/// What the names of the files that engines prefer say, else the model's description.
fn precision(model: &Model, directory: &Path, device: Device) -> String {
    let names = || {
        model
            .files
            .iter()
            .filter_map(|file| file.path.file_stem()?.to_str())
    };
    if device == Device::Cuda && names().any(|name| name.ends_with(".fp16")) {
        return "fp16".to_owned();
    }
    if names().any(|name| name.ends_with(".int8r")) {
        return "int8r".to_owned();
    }
    if names().any(|name| name.ends_with("_quantized")) {
        return "int8".to_owned();
    }
    if model.engine == Engine::Whisper {
        let suffix = names().find_map(|name| Some(name.rsplit_once("-q")?.1.to_owned()));
        return suffix.map_or_else(|| "f16 or f32".to_owned(), |suffix| format!("q{suffix}"));
    }
    let described = model.files.iter().find_map(|file| {
        if !file.path.ends_with("metadata.json") {
            return None;
        }
        let text = std::fs::read(directory.join(&file.path)).ok()?;
        let metadata: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(metadata.get("precision")?.as_str()?.to_owned())
    });
    described.unwrap_or_else(|| "fp32".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read() {
        let cpuinfo = "processor : 0\nmodel name\t: A CPU 9\nflags\t\t: fpu avx avx2 fma smt\n";
        let (name, flags) = parse_cpuinfo(cpuinfo);
        assert_eq!(name, "A CPU 9");
        assert_eq!(flags, ["avx", "fma", "avx2"]);
        assert_eq!(parse_cpuinfo("").0, "unknown");
        assert_eq!(parse_memory("MemTotal:       2 kB\n"), 2048);
    }

    #[test]
    fn a_busy_machine_is_doubted() {
        let mut machine = Machine::of_this_process();
        machine.cores = 4;
        assert!(machine.doubt(0.8).is_none());
        assert!(machine.doubt(0.9).unwrap().contains("0.90 on 4 cores"));
    }

    #[test]
    fn precisions_of_the_bundled_models_are_known() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
        let registry = Registry::open(&fixtures, &[]).unwrap();
        let precision = |engine, device| {
            let models = models(&registry, device);
            let model = models.iter().find(|model| model.engine == engine).unwrap();
            assert_eq!(model.sha256.len(), 64);
            model.precision.clone()
        };
        assert_eq!(precision(Engine::Xtts, Device::Cpu), "int8r");
        assert_eq!(precision(Engine::Xtts, Device::Cuda), "fp16");
        assert_eq!(precision(Engine::Openvoice, Device::Cuda), "fp32");
    }
}
