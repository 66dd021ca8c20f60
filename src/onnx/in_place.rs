//! Sessions whose outputs overwrite their inputs: key/value caches that are never copied.
//!
//! An autoregressive graph reads its cache as `past` and returns it, one position longer, as
//! `present`. When both are bound to the same memory, the attention kernel (GroupQueryAttention of
//! ONNX Runtime) sees equal addresses and writes the new position in place. ort's safe calls cannot
//! say that: its inputs are copied when they are borrowed, and an output must be a value of its own.

use std::ops::Range;
use std::rc::Rc;

use ort::AsPointer;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, PrimitiveTensorElementType, Shape, TensorElementType};

use super::OnnxError;
use super::memory::bind_output;
use super::row_caches::{Blocks, CacheNames, RowCaches, output_name};

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
    /// Tells the session apart.
    session: *const ort::sys::OrtSession,
    outputs: Vec<DynTensor>,
    /// The binding holds addresses inside them.
    caches: Vec<Blocks>,
    is_on_device: bool,
}

impl InPlaceBinding {
    /// Binds inputs, new outputs of the given types and shapes, and rows of caches. Outputs are in processor memory,
    /// wherever the graph runs.
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
            bind_output(&mut binding, &output_name(session, name)?, &tensor)?;
            output_tensors.push(tensor);
        }
        for view in views {
            view.caches.bind(&mut binding, &view.rows, view.names)?;
        }
        Ok(Self {
            binding,
            session: session.ptr(),
            outputs: output_tensors,
            is_on_device: views.iter().any(|view| view.caches.place().is_device()),
            caches: views
                .iter()
                .map(|view| Rc::clone(view.caches.blocks()))
                .collect(),
        })
    }

    /// Runs the graph once on `caches`, the ones that were bound, in their order. `changed` are the inputs that hold
    /// something else than in the last run: a device has read them when they were bound.
    ///
    /// # Errors
    /// ONNX Runtime reports a failure; the caches of the bound rows are then unusable.
    ///
    /// # Panics
    /// Other caches were bound, or the binding is another session's.
    pub fn run(
        &mut self,
        session: &mut Session,
        changed: &[(&str, &DynTensor)],
        caches: &mut [&mut RowCaches],
    ) -> Result<(), OnnxError> {
        let bound = self.caches.iter().zip(caches.iter());
        assert!(
            self.caches.len() == caches.len()
                && bound
                    .clone()
                    .all(|(blocks, caches)| Rc::ptr_eq(blocks, caches.blocks())),
            "a binding of other caches"
        );
        assert!(
            std::ptr::eq(self.session, session.ptr()),
            "a binding of another session"
        );
        for (name, value) in changed {
            self.binding.bind_input(*name, value)?;
        }
        if self.is_on_device {
            self.binding.synchronize_inputs()?;
        }
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
