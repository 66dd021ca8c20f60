//! Memory that graphs work on in place: the processor's, or that of the device their session runs on.
//!
//! What differs between the two is here. The processor changes its own memory where it is. To, from and inside a
//! device, bytes are copied by a graph of one Identity whose input and output are bound to the two ends: ONNX Runtime
//! has no other call for it, and ort's copies first clone a source that is borrowed. Everything unsafe of the crate's
//! ONNX code is here.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::fmt::Debug;
use std::ops::Range;
use std::rc::Rc;

use half::f16;
use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::sys::{OrtIoBinding, OrtStatusPtr, OrtValue};
use ort::value::{
    DynTensor, DynValue, DynValueRefMut, PrimitiveTensorElementType, Shape, TensorElementType,
    TensorRef, TensorRefMut,
};

use super::{Device, Onnx, OnnxError};

/// Where the memory of a session's caches is. Cheap to clone.
#[derive(Clone)]
pub struct Place(Option<Rc<DeviceMemory>>);

/// The memory of a device, and the way to it.
struct DeviceMemory {
    device: AllocationDevice<'static>,
    allocator: Allocator,
    /// Copies `x` to `y`.
    identity: RefCell<Session>,
    /// Bytes that a block may have, where a test wants memory to be short.
    #[cfg(test)]
    largest: usize,
}

impl Place {
    /// Where sessions of `onnx` have their memory.
    ///
    /// # Errors
    /// The device cannot be used.
    pub fn of(onnx: &Onnx) -> Result<Self, OnnxError> {
        match onnx.device() {
            Device::Cpu => Ok(Self(None)),
            Device::Cuda => Self::device(onnx, AllocationDevice::CUDA),
        }
    }

    /// The processor's memory, used as if it were a device's.
    #[cfg(test)]
    pub(crate) fn like_a_device(onnx: &Onnx) -> Self {
        Self::device(onnx, AllocationDevice::CPU).expect("an allocator")
    }

    /// The same under another name, as if no graph ran there.
    #[cfg(test)]
    pub(super) fn without_graphs(onnx: &Onnx) -> Self {
        let Self(memory) = Self::like_a_device(onnx);
        let memory = Rc::into_inner(memory.expect("a device")).expect("one owner");
        Self(Some(Rc::new(DeviceMemory {
            device: AllocationDevice::new("Elsewhere"),
            ..memory
        })))
    }

    fn device(onnx: &Onnx, device: AllocationDevice<'static>) -> Result<Self, OnnxError> {
        let identity = onnx.identity()?;
        let allocator = Allocator::new(&identity, info(&device)?)?;
        Ok(Self(Some(Rc::new(DeviceMemory {
            device,
            allocator,
            identity: RefCell::new(identity),
            #[cfg(test)]
            largest: usize::MAX,
        }))))
    }

    /// The processor's memory as a device's that has no larger blocks than of `largest` bytes.
    #[cfg(test)]
    pub(crate) fn with_small_blocks(onnx: &Onnx, largest: usize) -> Self {
        let Self(memory) = Self::like_a_device(onnx);
        let memory = Rc::into_inner(memory.expect("a device")).expect("one owner");
        Self(Some(Rc::new(DeviceMemory { largest, ..memory })))
    }

    /// True where it is not the processor's.
    pub(super) fn is_device(&self) -> bool {
        self.0.is_some()
    }

    /// Makes sure that a session reads the input `index` here: else a kernel that is missing on the device would work
    /// on a copy.
    pub(super) fn require_input(
        &self,
        session: &Session,
        index: usize,
        name: &str,
    ) -> Result<(), OnnxError> {
        let Some(memory) = &self.0 else {
            return Ok(());
        };
        let found = input_device(session, index)?;
        if found == memory.device.as_str() {
            return Ok(());
        }
        Err(OnnxError::Elsewhere {
            name: name.to_owned(),
            found,
        })
    }

    fn info(&self) -> Result<MemoryInfo<'static>, OnnxError> {
        info(match &self.0 {
            None => &AllocationDevice::CPU,
            Some(memory) => &memory.device,
        })
    }

    fn allocate(&self, length: usize) -> Result<DynTensor, OnnxError> {
        #[cfg(test)]
        if self
            .0
            .as_ref()
            .is_some_and(|memory| length > memory.largest)
        {
            return Err(OnnxError::CacheMemory {
                bytes: length,
                source: ort::Error::new("the test allows no more"),
            });
        }
        // No allocator has to give memory of no bytes.
        let shape = Shape::new([length.max(1) as i64]);
        let bytes = TensorElementType::Uint8;
        match &self.0 {
            None => DynTensor::new(&Allocator::default(), bytes, shape),
            Some(memory) => DynTensor::new(&memory.allocator, bytes, shape),
        }
        .map_err(|source| OnnxError::CacheMemory {
            bytes: length,
            source,
        })
    }
}

