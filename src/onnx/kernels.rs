//! Kernels for the functions that graphs of 8 bits call.
//!
//! A layer of 8 bits is a product of integers between what makes integers of rows and what makes rows of integers. The
//! export writes these two as functions whose bodies are ordinary operators (`models/export/export/rows.py`), so that
//! every ONNX Runtime runs the files. Where a session knows a kernel for a function it takes that in place of the body: a
//! pass or two over a row instead of one for each node, and the same bits for all finite numbers.

use multiversion::multiversion;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{DynValueTypeMarker, TensorElementType, ValueRef, ValueRefMut};

/// Domain of the functions.
const DOMAIN: &str = "meeshy";

/// Integer that stands for zero.
const ZERO: u8 = 128;

/// The largest number of a row is this far from [`ZERO`].
const LARGEST: f32 = 127.0;

/// Rows of zeros alone are divided by as much as if their largest number were this.
const LEAST: f32 = 1e-20;

/// 1.5 · 2²³: a sum with it has no bits behind the point, and the number that was added, rounded to even, in its lowest
/// bits. For what is between -2²² and 2²².
const ROUNDING: f32 = 12_582_912.0;

/// The kernels, for one session.
pub(super) fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(QuantizeRows)?
        .add(DequantizeRows { adds: false })?
        .add(DequantizeRows { adds: true })
}

/// `x` f32 `[rows…, n]` to `values` u8 `[rows…, n]` around [`ZERO`], and `scale` f32 `[rows…, 1]`.
struct QuantizeRows;

impl Operator for QuantizeRows {
    type Kernel<'attr> = Self;

    fn name(&self) -> &str {
        "QuantizeRows"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [TensorElementType::Uint8, TensorElementType::Float32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<Self> {
        Ok(Self)
    }
}

impl Kernel for QuantizeRows {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let x = input(context, 0)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let mut of_rows = shape.to_vec();
        let width = match of_rows.last_mut() {
            Some(last) => std::mem::replace(last, 1) as usize,
            None => return Err(ort::Error::new("QuantizeRows: the input has no rows")),
        };
        let mut values = output(context, 0, shape)?;
        let mut scales = output(context, 1, &of_rows)?;
        let values = values.try_extract_tensor_mut::<u8>()?.1;
        let scales = scales.try_extract_tensor_mut::<f32>()?.1;
        // Rows of no numbers have a scale all the same.
        scales.fill(LEAST / LARGEST);
        let rows = x.chunks_exact(width.max(1));
        for ((x, values), scale) in rows.zip(values.chunks_exact_mut(width.max(1))).zip(scales) {
            let largest = largest(x);
            // Unlike `max` this keeps a NaN.
            *scale = if largest < LEAST { LEAST } else { largest } / LARGEST;
            quantize(x, *scale, values);
        }
        Ok(())
    }
}

/// `values` f32 `[rows…, n]` · `scale` f32 `[rows…, 1]` + `bias` f32 `[n]`, and + `residual` f32 `[rows…, n]` where it `adds`.
struct DequantizeRows {
    adds: bool,
}

impl Operator for DequantizeRows {
    type Kernel<'attr> = Self;

