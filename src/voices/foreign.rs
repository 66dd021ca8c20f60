//! Speaker embeddings as other writers keep them: bare arrays of floats, and NumPy files.
//!
//! They say who speaks and hold nothing to speak with. Python pickles are told apart and refused:
//! reading one can run code.

use half::f16;

use crate::domain::voice::SpeakerEmbedding;

/// Values of an OpenVoice embedding, which the replaced service stored without a header.
const BARE_VALUES: usize = 256;

/// Longest embedding that is read from a file; bounds what a hostile header can make us allocate.
const MAX_VALUES: usize = 4096;

/// Largest NumPy file that is looked at: the values as doubles, and a generous header.
pub const MAX_NPY_BYTES: u64 = 64 * 1024;

const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// First byte of a pickle of protocol 2 or later.
const PICKLE_PROTOCOL: u8 = 0x80;

/// Why a file is no embedding that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// A Python pickle, or an array of Python objects, which holds one.
    #[error("it is a Python pickle, which is never read")]
    Pickle,
    /// Not a NumPy file.
    #[error("it is no NumPy file")]
    Magic,
    /// Another format version than 1 or 2.
    #[error("it has NumPy format version {0}, versions 1 and 2 are read")]
    Version(u8),
    /// The header is not as NumPy writes it.
    #[error("its header is malformed")]
    Header,
    /// Other values than little-endian floats of 2, 4 or 8 bytes.
    #[error("its values are no little-endian floats")]
    ValueType,
    /// More than one axis that is longer than 1, no values, or too many.
    #[error("its shape is not that of one vector")]
    Shape,
    /// Fewer or more bytes than the shape says.
    #[error("its length is not what its header says")]
    Length,
    /// A value is infinite or no number, or all are 0.
    #[error("its values are no embedding")]
    Values,
}

/// Reads 256 values as f32 (1024 bytes) or f16 (512 bytes), little endian; `None` for anything else.
pub fn bare_embedding(bytes: &[u8]) -> Option<SpeakerEmbedding> {
    let width = match bytes.len() {
        length if length == 4 * BARE_VALUES => Width::F32,
        length if length == 2 * BARE_VALUES => Width::F16,
        _ => return None,
    };
    embedding(width.values(bytes))
}

/// Reads a NumPy file (`.npy`) of one vector, such as `[256]` or `[1, 256, 1]`.
///
/// # Errors
/// The file is of another kind, or damaged.
pub fn npy_embedding(bytes: &[u8]) -> Result<SpeakerEmbedding, NpyError> {
    if bytes.first() == Some(&PICKLE_PROTOCOL) {
        return Err(NpyError::Pickle);
    }
    let rest = bytes.strip_prefix(NPY_MAGIC).ok_or(NpyError::Magic)?;
    let (version, rest) = rest.split_at_checked(2).ok_or(NpyError::Header)?;
    let (header_length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or(NpyError::Header)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 => {
            let (length, rest) = rest.split_first_chunk().ok_or(NpyError::Header)?;
            let length = usize::try_from(u32::from_le_bytes(*length));
            (length.map_err(|_| NpyError::Header)?, rest)
        }
        other => return Err(NpyError::Version(other)),
    };
    let (header, values) = rest
        .split_at_checked(header_length)
        .ok_or(NpyError::Header)?;
    let header = std::str::from_utf8(header).map_err(|_| NpyError::Header)?;
    let header = Header::parse(header).ok_or(NpyError::Header)?;
    let width = match header.value_type {
        "<f2" => Width::F16,
        "<f4" => Width::F32,
        "<f8" => Width::F64,
        objects if objects.ends_with('O') => return Err(NpyError::Pickle),
        _ => return Err(NpyError::ValueType),
    };
    let count = header.vector_length().ok_or(NpyError::Shape)?;
    if values.len() != count * width.bytes() {
        return Err(NpyError::Length);
    }
    embedding(width.values(values)).ok_or(NpyError::Values)
}

/// The Python dictionary of a NumPy header, with the keys in the order in which NumPy writes them.
struct Header<'a> {
    value_type: &'a str,
    shape: &'a str,
}

impl<'a> Header<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix("{'descr': '")?;
        let (value_type, rest) = rest.split_once('\'')?;
        // An order of columns differs from that of rows for matrices only, and those are refused.
        let rest = rest.strip_prefix(", 'fortran_order': ")?;
        let rest = rest
            .strip_prefix("False")
            .or_else(|| rest.strip_prefix("True"))?;
        let rest = rest.strip_prefix(", 'shape': (")?;
        let (shape, rest) = rest.split_once(')')?;
        let rest = rest.strip_prefix(", ").or_else(|| rest.strip_prefix(','));
        let rest = rest.unwrap_or_default().strip_prefix('}')?;
        rest.trim_end()
            .is_empty()
            .then_some(Self { value_type, shape })
    }

    /// Length of the only axis that may be longer than 1.
    fn vector_length(&self) -> Option<usize> {
        let axes = self.shape.trim_end_matches(',');
        let mut length = 1usize;
        for axis in axes.split(',') {
            let axis: usize = axis.trim().parse().ok()?;
            if length > 1 && axis > 1 {
                return None;
            }
            length = length.checked_mul(axis)?;
        }
        (1..=MAX_VALUES).contains(&length).then_some(length)
    }
}

