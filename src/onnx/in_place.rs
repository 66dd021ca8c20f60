//! Sessions whose outputs overwrite their inputs: key/value caches that are never copied.
//!
//! An autoregressive graph reads its cache as `past` and returns it, one position longer, as
//! `present`. When both are bound to the same memory, the attention kernel (GroupQueryAttention of
//! ONNX Runtime) sees equal addresses and writes the new position in place. ort's safe calls cannot
//! say that: its inputs are copied when they are borrowed, and an output must be a value of its own.
//! So this module binds the two by hand; everything unsafe of the crate's ONNX code is here.

use std::ffi::CString;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{IoBinding, Session};

use ort::value::{
    DynTensor, PrimitiveTensorElementType, Shape, Tensor, TensorElementType, TensorRefMut,
};

use super::OnnxError;

/// Caches of shape [rows, heads, capacity, head_dim] in processor memory, all alike.
///
/// A run works on a range of rows, which is a plain view of each cache because a row is contiguous.
pub struct RowCaches {
    memory: Rc<Memory>,
    rows: usize,
    /// [heads, capacity, head_dim]
    row_shape: [usize; 3],
    /// What positions hold that nobody has written.
    filling: f32,
}

/// How a graph names the caches: for each of them the input, and the output that overwrites it, if one does.
pub struct CacheNames(Vec<(CString, Option<CString>)>);

/// Rows of caches that a run uses, under the names that the graph has for them.
pub struct CacheView<'a> {
    /// The caches.
    pub caches: &'a RowCaches,
    /// Which rows.
    pub rows: Range<usize>,
    /// One name for each cache.
    pub names: &'a CacheNames,
}

/// Inputs, outputs and rows of caches that a run uses; made once, run often.
pub struct InPlaceBinding {
    binding: IoBinding,
    outputs: Vec<DynTensor>,
    /// The binding holds addresses inside them.
    memories: Vec<Rc<Memory>>,
}

impl CacheNames {
    /// Caches that are read and overwritten, given as (input, output).
    ///
    /// # Errors
    /// The session has no such input or output.
    pub fn overwritten(session: &Session, pairs: &[(String, String)]) -> Result<Self, OnnxError> {
        let names = pairs
            .iter()
            .map(|(past, present)| Ok((input(session, past)?, Some(output(session, present)?))));
        names.collect::<Result<_, _>>().map(Self)
    }

    /// Caches that are only read.
    ///
    /// # Errors
    /// The session has no such input.
    pub fn read(session: &Session, inputs: &[String]) -> Result<Self, OnnxError> {
        let names = inputs.iter().map(|name| Ok((input(session, name)?, None)));
        names.collect::<Result<_, _>>().map(Self)
    }

    /// Number of caches.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn input(session: &Session, name: &str) -> Result<CString, OnnxError> {
    let known = session.inputs().iter().any(|input| input.name() == name);
    checked(name, known)
}

fn output(session: &Session, name: &str) -> Result<CString, OnnxError> {
    let known = session.outputs().iter().any(|output| output.name() == name);
    checked(name, known)
}

fn checked(name: &str, known: bool) -> Result<CString, OnnxError> {
    let missing = || OnnxError::MissingTensor {
        name: name.to_owned(),
    };
    let name = CString::new(name).map_err(|_| missing())?;
    known.then_some(name).ok_or_else(missing)
}

impl RowCaches {
    /// Memory for `count` caches of `rows` rows of shape [heads, capacity, head_dim].
    ///
    /// Every page is written now, with `filling`: the first use of fresh memory can take seconds. NaN shows a graph
    /// that reads a position before it wrote it.
    ///
    /// # Errors
    /// The memory is not available.
    pub fn new(
        count: usize,
        rows: usize,
        row_shape: [usize; 3],
        filling: f32,
    ) -> Result<Self, OnnxError> {
        let elements = rows * row_shape.iter().product::<usize>();
        let blocks = (0..count)
            .map(|_| filled(elements, filling, count).map(Block::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            memory: Rc::new(Memory { blocks }),
            rows,
            row_shape,
            filling,
        })
    }

    /// Number of caches.
    pub fn count(&self) -> usize {
        self.memory.blocks.len()
    }

    /// Rows of each cache.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions of a row.
    pub fn capacity(&self) -> usize {
        self.row_shape[1]
    }

