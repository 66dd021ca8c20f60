//! The only place that builds ONNX Runtime sessions.
//!
//! The library is loaded at run time, so that one binary serves CPU and CUDA: which of them is
//! possible is a property of the library file.

pub mod cuda;
mod in_place;
mod kernels;
mod memory;
mod row_caches;
#[cfg(test)]
pub(crate) mod testing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{ArenaExtendStrategy, CUDA};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

pub use in_place::{CacheView, InPlaceBinding};
pub use memory::{Floats, Place};
pub use row_caches::{CacheNames, RowCaches};

/// Why a session could not be built.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The shared library is missing, too old, or not ONNX Runtime.
    #[error(
        "ONNX Runtime could not be loaded from {path}; run `make setup`, or set ORT_DYLIB_PATH to libonnxruntime.so (1.24 or later)"
    )]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The device that the configuration asks for is not there.
    #[error("device `cuda` was asked for, but {obstacle}; or set device = \"cpu\"")]
    NoCuda {
        /// What is missing.
        obstacle: String,
    },
    /// The device is there, and cannot be used.
    #[error(
        "device `cuda` was asked for, but ONNX Runtime's CUDA provider did not start; it needs CUDA 13 and cuDNN 9 beside the driver, or set device = \"cpu\""
    )]
    Cuda(#[source] ort::Error),
    /// A model file could not be made a session.
    #[error("{path} could not be loaded as an ONNX model")]
    Model {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime said.
        #[source]
        source: ort::Error,
    },
    /// The memory for the caches of a decoder is not to be had.
    #[error(
        "{bytes} bytes for a key/value cache are not available; lower synthesize.slots or translate.max_batch_rows"
    )]
    CacheMemory {
        /// What was asked for.
        bytes: usize,
        /// What ONNX Runtime said.
        #[source]
        source: ort::Error,
    },
    /// The caches of a graph are of another type than it can be run with.
    #[error("the caches of the graph do not all hold floats of 32 bits, or all of 16")]
    CacheKind,
    /// A graph has no kernel for its caches on the device.
    #[error(
        "the graph reads {name:?} in the memory `{found}`: its attention does not run on the device"
    )]
    Elsewhere {
        /// Name of the input.
        name: String,
        /// What ONNX Runtime calls the memory.
        found: String,
    },
    /// A graph lacks an input or output that its kind has.
    #[error("the graph has no {name:?}")]
    MissingTensor {
        /// Name of the input or output.
        name: String,
    },
    /// A call failed that loads no model.
    #[error("ONNX Runtime failed")]
    Runtime(#[from] ort::Error),
}

/// Where graphs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first CUDA device. Never falls back to the processor in silence.
    Cuda,
}

/// A loaded ONNX Runtime with the settings that all sessions share. Cheap to clone.
#[derive(Clone)]
pub struct Onnx {
    environment: Environment,
    device: Device,
    library: Arc<Path>,
}

/// A model that gives back the bytes of `x` as `y`: opset 13, one Identity.
const IDENTITY: &[u8] =
    b"\x08\x08:9\n\x10\n\x01x\x12\x01y\"\x08Identity\x12\x01gZ\x10\n\x01x\x12\x0b\n\x09\x08\x02\
\x12\x05\n\x03\x12\x01nb\x10\n\x01y\x12\x0b\n\x09\x08\x02\x12\x05\n\x03\x12\x01nB\x02\x10\r";

impl Onnx {
    /// Loads the library once per process; later calls reuse it.
    ///
    /// # Errors
    /// The library is missing or older than 1.24, or cannot build a session.
    pub fn load(library: &Path, device: Device) -> Result<Self, OnnxError> {
        // ort refuses a second environment in a process, even after an engine is built again.
        static LOADED: Mutex<(Option<Environment>, bool)> = Mutex::new((None, false));
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let (environment, knows_kernels) = &mut *loaded;
        let onnx = Self {
            environment: match environment {
                Some(environment) => environment.clone(),
                None => environment.insert(Self::environment(library)?).clone(),
            },
            device: Device::Cpu,
            library: library.into(),
        };
        // The first session of a process makes the domain of our kernels known, in a table without a lock: no other
        // session may begin beside it.
        if !*knows_kernels {
            onnx.identity()?;
            *knows_kernels = true;
        }
        Ok(onnx.on(device))
    }

    fn environment(library: &Path) -> Result<Environment, OnnxError> {
        let library_error = |source: Box<dyn std::error::Error + Send + Sync>| OnnxError::Library {
            path: library.to_owned(),
            source,
        };
        ort::init_from(library)
            .map_err(|e| library_error(Box::new(e)))?
            .with_name("translator")
            .with_telemetry(false)
            .build()
            .map_err(|e| library_error(Box::new(e)))
    }

    /// The device that sessions run on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The same library with sessions on another device.
    pub fn on(&self, device: Device) -> Self {
        Self {
            environment: self.environment.clone(),
            device,
            library: Arc::clone(&self.library),
        }
    }

    /// Makes sure that sessions can run on the device, with the smallest one there is.
    ///
    /// # Errors
    /// The device cannot be used; the error says what is missing.
    pub fn require_device(&self) -> Result<(), OnnxError> {
        if self.device == Device::Cuda
            && let Some(obstacle) = cuda::obstacle(&self.library)
        {
            return Err(OnnxError::NoCuda { obstacle });
        }
        self.identity().map(drop)
    }

    /// The smallest model there is, on the device.
    fn identity(&self) -> Result<Session, OnnxError> {
        // Caches are in its memory; taking twice as much whenever there is not enough would be too much.
        let cuda = CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
        let session = self.builder(1, cuda)?.commit_from_memory(IDENTITY);
        session.map_err(|error| match self.device {
            Device::Cpu => OnnxError::Runtime(error),
            Device::Cuda => OnnxError::Cuda(error),
        })
    }

    /// Builds a session for one model file with `threads` threads inside an operator.
    ///
    /// Threads do not spin while they wait: several engines share the cores.
    ///
    /// # Errors
    /// The file is missing or no valid model, or the device cannot be used.
    pub fn session(&self, path: &Path, threads: usize) -> Result<Session, OnnxError> {
        let mut builder = self.builder(threads, CUDA::default())?;
        builder
            .commit_from_file(path)
            .map_err(|source| OnnxError::Model {
                path: path.to_owned(),
                source,
            })
    }

    fn builder(&self, threads: usize, cuda: CUDA) -> Result<SessionBuilder, OnnxError> {
        let refused = |e: ort::Error<SessionBuilder>| OnnxError::Runtime(e.into());
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(refused)?
            .with_intra_threads(threads.max(1))
            .map_err(refused)?
            .with_intra_op_spinning(false)
            .map_err(refused)?
            .with_operators(kernels::domain()?)
            .map_err(refused)?;
        match self.device {
            Device::Cpu => Ok(builder),
            Device::Cuda => builder
                .with_execution_providers([cuda.build().error_on_failure()])
                .map_err(|e| OnnxError::Cuda(e.into())),
        }
    }
}