fn info(device: &AllocationDevice<'static>) -> Result<MemoryInfo<'static>, OnnxError> {
    let (device, kind) = (device.clone(), MemoryType::Default);
    Ok(MemoryInfo::new(device, 0, AllocatorType::Device, kind)?)
}

impl DeviceMemory {
    fn copy(&self, from: &DynValue, to: &DynValue) -> Result<(), OnnxError> {
        let mut session = self.identity.borrow_mut();
        let mut binding = session.create_binding()?;
        bind_input(&mut binding, c"x", from)?;
        bind_output(&mut binding, c"y", to)?;
        binding.synchronize_inputs()?;
        session.run_binding(&binding)?;
        Ok(())
    }
}

/// What caches hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatKind {
    F32,
    F16,
}

impl FloatKind {
    /// `None` for what is no float of these sizes.
    pub(super) fn of(kind: TensorElementType) -> Option<Self> {
        match kind {
            TensorElementType::Float32 => Some(Self::F32),
            TensorElementType::Float16 => Some(Self::F16),
            _ => None,
        }
    }

    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<f16>(),
        }
    }

    /// The bytes of a value.
    pub(super) fn bytes(self, value: f32) -> Vec<u8> {
        match self {
            Self::F32 => value.to_ne_bytes().into(),
            Self::F16 => f16::from_f32(value).to_ne_bytes().into(),
        }
    }
}

/// Bytes at a fixed address, which a binding may have. They are given back before the place's allocator is.
pub(super) struct Block {
    bytes: DynTensor,
    length: usize,
    place: Place,
}

impl Block {
    /// `length` bytes: `pattern` again and again, and then what `write` makes of it.
    ///
    /// Every page is written now: the first use of fresh memory can take seconds.
    pub(super) fn new(
        place: &Place,
        length: usize,
        pattern: &[u8],
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Self, OnnxError> {
        let mut block = Self {
            bytes: place.allocate(length)?,
            length,
            place: place.clone(),
        };
        if place.is_device() {
            let mut staged = vec![0; length];
            fill(&mut staged, pattern);
            write(&mut staged);
            block.overwrite(0, &staged)?;
        } else {
            let own = block.own_mut(0..length)?;
            fill(own, pattern);
            write(own);
        }
        Ok(block)
    }

    /// Number of bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Some of the bytes.
    pub(super) fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>, OnnxError> {
        let Some(memory) = &self.place.0 else {
            let (_, own) = self.bytes.try_extract_tensor::<u8>()?;
            return Ok(Cow::Borrowed(&own[range]));
        };
        let mut staged = vec![0; range.len()];
        if !staged.is_empty() {
            let source = self.view::<u8>(range.start, &[range.len()])?;
            let target = TensorRefMut::from_array_view_mut(([range.len()], &mut staged[..]))?;
            memory.copy(&source.into_dyn(), &target.into_dyn())?;
        }
        Ok(Cow::Owned(staged))
    }

    /// Lets `change` work on some of the bytes.
    pub(super) fn edit(
        &mut self,
        range: Range<usize>,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), OnnxError> {
        if !self.place.is_device() {
            change(self.own_mut(range)?);
            return Ok(());
        }
        let mut staged = self.read(range.clone())?.into_owned();
        change(&mut staged);
        self.overwrite(range.start, &staged)
    }

    /// Copies some of the bytes to others.
    pub(super) fn copy(&mut self, from: Range<usize>, to: usize) -> Result<(), OnnxError> {
        let Some(memory) = &self.place.0 else {
            self.own_mut(0..self.length)?.copy_within(from, to);
            return Ok(());
        };
        let source = self.view::<u8>(from.start, &[from.len()])?;
        let target = self.view::<u8>(to, &[from.len()])?;
        memory.copy(&source.into_dyn(), &target.into_dyn())
    }

    /// Puts `bytes` into a device's memory from `start` on.
    fn overwrite(&mut self, start: usize, bytes: &[u8]) -> Result<(), OnnxError> {
        let Some(memory) = self.place.0.as_ref().filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        let source = TensorRef::from_array_view(([bytes.len()], bytes))?;
        let target = self.view::<u8>(start, &[bytes.len()])?;
        memory.copy(&source.into_dyn(), &target.into_dyn())
    }

    /// Some of the bytes of the processor's own memory.
    fn own_mut(&mut self, range: Range<usize>) -> Result<&mut [u8], OnnxError> {
        let (_, own) = self.bytes.try_extract_tensor_mut::<u8>()?;
        Ok(&mut own[range])
    }

    /// What is there from the byte `start` on, as a tensor of floats.
    pub(super) fn floats(
        &self,
        kind: FloatKind,
        start: usize,
        shape: &[usize],
    ) -> Result<DynValueRefMut<'_>, OnnxError> {
        Ok(match kind {
            FloatKind::F32 => self.view::<f32>(start, shape)?.into_dyn(),
            FloatKind::F16 => self.view::<f16>(start, shape)?.into_dyn(),
        })
    }

