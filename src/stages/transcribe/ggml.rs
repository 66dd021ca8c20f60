//! Checks a ggml Whisper file before whisper.cpp reads it.
//!
//! whisper.cpp trusts the file: an implausible size or a missing vocabulary entry ends the process
//! with a C++ exception, a file that stops after the vocabulary is loaded with undefined weights,
//! and the end of the last tensor may be missing. So the file is walked here first; tensor names and
//! shapes are left to whisper.cpp, which checks them.
//!
//! Layout, little endian: magic; eleven i32 hyperparameters; mel filters (i32 bands, i32 bins, f32
//! data); vocabulary (i32 count, then i32 length and bytes for each token); tensors until the end of
//! the file (i32 dimensions, i32 name length, i32 type, i32 sizes, name, data).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// "ggml" read as a little-endian number.
const MAGIC: u32 = 0x6767_6d6c;
/// Frequency bins of Whisper's 400-point FFT.
const FFT_BINS: i32 = 201;
/// A file type holds a quantisation version in its thousands (`GGML_QNT_VERSION_FACTOR`).
const QUANTIZATION_VERSION_FACTOR: i32 = 1000;
/// Bytes of the longest token in any Whisper vocabulary, with room to spare.
const MAX_TOKEN_BYTES: u32 = 1024;
/// Bytes of the longest tensor name, with room to spare.
const MAX_NAME_BYTES: u32 = 256;

/// Why a model file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// The file ends too early: an interrupted download, mostly.
    #[error("the file is cut short")]
    Truncated,
    /// The file does not begin like a ggml file.
    #[error("the file is not in ggml format")]
    NotGgml,
    /// A hyperparameter that no Whisper model has.
    #[error("{name} is {value}, which no Whisper model has")]
    Hyperparameter {
        /// Its name in whisper.cpp.
        name: &'static str,
        /// Its value in the file.
        value: i32,
    },
    /// The vocabulary is not Whisper's.
    #[error("the vocabulary is damaged")]
    Vocabulary,
    /// A tensor header makes no sense.
    #[error("tensor {index} is damaged")]
    Tensor {
        /// Its place in the file, from 0.
        index: usize,
    },
    /// The file holds a vocabulary only, as whisper.cpp's own test files do.
    #[error("the file holds no weights")]
    NoTensors,
}

impl From<io::Error> for ModelFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }
}

/// Walks the file from header to end; cheap, because tensor data is skipped.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn check(path: &Path) -> Result<(), ModelFileError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = Reader {
        file: BufReader::new(file),
        length,
    };
    check_header(&mut reader)?;
    let tensors = check_tensors(&mut reader)?;
    if tensors == 0 {
        return Err(ModelFileError::NoTensors);
    }
    Ok(())
}

fn check_header(reader: &mut Reader) -> Result<(), ModelFileError> {
    if reader.u32()? != MAGIC {
        return Err(ModelFileError::NotGgml);
    }
    let n_vocab = reader.hyperparameter("n_vocab", |n| (51_864..=51_866).contains(&n))?;
    reader.hyperparameter("n_audio_ctx", |n| (1..=1500).contains(&n))?;
    let n_audio_state = reader.hyperparameter("n_audio_state", |n| (1..=8192).contains(&n))?;
    let divides_state = |n: i32| n > 0 && n_audio_state % n == 0;
    reader.hyperparameter("n_audio_head", divides_state)?;
    reader.hyperparameter("n_audio_layer", |n| (1..=128).contains(&n))?;
    reader.hyperparameter("n_text_ctx", |n| (16..=448).contains(&n))?;
    reader.hyperparameter("n_text_state", |n| n == n_audio_state)?;
    reader.hyperparameter("n_text_head", divides_state)?;
    reader.hyperparameter("n_text_layer", |n| (1..=128).contains(&n))?;
    let n_mels = reader.hyperparameter("n_mels", |n| n == 80 || n == 128)?;
    // ggml's convolution ends the process when the weights are single precision (0).
    reader.hyperparameter("ftype", |n| n > 0 && n % QUANTIZATION_VERSION_FACTOR != 0)?;

    reader.hyperparameter("mel filter bands", |n| n == n_mels)?;
    reader.hyperparameter("mel filter bins", |n| n == FFT_BINS)?;
    reader.skip(i64::from(n_mels) * i64::from(FFT_BINS) * 4)?;
    check_vocabulary(reader, n_vocab)
}

