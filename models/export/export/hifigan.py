"""HiFi-GAN inside a graph. Convolutions are 2-D of height 1: ONNX Runtime then uses its blocked layout."""

import math

from . import ExportError
from .graph import array

CROP_STAGE = 1  # the upsampling before which context is cut off: what comes after is four fifths of the work


def upsample(g, x, generator, conditions=None, emit=None):
    """[batch, channels, 1, frames] to the waveform [batch, samples].

    `conditions` holds what is added after each upsampling, if anything is. With `emit`, the names of [first frame]
    and [last frame + 1], only their samples are given out: the others are context.
    """
    if emit and len(generator.ups) <= CROP_STAGE:
        raise ExportError(f"a vocoder of {len(generator.ups)} upsamplings; {CROP_STAGE + 1} at least are supported")
    for index, up in enumerate(generator.ups):
        if emit and index == CROP_STAGE:
            x, skipped = crop(g, x, generator, emit)
        x = g.op("LeakyRelu", x, alpha=0.1)
        weight = array(up.weight)[:, :, None, :]
        x = g.op("ConvTranspose", x, g.const(weight), g.const(up.bias), strides=[1, up.stride[0]],
                 pads=[0, up.padding[0]] * 2)  # fmt: skip
        if conditions:
            x = g.op("Add", x, conditions(index))
        kernels = generator.num_kernels
        blocks = [residual_block(g, x, block) for block in generator.resblocks[index * kernels : (index + 1) * kernels]]
        x = blocks[0]
        for block in blocks[1:]:
            x = g.op("Add", x, block)
        if kernels > 1:
            x = g.op("Div", x, g.scalar(kernels))
    x = flat_conv(g, g.op("LeakyRelu", x, alpha=0.01), generator.conv_post)
    wav = g.op("Squeeze", g.op("Tanh", x), g.ints(1, 2))
    if emit:
        first, end = emit
        samples = g.op("Mul", g.op("Sub", end, first), g.ints(positions(generator, len(generator.ups))))
        wav = g.op("Slice", wav, skipped, g.op("Add", skipped, samples), g.ints(1))
    return wav


def crop(g, x, generator, emit):
    """Cuts off what the stages from CROP_STAGE on do not need for the frames of `emit`.

    Returns the rest, and how many of its samples come before theirs.
    """
    steps, reach = positions(generator, CROP_STAGE), context(generator, CROP_STAGE)
    first, end = (g.op("Mul", frame, g.ints(steps)) for frame in emit)
    # Where the unit itself begins or ends there is less to cut off, or nothing: Slice stops at the end.
    start = g.op("Max", g.op("Sub", first, g.ints(reach)), g.ints(0))
    rest = g.op("Slice", x, start, g.op("Add", end, g.ints(reach)), g.ints(3))
    samples = positions(generator, len(generator.ups)) // steps
    return rest, g.op("Mul", g.op("Sub", first, start), g.ints(samples))


def positions(generator, stage):
    """Positions of a frame before a stage; after the last one they are samples."""
    return math.prod(up.stride[0] for up in generator.ups[:stage])


def context(generator, stage=0):
    """Positions before a stage, on each side, that a sample there depends on: from kernels and dilations."""
    reach = generator.conv_post.padding[0]
    kernels = generator.num_kernels
    for index in reversed(range(stage, len(generator.ups))):
        blocks = generator.resblocks[index * kernels : (index + 1) * kernels]
        reach += max(sum(conv.padding[0] for conv in [*block.convs1, *block.convs2]) for block in blocks)
        up = generator.ups[index]
        kernel, stride, padding = up.kernel_size[0], up.stride[0], up.padding[0]
        left = (reach - padding + kernel - 1) // stride
        right = (reach + padding - 1) // stride + 1
        reach = max(left, right)
    return reach


def flat_conv(g, x, module):
    """A 1-D convolution of [batch, channels, 1, frames]."""
    inputs = [x, g.const(array(module.weight)[:, :, None, :])]
    inputs += [g.const(module.bias)] if module.bias is not None else []
    return g.op("Conv", *inputs, pads=[0, module.padding[0]] * 2, dilations=[1, module.dilation[0]])


def residual_block(g, x, block):
    for first, second in zip(block.convs1, block.convs2):
        y = flat_conv(g, g.op("LeakyRelu", x, alpha=0.1), first)
        x = g.op("Add", x, flat_conv(g, g.op("LeakyRelu", y, alpha=0.1), second))
    return x
