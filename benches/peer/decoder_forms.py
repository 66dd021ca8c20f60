#!/usr/bin/env python3
"""What other forms of the XTTS decoder would cost: a cache of 2 bytes a value, small nodes fused, two lanes of one thread.

    python decoder_forms.py MODELS/xtts [--rows 8] [--length 100,300]

Each form runs the same steps in turn with all others; figures are medians. docs/adr/0007-ragged-xtts-batch.md says what came of it.
"""

import argparse
import collections
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions

STEPS, ROUNDS = 12, 5


class Lane:
    """A session with caches of its own, whose steps write in place."""

    def __init__(self, path, facts, part, all_rows, capacity, threads, level, cache_type=np.float32):
        rows = len(range(*part.indices(all_rows)))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = level
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.binding, self.rows = self.session.io_binding(), rows
        shape = [all_rows, facts["heads"], capacity, facts["head_dim"]]
        random = np.random.default_rng(1)
        self.caches = []
        for layer in range(facts["layers"]):
            for kind in ("key", "value"):
                values = ort.OrtValue.ortvalue_from_numpy((random.standard_normal(shape)[part] * 0.1).astype(cache_type))
                self.caches.append(values)
                self.binding.bind_ortvalue_input(f"past_{kind}_{layer}", values)
                self.binding.bind_ortvalue_output(f"present_{kind}_{layer}", values)
        self.facts, self.capacity = facts, capacity
        self.feed("cond_latents", np.zeros([rows, 0, facts["width"]], np.float32))
        self.feed("last_index", np.zeros([rows, 1], np.int64))
        self.feed("total_sequence_length", np.array(capacity, np.int32))
        for output in ("logits", "latent"):
            self.binding.bind_output(output)

    def feed(self, name, value):
        self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))

    def steps(self, length):
        for step in range(STEPS):
            code, place = self.facts["text_vocab_size"] + 7 + step, self.facts["text_positions"] + 5 + step
            self.feed("ids", np.full([self.rows, 1], code, np.int64))
            self.feed("pos", np.full([self.rows, 1], place, np.int64))
            self.feed("seqlens_k", np.full([self.rows], length + step, np.int32))
            self.session.run_with_iobinding(self.binding)

    def logits(self):
        return self.binding.get_outputs()[0].numpy()


def half_cache(model):
    """The cache, and the attention over it, in 16 bits."""
    graph = model.graph
    nodes = []
    for node in graph.node:
        if node.op_type != "GroupQueryAttention":
            nodes.append(node)
            continue
        wide, mixed = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{wide}_half", f"{mixed}_half"
        nodes += [helper.make_node("Cast", [wide], [node.input[0]], to=TensorProto.FLOAT16), node,
                  helper.make_node("Cast", [node.output[0]], [mixed], to=TensorProto.FLOAT)]  # fmt: skip
    del graph.node[:]
    graph.node.extend(nodes)
    for value in [*graph.input, *graph.output]:
        if value.name.startswith(("past_", "present_")):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def fused_norms(model):
    """Each residual sum, with the bias before it, and the norm after it as one SkipLayerNormalization."""
    graph = model.graph
    maker = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    norms = {node.input[0]: node for node in graph.node if node.op_type == "LayerNormalization"}
    gone, nodes = set(), []
    for node in graph.node:
        norm = norms.get(node.output[0]) if node.op_type == "Add" else None
        before, branch = (maker.get(name) for name in node.input) if norm else (None, None)
        is_biased = branch is not None and branch.op_type == "Add" and branch.input[1] in constants
        if before is None or not is_biased:
            nodes.append(node)
            continue
        gone.update((branch.output[0], norm.output[0]))
        nodes.append(helper.make_node(
            "SkipLayerNormalization", [node.input[0], branch.input[0], norm.input[1], norm.input[2], branch.input[1]],
            [norm.output[0], "", "", node.output[0]], domain="com.microsoft", epsilon=norm.attribute[-1].f,
        ))  # fmt: skip
    kept = [node for node in nodes if node.domain == "com.microsoft" or node.output[0] not in gone]
    del graph.node[:]
    graph.node.extend(kept)
    return model


def operators(path, level):
    """What is left of the graph when ONNX Runtime has fused what it can."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        options.optimized_model_filepath = file.name
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        counted = collections.Counter(node.op_type for node in onnx.load(file.name, load_external_data=False).graph.node)
    return dict(counted.most_common())


def timed(lanes, length):
    threads = [threading.Thread(target=lane.steps, args=[length]) for lane in lanes]
    wall, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - wall) / STEPS * 1e3, (time.process_time() - cpu) / STEPS * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="folder of XTTS")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", default="100,300", help="positions before the step (default: 100,300)")
    args = parser.parse_args()
    facts = json.loads((args.models / "metadata.json").read_text())
    path = args.models / "gpt_batched.int8r.onnx"
    lengths = [int(length) for length in args.length.split(",")]
    capacity = -(-(max(lengths) + STEPS + 1) // 64) * 64
    fused, unfused = ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    print("operators as they are:", operators(path, unfused))
    print("after fusion:", operators(path, fused))

    with tempfile.TemporaryDirectory() as scratch:
        half = Path(scratch) / "half.onnx"
        onnx.save(half_cache(onnx.load(path)), half)
        norms = Path(scratch) / "norms.onnx"
        onnx.save(fused_norms(inline_local_functions(onnx.load(path))), norms)
        print("with fused norms:", operators(norms, fused))
        every, half_of = slice(None), args.rows // 2

        def lane(part, threads, file=path, level=fused, **more):
            return Lane(file, facts, part, args.rows, capacity, threads, level, **more)

        forms = {
            "one thread": [lane(every, 1)],
            "one thread, nothing fused": [lane(every, 1, level=unfused)],
            "one thread, norms fused": [lane(every, 1, file=norms)],
            "one thread, cache of 2 bytes": [lane(every, 1, file=half, cache_type=np.float16)],
            "one lane of two threads": [lane(every, 2)],
            "two lanes of one thread": [lane(slice(half_of), 1), lane(slice(half_of, None), 1)],
        }  # fmt: skip
        for length in lengths:
            runs = collections.defaultdict(list)
            for _ in range(ROUNDS):
                for name, lanes in forms.items():
                    runs[name].append(timed(lanes, length))
            exact = forms["one thread"][0].logits()
            print(f"\n{args.rows} rows, {length} positions before: ms of a step, CPU-ms of a step, difference of the logits")
            for name, pairs in runs.items():
                wall, cpu = (statistics.median(values) for values in zip(*pairs))
                logits = np.concatenate([lane.logits() for lane in forms[name]])
                print(f"  {name:30} {wall:7.1f} {cpu:7.1f}   {np.abs(logits - exact).max():.1e}")


if __name__ == "__main__":
    main()
