"""The chain of blocks in PyTorch: its own layers, and a forward function for each kind of block.

Read it beside `frameworks/tensorflow/model.py`.

Letters: B batch on this rank, F features, H height, W width, C channels, T tokens, D width,
N heads on this rank, K width of a head, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lablib.frameworks.torch.compat import FakeTensor

# Permutations from the canonical layout to torch's: dense (out, in), conv (out, in, height, width).
_AXES = {"dense": (1, 0), "conv": (3, 2, 0, 1)}


class TorchChain:
    """A chain of blocks as an nn.Sequential. See `frameworks.framework.Model`.

    chain   a `lablib.tasks.chain.Chain`
    """

    def __init__(self, chain):
        self.chain = chain

    def build(self, seed, numbers):
        """Return an nn.Sequential; the names of its blocks are their numbers in the chain."""
        model = nn.Sequential()
        for number in numbers:
            # A dry run needs no numbers, which would take the memory of the whole model.
            initial = {} if _is_dry() else self.chain.initial(number, seed)
            block = Block(self.chain.blocks[number], initial)
            model.add_module(str(number), block)
        return model

    def loss(self, outputs, y):
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())

    def arrays(self, model):
        model = getattr(model, "module", model)  # DDP stores the wrapped model there
        return {
            f"{number}.{layer.name}.{name}": array
            for number, block in model.named_children()
            for layer in self.chain.blocks[int(number)].layers
            for name, array in _read(layer, getattr(block, layer.name))
        }


def whole(tensor):
    """Return the whole tensor. For a DTensor this sends messages: all ranks must call it."""
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _dense(block, x):
    return _gelu(block.dense(x.flatten(1)))


def _logits(block, x):
    return block.dense(x.flatten(1))


def _conv(block, x_BHWC):
    # torch expects an image's dimensions as B, C, H, W; only the view changes, not the memory.
    return _gelu(block.conv(x_BHWC.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def _conv_pool(block, x_BHWC):
    y_BCHW = _gelu(block.conv(x_BHWC.permute(0, 3, 1, 2)))
    return functional.avg_pool2d(y_BCHW, 2).permute(0, 2, 3, 1)


def _embed(block, ids_BT):
    return block.tokens(ids_BT) + block.positions.weight[: ids_BT.shape[1]]


def _attention(block, x_BTD):
    h_BTD = block.norm(x_BTD)
    q, k, v = (
        layer(h_BTD).unflatten(-1, (-1, block.head_width)).transpose(1, 2)  # BNTK
        for layer in (block.query, block.key, block.value)
    )
    tokens = x_BTD.shape[1]
    future_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).triu(1)
    scores_BNTT = (q @ k.mT / block.head_width**0.5).masked_fill(future_TT, float("-inf"))
    heads_BNTK = scores_BNTT.softmax(-1) @ v
    return x_BTD + block.out(heads_BNTK.transpose(1, 2).flatten(2))


def _feed_forward(block, x_BTD):
    return x_BTD + block.down(_gelu(block.up(block.norm(x_BTD))))


def _head(block, x_BTD):
    return block.dense(block.norm(x_BTD))  # BTV


_FORWARD = {
    "dense": _dense,
    "logits": _logits,
    "conv": _conv,
    "conv_pool": _conv_pool,
    "embed": _embed,
    "attention": _attention,
    "feed_forward": _feed_forward,
    "head": _head,
}


class Block(nn.Module):
    """A block: torch layers with the task's names, and the forward function of its kind."""

    def __init__(self, block, initial):
        super().__init__()
        self.kind, self.head_width = block.kind, block.head_width
        for layer in block.layers:
            self.add_module(layer.name, _layer(layer, initial.get(layer.name, {})))

    def forward(self, x):
        return _FORWARD[self.kind](self, x)

    def extra_repr(self):
        return self.kind


def _layer(layer, initial):
    """Return a torch layer with these weights; on "meta", torch draws no weights of its own.

    initial   weights by name; those that are missing get no values
    """
    if layer.kind == "dense":
        made = nn.Linear(*layer.shape, bias=layer.bias, device="meta")
    elif layer.kind == "conv":
        made = nn.Conv2d(*layer.shape[2:], layer.shape[:2], padding="same", device="meta")
    elif layer.kind == "norm":
        made = nn.LayerNorm(layer.shape, layer.epsilon, device="meta")
    else:
        made = nn.Embedding(*layer.shape, device="meta")
    _write(layer, made, initial)
    return made


def _write(layer, made, initial):
    for name, shape in layer.arrays.items():
        axes = _order(layer, name)
        if name in initial:
            tensor = torch.tensor(np.ascontiguousarray(initial[name].transpose(axes)))
        else:
            tensor = torch.empty([shape[axis] for axis in axes]).clone()  # torch.tensor copies, too
        setattr(made, _attribute(name), nn.Parameter(tensor))


def _read(layer, made):
    for name in layer.arrays:
        tensor = whole(getattr(made, _attribute(name))).cpu()
        axes = np.argsort(_order(layer, name))
        if type(tensor) is FakeTensor:
            yield name, unknown_array(tensor.permute(*axes))
        else:
            # This must be a copy, because training continues in the same memory.
            yield name, np.array(tensor.numpy().transpose(axes), order="C")


def _order(layer, name):
    """Return the order of the canonical array's axes in torch."""
    unchanged = range(len(layer.arrays[name]))
    return _AXES.get(layer.kind, unchanged) if name == "kernel" else unchanged


def unknown_array(tensor: FakeTensor) -> np.ndarray:
    """Return an array for a tensor without values: its shape, NaN, and no memory."""
    return np.broadcast_to(np.float32(np.nan), tensor.shape)


def _is_dry():
    return type(torch.empty(())) is FakeTensor


def _attribute(name):
    return "bias" if name == "bias" else "weight"


def _gelu(x):
    return functional.gelu(x, approximate="none")
