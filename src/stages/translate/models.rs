//! Loaded checkpoints.

use std::path::Path;
use std::sync::Arc;

use super::error::ModelError;
use super::marian::Marian;
use super::route::Pair;
use super::{Precision, TranslateOptions};
use crate::onnx::Onnx;

/// The checkpoints in memory, at most as many as the options say. The least recently used one leaves
/// when another is needed.
pub struct Models {
    onnx: Onnx,
    precision: Precision,
    threads: usize,
    capacity: usize,
    loaded: Vec<Loaded>,
    /// Counts uses; the higher, the later.
    clock: u64,
}

struct Loaded {
    name: Arc<str>,
    model: Marian,
    used_at: u64,
}

impl Models {
    /// No checkpoint yet.
    pub fn new(onnx: Onnx, options: &TranslateOptions) -> Self {
        Self {
            onnx,
            precision: options.precision,
            threads: options.threads,
            capacity: options.max_loaded_models.max(1),
            loaded: Vec::new(),
            clock: 0,
        }
    }

    /// Tells whether [`get`](Self::get) can serve a pair now without taking a checkpoint away from
    /// the pairs in `busy`.
    pub fn has_room_for(&self, pair: &str, busy: &[Arc<str>]) -> bool {
        self.position(pair).is_some()
            || self.loaded.len() < self.capacity
            || self
                .loaded
                .iter()
                .any(|loaded| !busy.contains(&loaded.name))
    }

    /// The checkpoint of a pair, loaded if it is not there, in place of one that is not in `busy`.
    ///
    /// # Errors
    /// The checkpoint cannot be loaded.
    pub fn get(&mut self, pair: &Pair, busy: &[Arc<str>]) -> Result<&mut Marian, ModelError> {
        self.clock += 1;
        let index = match self.position(&pair.name) {
            Some(index) => index,
            None => {
                self.make_room(busy);
                let model = self.load(&pair.name, &pair.directory)?;
                self.loaded.push(Loaded {
                    name: Arc::clone(&pair.name),
                    model,
                    used_at: 0,
                });
                self.loaded.len() - 1
            }
        };
        let loaded = &mut self.loaded[index];
        loaded.used_at = self.clock;
        Ok(&mut loaded.model)
    }

    fn position(&self, pair: &str) -> Option<usize> {
        self.loaded.iter().position(|loaded| &*loaded.name == pair)
    }

    fn make_room(&mut self, busy: &[Arc<str>]) {
        while self.loaded.len() >= self.capacity {
            let least_recent = self
                .loaded
                .iter()
                .enumerate()
                .filter(|(_, loaded)| !busy.contains(&loaded.name))
                .min_by_key(|(_, loaded)| loaded.used_at)
                .map(|(index, _)| index);
            let Some(index) = least_recent else { return };
            let left = self.loaded.swap_remove(index);
            tracing::debug!(pair = &*left.name, "translation model unloaded");
        }
    }

    fn load(&self, name: &str, directory: &Path) -> Result<Marian, ModelError> {
        let started = std::time::Instant::now();
        let model = Marian::load(&self.onnx, directory, self.precision, self.threads)?;
        tracing::info!(
            pair = name,
            duration_ms = started.elapsed().as_millis() as u64,
            "translation model loaded"
        );
        Ok(model)
    }
}
