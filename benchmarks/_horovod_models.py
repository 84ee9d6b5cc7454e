"""The three networks of Horovod's benchmark, layer by layer: parameters and multiply-accumulates.

The networks are those of tf_cnn_benchmarks (github.com/tensorflow/benchmarks, read 2026-11-22), but
for 1000 classes: VGG-16 with biases; ResNet-101 with batch norms of a scale and a shift, and its
strides in the first convolution of a block; Inception V3 with a shift only and without its
auxiliary head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CLASSES = 1000


class Layer(NamedTuple):
    """A convolution or a matrix, with the bias or batch norm after it.

    parameters   trained numbers; each has a gradient of 4 bytes
    macs         multiply-accumulates of the forward pass, for one image
    """

    parameters: int
    macs: int


def vgg_16() -> tuple[Layer, ...]:
    """Simonyan and Zisserman, arXiv 1409.1556, configuration D; images of 224 x 224.

    >>> sum(layer.parameters for layer in vgg_16())
    138357544
    """
    layers, inputs, side = [], 3, 224
    for outputs, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            layers.append(_conv(inputs, outputs, (3, 3), side))
            inputs = outputs
        side //= 2
    sizes = (inputs * side * side, 4096, 4096, CLASSES)
    return (*layers, *(_dense(*pair) for pair in zip(sizes, sizes[1:])))


def resnet_101() -> tuple[Layer, ...]:
    """He and others, arXiv 1512.03385, table 1; images of 224 x 224.

    >>> sum(layer.parameters for layer in resnet_101())
    44549160
    """
    layers, inputs = [_conv(3, 64, (7, 7), 112, each=2)], 64
    for width, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 23, 14), (512, 3, 7)):
        for block in range(blocks):
            layers.append(_conv(inputs, width, (1, 1), side, each=2))
            layers.append(_conv(width, width, (3, 3), side, each=2))
            layers.append(_conv(width, 4 * width, (1, 1), side, each=2))
            if block == 0:
                layers.append(_conv(inputs, 4 * width, (1, 1), side, each=2))
            inputs = 4 * width
    return (*layers, _dense(inputs, CLASSES))


def inception_v3() -> tuple[Layer, ...]:
    """Szegedy and others, arXiv 1512.00567; images of 299 x 299.

    >>> sum(layer.parameters for layer in inception_v3())
    23817352
    """
    layers = [
        *_chain(3, (32, 3, 3, 149), (32, 3, 3, 147), (64, 3, 3, 147)),
        *_chain(64, (80, 1, 1, 73), (192, 3, 3, 71)),
    ]
    for inputs, pooled in ((192, 32), (256, 64), (288, 64)):
        layers += _module_35(inputs, pooled)
    layers += _chain(288, (384, 3, 3, 17))
    layers += _chain(288, (64, 1, 1, 35), (96, 3, 3, 35), (96, 3, 3, 17))
    for width in (128, 160, 160, 192):
        layers += _module_17(width)
    layers += _chain(768, (192, 1, 1, 17), (320, 3, 3, 8))
    layers += _chain(768, (192, 1, 1, 17), (192, 1, 7, 17), (192, 7, 1, 17), (192, 3, 3, 8))
    for inputs in (1280, 2048):
        layers += _module_8(inputs)
    return (*layers, _dense(2048, CLASSES))


def _module_35(inputs, pooled):
    yield from _chain(inputs, (64, 1, 1, 35))
    yield from _chain(inputs, (48, 1, 1, 35), (64, 5, 5, 35))
    yield from _chain(inputs, (64, 1, 1, 35), (96, 3, 3, 35), (96, 3, 3, 35))
    yield from _chain(inputs, (pooled, 1, 1, 35))


def _module_17(width):
    flat, high = (width, 1, 7, 17), (width, 7, 1, 17)
    yield from _chain(768, (192, 1, 1, 17))
    yield from _chain(768, (width, 1, 1, 17), flat, (192, 7, 1, 17))
    yield from _chain(768, (width, 1, 1, 17), high, flat, high, (192, 1, 7, 17))
    yield from _chain(768, (192, 1, 1, 17))


def _module_8(inputs):
    yield from _chain(inputs, (320, 1, 1, 8))
    yield from _chain(inputs, (384, 1, 1, 8), (384, 1, 3, 8))
    yield from _chain(384, (384, 3, 1, 8))
    yield from _chain(inputs, (448, 1, 1, 8), (384, 3, 3, 8), (384, 1, 3, 8))
    yield from _chain(384, (384, 3, 1, 8))
    yield from _chain(inputs, (192, 1, 1, 8))


def _chain(inputs, *convolutions) -> Iterator[Layer]:
    """Yield convolutions in a row, each (outputs, height, width, side of its result)."""
    for outputs, high, wide, side in convolutions:
        yield _conv(inputs, outputs, (high, wide), side)
        inputs = outputs


def _conv(inputs, outputs, kernel, side, each=1):
    """Return a convolution.

    `each` is the number of parameters of an output channel besides the weights: a bias, or a batch
    norm's.
    """
    weights = inputs * outputs * kernel[0] * kernel[1]
    return Layer(weights + each * outputs, weights * side * side)


def _dense(inputs, outputs):
    return Layer((inputs + 1) * outputs, inputs * outputs)