    /// One cache, [rows, heads, capacity, head_dim].
    ///
    /// # Panics
    /// `index` is not below [`count`](Self::count).
    pub fn cache_mut(&mut self, index: usize) -> &mut [f32] {
        #[expect(
            unsafe_code,
            reason = "ONNX Runtime uses the memory only inside `InPlaceBinding::run`, which borrows the caches \
                      exclusively as this does, and `Memory` is shared with bindings alone"
        )]
        unsafe {
            &mut *self.memory.blocks[index].0.as_ptr()
        }
    }

    /// Where the first `length` positions of a head are inside a cache.
    pub fn positions(&self, row: usize, head: usize, length: usize) -> Range<usize> {
        let [heads, capacity, head_dim] = self.row_shape;
        let start = (row * heads + head) * capacity * head_dim;
        start..start + length * head_dim
    }

    /// Copies the first `length` positions of a row over those of another one, in every cache.
    ///
    /// # Panics
    /// There is no such row, or it is shorter.
    pub fn copy_row(&mut self, from: usize, to: usize, length: usize) {
        for head in 0..self.row_shape[0] {
            let source = self.positions(from, head, length);
            let target = self.positions(to, head, length).start;
            for cache in 0..self.count() {
                self.cache_mut(cache).copy_within(source.clone(), target);
            }
        }
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
        let [heads, old_capacity, head_dim] = self.row_shape;
        let (filling, elements) = (self.filling, rows * heads * capacity * head_dim);
        let memory = Rc::get_mut(&mut self.memory);
        assert!(memory.is_some(), "a binding holds the caches");
        let blocks = memory.map_or(&mut [][..], |memory| &mut memory.blocks);
        let count = blocks.len();
        for block in blocks {
            // One by one, so that only one of them is there twice.
            let mut resized = filled(elements, filling, count)?;
            let old = block.as_slice();
            for (row, length) in lengths.iter().enumerate() {
                for head in row * heads..(row + 1) * heads {
                    let kept = length * head_dim;
                    let (from, to) = (head * old_capacity * head_dim, head * capacity * head_dim);
                    resized[to..to + kept].copy_from_slice(&old[from..from + kept]);
                }
            }
            *block = Block::new(resized);
        }
        self.rows = rows;
        self.row_shape = [heads, capacity, head_dim];
        Ok(())
    }

    /// The rows of one cache as a tensor.
    fn view(&self, block: &Block, rows: &Range<usize>) -> Result<TensorRefMut<'_, f32>, OnnxError> {
        assert!(
            rows.start < rows.end && rows.end <= self.rows,
            "rows outside the caches"
        );
        let row_elements: usize = self.row_shape.iter().product();
        let shape = std::iter::once(rows.len()).chain(self.row_shape);
        #[expect(
            unsafe_code,
            reason = "the view lies inside the block by the assertion above; the binding keeps the block alive"
        )]
        let view = unsafe {
            TensorRefMut::<f32>::from_raw(
                MemoryInfo::default(),
                block
                    .0
                    .as_ptr()
                    .cast::<f32>()
                    .add(rows.start * row_elements)
                    .cast(),
                Shape::new(shape.map(|d| d as i64)),
            )?
        };
        Ok(view)
    }
}

