//! Key/value caches of rows that come, go and grow.

use std::cell::RefCell;
use std::ffi::CString;
use std::ops::Range;
use std::rc::Rc;

use ort::session::{IoBinding, Session};

use super::OnnxError;
use super::memory::{Block, FloatKind, Floats, Place, bind_input, bind_output};

/// Caches of shape [rows, heads, capacity, head_dim], all alike.
///
/// A run works on a range of rows, which is a plain view of each cache because a row is contiguous.
pub struct RowCaches {
    blocks: Blocks,
    place: Place,
    kind: FloatKind,
    rows: usize,
    /// [heads, capacity, head_dim]
    row_shape: [usize; 3],
    /// What positions hold that nobody has written.
    filling: Vec<u8>,
}

/// One for each cache. Bindings hold addresses inside them, and so keep them.
pub(super) type Blocks = Rc<Vec<RefCell<Block>>>;

/// How a graph names its caches, for each of them the input, and the output that overwrites it, if one does; what they
/// hold, and where.
pub struct CacheNames {
    names: Vec<(CString, Option<CString>)>,
    kind: FloatKind,
    place: Place,
}

impl CacheNames {
    /// Caches that are read and overwritten, given as (input, output).
    ///
    /// # Errors
    /// The session has no such input or output, the inputs hold no floats, or the session reads them elsewhere than in
    /// `place`.
    pub fn overwritten(
        session: &Session,
        place: &Place,
        pairs: &[(String, String)],
    ) -> Result<Self, OnnxError> {
        let outputs = pairs
            .iter()
            .map(|(_, present)| output_name(session, present).map(Some))
            .collect::<Result<_, _>>()?;
        let inputs: Vec<_> = pairs.iter().map(|(past, _)| past.as_str()).collect();
        Self::new(session, place, &inputs, outputs)
    }

    /// Caches that are only read.
    ///
    /// # Errors
    /// The session has no such input, the inputs hold no floats, or the session reads them elsewhere than in `place`.
    pub fn read(session: &Session, place: &Place, inputs: &[String]) -> Result<Self, OnnxError> {
        let outputs = vec![None; inputs.len()];
        let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
        Self::new(session, place, &inputs, outputs)
    }

    fn new(
        session: &Session,
        place: &Place,
        inputs: &[&str],
        outputs: Vec<Option<CString>>,
    ) -> Result<Self, OnnxError> {
        let (mut names, mut kinds) = (Vec::new(), Vec::new());
        for (name, output) in inputs.iter().zip(outputs) {
            let index = session.inputs().iter().position(|i| i.name() == *name);
            let index = index.ok_or_else(|| missing(name))?;
            place.require_input(session, index, name)?;
            kinds.push(session.inputs()[index].dtype().tensor_type());
            names.push((c_name(name)?, output));
        }
        let first = kinds.first().copied().flatten();
        let kind = first
            .and_then(FloatKind::of)
            .filter(|_| kinds.iter().all(|kind| *kind == first));
        Ok(Self {
            names,
            kind: kind.ok_or(OnnxError::CacheKind)?,
            place: place.clone(),
        })
    }

    /// Number of caches.
    pub fn count(&self) -> usize {
        self.names.len()
    }
}

fn missing(name: &str) -> OnnxError {
    OnnxError::MissingTensor {
        name: name.to_owned(),
    }
}

/// The name of an output that the session has.
pub(super) fn output_name(session: &Session, name: &str) -> Result<CString, OnnxError> {
    let is_known = session.outputs().iter().any(|o| o.name() == name);
    is_known
        .then_some(c_name(name)?)
        .ok_or_else(|| missing(name))
}

fn c_name(name: &str) -> Result<CString, OnnxError> {
    CString::new(name).map_err(|_| missing(name))
}

