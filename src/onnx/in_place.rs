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
use ort::value::{DynTensor, Shape, Tensor, TensorRefMut};

use super::OnnxError;

/// A session with caches of shape [rows, heads, capacity, head_dim] in processor memory.
///
/// A run works on a range of rows, which is a plain view of each cache because a row is contiguous.
pub struct InPlaceSession {
    session: Session,
    caches: Rc<Caches>,
    /// Shape of one row: [heads, capacity, head_dim].
    row_shape: [usize; 3],
    rows: usize,
    /// Names of the `past` input and the `present` output of each cache.
    names: Vec<[CString; 2]>,
}

/// Inputs, outputs and rows of caches that a run uses; made once, run often.
pub struct InPlaceBinding {
    binding: IoBinding,
    outputs: Vec<Tensor<f32>>,
    /// The binding holds addresses inside the caches.
    caches: Rc<Caches>,
}

impl InPlaceSession {
    /// Gives `session` one cache for each pair of a `past` input and a `present` output.
    ///
    /// Every page is written now, with NaN: the first use of fresh memory can take seconds, and a
    /// graph that reads a position before it wrote it shows.
    ///
    /// # Errors
    /// The session has no such input or output, or the memory is not available.
    pub fn new(
        session: Session,
        pairs: &[(String, String)],
        rows: usize,
        row_shape: [usize; 3],
    ) -> Result<Self, OnnxError> {
        let names = pairs
            .iter()
            .map(|(past, present)| {
                let known = session.inputs().iter().any(|input| input.name() == past)
                    && session
                        .outputs()
                        .iter()
                        .any(|output| output.name() == present);
                match (CString::new(past.as_str()), CString::new(present.as_str())) {
                    (Ok(past), Ok(present)) if known => Ok([past, present]),
                    _ => Err(OnnxError::MissingTensor { name: past.clone() }),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let elements = rows * row_shape.iter().product::<usize>();
        Ok(Self {
            session,
            caches: Rc::new(Caches::new(pairs.len(), elements)?),
            row_shape,
            rows,
            names,
        })
    }

    /// Number of caches.
    pub fn cache_count(&self) -> usize {
        self.names.len()
    }

    /// One cache, [rows, heads, capacity, head_dim].
    ///
    /// # Panics
    /// `index` is not below [`cache_count`](Self::cache_count).
    pub fn cache_mut(&mut self, index: usize) -> &mut [f32] {
        #[expect(
            unsafe_code,
            reason = "ONNX Runtime uses the memory only inside `run`, which borrows the session \
                      exclusively as this does, and `Caches` is shared with bindings alone"
        )]
        unsafe {
            &mut *self.caches.blocks[index].0.as_ptr()
        }
    }

    /// Gives every row `capacity` positions in place of fewer. Row r keeps its first `lengths[r]` positions,
    /// all others hold nothing.
    ///
    /// # Errors
    /// The memory is not available; the caches keep their shape, but rows may have lost what they held.
    ///
    /// # Panics
    /// A binding is still there: it would work on memory that is gone.
    pub fn grow(&mut self, capacity: usize, lengths: &[usize]) -> Result<(), OnnxError> {
        let [heads, old_capacity, head_dim] = self.row_shape;
        let elements = self.rows * heads * capacity * head_dim;
        let count = self.names.len();
        let caches = Rc::get_mut(&mut self.caches);
        assert!(caches.is_some(), "a binding holds the caches");
        for block in caches.into_iter().flat_map(|caches| &mut caches.blocks) {
            // One by one, so that only one of them is there twice.
            let mut grown = filled(elements).ok_or(OnnxError::CacheMemory {
                bytes: count * elements * size_of::<f32>(),
            })?;
            let old = block.as_slice();
            for (row, length) in lengths.iter().enumerate() {
                for head in row * heads..(row + 1) * heads {
                    let kept = length * head_dim;
                    let (from, to) = (head * old_capacity * head_dim, head * capacity * head_dim);
                    grown[to..to + kept].copy_from_slice(&old[from..from + kept]);
                }
            }
            *block = Block::new(grown);
        }
        self.row_shape = [heads, capacity, head_dim];
        Ok(())
    }

    /// Binds inputs, new f32 outputs of the given shapes, and the `rows` of every cache.
    ///
    /// Inputs are not copied: what is written into an owned tensor later is seen by later runs.
    ///
    /// # Errors
    /// A name is unknown, or ONNX Runtime refuses a shape or type.
    ///
    /// # Panics
    /// `rows` is outside the caches.
    pub fn bind(
        &mut self,
        rows: Range<usize>,
        inputs: &[(&str, &DynTensor)],
        outputs: &[(&str, &[usize])],
    ) -> Result<InPlaceBinding, OnnxError> {
        assert!(
            rows.start < rows.end && rows.end <= self.rows,
            "rows outside the caches"
        );
        let mut binding = self.session.create_binding()?;
        for (name, value) in inputs {
            binding.bind_input(*name, value)?;
        }
        let allocator = Allocator::default();
        let mut output_tensors = Vec::with_capacity(outputs.len());
        for (name, shape) in outputs {
            let tensor =
                Tensor::<f32>::new(&allocator, Shape::new(shape.iter().map(|d| *d as i64)))?;
            let name = CString::new(*name).map_err(|_| OnnxError::MissingTensor {
                name: (*name).to_owned(),
            })?;
            bind_output(&mut binding, &name, &tensor)?;
            output_tensors.push(tensor);
        }
        let row_elements: usize = self.row_shape.iter().product();
        let shape = std::iter::once(rows.len())
            .chain(self.row_shape)
            .map(|d| d as i64)
            .collect::<Vec<_>>();
        for (block, [past, present]) in self.caches.blocks.iter().zip(&self.names) {
            #[expect(
                unsafe_code,
                reason = "the view lies inside the block by the assertion above; the binding keeps \
                          the block alive"
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
                    Shape::new(shape.iter().copied()),
                )?
            };
            bind_input(&mut binding, past, &view)?;
            bind_output(&mut binding, present, &view)?;
        }
        Ok(InPlaceBinding {
            binding,
            outputs: output_tensors,
            caches: Rc::clone(&self.caches),
        })
    }

    /// Runs the graph once.
    ///
    /// # Errors
    /// ONNX Runtime reports a failure; the caches of the bound rows are then unusable.
    ///
    /// # Panics
    /// `binding` was made by another session.
    pub fn run(&mut self, binding: &mut InPlaceBinding) -> Result<(), OnnxError> {
        assert!(
            Rc::ptr_eq(&self.caches, &binding.caches),
            "binding of another session"
        );
        self.session.run_binding(&binding.binding)?;
        Ok(())
    }
}

impl InPlaceBinding {
    /// What the last run left in the output `index`, in the order given to [`InPlaceSession::bind`].
    ///
    /// # Panics
    /// There is no such output.
    pub fn output(&self, index: usize) -> &[f32] {
        self.outputs[index].extract_tensor().1
    }
}

/// Blocks of memory at fixed addresses.
struct Caches {
    blocks: Vec<Block>,
}

impl Caches {
    fn new(count: usize, elements: usize) -> Result<Self, OnnxError> {
        let blocks = (0..count).map(|_| filled(elements).map(Block::new));
        let blocks: Option<_> = blocks.collect();
        Ok(Self {
            blocks: blocks.ok_or(OnnxError::CacheMemory {
                bytes: count * elements * size_of::<f32>(),
            })?,
        })
    }
}

/// Memory with NaN in it; `None` when there is not enough.
fn filled(elements: usize) -> Option<Box<[f32]>> {
    let mut block = Vec::new();
    block.try_reserve_exact(elements).ok()?;
    block.resize(elements, f32::NAN);
    Some(block.into_boxed_slice())
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
    value: &Tensor<f32>,
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
