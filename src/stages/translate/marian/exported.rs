//! Graphs of our own export: `encoder.onnx` and `decoder.onnx`, or the same with `.int8r` or `.fp16` before `.onnx`.
//!
//! The encoder also projects every decoder layer's cross-attention keys and values. One decoder graph decodes
//! one token of every row, each at its own position; it writes the row's keys and values behind the earlier ones, in
//! place, and sorts out the best tokens, so that only those leave it.

use std::path::{Path, PathBuf};

use ort::session::Session;

use super::graph::{SourceBatch, ids_tensor};
use super::metadata::Checkpoint;
use super::search::{Continuations, SearchRules};
use super::slots::{DecoderLayout, Encoded, Slots};
use crate::onnx::{CacheNames, Device, Onnx, Place};
use crate::stages::translate::Precision;
use crate::stages::translate::error::ModelError;

/// The two sessions and the names of their tensors.
pub struct ExportedGraphs {
    encoder: Session,
    decoder: Session,
    cross_names: Vec<String>,
    layout: DecoderLayout,
}

impl ExportedGraphs {
    /// Loads both graphs of a model directory: on CUDA those of 16-bit floats, in which it has the attention that works
    /// in place. Where those are missing, and without CUDA, they run on the processor, quantized ones if `precision`
    /// prefers them and they are there.
    ///
    /// # Errors
    /// A file is missing or no graph of this kind.
    pub fn load(
        onnx: &Onnx,
        directory: &Path,
        checkpoint: &Checkpoint,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let (files, device) = graph_files(directory, precision, onnx.device());
        if device != onnx.device() {
            tracing::warn!(
                directory = %directory.display(),
                "a translation model runs on the processor: for CUDA export it with --precisions fp32,int8r,fp16"
            );
        }
        let onnx = onnx.on(device);
        Self::open(&onnx, &Place::of(&onnx)?, &files, checkpoint, threads)
    }

    /// Loads encoder and decoder, with caches in `place`, where `onnx` has its memory.
    pub(super) fn open(
        onnx: &Onnx,
        place: &Place,
        [encoder, decoder]: &[PathBuf; 2],
        checkpoint: &Checkpoint,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let [encoder, decoder] = [
            onnx.session(encoder, threads)?,
            onnx.session(decoder, threads)?,
        ];
        let caches = || {
            (0..checkpoint.layers)
                .flat_map(|layer| ["key", "value"].map(|kind| format!("{kind}_{layer}")))
        };
        let cross_names: Vec<_> = caches().map(|name| format!("cross_{name}")).collect();
        let past_names: Vec<_> = caches()
            .map(|name| (format!("past_{name}"), format!("present_{name}")))
            .collect();
        Ok(Self {
            layout: DecoderLayout {
                past: CacheNames::overwritten(&decoder, place, &past_names)?,
                cross: CacheNames::read(&decoder, place, &cross_names)?,
                heads: checkpoint.heads,
                head_dim: checkpoint.head_dim,
                suppressed_ids: checkpoint.suppressed_ids.clone(),
            },
            cross_names,
            encoder,
            decoder,
        })
    }

    /// Slots for sentences that are searched by `rules`, none of them taken.
    pub(super) fn slots(&self, rules: &SearchRules) -> Result<Slots, ModelError> {
        Ok(Slots::new(&self.layout, rules)?)
    }

    /// Runs the encoder and gives the sentences slots.
    pub(super) fn join(
        &mut self,
        slots: &mut Slots,
        batch: &SourceBatch,
    ) -> Result<(), ModelError> {
        let shape = [batch.lengths.len(), batch.source_length];
        let mut outputs = self.encoder.run(ort::inputs![
            "input_ids" => ids_tensor(&shape, batch.ids.clone())?,
            "attention_mask" => ids_tensor(&shape, batch.mask.clone())?,
        ])?;
        let cross = self
            .cross_names
            .iter()
            .map(|name| outputs.remove(name).ok_or(ModelError::Output("cross_…")))
            .collect::<Result<_, _>>()?;
        slots.join(&Encoded {
            cross,
            lengths: batch.lengths.clone(),
        })
    }

    /// Decodes one token of every row.
    pub(super) fn step(
        &mut self,
        slots: &mut Slots,
        ids: &[i64],
        parents: &[usize],
    ) -> Result<Continuations, ModelError> {
        slots.step(&mut self.decoder, &self.layout, ids, parents)
    }
}

/// The graph files of a model directory, and where they run if `device` is there. Encoder and decoder belong together.
///
/// On CUDA those of 16 bits; else, on the processor, those of the preferred precision, or whatever there is.
pub(super) fn graph_files(
    directory: &Path,
    precision: Precision,
    device: Device,
) -> ([PathBuf; 2], Device) {
    let are_there = |files: &[PathBuf; 2]| files.iter().all(|file| file.is_file());
    let [float, int8, half] = ["", ".int8r", ".fp16"].map(|suffix| {
        ["encoder", "decoder"].map(|name| directory.join(format!("{name}{suffix}.onnx")))
    });
    if device == Device::Cuda && are_there(&half) {
        return (half, device);
    }
    let preferred = match precision {
        Precision::Int8 => [int8, float.clone()],
        Precision::Fp32 => [float.clone(), int8],
    };
    let found = preferred.into_iter().chain([half]).find(are_there);
    // Where none is whole, the file that is missed is the ordinary one.
    (found.unwrap_or(float), Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantized_graphs_are_taken_together_where_they_are_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let names = |precision| {
            let (files, device) = graph_files(folder.path(), precision, Device::Cpu);
            assert_eq!(device, Device::Cpu);
            files.map(|file| {
                let name = file.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            })
        };
        let make = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let (float, int8) = (
            ["encoder.onnx", "decoder.onnx"],
            ["encoder.int8r.onnx", "decoder.int8r.onnx"],
        );
        assert_eq!(
            (names(Precision::Int8), names(Precision::Fp32)),
            (float.map(String::from), float.map(String::from))
        );
        make("encoder.int8r.onnx");
        assert_eq!(names(Precision::Int8), float);
        make("decoder.int8r.onnx");
        assert_eq!(names(Precision::Int8), int8);
        assert_eq!(names(Precision::Fp32), int8, "there is nothing else");
        float.iter().for_each(|name| make(name));
        assert_eq!(names(Precision::Int8), int8);
        assert_eq!(names(Precision::Fp32), float);

        let on_cuda = || graph_files(folder.path(), Precision::Int8, Device::Cuda);
        let [encoder, decoder] = ["encoder", "decoder"].map(|name| format!("{name}.fp16.onnx"));
        make(&encoder);
        assert_eq!(on_cuda().1, Device::Cpu, "the decoder is missing");
        make(&decoder);
        let files = [encoder, decoder].map(|name| folder.path().join(name));
        assert_eq!(on_cuda(), (files.clone(), Device::Cuda));
        assert_eq!(names(Precision::Int8), int8);
        for name in float.iter().chain(&int8) {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let left = graph_files(folder.path(), Precision::Int8, Device::Cpu);
        assert_eq!(left, (files, Device::Cpu), "there is nothing else");
    }
}
