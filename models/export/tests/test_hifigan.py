"""How far a sample of a vocoder sees, and that its graph cuts off no more than that."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from TTS.vocoder.models.hifigan_generator import HifiganGenerator

from export import hifigan, xtts_graphs
from export.runtime import session

# Kernels and dilations of the residual blocks, kernels and strides of the upsamplings.
XTTS = ([3, 7, 11], [[1, 3, 5]] * 3, [16, 16, 4, 4], [8, 8, 2, 2])
SHAPES = [
    XTTS,
    ([3, 5], [[1, 3, 1]] * 2, [16, 16, 4, 4], [8, 8, 2, 2]),
    ([3], [[1, 1, 1]], [4, 4], [2, 2]),
    ([5], [[1, 1, 1]], [12, 6, 4], [6, 2, 2]),
    ([3, 7, 11], [[1, 3, 5]] * 3, [11, 10, 4], [5, 4, 2]),
]
WIDTH, SPEAKER = 4, 3


def generator(shape):
    """All of its weights are positive: what it sees it cannot hide."""
    kernels, dilations, up_kernels, strides = shape
    made = HifiganGenerator(
        WIDTH, 1, "1", dilations, kernels, up_kernels, 2 ** len(strides), strides, inference_padding=0,
        cond_channels=SPEAKER, conv_pre_weight_norm=False, conv_post_weight_norm=False, conv_post_bias=False,
        cond_in_each_up_layer=True,
    ).double()  # fmt: skip
    for module in [*made.ups, *(conv for block in made.resblocks for conv in [*block.convs1, *block.convs2])]:
        nn.utils.parametrize.remove_parametrizations(module, "weight")
    for module in made.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = module.weight[0].numel()
            nn.init.constant_(module.weight, 1 / fan_in)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return made


def seen(made, stage, positions=200):
    """How many positions before and behind a stage's position its samples see, shown by an impulse."""
    x = torch.zeros(1, made.ups[stage].in_channels, positions, dtype=torch.double)
    x[..., positions // 2] = 1
    with torch.no_grad():
        for index in range(stage, len(made.ups)):
            x = made.ups[index](functional.leaky_relu(x, 0.1))
            blocks = made.resblocks[index * made.num_kernels : (index + 1) * made.num_kernels]
            x = sum(block(x) for block in blocks)
        samples = made.conv_post(x)[0, 0].numpy()
    (touched,) = np.nonzero(samples)
    hop = len(samples) // positions
    return positions // 2 - touched.min() // hop, touched.max() // hop - positions // 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stage", [0, 1])
def test_context_is_what_an_impulse_shows(shape, stage):
    made = generator(shape)
    assert hifigan.context(made, stage) == max(seen(made, stage))


def test_a_frame_of_xtts_sees_thirteen_on_each_side():
    assert xtts_graphs.vocoder_context(generator(XTTS)) == 13


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_has_all_that_an_impulse_in_its_context_leaves(shape, tmp_path, monkeypatch):
    made = generator(shape)
    context, first, end, count = xtts_graphs.vocoder_context(made), 40, 42, 80
    # An impulse in each frame of the window and of its context. Beside zeros even what is tiny stays exact.
    places = range(first - context, end + context)
    frames = np.zeros((len(places), WIDTH, count), np.float32)
    for row, place in enumerate(places):
        frames[row, :, place] = 1
    part = np.ascontiguousarray(frames[:, :, places.start : places.stop])

    def window_and_whole():
        xtts_graphs.vocoder_graph(made, WIDTH).save(tmp_path / "vocoder.onnx")
        graph = session(tmp_path / "vocoder.onnx")
        speaker = np.zeros((len(places), SPEAKER, 1), np.float32)
        run = lambda frames, emit: graph.run(
            None, {"frames": frames, "speaker_embedding": speaker, "emit": np.array(emit)}
        )[0]
        return run(part, [context, context + end - first]), run(frames, [first, end])

    window, whole = window_and_whole()
    assert (whole.max(axis=1) > 0).all(), "each frame of the context is heard"
    np.testing.assert_allclose(window, whole, rtol=1e-4)
    enough = hifigan.context
    monkeypatch.setattr(hifigan, "context", lambda made, stage=0: enough(made, stage) - 3)
    window, _ = window_and_whole()
    assert not np.allclose(window, whole, rtol=1e-4, atol=0), "three positions less are missed"
