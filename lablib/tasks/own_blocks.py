"""Try a user's module on its first batch, and find where it can be cut for a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lablib.errors import LabError
from lablib.tasks.own_code import attempt

_IN_NUMPY = ("float16", "float32", "float64")
_TRY = "call it yourself on the first samples, correct the error, and run this again"


@dataclass(frozen=True)
class OwnBlock:
    """Layers of an nn.Sequential that stay together, or a whole module. See also `blocks.Block`.

    layers          their positions in the Sequential
    shape_in, shape_out   the shapes of one sample; () if it is not a single tensor
    dtype_in        the type of the input, for example "float32"
    flops           FLOPs of the forward pass of one sample; only matrix products and convolutions
    weight_bytes    bytes of the parameters, in their types
    """

    layers: range
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    dtype_in: str
    flops: int
    parameters: int
    weight_bytes: int


@dataclass(frozen=True)
class _Pass:
    """What one layer did with the first batch.

    `cuttable`: True if its input can be sent by a rank.
    """

    shape_in: tuple[int, ...]
    dtype_in: str
    cuttable: bool
    flops: int


def tried(model: Any, loss: Callable, x: Any, y: Any) -> tuple[OwnBlock, ...]:
    """Find the blocks of the model by one forward and backward pass; raise LabError if that fails.

    x, y   the tensors of the first batch
    """
    looks = f"x is {_looks(x)}, y is {_looks(y)}, weights are {_types(model)}"
    layers = _layers(model)
    passes = []
    outputs = x
    for number, layer in enumerate(layers):
        what = "The model" if len(layers) == 1 else f"Layer {number} of the model, {layer},"
        seen, outputs = _pass(what, layer, outputs, len(x), looks, _cure(x, model, layer))
        passes.append(seen)
    _check_loss(loss, outputs, y, looks)
    shapes = [*(seen.shape_in for seen in passes), _shape(outputs)]
    return tuple(_block(layers, passes, shapes, where) for where in _together(layers, passes))


def _layers(model):
    """Return the layers of a Sequential that calls them one by one; else the module itself."""
    from torch import nn

    chained = isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward
    return list(model) if chained and len(model) else [model]


def _pass(what, layer, taken, samples, looks, do):
    from torch.utils.flop_counter import FlopCounterMode

    shape = _shape(taken)
    kind = str(getattr(taken, "dtype", "")).removeprefix("torch.")
    cuttable = _can_be_sent(taken, samples)
    with FlopCounterMode(display=False) as counter:
        outputs = attempt(what, do, layer, taken, given=looks)
    return _Pass(shape, kind, cuttable, counter.get_total_flops() // samples), outputs


def _can_be_sent(value, samples):
    """Return whether it is one tensor with a row for each sample, and gradients can flow back."""
    return bool(getattr(value, "requires_grad", False)) and value.shape[:1] == (samples,)


def _together(layers, passes):
    """Return ranges of layers that have trainable weights and share none with another range."""
    spans = _spans(layers)
    cuts = [
        number
        for number, seen in enumerate(passes)
        if number and seen.cuttable and not any(first < number <= last for first, last in spans)
    ]
    found: list[range] = []
    for start, end in pairwise((0, *cuts, len(layers))):
        if found and not any(map(_trains, layers[start:end])):
            start = found.pop().start  # an optimizer refuses a range without trainable weights
        found.append(range(start, end))
    return found


def _spans(layers):
    """Return the first and the last layer of every parameter and buffer."""
    places: dict[int, list[int]] = {}
    for number, layer in enumerate(layers):
        for tensor in (*layer.parameters(), *layer.buffers()):
            places.setdefault(id(tensor), []).append(number)
    return {(numbers[0], numbers[-1]) for numbers in places.values()}


def _block(layers, passes, shapes, where):
    weights = {id(w): w for place in where for w in layers[place].parameters()}.values()
    return OwnBlock(
        where,
        shapes[where.start],
        shapes[where.stop],
        passes[where.start].dtype_in,
        flops=sum(passes[place].flops for place in where),
        parameters=sum(weight.numel() for weight in weights),
        weight_bytes=sum(weight.nbytes for weight in weights),
    )


def _check_loss(loss, outputs, y, looks):
    value = attempt("The loss", _cure_of_loss(y), loss, outputs, y, given=looks)
    if getattr(value, "shape", None) != () or not hasattr(value, "backward"):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise LabError(
            "The loss must be a tensor with one number: the mean over the samples.",
            saw=f"a {type(value).__name__}{shape}",
            do="end it with .mean() and without .item(); in losses of torch, use reduction='mean'",
        )
    if not value.requires_grad:
        raise LabError(
            "The loss does not depend on the weights of the model.",
            saw="a loss without a gradient",
            do="compute it from the outputs, without detach(), item(), numpy() or no_grad()",
        )
    _check_mean(loss, outputs, y, value)
    attempt("The backward pass", _TRY, value.backward, given=looks)


def _check_mean(loss, outputs, y, whole):
    """Raise LabError for a sum: it grows with the batch, so ranks that average it are wrong."""
    half = len(y) // 2
    if not half or getattr(outputs, "shape", ())[:1] != (len(y),):
        return  # only the user's loss understands these outputs
    parts = [
        attempt("The loss of half a batch", _TRY, loss, outputs[rows], y[rows])
        for rows in (slice(half), slice(half, None))
    ]
    total = sum(part.item() for part in parts)
    whole = whole.item()
    if whole and abs(total - whole) < 1e-4 * abs(whole):
        raise LabError(
            "The loss must be the mean over the samples, not their sum.",
            saw=f"{whole:.4g} for {len(y)} samples, {parts[0]:.4g} + {parts[1]:.4g} for the halves",
            do="write reduction='mean', or divide by the number of samples",
        )


def _cure_of_loss(y):
    if y.is_floating_point():
        return _TRY
    return f"{_TRY}; if the loss needs floats, such as BCEWithLogitsLoss, give y as float32"


def _cure(x, model, layer):
    weights = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    if not _takes_one_tensor(layer):
        return "let forward(x) take one tensor and split it, for example u, v = x[:, 0], x[:, 1]"
    if x.is_floating_point() and len(weights) == 1 and x.dtype not in weights:
        if _types(model) in _IN_NUMPY:
            return f"convert x to the type of the weights: {_types(model)}"
        return (
            f"give model.float(), or let forward(x) convert x to {_types(model)}: the data are "
            "NumPy arrays, which do not have this type"
        )
    return _TRY


def _takes_one_tensor(layer):
    try:
        inspect.signature(layer.forward).bind("x")
    except TypeError:
        return False
    except ValueError:
        pass  # functions written in C may have no signature
    return True


def _types(model):
    kinds = {str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}
    return " and ".join(sorted(kinds))


def _trains(layer):
    return any(weight.requires_grad for weight in layer.parameters())


def _shape(value):
    """Return the shape of one sample."""
    return tuple(getattr(value, "shape", ()))[1:]


def _looks(tensor):
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