    fn view<T: PrimitiveTensorElementType + Debug>(
        &self,
        start: usize,
        shape: &[usize],
    ) -> Result<TensorRefMut<'_, T>, OnnxError> {
        let size = shape.iter().product::<usize>() * size_of::<T>();
        assert!(start + size <= self.length, "outside the memory");
        let address = self.bytes.data_ptr().cast_mut().cast::<u8>();
        let shape = Shape::new(shape.iter().map(|d| *d as i64));
        #[expect(
            unsafe_code,
            reason = "the view lies inside the block by the assertion above and lives no longer; a binding that keeps \
                      its address keeps the block"
        )]
        let view = unsafe {
            TensorRefMut::from_raw(self.place.info()?, address.add(start).cast(), shape)?
        };
        Ok(view)
    }
}

/// Repeats `pattern` to the end.
fn fill(bytes: &mut [u8], pattern: &[u8]) {
    let mut filled = pattern.len().min(bytes.len());
    bytes[..filled].copy_from_slice(&pattern[..filled]);
    while filled > 0 && filled < bytes.len() {
        let more = filled.min(bytes.len() - filled);
        bytes.copy_within(..more, filled);
        filled += more;
    }
}

/// Floats that a graph left in processor memory.
pub struct Floats<'a> {
    pub(super) kind: FloatKind,
    /// The dimensions.
    pub shape: Vec<usize>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Floats<'a> {
    /// The content of a tensor; `None` where it holds something else.
    ///
    /// # Errors
    /// It is not in processor memory.
    pub fn of(value: &'a DynValue) -> Result<Option<Self>, OnnxError> {
        let kind = value.dtype().tensor_type().and_then(FloatKind::of);
        Ok(match kind {
            Some(FloatKind::F32) => Some(Self::new(
                FloatKind::F32,
                value.try_extract_tensor::<f32>()?,
            )),
            Some(FloatKind::F16) => Some(Self::new(
                FloatKind::F16,
                value.try_extract_tensor::<f16>()?,
            )),
            None => None,
        })
    }

    fn new<T>(kind: FloatKind, (shape, values): (&Shape, &'a [T])) -> Self {
        #[expect(
            unsafe_code,
            reason = "floats are bytes without gaps, and any address will do for bytes"
        )]
        let bytes =
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        let shape = shape
            .iter()
            .map(|d| usize::try_from(*d).unwrap_or_default());
        Self {
            kind,
            shape: shape.collect(),
            bytes,
        }
    }
}

/// The name of the memory in which a session reads an input.
fn input_device(session: &Session, index: usize) -> Result<String, OnnxError> {
    let mut infos = vec![std::ptr::null(); session.inputs().len()];
    let mut name = std::ptr::null();
    #[expect(
        unsafe_code,
        reason = "there is room for one description for each input; they and their names live as long as the session"
    )]
    let name = unsafe {
        let get_infos = ort::api().SessionGetMemoryInfoForInputs;
        ort::Error::result_from_status(get_infos(session.ptr(), infos.as_mut_ptr(), infos.len()))?;
        ort::Error::result_from_status((ort::api().MemoryInfoGetName)(infos[index], &mut name))?;
        CStr::from_ptr(name)
    };
    Ok(name.to_string_lossy().into_owned())
}

/// Binds without the copy that [`IoBinding::bind_input`] makes of borrowed memory.
pub(super) fn bind_input(
    binding: &mut IoBinding,
    name: &CStr,
    value: &DynValue,
) -> Result<(), OnnxError> {
    bind(binding, ort::api().BindInput, name, value)
}

/// Binds without registering the output with [`IoBinding`], which would fetch every bound output,
/// caches included, after each run.
pub(super) fn bind_output(
    binding: &mut IoBinding,
    name: &CStr,
    value: &impl AsPointer<Sys = OrtValue>,
) -> Result<(), OnnxError> {
    bind(binding, ort::api().BindOutput, name, value)
}

/// ONNX Runtime's `BindInput` or `BindOutput`.
type Bind =
    unsafe extern "system" fn(*mut OrtIoBinding, *const c_char, *const OrtValue) -> OrtStatusPtr;

fn bind(
    binding: &mut IoBinding,
    call: Bind,
    name: &CStr,
    value: &impl AsPointer<Sys = OrtValue>,
) -> Result<(), OnnxError> {
    #[expect(
        unsafe_code,
        reason = "all three pointers are valid during the call; ONNX Runtime keeps its own reference \
                  to the value, and whoever binds keeps its memory"
    )]
    let status = unsafe {
        let status = call(binding.ptr().cast_mut(), name.as_ptr(), value.ptr());
        ort::Error::result_from_status(status)
    };
    Ok(status?)
}
