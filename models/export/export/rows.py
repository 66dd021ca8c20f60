"""Functions over rows of 8 bits, each row with a scale of its own.

Their bodies are in the files, so that every ONNX Runtime runs them; the translator has kernels for them (src/onnx/kernels.rs),
which give the same bits.
"""

import numpy as np
from onnx import helper, numpy_helper

DOMAIN = "meeshy"  # by which the translator knows them
OPSETS = [helper.make_opsetid("", 18)]


def constant(name, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


# x [..., n] as values [..., n] around 128, of which a row's largest is 1 or 255, and scale [..., 1].
QUANTIZE = helper.make_function(
    DOMAIN, "QuantizeRows", ["x"], ["values", "scale"],
    [
        constant("last", np.array([-1], np.int64)), constant("least", np.array(1e-20, np.float32)),
        constant("most", np.array(127, np.float32)), constant("one", np.array(1, np.float32)),
        constant("zero", np.array(128, np.uint8)),
        helper.make_node("Abs", ["x"], ["sizes"]),
        helper.make_node("ReduceMax", ["sizes", "last"], ["size"]),
        helper.make_node("Max", ["size", "least"], ["largest"]),
        helper.make_node("Div", ["largest", "most"], ["scale"]),
        helper.make_node("Div", ["x", "scale"], ["scaled"]),
        helper.make_node("QuantizeLinear", ["scaled", "one", "zero"], ["values"]),
    ],
    OPSETS,
)  # fmt: skip

# values [..., n] · scale [..., 1] + bias [n]
DEQUANTIZE = helper.make_function(
    DOMAIN, "DequantizeRows", ["values", "scale", "bias"], ["y"],
    [
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["y"]),
    ],
    OPSETS,
)  # fmt: skip

# The same + residual [..., n]
DEQUANTIZE_ADD = helper.make_function(
    DOMAIN, "DequantizeRowsAdd", ["values", "scale", "bias", "residual"], ["y"],
    [
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["biased"]),
        helper.make_node("Add", ["residual", "biased"], ["y"]),
    ],
    OPSETS,
)  # fmt: skip
