"""MarianMT graphs, written from the parameters of transformers' MarianMTModel.

Two layouts of the same weights: encoder.onnx + decoder.onnx, whose sentences join and leave at any step and whose
caches stay where they are, and the widespread encoder_model.onnx + decoder_model_merged.onnx.
"""

import math

import numpy as np

from .graph import BOOL, F16, F32, I32, I64, MICROSOFT, Graph, array
from .linear import Float32Linear

OPSET = 17
QUANTIZED_OPSET = 18  # whose ReduceMax takes its axes as an input
MASKED = {F32: -1e9, F16: -3e4}  # of what the type holds, and far from its end: sums must hold too


class Transformer:
    """Writes the parts that both layouts share into one graph."""

    def __init__(self, graph, model, linear_kind=Float32Linear):
        self.g, self.model, self.linear = graph, model, linear_kind(graph)
        self.config = model.config
        self.heads = self.config.decoder_attention_heads
        self.head_dim = self.config.d_model // self.heads
        self.scale = math.sqrt(self.config.d_model) if self.config.scale_embedding else 1.0

    def dense(self, x, module, residual=None):
        return self.linear(x, array(module.weight).T, module.bias, residual)

    def embed(self, ids, positions):
        g = self.g
        words = g.op("Mul", self.linear.rows(self.model.model.shared.weight, ids), g.scalar(self.scale))
        rows = g.const(self.model.model.encoder.embed_positions.weight, "positions")
        return g.op("Add", words, g.op("Gather", rows, positions))

    def positions(self, past_length, ids):
        """past_length .. past_length + ids' length, [length]."""
        g = self.g
        length = g.op("Squeeze", g.op("Shape", ids, start=1, end=2), g.ints(0))
        return g.op("Range", past_length, g.op("Add", past_length, length), g.const(np.array(1, np.int64)))

    def padding_mask(self, mask):
        """[rows, length] of 1 and 0 to [rows, 1, 1, length] of 0 and a large negative number."""
        g = self.g
        hidden = g.op("Mul", g.op("Sub", g.scalar(1), g.op("Cast", mask, to=g.real)), g.scalar(MASKED[g.real]))
        return g.op("Unsqueeze", hidden, g.ints(1, 2))

    def query(self, x, attention, heads):
        scale = (self.config.d_model // heads) ** -0.5
        scaled = self.g.op("Mul", self.dense(x, attention.q_proj), self.g.scalar(scale))
        return self.g.heads(scaled, heads)

    def key_value(self, x, attention, heads):
        return [self.g.heads(self.dense(x, part), heads) for part in (attention.k_proj, attention.v_proj)]

    def attend(self, x, query, key, value, mask, attention, norm):
        g = self.g
        joined = g.join_heads(g.attention(query, key, value, mask))
        return g.layer_norm(self.dense(joined, attention.out_proj, x), norm)

    def feed_forward(self, x, layer):
        hidden = self.activation(self.dense(x, layer.fc1))
        return self.g.layer_norm(self.dense(hidden, layer.fc2, x), layer.final_layer_norm)

    def activation(self, x):
        if self.config.activation_function == "relu":
            return self.g.op("Relu", x)
        return self.g.op("Mul", x, self.g.op("Sigmoid", x))

    def encode(self, ids, mask):
        heads = self.config.encoder_attention_heads
        x = self.embed(ids, self.positions(self.g.const(np.array(0, np.int64)), ids))
        mask = self.padding_mask(mask)
        for layer in self.model.model.encoder.layers:
            attention = layer.self_attn
            x = self.attend(x, self.query(x, attention, heads), *self.key_value(x, attention, heads), mask, attention,
                            layer.self_attn_layer_norm)  # fmt: skip
            x = self.feed_forward(x, layer)
        return x

    def decode(self, x, past, cross, causal_mask, cross_mask):
        """Runs the decoder layers; `past` may hold None. Returns the states and the grown past."""
        present = []
        for layer, before, (cross_key, cross_value) in zip(self.model.model.decoder.layers, past, cross):
            attention = layer.self_attn
            key, value = self.key_value(x, attention, self.heads)
            if before:
                key = self.g.op("Concat", before[0], key, axis=2)
                value = self.g.op("Concat", before[1], value, axis=2)
            present.append((key, value))
            x = self.attend(x, self.query(x, attention, self.heads), key, value, causal_mask, attention,
                            layer.self_attn_layer_norm)  # fmt: skip
            x = self.attend(x, self.query(x, layer.encoder_attn, self.heads), cross_key, cross_value, cross_mask,
                            layer.encoder_attn, layer.encoder_attn_layer_norm)  # fmt: skip
            x = self.feed_forward(x, layer)
        return x, present

    def decode_in_slots(self, x, past, cross, cross_mask, lengths, total):
        """Runs the decoder layers for one token of each row. x: [rows, 1, width].

        Each row's key and value go behind its own `lengths` earlier ones, into the memory of `past`. The rows of a
        sentence follow each other and share its `cross`. Returns the states and the caches.
        """
        g, present = self.g, []
        sentences = g.op("Shape", cross[0][0], start=0, end=1)
        by_sentence = g.op("Concat", sentences, g.ints(-1, self.heads, self.head_dim), axis=0)
        for layer, before, (cross_key, cross_value) in zip(self.model.model.decoder.layers, past, cross):
            attention = layer.self_attn
            mixed, key, value = g.op(
                "GroupQueryAttention", self.query_key_value(x, attention), "", "", *before, lengths, total,
                outputs=3, domain=MICROSOFT, num_heads=self.heads, kv_num_heads=self.heads, do_rotary=0,
            )  # fmt: skip
            present.append((key, value))
            x = g.layer_norm(self.dense(mixed, attention.out_proj, x), layer.self_attn_layer_norm)

            attention = layer.encoder_attn
            scale = g.scalar(self.head_dim**-0.5)
            query = g.op("Reshape", g.op("Mul", self.dense(x, attention.q_proj), scale), by_sentence)
            query = g.op("Transpose", query, perm=[0, 2, 1, 3])
            mixed = g.op("Transpose", g.attention(query, cross_key, cross_value, cross_mask), perm=[0, 2, 1, 3])
            mixed = g.op("Reshape", mixed, g.ints(-1, 1, self.config.d_model))
            x = g.layer_norm(self.dense(mixed, attention.out_proj, x), layer.encoder_attn_layer_norm)
            x = self.feed_forward(x, layer)
        return x, present

    def query_key_value(self, x, attention):
        """[rows, 1, 3 * width], which GroupQueryAttention takes apart; it scales the query itself."""
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        weight = np.concatenate([array(part.weight) for part in parts])
        return self.linear(x, weight.T, np.concatenate([array(part.bias) for part in parts]))

    def logits(self, x):
        """Scores of [rows, width] states."""
        table, bias = self.model.model.shared.weight, self.model.final_logits_bias[0]
        if isinstance(self.linear, Float32Linear):
            # Gemm, so that the tied table is stored once.
            return self.g.op("Gemm", x, self.g.const(table, "embeddings"), self.g.const(bias), transB=1)
        return self.linear(x, array(table).T, bias)

    def past_length(self, past_key):
        return self.g.op("Squeeze", self.g.op("Shape", past_key, start=2, end=3), self.g.ints(0))


def opset_of(linear_kind):
    return OPSET if issubclass(linear_kind, Float32Linear) else QUANTIZED_OPSET


def encoder_graph(model, linear_kind=Float32Linear):
    g = Graph("marian_encoder", opset_of(linear_kind), real=linear_kind.real)
    t = Transformer(g, model, linear_kind)
    ids = g.input("input_ids", I64, ["batch", "src_len"])
    mask = g.input("attention_mask", I64, ["batch", "src_len"])
    states = t.encode(ids, mask)
    for index, layer in enumerate(model.model.decoder.layers):
        shape = ["batch", t.heads, "src_len", t.head_dim]
        for name, value in zip(("key", "value"), t.key_value(states, layer.encoder_attn, t.heads)):
            g.rename(value, f"cross_{name}_{index}", g.real, shape)
    return g


def decoder_graph(model, linear_kind=Float32Linear):
    g = Graph("marian_decoder", opset_of(linear_kind), real=linear_kind.real)
    t = Transformer(g, model, linear_kind)
    ids = g.input("input_ids", I64, ["rows", 1])
    positions = g.input("position_ids", I64, ["rows", 1])
    lengths = g.input("seqlens_k", I32, ["rows"])
    total = g.input("total_sequence_length", I32, [])
    mask = g.input("attention_mask", I64, ["sentences", "src_len"])
    top_k = g.input("top_k", I64, [1])
    inputs = lambda side, shape: [
        [g.input(f"{side}_{part}_{index}", linear_kind.real, shape) for part in ("key", "value")]
        for index in range(t.config.decoder_layers)
    ]
    slots = ["rows", t.heads, "capacity", t.head_dim]
    past, cross = inputs("past", slots), inputs("cross", ["sentences", t.heads, "src_len", t.head_dim])

    x, present = t.decode_in_slots(t.embed(ids, positions), past, cross, t.padding_mask(mask), lengths, total)
    logits = g.widen(t.logits(g.op("Squeeze", x, g.ints(1))))
    values, best = g.op("TopK", g.op("LogSoftmax", logits, axis=-1), top_k, outputs=2, axis=-1)
    g.rename(values, "topk_logprobs", F32, ["rows", "k"])
    g.rename(best, "topk_ids", I64, ["rows", "k"])
    g.rename(logits, "logits", F32, ["rows", t.config.vocab_size])
    for index, pair in enumerate(present):
        for name, value in zip(("key", "value"), pair):
            g.rename(value, f"present_{name}_{index}", linear_kind.real, slots)
    return g


def plain_encoder_graph(model):
    g = Graph("encoder_model", OPSET)
    ids = g.input("input_ids", I64, ["batch_size", "encoder_sequence_length"])
    mask = g.input("attention_mask", I64, ["batch_size", "encoder_sequence_length"])
    t = Transformer(g, model)
    shape = ["batch_size", "encoder_sequence_length", t.config.d_model]
    g.output(t.encode(ids, mask), "last_hidden_state", F32, shape)
    return g


def merged_decoder_graph(model):
    """One If on `use_cache_branch`: the whole prefix without a past, or one token with it.

    As in Optimum's exports the cached branch answers the encoder's keys and values with empty
    constants (batch 0, length 1): the caller keeps those of the first step.
    """
    g = Graph("decoder_model_merged", OPSET)
    t = Transformer(g, model)
    layers = t.config.decoder_layers
    g.input("encoder_attention_mask", I64, ["batch_size", "encoder_sequence_length"])
    g.input("input_ids", I64, ["batch_size", "decoder_sequence_length"])
    g.input("encoder_hidden_states", F32, ["batch_size", "encoder_sequence_length", t.config.d_model])
    kinds = [(side, part) for side in ("decoder", "encoder") for part in ("key", "value")]
    length = {"decoder": "past_decoder_sequence_length", "encoder": "encoder_sequence_length_out"}
    for index in range(layers):
        for side, part in kinds:
            shape = ["batch_size", t.heads, length[side], t.head_dim]
            g.input(f"past_key_values.{index}.{side}.{part}", F32, shape)
    g.input("use_cache_branch", BOOL, [1])

    branches = [merged_branch(g, model, cached) for cached in (True, False)]
    names = ["logits"] + [f"present.{i}.{side}.{part}" for i in range(layers) for side, part in kinds]
    g.op("If", "use_cache_branch", outputs=names, then_branch=branches[0], else_branch=branches[1])
    g.outputs = branches[1].output
    return g


def merged_branch(outer, model, cached):
    g = Graph("cached" if cached else "first", OPSET, outer)
    t = Transformer(g, model)
    past, cross = [], []
    for index, layer in enumerate(model.model.decoder.layers):
        name = f"past_key_values.{index}"
        past.append([f"{name}.decoder.key", f"{name}.decoder.value"] if cached else None)
        cross.append([f"{name}.encoder.key", f"{name}.encoder.value"] if cached
                     else t.key_value("encoder_hidden_states", layer.encoder_attn, t.heads))  # fmt: skip
    start = t.past_length(past[0][0]) if cached else g.const(np.array(0, np.int64))
    positions = t.positions(start, "input_ids")
    causal = None
    if not cached:
        later = g.op("Greater", g.op("Unsqueeze", positions, g.ints(0)), g.op("Unsqueeze", positions, g.ints(1)))
        causal = g.op("Where", later, g.scalar(MASKED[F32]), g.scalar(0))
    mask = t.padding_mask("encoder_attention_mask")
    x, present = t.decode(t.embed("input_ids", positions), past, cross, causal, mask)
    table = g.op("Transpose", g.const(model.model.shared.weight, "embeddings"), perm=[1, 0])
    logits = g.op("Add", g.op("MatMul", x, table), g.const(model.final_logits_bias[0]))
    g.output(logits, "logits", F32, ["batch_size", "decoder_sequence_length", t.config.vocab_size])
    for index, (own, encoder) in enumerate(zip(present, cross)):
        shape = ["batch_size", t.heads, "length", t.head_dim]
        for part, value in zip(("key", "value"), own):
            g.output(value, f"present.{index}.decoder.{part}", F32, shape)
        for part, value in zip(("key", "value"), encoder):
            empty = g.const(np.zeros((0, t.heads, 1, t.head_dim), np.float32))
            g.output(empty if cached else value, f"present.{index}.encoder.{part}", F32, shape)
    return g.proto()
