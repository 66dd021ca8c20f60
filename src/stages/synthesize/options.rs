//! What an operator may choose about synthesis.

use std::path::Path;

use super::metadata::XttsMetadata;
use super::sampler::SamplingHints;
use crate::onnx::Device;

/// The number format of the decoder's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: for comparison with the reference.
    Fp32,
    /// 8-bit integers with one activation scale for each row: a third of the time on a processor,
    /// and results that do not depend on the neighbours in the batch, to the bit.
    Int8r,
    /// 16-bit floats: the only ones in which CUDA has the decoder's attention.
    Fp16,
}

impl Precision {
    /// The file of the decoder.
    pub(super) fn decoder_file(self) -> &'static str {
        match self {
            Self::Fp32 => "gpt_batched.onnx",
            Self::Int8r => "gpt_batched.int8r.onnx",
            Self::Fp16 => "gpt_batched.fp16.onnx",
        }
    }

    /// Bytes of a slot of the full length.
    pub(super) fn slot_bytes(self, metadata: &XttsMetadata) -> usize {
        let number = match self {
            Self::Fp32 | Self::Int8r => size_of::<f32>(),
            Self::Fp16 => size_of::<half::f16>(),
        };
        metadata.max_positions() * metadata.cache_numbers_per_position() * number
    }
}

/// Which decoder is used, and where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoder {
    pub(super) precision: Precision,
    pub(super) device: Device,
}

/// Where the decoder of the model in `directory` runs if `device` is there: on CUDA only with 16-bit floats.
pub fn decoder_device(directory: &Path, device: Device) -> Device {
    SynthesizeOptions::default()
        .decoder(directory, device)
        .device
}

/// Settings of [`XttsEngine`](super::XttsEngine).
#[derive(Debug, Clone)]
pub struct SynthesizeOptions {
    /// Threads inside an operator of the decoder.
    pub threads: usize,
    /// Windows of speech that are computed at once, each with its share of as many threads. Each takes memory
    /// for a graph of its own: 71 MB of weights with XTTS v2, and what the layers need.
    pub vocoders: usize,
    /// Units that are decoded together.
    pub slots: usize,
    /// Most memory for the key/value cache; there are fewer slots when it does not hold `slots` of the full
    /// length. A slot of XTTS v2 takes 255 MB then, 63 MB until a sentence is long, and none until it is needed; half
    /// of it with fp16.
    pub max_cache_bytes: usize,
    /// `None`: on CUDA fp16 where the model has it, else on the processor int8r where it has that, else fp32, else
    /// whatever it has.
    pub precision: Option<Precision>,
    /// In place of the model's own defaults.
    pub sampling: SamplingHints,
}

impl Default for SynthesizeOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            vocoders: 1,
            slots: 12,
            // Twelve slots of XTTS v2: a step of twelve rows costs each a fifth less than one of eight, a step of
            // sixteen not much less again.
            max_cache_bytes: 3 << 30,
            precision: None,
            sampling: SamplingHints::default(),
        }
    }
}

impl SynthesizeOptions {
    /// The decoder in the model's directory, and where it runs if `device` is there.
    pub(super) fn decoder(&self, directory: &Path, device: Device) -> Decoder {
        let exists = |precision: Precision| directory.join(precision.decoder_file()).is_file();
        let precision = match (self.precision, device) {
            (Some(precision), _) => precision,
            (None, Device::Cuda) if exists(Precision::Fp16) => Precision::Fp16,
            (None, _) if exists(Precision::Int8r) => Precision::Int8r,
            (None, _) if !exists(Precision::Fp32) && exists(Precision::Fp16) => Precision::Fp16,
            (None, _) => Precision::Fp32,
        };
        Decoder {
            precision,
            device: match precision {
                Precision::Fp16 => device,
                Precision::Fp32 | Precision::Int8r => Device::Cpu,
            },
        }
    }

    /// The file of the vocoder there: the quantized one where there is one, the device runs it and nothing else
    /// is asked for.
    pub(super) fn vocoder_file(&self, directory: &Path, device: Device) -> &'static str {
        const INT8: &str = "vocoder_frames.int8.onnx";
        let may_be_int8 = device == Device::Cpu && self.precision != Some(Precision::Fp32);
        if may_be_int8 && directory.join(INT8).is_file() {
            INT8
        } else {
            "vocoder_frames.onnx"
        }
    }

    /// Slots for which the memory is enough; at least one.
    pub(super) fn slots_within_memory(
        &self,
        metadata: &XttsMetadata,
        precision: Precision,
    ) -> usize {
        let affordable = self.max_cache_bytes / precision.slot_bytes(metadata).max(1);
        self.slots.min(affordable).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::synthesize::metadata::tests::xtts_v2;

    #[test]
    fn a_quantized_vocoder_is_taken_where_it_helps() {
        let folder = tempfile::tempdir().unwrap();
        let file = |precision, device| {
            let options = SynthesizeOptions {
                precision,
                ..Default::default()
            };
            options.vocoder_file(folder.path(), device)
        };
        assert_eq!(file(None, Device::Cpu), "vocoder_frames.onnx");
        std::fs::write(folder.path().join("vocoder_frames.int8.onnx"), "").unwrap();
        for precision in [None, Some(Precision::Int8r)] {
            assert_eq!(file(precision, Device::Cpu), "vocoder_frames.int8.onnx");
        }
        assert_eq!(file(None, Device::Cuda), "vocoder_frames.onnx");
        let exact = file(Some(Precision::Fp32), Device::Cpu);
        assert_eq!(exact, "vocoder_frames.onnx");
    }

    #[test]
    fn cuda_runs_the_decoder_that_it_has_kernels_for() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = |precision, device| {
            let options = SynthesizeOptions {
                precision,
                ..Default::default()
            };
            let decoder = options.decoder(folder.path(), device);
            (decoder.precision, decoder.device)
        };
        let make = |precision: Precision| {
            std::fs::write(folder.path().join(precision.decoder_file()), "").unwrap();
        };
        let [cpu, cuda] = [Device::Cpu, Device::Cuda];
        assert_eq!(decoder(None, cuda), (Precision::Fp32, cpu));
        make(Precision::Int8r);
        assert_eq!(decoder(None, cuda), (Precision::Int8r, cpu));
        make(Precision::Fp16);
        assert_eq!(decoder(None, cuda), (Precision::Fp16, cuda));
        assert_eq!(decoder(None, cpu), (Precision::Int8r, cpu));
        assert_eq!(decoder(Some(Precision::Fp32), cuda), (Precision::Fp32, cpu));
        assert_eq!(decoder(Some(Precision::Fp16), cpu), (Precision::Fp16, cpu));
        std::fs::remove_file(folder.path().join("gpt_batched.int8r.onnx")).unwrap();
        assert_eq!(decoder(None, cpu), (Precision::Fp16, cpu));
    }

    #[test]
    fn memory_bounds_the_slots() {
        let metadata = xtts_v2();
        let slots = |max_cache_bytes, slots, precision| {
            let options = SynthesizeOptions {
                slots,
                max_cache_bytes,
                ..Default::default()
            };
            options.slots_within_memory(&metadata, precision)
        };
        assert_eq!(slots(3 << 30, 16, Precision::Int8r), 12);
        assert_eq!(slots(3 << 30, 4, Precision::Int8r), 4);
        assert_eq!(slots(16 << 30, 16, Precision::Int8r), 16);
        assert_eq!(slots(1, 16, Precision::Int8r), 1);
        assert_eq!(slots(3 << 30, 32, Precision::Fp16), 25);
    }
}