fn check_vocabulary(reader: &mut Reader, n_vocab: i32) -> Result<(), ModelFileError> {
    let count = reader.u32()?;
    if i64::from(count) > i64::from(n_vocab) {
        return Err(ModelFileError::Vocabulary);
    }
    let mut token = Vec::new();
    let mut has_space = false;
    for _ in 0..count {
        let bytes = reader.u32()?;
        if bytes > MAX_TOKEN_BYTES {
            return Err(ModelFileError::Vocabulary);
        }
        reader.bytes(bytes, &mut token)?;
        has_space |= token == b" ";
    }
    // whisper.cpp looks this token up without asking whether it is there.
    if has_space {
        Ok(())
    } else {
        Err(ModelFileError::Vocabulary)
    }
}

/// Returns the number of tensors.
fn check_tensors(reader: &mut Reader) -> Result<usize, ModelFileError> {
    let mut name = Vec::new();
    for index in 0.. {
        if reader.is_at_end()? {
            return Ok(index);
        }
        let damaged = || ModelFileError::Tensor { index };
        let dimensions = reader.u32()?;
        let name_bytes = reader.u32()?;
        let (block_elements, block_bytes) = block_size(reader.u32()?).ok_or_else(damaged)?;
        if !(1..=4).contains(&dimensions) || name_bytes > MAX_NAME_BYTES {
            return Err(damaged());
        }
        let mut elements: i64 = 1;
        for _ in 0..dimensions {
            elements = elements
                .checked_mul(i64::from(reader.u32()?))
                .filter(|n| *n > 0)
                .ok_or_else(damaged)?;
        }
        reader.bytes(name_bytes, &mut name)?;
        let data_bytes = (elements % block_elements == 0)
            .then(|| (elements / block_elements).checked_mul(block_bytes))
            .flatten()
            .ok_or_else(damaged)?;
        reader.skip(data_bytes)?;
    }
    Ok(usize::MAX)
}

/// Elements and bytes of one block of a ggml tensor type (the sizes of ggml's block structs).
fn block_size(tensor_type: u32) -> Option<(i64, i64)> {
    Some(match tensor_type {
        0 => (1, 4),      // f32
        1 => (1, 2),      // f16
        2 => (32, 18),    // q4_0
        3 => (32, 20),    // q4_1
        6 => (32, 22),    // q5_0
        7 => (32, 24),    // q5_1
        8 => (32, 34),    // q8_0
        10 => (256, 84),  // q2_K
        11 => (256, 110), // q3_K
        12 => (256, 144), // q4_K
        13 => (256, 176), // q5_K
        14 => (256, 210), // q6_K
        30 => (1, 2),     // bf16
        _ => return None,
    })
}

struct Reader {
    file: BufReader<File>,
    length: u64,
}

impl Reader {
    fn u32(&mut self) -> Result<u32, ModelFileError> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn hyperparameter(
        &mut self,
        name: &'static str,
        is_plausible: impl Fn(i32) -> bool,
    ) -> Result<i32, ModelFileError> {
        let value = self.u32()?.cast_signed();
        if is_plausible(value) {
            Ok(value)
        } else {
            Err(ModelFileError::Hyperparameter { name, value })
        }
    }

    /// Reads `count` bytes into `buffer`; the caller bounds `count`.
    fn bytes(&mut self, count: u32, buffer: &mut Vec<u8>) -> Result<(), ModelFileError> {
        buffer.resize(count as usize, 0);
        Ok(self.file.read_exact(buffer)?)
    }

    fn skip(&mut self, bytes: i64) -> Result<(), ModelFileError> {
        let remaining = self.length.saturating_sub(self.file.stream_position()?);
        if u64::try_from(bytes).is_ok_and(|bytes| bytes <= remaining) {
            Ok(self.file.seek_relative(bytes)?)
        } else {
            Err(ModelFileError::Truncated)
        }
    }

    fn is_at_end(&mut self) -> Result<bool, ModelFileError> {
        Ok(self.file.stream_position()? >= self.length)
    }
}