    fn name(&self) -> &str {
        if self.adds {
            "DequantizeRowsAdd"
        } else {
            "DequantizeRows"
        }
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let inputs = 3 + usize::from(self.adds);
        (0..inputs).map(|_| OperatorInput::required(TensorElementType::Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<Self> {
        Ok(Self { adds: self.adds })
    }
}

impl Kernel for DequantizeRows {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let [values, scales, bias] = [input(context, 0)?, input(context, 1)?, input(context, 2)?];
        let (shape, values) = values.try_extract_tensor::<f32>()?;
        let (of_rows, scales) = scales.try_extract_tensor::<f32>()?;
        let bias = bias.try_extract_tensor::<f32>()?.1;
        let residual = self.adds.then(|| input(context, 3)).transpose()?;
        let residual = residual.as_ref().map(|r| r.try_extract_tensor::<f32>());
        let residual = residual.transpose()?;
        let width = bias.len();
        let of_numbers = [
            of_rows.strip_suffix(&[1]).unwrap_or_default(),
            &[width as i64],
        ]
        .concat();
        if **shape != of_numbers || residual.is_some_and(|(others, _)| others != shape) {
            return Err(ort::Error::new(
                "the inputs of DequantizeRows do not belong together",
            ));
        }
        let mut y = output(context, 0, shape)?;
        let y = y.try_extract_tensor_mut::<f32>()?.1;
        let width = width.max(1);
        let rows = values
            .chunks_exact(width)
            .zip(scales)
            .zip(y.chunks_exact_mut(width));
        match residual {
            Some((_, residual)) => {
                for (((values, scale), y), residual) in rows.zip(residual.chunks_exact(width)) {
                    dequantize_add(values, *scale, bias, residual, y);
                }
            }
            None => rows.for_each(|((values, scale), y)| dequantize(values, *scale, bias, y)),
        }
        Ok(())
    }
}

fn input(context: &ComputeContext, index: usize) -> ort::Result<ValueRef<'_, DynValueTypeMarker>> {
    let value = context.input(index)?;
    value.ok_or_else(|| ort::Error::new("a function is called without an input"))
}

fn output<'a>(
    context: &'a ComputeContext,
    index: usize,
    shape: &[i64],
) -> ort::Result<ValueRefMut<'a, DynValueTypeMarker>> {
    let value = context.output(index, shape)?;
    value.ok_or_else(|| ort::Error::new("an output of a function is not used"))
}

