"""The blocks of which models consist, described once for both frameworks.

A block's kind names its forward function in `frameworks/torch/model.py` and in
`frameworks/tensorflow/model.py`. Shapes are of one sample, images as height x width x channels; the
canonical layouts of arrays are dense (in, out), conv (height, width, in, out), table (rows, width).

The blocks are chosen so that the results of two frameworks differ only by rounding: GELU in its erf
form and mean pooling (functions without kinks and ties), LayerNorm with a stated epsilon, attention
without biases on query, key and value (the gradient of a key's bias is only rounding), and separate
arrays for the input table and the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

HEAD_WIDTH = 16

# This gain keeps the variance of a standard normal through GELU: E[gelu(z)^2] is 0.425.
GELU_GAIN = 1.53
# The first scores are small, so that at first no class is preferred and the loss is ln(V).
LOGIT_GAIN = 0.5


@dataclass(frozen=True)
class Layer:
    """One layer of a framework: `kind` is dense, conv, norm or table.

    shape   the shape of its main array, in the canonical layout; for a norm, (width,)
    gain    the standard deviation of its initial outputs if that of its inputs is 1 (dense, conv)
    """

    epsilon = 1e-5  # what a norm adds to the variance

    name: str
    kind: str
    shape: tuple[int, ...]
    bias: bool = True
    gain: float = 1.0

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Return the canonical names of its arrays, with their shapes.

        >>> Layer("up", "dense", (64, 256)).arrays
        {'kernel': (64, 256), 'bias': (256,)}
        """
        main = {"norm": "scale", "table": "table"}.get(self.kind, "kernel")
        arrays = {main: self.shape}
        return arrays | {"bias": self.shape[-1:]} if self.bias else arrays


@dataclass(frozen=True)
class Block:
    """One part of a chain; a model can be cut before and after it.

    flops   FLOPs of the forward pass of one sample; only matrix products count, and a multiply-add
            counts as two
    """

    head_width = HEAD_WIDTH

    kind: str
    layers: tuple[Layer, ...]
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    flops: int

    @property
    def parameters(self) -> int:
        return sum(prod(s) for layer in self.layers for s in layer.arrays.values())

    @property
    def weight_bytes(self) -> int:
        return 4 * self.parameters

    @property
    def dtype_in(self) -> str:
        """Return the type of its input."""
        return "int64" if self.kind == "embed" else "float32"


def dense(shape_in: tuple[int, ...], width: int) -> Block:
    """Make a dense layer with GELU, on the flattened sample."""
    layer = Layer("dense", "dense", (prod(shape_in), width), gain=GELU_GAIN)
    return Block("dense", (layer,), shape_in, (width,), 2 * prod(layer.shape))


def logits(shape_in: tuple[int, ...], classes: int) -> Block:
    """Make a dense layer without an activation, which gives the scores of the classes."""
    layer = Layer("dense", "dense", (prod(shape_in), classes), gain=LOGIT_GAIN)
    return Block("logits", (layer,), shape_in, (classes,), 2 * prod(layer.shape))


def conv(shape_in: tuple[int, int, int], channels: int, pool: bool = False) -> Block:
    """Make a 3x3 convolution (stride 1, zero padding) with GELU; `pool` adds 2x2 mean pooling."""
    height, width, channels_in = shape_in
    layer = Layer("conv", "conv", (3, 3, channels_in, channels), gain=GELU_GAIN)
    shape_out = (height // 2, width // 2, channels) if pool else (height, width, channels)
    flops = 2 * prod(layer.shape) * height * width
    return Block("conv_pool" if pool else "conv", (layer,), shape_in, shape_out, flops)


def embed(tokens: int, vocabulary: int, width: int) -> Block:
    """Make an embedding: a learnt vector for the token plus one for its position."""
    layers = (Layer("tokens", "table", (vocabulary, width), bias=False),)
    layers += (Layer("positions", "table", (tokens, width), bias=False),)
    return Block("embed", layers, (tokens,), (tokens, width), 0)


def attention(tokens: int, width: int) -> Block:
    """Make attention: x plus causal self-attention of norm(x), with width / HEAD_WIDTH heads."""
    square = (width, width)
    layers = (Layer("norm", "norm", (width,)),)
    layers += tuple(Layer(n, "dense", square, bias=False) for n in ("query", "key", "value"))
    layers += (Layer("out", "dense", square),)
    flops = 4 * 2 * tokens * width * width + 2 * 2 * tokens * tokens * width
    return Block("attention", layers, (tokens, width), (tokens, width), flops)


def feed_forward(tokens: int, width: int) -> Block:
    """Make x plus two dense layers of norm(x): four times the width and GELU between them."""
    up = Layer("up", "dense", (width, 4 * width), gain=GELU_GAIN)
    layers = (Layer("norm", "norm", (width,)), up, Layer("down", "dense", (4 * width, width)))
    flops = 2 * 2 * tokens * width * 4 * width
    return Block("feed_forward", layers, (tokens, width), (tokens, width), flops)


def head(tokens: int, width: int, vocabulary: int) -> Block:
    """Make a layer that gives the scores of the next token at every position."""
    scores = Layer("dense", "dense", (width, vocabulary), gain=LOGIT_GAIN)
    layers = (Layer("norm", "norm", (width,)), scores)
    flops = 2 * tokens * width * vocabulary
    return Block("head", layers, (tokens, width), (tokens, vocabulary), flops)
