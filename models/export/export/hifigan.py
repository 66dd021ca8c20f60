"""HiFi-GAN inside a graph. Convolutions are 2-D of height 1: ONNX Runtime then uses its blocked layout."""

from .graph import array


def upsample(g, x, generator, conditions=None):
    """[batch, channels, 1, frames] to the waveform [batch, samples].

    `conditions` holds what is added after each upsampling, if anything is.
    """
    for index, up in enumerate(generator.ups):
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
    return g.op("Squeeze", g.op("Tanh", x), g.ints(1, 2))


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
