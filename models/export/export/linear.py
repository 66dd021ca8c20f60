"""The linear layers of a graph in each precision that the engines run.

A kind is made for one graph and called for each layer: `kind(g)(x, weight, bias, residual)` with `weight`
[in, out] gives the name of x · weight + bias + residual; `rows(table, ids)` looks up rows of an embedding.
"""

import numpy as np

from . import rows
from .graph import F16, F32, MICROSOFT, array

BLOCK = 32  # inputs that share a scale in 4 bits


class Float32Linear:
    real = F32  # what activations and caches are

    def __init__(self, g):
        self.g = g

    def __call__(self, x, weight, bias, residual=None):
        return added(self.g, self.g.op("MatMul", x, self.g.const(weight)), bias, residual)

    def rows(self, table, ids):
        return self.g.op("Gather", self.g.const(table, "embeddings"), ids)


class Float16Linear(Float32Linear):
    """All in 16 bits: CUDA has the attention of the decoders in no other floats."""

    real = F16


class Int8RowLinear:
    """The int8r recipe: one activation scale per row, so that a row never depends on its neighbours.

    Weights stay within ±64: without VNNI two products are added in 16 bits with saturation.
    """

    real = F32

    def __init__(self, g):
        self.g = g
        self.quantized = {}  # by input: layers that read the same share its bytes

    def __call__(self, x, weight, bias, residual=None):
        g = self.g
        values, scale = int8_columns(array(weight), 64)
        bytes_, row = self.quantize(x)
        zero = g.const(np.array(128, np.uint8))
        y = g.op("MatMulIntegerToFloat", bytes_, g.const(values), g.scalar(1), g.const(scale), zero, domain=MICROSOFT)
        if residual is None:
            return g.call(rows.DEQUANTIZE, y, row, g.const(bias))
        return g.call(rows.DEQUANTIZE_ADD, y, row, g.const(bias), residual)

    def quantize(self, x):
        if x not in self.quantized:
            self.quantized[x] = self.g.call(rows.QUANTIZE, x)
        return self.quantized[x]

    def rows(self, table, ids):
        """Rows are stored in 8 bits with a scale each."""
        g = self.g
        values, scale = int8_columns(array(table).T, 127)
        picked = g.op("Cast", g.op("Gather", g.const(values.T, "embeddings"), ids), to=F32)
        return g.op("Mul", picked, g.op("Gather", g.const(scale[:, None]), ids))


class Int4BlockLinear:
    """4-bit weights, one scale for each block of 32 inputs (MatMulNBits); activations in 8 bits inside."""

    real = F32

    def __init__(self, g):
        self.g = g

    def __call__(self, x, weight, bias, residual=None):
        g, weight = self.g, array(weight)
        inputs, outputs = weight.shape
        if inputs % BLOCK:
            raise ValueError(f"a 4-bit layer needs a multiple of {BLOCK} inputs, this one has {inputs}")
        bytes_, scale = int4_blocks(weight)
        y = g.op("MatMulNBits", x, g.const(bytes_), g.const(scale), domain=MICROSOFT,
                 K=inputs, N=outputs, bits=4, block_size=BLOCK, accuracy_level=4)  # fmt: skip
        return added(g, y, bias, residual)


def added(g, y, bias, residual):
    """y + bias + residual, which may be None."""
    y = g.op("Add", y, g.const(bias))
    return y if residual is None else g.op("Add", residual, y)


def int8_columns(weight, limit):
    """Returns the int8 values of [in, out] weights and the scale of each output."""
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-20).astype(np.float32) / np.float32(limit)
    return np.clip(np.rint(weight / scale), -limit, limit).astype(np.int8), scale


def int4_blocks(weight):
    """Returns [out, blocks, 16] bytes of two 4-bit values each, the lower one first, and scales [out, blocks].

    Stored value v stands for (v - 8) · scale. The largest weight of a block becomes -8, whatever its sign.
    """
    blocks = weight.T.reshape(weight.shape[1], -1, BLOCK)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    scale = np.take_along_axis(blocks, at, axis=2).astype(np.float32) / np.float32(-8)
    divisor = np.where(scale == 0, np.float32(1), scale)
    values = np.clip(np.rint(blocks / divisor) + 8, 0, 15).astype(np.uint8)
    return values[..., 0::2] | values[..., 1::2] << 4, scale[..., 0]


KINDS = {"fp32": Float32Linear, "int8r": Int8RowLinear, "fp16": Float16Linear, "q4": Int4BlockLinear}


def graph_file(name, precision):
    """The file of a graph in one precision: only those of fp32 do not name it."""
    return f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx"