impl InPlaceBinding {
    /// Binds inputs, new outputs of the given types and shapes, and rows of caches.
    ///
    /// Inputs are not copied: what is written into an owned tensor later is seen by later runs.
    ///
    /// # Errors
    /// A name is unknown, or ONNX Runtime refuses a shape or type.
    ///
    /// # Panics
    /// Rows are outside the caches, or there is not one name for each of them.
    pub fn new(
        session: &Session,
        inputs: &[(&str, &DynTensor)],
        outputs: &[(&str, TensorElementType, &[usize])],
        views: &[CacheView<'_>],
    ) -> Result<Self, OnnxError> {
        let mut binding = session.create_binding()?;
        for (name, value) in inputs {
            binding.bind_input(*name, value)?;
        }
        let allocator = Allocator::default();
        let mut output_tensors = Vec::with_capacity(outputs.len());
        for (name, kind, shape) in outputs {
            let shape = Shape::new(shape.iter().map(|d| *d as i64));
            let tensor = DynTensor::new(&allocator, *kind, shape)?;
            bind_output(&mut binding, &output(session, name)?, &tensor)?;
            output_tensors.push(tensor);
        }
        for CacheView {
            caches,
            rows,
            names,
        } in views
        {
            assert_eq!(caches.count(), names.count(), "one name for each cache");
            for (block, (past, present)) in caches.memory.blocks.iter().zip(&names.0) {
                let view = caches.view(block, rows)?;
                bind_input(&mut binding, past, &view)?;
                if let Some(present) = present {
                    bind_output(&mut binding, present, &*view)?;
                }
            }
        }
        Ok(Self {
            binding,
            outputs: output_tensors,
            memories: views
                .iter()
                .map(|view| Rc::clone(&view.caches.memory))
                .collect(),
        })
    }

    /// Runs the graph once on `caches`, the ones that were bound, in their order.
    ///
    /// # Errors
    /// ONNX Runtime reports a failure; the caches of the bound rows are then unusable.
    ///
    /// # Panics
    /// Other caches were bound.
    pub fn run(
        &mut self,
        session: &mut Session,
        caches: &mut [&mut RowCaches],
    ) -> Result<(), OnnxError> {
        let bound = self.memories.iter().zip(caches.iter());
        assert!(
            self.memories.len() == caches.len()
                && bound
                    .clone()
                    .all(|(memory, caches)| Rc::ptr_eq(memory, &caches.memory)),
            "a binding of other caches"
        );
        session.run_binding(&self.binding)?;
        Ok(())
    }

    /// What the last run left in the output `index`, in the order given to [`new`](Self::new).
    ///
    /// # Errors
    /// The output is of another type.
    ///
    /// # Panics
    /// There is no such output.
    pub fn output<T: PrimitiveTensorElementType>(&self, index: usize) -> Result<&[T], OnnxError> {
        Ok(self.outputs[index].try_extract_tensor()?.1)
    }
}

/// Blocks of memory at fixed addresses.
struct Memory {
    blocks: Vec<Block>,
}

/// Memory for one of `count` blocks, with `value` in it.
fn filled(elements: usize, value: f32, count: usize) -> Result<Box<[f32]>, OnnxError> {
    let mut block = Vec::new();
    block
        .try_reserve_exact(elements)
        .map_err(|_| OnnxError::CacheMemory {
            bytes: count * elements * size_of::<f32>(),
        })?;
    block.resize(elements, value);
    Ok(block.into_boxed_slice())
}

/// A box whose content others may have the address of.
struct Block(NonNull<[f32]>);

impl Block {
    fn new(memory: Box<[f32]>) -> Self {
        Self(NonNull::from(Box::leak(memory)))
    }

    fn as_slice(&self) -> &[f32] {
        #[expect(
            unsafe_code,
            reason = "the block lives as long as this, and ONNX Runtime writes to it only inside `run`, \
                      which borrows the session exclusively"
        )]
        unsafe {
            self.0.as_ref()
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        #[expect(
            unsafe_code,
            reason = "the block was leaked from a box in `new` and is freed here only"
        )]
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Binds without the copy that [`IoBinding::bind_input`] makes of borrowed memory.
fn bind_input(
    binding: &mut IoBinding,
    name: &CString,
    value: &Tensor<f32>,
) -> Result<(), OnnxError> {
    #[expect(
        unsafe_code,
        reason = "all three pointers are valid during the call; ONNX Runtime keeps its own reference \
                  to the value, and `InPlaceBinding` keeps its memory"
    )]
    let status = unsafe {
        let status = (ort::api().BindInput)(binding.ptr().cast_mut(), name.as_ptr(), value.ptr());
        ort::Error::result_from_status(status)
    };
    Ok(status?)
}

/// Binds without registering the output with [`IoBinding`], which would fetch every bound output,
/// caches included, after each run.
fn bind_output(
    binding: &mut IoBinding,
    name: &CString,
    value: &impl AsPointer<Sys = ort::sys::OrtValue>,
) -> Result<(), OnnxError> {
    #[expect(
        unsafe_code,
        reason = "all three pointers are valid during the call; ONNX Runtime keeps its own reference \
                  to the value, and `InPlaceBinding` keeps its memory"
    )]
    let status = unsafe {
        let status = (ort::api().BindOutput)(binding.ptr().cast_mut(), name.as_ptr(), value.ptr());
        ort::Error::result_from_status(status)
    };
    Ok(status?)
}
