"""Where the weights of a graph are: in its file, or in one beside it, which is mapped into memory.

What ONNX Runtime reads from the file of a graph it reads in whole, and copies. From a file beside it, it takes pages when they
are needed, and several processes share them.
"""

import contextlib

import onnx
from onnx import TensorProto, helper, numpy_helper

MAPPED_BYTES = 4 << 20  # of all weights of a page and more; with less, one file is handier
PAGE = 4096  # what is mapped starts at a multiple of it, and what is smaller stays in the graph


def data_file(path):
    """The file beside a graph."""
    return path.with_name(path.name + ".data")


def write(model, weights, path, mapped_bytes=MAPPED_BYTES):
    """Writes a model without initializers with `weights`, arrays by name, as its initializers, and checks it.

    From `mapped_bytes` on, they go into a file beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    large = [name for name, value in weights.items() if value.nbytes >= PAGE]
    if sum(weights[name].nbytes for name in large) < mapped_bytes:
        large = []
    # Small ones are in the graph: shapes are computed from them before anything is mapped.
    inside = [numpy_helper.from_array(value, name) for name, value in weights.items() if name not in large]
    model.graph.initializer.extend(inside)
    data = data_file(path)
    if large:
        with replaced(data) as file:
            for name in large:
                file.seek(-(-file.tell() // PAGE) * PAGE)
                model.graph.initializer.append(reference(name, weights[name], data.name, file.tell()))
                file.write(weights[name])
    else:
        data.unlink(missing_ok=True)
    with replaced(path) as file:
        file.write(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))


@contextlib.contextmanager
def replaced(path):
    """A file that takes the place of another when it is whole: what is mapped may never change."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        yield file
    partial.replace(path)


def reference(name, value, location, offset):
    """The initializer whose bytes are in another file."""
    tensor = TensorProto(name=name, dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype))
    tensor.data_location = TensorProto.EXTERNAL
    for key, part in (("location", location), ("offset", offset), ("length", value.nbytes)):
        tensor.external_data.add(key=key, value=str(part))
    return tensor


def rewrite(source, path):
    """Moves a model to `path`, its weights to where `write` puts them."""
    model = onnx.load(source)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    del model.graph.initializer[:]
    write(model, weights, path)