/// The largest absolute value; NaN where there is a NaN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma"))]
fn largest(x: &[f32]) -> f32 {
    // Without their signs, floats are in the order of their bits, and NaN is behind all of them.
    let bits = x.iter().map(|x| x.abs().to_bits());
    f32::from_bits(bits.fold(0, u32::max))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma"))]
fn quantize(x: &[f32], scale: f32, values: &mut [u8]) {
    for (x, value) in x.iter().zip(values) {
        *value = ((x / scale + ROUNDING).to_bits() as u8).wrapping_add(ZERO);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma"))]
fn dequantize(values: &[f32], scale: f32, bias: &[f32], y: &mut [f32]) {
    for ((value, bias), y) in values.iter().zip(bias).zip(y) {
        *y = value * scale + bias;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma"))]
fn dequantize_add(values: &[f32], scale: f32, bias: &[f32], residual: &[f32], y: &mut [f32]) {
    for (((value, bias), residual), y) in values.iter().zip(bias).zip(residual).zip(y) {
        *y = value * scale + bias + residual;
    }
}

#[cfg(test)]
mod tests {
    use ort::ep::CUDA;
    use ort::session::{Session, SessionInputValue, builder::SessionBuilder};
    use ort::value::Tensor;

    use super::*;
    use crate::onnx::testing;

    const F32: TensorElementType = TensorElementType::Float32;

    /// A field of a protocol buffer that holds bytes.
    fn field(number: usize, content: &[u8]) -> Vec<u8> {
        let two_bytes = |number: usize| [number as u8 | 0x80, (number >> 7) as u8];
        let head = [two_bytes(number << 3 | 2), two_bytes(content.len())].concat();
        [&head, content].concat()
    }

    /// A session of one call of a function. A body for its only output gives the first input: not what the kernel gives.
    fn call(name: &str, inputs: &[&str], outputs: &[(&str, TensorElementType)]) -> Session {
        let text = |number, text: &str| field(number, text.as_bytes());
        let value = |number, name: &str, kind: TensorElementType| {
            let tensor = field(1, &[0x08, if kind == F32 { 1 } else { 2 }]);
            field(number, &[text(1, name), field(2, &tensor)].concat())
        };
        let node = |name: &str, domain: &str, inputs: &[&str], outputs: &[&str]| {
            let inputs = inputs.iter().map(|input| text(1, input));
            let outputs = outputs.iter().map(|output| text(2, output));
            let operator = [text(4, name), text(7, domain)];
            inputs
                .chain(outputs)
                .chain(operator)
                .flatten()
                .collect::<Vec<_>>()
        };
        let opset = |domain: &str, version| [text(1, domain), vec![0x10, version]].concat();
        let results: Vec<_> = outputs.iter().map(|(name, _)| *name).collect();

        let calls = field(1, &node(name, DOMAIN, inputs, &results));
        let given = inputs.iter().flat_map(|name| value(11, name, F32));
        let found = outputs
            .iter()
            .flat_map(|(name, kind)| value(12, name, *kind));
        let graph: Vec<_> = calls
            .into_iter()
            .chain(text(2, "call"))
            .chain(given)
            .chain(found)
            .collect();
        let opsets = [opset("", 18), opset(DOMAIN, 1)]
            .map(|opset| field(8, &opset))
            .concat();
        let mut model = [&[0x08, 9], &*field(7, &graph), &opsets].concat();
        if let [result] = results[..] {
            let parameters = inputs.iter().flat_map(|name| text(4, name));
            let body = field(7, &node("Identity", "", &inputs[..1], &[result]));
            let rest = [
                text(1, name),
                text(5, result),
                body,
                field(9, &opset("", 18)),
                text(10, DOMAIN),
            ];
            let function: Vec<_> = parameters.chain(rest.concat()).collect();
            model.extend(field(25, &function));
        }
        let mut builder = testing::onnx().builder(1, CUDA::default()).unwrap();
        builder.commit_from_memory(&model).unwrap()
    }

    fn tensor(shape: &[usize], numbers: impl Into<Vec<f32>>) -> SessionInputValue<'static> {
        Tensor::from_array((shape, numbers.into())).unwrap().into()
    }

    /// What the bundled speech decoder says of two rows of three latents and two ids each.
    fn logits(mut session: Session) -> Vec<u32> {
        let ids = |shape: &[usize], ids: &[i64]| Tensor::from_array((shape, ids.to_vec())).unwrap();
        let lengths = Tensor::from_array(([2], vec![4_i32; 2])).unwrap();
        let total = Tensor::from_array(((), vec![5_i32])).unwrap();
        let mut inputs = ort::inputs![
            "ids" => ids(&[2, 2], &[1, 2, 3, 4]),
            "pos" => ids(&[2, 2], &[0, 1, 0, 1]),
            "last_index" => ids(&[2, 1], &[4, 4]),
            "seqlens_k" => lengths,
            "total_sequence_length" => total,
        ];
        for input in session.inputs() {
            let shape = input.dtype().tensor_shape().unwrap();
            let shape = match (input.name(), &shape[..]) {
                ("cond_latents", [.., width]) => vec![2, 3, *width as usize],
                (_, [_, heads, _, width]) => vec![2, *heads as usize, 8, *width as usize],
                _ => continue,
            };
            let numbers: Vec<_> = (0..shape.iter().product())
                .map(|i| (i as f32).sin())
                .collect();
            inputs.push((input.name().to_owned().into(), tensor(&shape, numbers)));
        }
        let found = session.run(inputs).unwrap();
        let logits = found["logits"].try_extract_tensor::<f32>().unwrap().1;
        assert!(!logits.is_empty() && logits.iter().all(|logit| logit.is_finite()));
        logits.iter().map(|logit| logit.to_bits()).collect()
    }

    #[test]
    fn the_largest_number_of_a_row_becomes_127_and_halves_become_even() {
        let outputs = [("values", TensorElementType::Uint8), ("scale", F32)];
        let mut session = call("QuantizeRows", &["x"], &outputs);
        let mut quantized = |rows: usize, x: Vec<f32>| {
            let width = x.len().checked_div(rows).unwrap_or(4);
            let found = session
                .run(ort::inputs![tensor(&[rows, width], x)])
                .unwrap();
            let (shape, values) = found["values"].try_extract_tensor::<u8>().unwrap();
            assert_eq!(**shape, [rows as i64, width as i64]);
            let (shape, scale) = found["scale"].try_extract_tensor::<f32>().unwrap();
            assert_eq!(**shape, [rows as i64, 1]);
            (values.to_vec(), scale.to_vec())
        };
        let (values, scale) = quantized(2, vec![-127.0, 0.5, 1.5, 2.5, 0.0, -0.001, 0.004, 0.0]);
        assert_eq!(values, [1, 128, 130, 130, 128, 96, 255, 128]);
        assert_eq!(scale, [1.0, 0.004 / 127.0]);
        let (values, scale) = quantized(1, vec![0.0; 70]);
        assert_eq!((values, scale), (vec![128; 70], vec![LEAST / LARGEST]));
        assert_eq!(quantized(0, Vec::new()), (Vec::new(), Vec::new()));
        // A NaN shows itself, in its own row.
        let mut x = vec![3.0; 140];
        x[30] = f32::NAN;
        let (values, scale) = quantized(2, x);
        assert!(scale[0].is_nan());
        assert_eq!((&values[70..], scale[1]), (&[255; 70][..], 3.0 / 127.0));
    }

    #[test]
    fn inputs_that_do_not_belong_together_are_an_error() {
        let inputs = ["values", "scale", "bias", "residual"];
        let mut plain = call("DequantizeRows", &inputs[..3], &[("y", F32)]);
        let mut adding = call("DequantizeRowsAdd", &inputs, &[("y", F32)]);
        let values = || tensor(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let (scale, bias) = (
            || tensor(&[2, 1], [0.5, 2.0]),
            || tensor(&[3], [10.0, 20.0, 30.0]),
        );

        let found = plain.run(ort::inputs![values(), scale(), bias()]).unwrap();
        let y = found["y"].try_extract_tensor::<f32>().unwrap().1;
        assert_eq!(y, [10.5, 21.0, 31.5, 18.0, 30.0, 42.0]);
        drop(found);
        let found = adding
            .run(ort::inputs![values(), scale(), bias(), values()])
            .unwrap();
        let y = found["y"].try_extract_tensor::<f32>().unwrap().1;
        assert_eq!(y, [11.5, 23.0, 34.5, 22.0, 35.0, 48.0]);
        drop(found);

        let short = || tensor(&[2], [1.0, 1.0]);
        for inputs in [
            ort::inputs![values(), scale(), short()],
            ort::inputs![values(), tensor(&[1, 1], [1.0]), bias()],
            ort::inputs![values(), scale(), tensor(&[0], [])],
            ort::inputs![values(), tensor(&[1, 2], [0.5, 2.0]), bias()],
        ] {
            let error = plain
                .run(inputs)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(error.contains("do not belong together"), "{error}");
        }
        for shape in [[1, 3], [3, 2]] {
            let residual = tensor(&shape, vec![0.0; shape[0] * shape[1]]);
            let error = adding.run(ort::inputs![values(), scale(), bias(), residual]);
            assert!(error.is_err_and(|e| e.to_string().contains("do not belong together")));
        }
    }

    /// The kernels take the place of bodies that all runtimes have: whoever checks an export elsewhere checks the same.
    #[test]
    fn a_kernel_gives_the_bits_of_the_body() {
        let graph = testing::fixture("xtts/gpt_batched.int8r.onnx");
        let onnx = testing::onnx();
        let bodies = SessionBuilder::new(&onnx.environment)
            .and_then(|mut builder| builder.commit_from_file(&graph))
            .unwrap();
        let kernels = onnx.session(&graph, 1).unwrap();
        assert_eq!(logits(bodies), logits(kernels));
    }
}