/// How floats lie in bytes, little endian.
#[derive(Clone, Copy)]
enum Width {
    F16,
    F32,
    F64,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => chunks(bytes)
                .map(|b| f16::from_le_bytes(b).to_f32())
                .collect(),
            Self::F32 => chunks(bytes).map(f32::from_le_bytes).collect(),
            Self::F64 => chunks(bytes)
                .map(|b| f64::from_le_bytes(b) as f32)
                .collect(),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes
        .chunks_exact(N)
        .filter_map(|chunk| chunk.try_into().ok())
}

fn embedding(values: Vec<f32>) -> Option<SpeakerEmbedding> {
    let is_finite = values.iter().all(|value| value.is_finite());
    let says_something = values.iter().any(|value| *value != 0.0);
    (is_finite && says_something).then(|| SpeakerEmbedding(values.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ramp(count: usize) -> Vec<f32> {
        (0..count).map(|i| i as f32 / 64.0 - 1.0).collect()
    }

    /// A file as `numpy.save` writes it.
    fn npy(version: u8, value_type: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': '{value_type}', 'fortran_order': False, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = NPY_MAGIC.to_vec();
        bytes.extend([version, 0]);
        let length = header.len() as u32;
        bytes.extend(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn f32_bytes(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    #[test]
    fn bare_arrays_are_read_in_both_widths() {
        let values = ramp(256);
        let read = bare_embedding(&f32_bytes(&values)).unwrap();
        assert_eq!(&*read.0, values);
        // 1.5, −2, the smallest subnormal and 65504, 64 times.
        let halves = [0x3e00u16, 0xc000, 0x0001, 0x7bff].repeat(64);
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let read = bare_embedding(&bytes).unwrap();
        assert_eq!(read.0[..4], [1.5, -2.0, 2f32.powi(-24), 65_504.0]);
        assert_eq!(read.0.len(), 256);
        for wrong in [0, 511, 1023, 1025, 2048] {
            assert_eq!(bare_embedding(&vec![1; wrong]), None, "{wrong} bytes");
        }
        assert_eq!(bare_embedding(&[0; 1024]), None, "all zero");
        assert_eq!(bare_embedding(&[0xff; 1024]), None, "not a number");
    }

    #[test]
    fn numpy_files_of_one_vector_are_read() {
        let values = ramp(256);
        let doubles: Vec<u8> = values
            .iter()
            .flat_map(|value| f64::from(*value).to_le_bytes())
            .collect();
        for (version, value_type, shape, bytes) in [
            (1, "<f4", "(256,)", f32_bytes(&values)),
            (2, "<f4", "(1, 256, 1)", f32_bytes(&values)),
            (1, "<f8", "(256, 1)", doubles),
        ] {
            let read = npy_embedding(&npy(version, value_type, shape, &bytes)).unwrap();
            assert_eq!(&*read.0, values, "{value_type} {shape}");
        }
        let halves = npy(1, "<f2", "(2,)", &[0x00, 0x3c, 0x00, 0xbc]);
        assert_eq!(*npy_embedding(&halves).unwrap().0, [1.0, -1.0]);
    }

    #[test]
    fn what_is_no_vector_of_floats_is_refused() {
        let values = f32_bytes(&ramp(256));
        let file = |value_type, shape| npy(1, value_type, shape, &values);
        for (bytes, expected) in [
            (b"\x80\x04\x95nonsense".to_vec(), NpyError::Pickle),
            (file("|O", "(256,)"), NpyError::Pickle),
            (b"PK\x03\x04".to_vec(), NpyError::Magic),
            (Vec::new(), NpyError::Magic),
            (npy(3, "<f4", "(256,)", &values), NpyError::Version(3)),
            (file(">f4", "(256,)"), NpyError::ValueType),
            (file("<i4", "(256,)"), NpyError::ValueType),
            (file("<f4", "(2, 128)"), NpyError::Shape),
            (file("<f4", "()"), NpyError::Shape),
            (file("<f4", "(0,)"), NpyError::Shape),
            (file("<f4", "(-1,)"), NpyError::Shape),
            (file("<f4", "(99999999999999999999,)"), NpyError::Shape),
            (file("<f4", "(4097,)"), NpyError::Shape),
            (file("<f4", "(255,)"), NpyError::Length),
            (npy(1, "<f4", "(256,)", &[0xff; 1024]), NpyError::Values),
            (
                npy(1, "<f8", "(1,)", &f64::MAX.to_le_bytes()),
                NpyError::Values,
            ),
        ] {
            assert_eq!(npy_embedding(&bytes), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            drop(bare_embedding(&bytes));
            drop(npy_embedding(&bytes));
        }

        #[test]
        fn no_damage_does_harm(at in 0usize..1200, to in any::<u8>(), length in 0usize..1200) {
            let mut bytes = npy(1, "<f4", "(1, 256, 1)", &f32_bytes(&ramp(256)));
            bytes.truncate(length);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            if let Ok(read) = npy_embedding(&bytes) {
                prop_assert!(read.0.iter().all(|value| value.is_finite()));
                prop_assert!(read.0.len() <= MAX_VALUES);
            }
        }

        #[test]
        fn no_header_does_harm(header in "[{}'a-z<>0-9f_:, ()-]{0,120}") {
            let mut bytes = NPY_MAGIC.to_vec();
            bytes.extend([1, 0]);
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            prop_assert!(npy_embedding(&bytes).is_err());
        }
    }
}