impl RowCaches {
    /// Memory for `rows` rows of shape [heads, capacity, head_dim] of each cache that `names` has.
    ///
    /// In processor memory it holds `filling`: NaN shows a graph that reads a position before it wrote it.
    ///
    /// # Errors
    /// The memory is not available.
    pub fn new(
        names: &CacheNames,
        rows: usize,
        row_shape: [usize; 3],
        filling: f32,
    ) -> Result<Self, OnnxError> {
        let CacheNames { kind, place, .. } = names;
        // What a device's kernel hides it may still multiply by zero: NaN would show there.
        let filling = kind.bytes(if place.is_device() { 0.0 } else { filling });
        let length = rows * row_shape.iter().product::<usize>() * kind.size();
        let blocks = (0..names.count())
            .map(|_| Block::new(place, length, &filling, |_| ()).map(RefCell::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            blocks: Rc::new(blocks),
            place: place.clone(),
            kind: *kind,
            rows,
            row_shape,
            filling,
        })
    }

    /// Rows of each cache.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions of a row.
    pub fn capacity(&self) -> usize {
        self.row_shape[1]
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Bytes of one head of a row that holds `positions`.
    fn head_bytes(&self, positions: usize) -> usize {
        positions * self.row_shape[2] * self.kind.size()
    }

    /// Where a row is inside a cache.
    fn row(&self, row: usize) -> Range<usize> {
        let length = self.row_shape[0] * self.head_bytes(self.capacity());
        row * length..(row + 1) * length
    }

    /// Copies the first `length` positions of a row over those of another one, in every cache.
    ///
    /// # Errors
    /// The device fails; the other row is then unusable.
    ///
    /// # Panics
    /// There is no such row, or it is shorter.
    pub fn copy_row(&mut self, from: usize, to: usize, length: usize) -> Result<(), OnnxError> {
        let (from, to) = (self.row(from), self.row(to));
        // On a device one large copy beats many small ones, and what is copied too much is hidden.
        let (stride, kept) = if self.place.is_device() {
            (from.len(), from.len())
        } else {
            (self.head_bytes(self.capacity()), self.head_bytes(length))
        };
        for block in self.blocks.iter() {
            let mut block = block.borrow_mut();
            for start in (0..from.len()).step_by(stride) {
                let source = from.start + start;
                block.copy(source..source + kept, to.start + start)?;
            }
        }
        Ok(())
    }

    /// The first `length` positions of a row, [heads, length, head_dim] of each cache.
    ///
    /// # Errors
    /// The device fails.
    pub fn read_row(&self, row: usize, length: usize) -> Result<Vec<Vec<u8>>, OnnxError> {
        let (stride, kept) = (self.head_bytes(self.capacity()), self.head_bytes(length));
        let read = |block: &RefCell<Block>| {
            let block = block.borrow();
            let bytes = block.read(self.row(row))?;
            let heads = bytes.chunks_exact(stride);
            Ok(heads.flat_map(|head| &head[..kept]).copied().collect())
        };
        self.blocks.iter().map(read).collect()
    }

    /// Writes what [`read_row`](Self::read_row) gave to the beginning of a row.
    ///
    /// # Errors
    /// The device fails; the row is then unusable.
    pub fn write_row(&mut self, row: usize, values: &[Vec<u8>]) -> Result<(), OnnxError> {
        for (cache, values) in values.iter().enumerate() {
            self.write(cache, row, values, values.len() / self.row_shape[0])?;
        }
        Ok(())
    }

    /// Writes what a graph says of some rows, [rows, heads, positions, head_dim], into one cache: to the beginning of
    /// the rows from `first` on, as many positions as `lengths` say. False where `values` are of another shape or kind.
    ///
    /// # Errors
    /// The device fails; the rows are then unusable.
    pub fn write_rows(
        &mut self,
        cache: usize,
        first: usize,
        lengths: &[usize],
        values: &Floats<'_>,
    ) -> Result<bool, OnnxError> {
        let [heads, _, head_dim] = self.row_shape;
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let expected = [lengths.len(), heads, longest, head_dim];
        if values.shape != expected || values.kind != self.kind || longest > self.capacity() {
            return Ok(false);
        }
        let row_bytes = heads * self.head_bytes(longest);
        let rows = values.bytes.chunks_exact(row_bytes.max(1));
        for ((row, values), length) in (first..).zip(rows).zip(lengths) {
            self.write(cache, row, values, self.head_bytes(*length))?;
        }
        Ok(true)
    }

    /// Writes the first `kept` bytes of each head of `values` to the beginning of a row.
    fn write(
        &mut self,
        cache: usize,
        row: usize,
        values: &[u8],
        kept: usize,
    ) -> Result<(), OnnxError> {
        let stride = self.head_bytes(self.capacity());
        let given = values.len() / self.row_shape[0];
        let mut block = self.blocks[cache].borrow_mut();
        block.edit(self.row(row), |bytes| {
            let heads = bytes
                .chunks_exact_mut(stride)
                .zip(values.chunks_exact(given));
            heads.for_each(|(head, values)| head[..kept].copy_from_slice(&values[..kept]));
        })
    }

    /// Gives each cache `rows` rows of `capacity` positions. Row r keeps its first `lengths[r]` positions,
    /// all others hold nothing.
    ///
    /// # Errors
    /// The memory is not available; the caches keep their shape, but rows may have lost what they held.
    ///
    /// # Panics
    /// A binding is still there: it would work on memory that is gone. Or what is kept does not fit.
    pub fn resize(
        &mut self,
        rows: usize,
        capacity: usize,
        lengths: &[usize],
    ) -> Result<(), OnnxError> {
        let heads = self.row_shape[0];
        let [old_stride, stride] = [self.capacity(), capacity].map(|n| self.head_bytes(n));
        let kept: Vec<_> = lengths.iter().map(|n| self.head_bytes(*n)).collect();
        let blocks = Rc::get_mut(&mut self.blocks);
        assert!(blocks.is_some(), "a binding holds the caches");
        // One by one, so that only one of them is there twice.
        for block in blocks.into_iter().flatten() {
            let block = block.get_mut();
            let old = block.read(0..block.length())?;
            let copy = |new: &mut [u8]| {
                for (head, kept) in kept
                    .iter()
                    .flat_map(|kept| std::iter::repeat_n(kept, heads))
                    .enumerate()
                {
                    let old = &old[head * old_stride..][..*kept];
                    new[head * stride..][..*kept].copy_from_slice(old);
                }
            };
            let resized = Block::new(&self.place, rows * heads * stride, &self.filling, copy)?;
            drop(old);
            *block = resized;
        }
        self.rows = rows;
        self.row_shape[1] = capacity;
        Ok(())
    }

    /// Binds some rows to the inputs and outputs of a run.
    pub(super) fn bind(
        &self,
        binding: &mut IoBinding,
        rows: &Range<usize>,
        names: &CacheNames,
    ) -> Result<(), OnnxError> {
        assert_eq!(self.blocks.len(), names.count(), "one name for each cache");
        assert!(
            rows.start < rows.end && rows.end <= self.rows,
            "rows outside the caches"
        );
        let [heads, capacity, head_dim] = self.row_shape;
        let shape = [rows.len(), heads, capacity, head_dim];
        for (block, (past, present)) in self.blocks.iter().zip(&names.names) {
            let block = block.borrow();
            let view = block.floats(self.kind, self.row(rows.start).start, &shape)?;
            bind_input(binding, past, &view)?;
            if let Some(present) = present {
                bind_output(binding, present, &*view)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::super::{Onnx, OnnxError};
    use super::*;

    /// Processor, the same as if it were a device, and a CUDA device where there is one.
    fn places() -> Vec<(Onnx, Place)> {
        let onnx = testing::onnx();
        let mut places = vec![
            (onnx.clone(), Place::of(&onnx).unwrap()),
            (onnx.clone(), Place::like_a_device(&onnx)),
        ];
        if let Some(cuda) = testing::cuda() {
            let place = Place::of(&cuda).unwrap();
            places.push((cuda, place));
        }
        places
    }

    /// The caches of the bundled speech decoder in 16-bit floats.
    fn names(onnx: &Onnx, place: &Place) -> CacheNames {
        let graph = testing::fixture("xtts/gpt_batched.fp16.onnx");
        let session = onnx.session(&graph, 1).unwrap();
        let pair = |kind: &str| (format!("past_{kind}_0"), format!("present_{kind}_0"));
        CacheNames::overwritten(&session, place, &["key", "value"].map(pair)).unwrap()
    }

    /// Bytes that tell where they were written.
    fn bytes(seed: usize, length: usize) -> Vec<u8> {
        (0..length).map(|i| (seed * 31 + i * 7) as u8).collect()
    }

    #[test]
    fn rows_keep_what_they_hold_wherever_they_are() {
        for (onnx, place) in places() {
            let mut caches = RowCaches::new(&names(&onnx, &place), 3, [2, 4, 8], 1.5).unwrap();
            let head = 3 * 8 * 2;
            let row = |seed: usize| vec![bytes(seed, 2 * head), bytes(seed + 9, 2 * head)];
            caches.write_row(0, &row(1)).unwrap();
            caches.write_row(2, &row(2)).unwrap();
            assert_eq!(caches.read_row(0, 3).unwrap(), row(1));
            caches.copy_row(2, 1, 3).unwrap();
            assert_eq!(caches.read_row(1, 3).unwrap(), row(2));

            caches.resize(5, 9, &[3, 2]).unwrap();
            assert_eq!((caches.rows(), caches.capacity()), (5, 9));
            assert_eq!(caches.read_row(0, 3).unwrap(), row(1));
            let kept: Vec<Vec<u8>> = row(2)
                .iter()
                .map(|cache| {
                    cache
                        .chunks(head)
                        .flat_map(|head| &head[..32])
                        .copied()
                        .collect()
                })
                .collect();
            assert_eq!(caches.read_row(1, 2).unwrap(), kept);
            let filling = if place.is_device() { 0.0 } else { 1.5 };
            let nothing = half::f16::from_f32(filling).to_ne_bytes().repeat(2 * 9 * 8);
            assert_eq!(caches.read_row(4, 9).unwrap(), [nothing.clone(), nothing]);
        }
    }

    #[test]
    fn only_what_fits_is_written() {
        for (onnx, place) in places() {
            let mut caches = RowCaches::new(&names(&onnx, &place), 2, [2, 4, 2], 0.0).unwrap();
            let values: Vec<_> = (0..16_u8).map(half::f16::from).collect();
            // Two rows of two heads of two positions.
            let tensor = ort::value::Tensor::from_array(([2_usize, 2, 2, 2], values)).unwrap();
            let floats = tensor.into_dyn();
            let floats = Floats::of(&floats).unwrap().unwrap();
            assert!(caches.write_rows(1, 0, &[2, 1], &floats).unwrap());
            let row = caches.read_row(1, 1).unwrap();
            let expected = [8.0, 9.0, 12.0, 13.0].map(|n| half::f16::from_f32(n).to_ne_bytes());
            assert_eq!(row[1], expected.concat());
            for lengths in [&[2, 3][..], &[2], &[1, 1]] {
                assert!(!caches.write_rows(1, 0, lengths, &floats).unwrap());
            }
            let others = ort::value::Tensor::from_array(([2_usize, 2, 2, 2], vec![0_f32; 16]));
            let others = others.unwrap().into_dyn();
            let others = Floats::of(&others).unwrap().unwrap();
            assert!(!caches.write_rows(1, 0, &[2, 1], &others).unwrap());
        }
    }

    #[test]
    fn a_graph_that_reads_its_caches_elsewhere_is_refused() {
        let onnx = testing::onnx();
        let graph = testing::fixture("xtts/gpt_batched.onnx");
        let session = onnx.session(&graph, 1).unwrap();
        let place = Place::without_graphs(&onnx);
        let pairs = [("past_key_0".to_owned(), "present_key_0".to_owned())];
        let refused = CacheNames::overwritten(&session, &place, &pairs).err();
        assert!(matches!(refused, Some(OnnxError::Elsewhere { found, .. }) if found == "Cpu"));
        let refused = CacheNames::read(&session, &Place::of(&onnx).unwrap(), &["ids".to_owned()]);
        assert!(matches!(refused.err(), Some(OnnxError::CacheKind)));
    }
}
