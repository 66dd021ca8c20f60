"""OpenVoice graphs, written from the parameters of coqui-tts' modules.

`tone_embedding` tells who speaks; `converter` speaks with another's tone colour.
"""

import numpy as np

from .graph import F32, Graph, array
from .hifigan import flat_conv, upsample
from .spectrogram import powers_of

OPSET = 17


def magnitudes(g, audio, fft, hop):
    """[1, samples] to [fft / 2 + 1, frames]: sqrt(re² + im² + 1e-6), frames = samples / hop."""
    power = powers_of(g, audio, fft, hop, np.hanning(fft + 1)[:-1], padding=(fft - hop) // 2)
    return g.op("Sqrt", g.op("Add", power, g.scalar(1e-6)))


def tone_embedding_graph(encoder, fft, hop):
    """Audio [1, samples] to the speaker's embedding `se` [1, dim, 1]; `encoder` is a ReferenceEncoder."""
    g = Graph("tone_embedding", OPSET)
    audio = g.input("audio", F32, [1, "samples"])
    magnitude = g.op("Transpose", magnitudes(g, audio, fft, hop), perm=[1, 0])
    x = g.op("Unsqueeze", g.layer_norm(magnitude, encoder.layernorm), g.ints(0, 1))
    for conv in encoder.convs:
        x = g.op("Conv", x, g.const(conv.weight), g.const(conv.bias), strides=[2, 2], pads=[1, 1, 1, 1])
        x = g.op("Relu", x)
    x = g.op("Transpose", x, perm=[2, 0, 1, 3])  # [frames, 1, channels, rows]
    x = g.op("Reshape", x, g.ints(0, 1, -1))
    gru = encoder.gru
    _, last = g.op(
        "GRU", x, g.const(gate_order(gru.weight_ih_l0)[None]), g.const(gate_order(gru.weight_hh_l0)[None]),
        g.const(np.concatenate([gate_order(gru.bias_ih_l0), gate_order(gru.bias_hh_l0)])[None]),
        outputs=2, hidden_size=gru.hidden_size, linear_before_reset=1,
    )  # fmt: skip
    embedding = g.linear(g.op("Squeeze", last, g.ints(0)), encoder.proj.weight, encoder.proj.bias)
    g.output(g.op("Unsqueeze", embedding, g.ints(2)), "se", F32, [1, encoder.proj.out_features, 1])
    return g


def gate_order(parameter):
    """PyTorch stores reset, update, new; ONNX wants update, reset, new."""
    reset, update, new = np.split(array(parameter), 3)
    return np.concatenate([update, reset, new])


def converter_graph(model, fft, hop):
    """Audio of the voice `src_se` to the same speech in the voice `tgt_se`.

    `noise` [1, channels, samples / hop] is standard normal and `tau` [1] scales it. With zero_g only the
    flow sees the voices: elsewhere a voice of zeros leaves the conditioning layers' biases.
    """
    g = Graph("converter", OPSET)
    audio = g.input("audio", F32, [1, "samples"])
    dim = model.ref_enc.proj.out_features
    voices = [g.op("Unsqueeze", g.input(name, F32, [1, dim, 1]), g.ints(2)) for name in ("src_se", "tgt_se")]
    noise = g.input("noise", F32, [1, model.inter_channels, "frames"])
    tau = g.input("tau", F32, [1])
    silent = g.const(np.zeros((1, dim, 1, 1), np.float32))
    source, target = [silent, silent] if model.zero_g else voices

    spectrum = g.op("Unsqueeze", magnitudes(g, audio, fft, hop), g.ints(0, 2))
    z = posterior(g, spectrum, model.enc_q, source, noise, tau)
    layers = [flow for flow in model.flow.flows if hasattr(flow, "enc")]
    for layer in layers:
        z = flip(g, couple(g, z, layer, voices[0], "Add"))
    for layer in reversed(layers):
        z = couple(g, flip(g, z), layer, voices[1], "Sub")
    x = g.op("Add", flat_conv(g, z, model.dec.conv_pre), flat_conv(g, target, model.dec.cond))
    wav = upsample(g, x, model.dec)
    g.output(wav, "wav", F32, [1, "output_samples"])
    return g


def posterior(g, spectrum, encoder, voice, noise, tau):
    """Spectrum [1, bins, 1, frames] to mean + noise · tau · e^log_scale, [1, channels, 1, frames]."""
    x = wavenet(g, flat_conv(g, spectrum, encoder.pre), encoder.enc, voice)
    mean, log_scale = g.op("Split", flat_conv(g, x, encoder.proj), outputs=2, axis=1)
    noise = g.op("Mul", g.op("Unsqueeze", noise, g.ints(2)), tau)
    return g.op("Add", mean, g.op("Mul", noise, g.op("Exp", log_scale)))


def couple(g, z, layer, voice, operator):
    """Adds to the second half of the channels what the first half and the voice say, or takes it away."""
    first, second = g.op("Split", z, outputs=2, axis=1)
    mean = flat_conv(g, wavenet(g, flat_conv(g, first, layer.pre), layer.enc, voice), layer.post)
    return g.op("Concat", first, g.op(operator, second, mean), axis=1)


def flip(g, z):
    """Reverses the order of the channels."""
    return g.op("Slice", z, g.ints(-1), g.ints(np.iinfo(np.int64).min), g.ints(1), g.ints(-1))


def wavenet(g, x, module, voice):
    """Gated dilated convolutions with residual and skip connections; `voice` [1, dim, 1, 1] joins every gate."""
    hidden, count = module.hidden_channels, len(module.in_layers)
    joined = flat_conv(g, voice, module.cond_layer)
    skipped = None
    for index, (inner, outer) in enumerate(zip(module.in_layers, module.res_skip_layers)):
        start = 2 * hidden * index
        offset = g.op("Slice", joined, g.ints(start), g.ints(start + 2 * hidden), g.ints(1))
        gates = g.op("Add", flat_conv(g, x, inner), offset)
        value, gate = g.op("Split", gates, outputs=2, axis=1)
        y = flat_conv(g, g.op("Mul", g.op("Tanh", value), g.op("Sigmoid", gate)), outer)
        if index < count - 1:
            residual, y = g.op("Split", y, outputs=2, axis=1)
            x = g.op("Add", x, residual)
        skipped = y if skipped is None else g.op("Add", skipped, y)
    return skipped
