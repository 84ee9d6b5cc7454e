"""Raise an error if ranks pass different tensors to a message, before any data is sent.

gloo compares nothing: with different types, ranks get wrong numbers; with different sizes, they
wait forever or crash. The checks are like those of TORCH_DISTRIBUTED_DEBUG=DETAIL, but they need no
messages: the ranks write what they pass into a `MessageTable`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.distributed as dist

from lablib.errors import LabError
from lablib.frameworks.torch.message_table import Entry, MessageTable
from lablib.record.learners_code import place

# Methods of a process group for which gloo assumes that the tensor's memory has no gaps; then those
# for which it also assumes that the elements are in their usual order.
_NO_GAPS = ("allreduce", "broadcast", "reduce")
_CONTIGUOUS = ("scatter", "reduce_scatter", "alltoall_base", "all_to_all_single", "send", "recv")
_BY_ROOT = ("broadcast", "reduce", "gather", "scatter")
_REDUCES = ("all_reduce", "reduce", "reduce_scatter")
_LONGEST_SHOWN = 200
_DTYPES = re.compile(r"(\w+) \[")
_LAYOUT = re.compile(r" with (strides \[[^]]*\]|layout \w+)")
_CURES = {
    "types": "convert the tensor to the same dtype on every rank, for example with .float()",
    "shapes": "give the tensor the same shape on every rank",
    "memory layouts": "pass x.contiguous() on every rank; of a sparse tensor, x.to_dense()",
    "operations": "write the same op= on every rank",
    "roots": "write the same src= or dst= on every rank",
}


def passed(method: str, name: str, payload: int, args: Sequence, ranks: Sequence[int]) -> tuple:
    """Return what this rank passes to a collective: a signature, and elements for each rank.

    method    the method of torch's process group
    name      the function's name in the learner's code
    payload   which of `args` has the tensors that this rank sends
    ranks     the global ranks of the group

    Raises LabError for errors that this rank can detect alone.
    """
    _check_layouts(method, name, args)
    if name == "all_to_all":
        sends, receives = _splits(method, args, len(ranks))
        return f"{name}: {_dtype(_first(args).dtype)}", sends, receives
    compared = args[0] if name == "scatter" or _is_uneven(method, args) else args[payload]
    parts = [f"{name}: {_tensors(compared, layouts=method in _NO_GAPS)}"]
    if name in _REDUCES:
        operation = getattr(args[-1], "reduceOp", dist.ReduceOp.SUM)
        parts.append(getattr(operation, "op", operation).name)
    if name in _BY_ROOT:
        parts.append(f"root {global_rank(getattr(args[-1], 'rootRank', 0), name, ranks)}")
    return ("; ".join(parts),)


def one_message(name: str, tensors: Sequence[torch.Tensor]) -> str:
    """Return what both sides must have in common; raise LabError for errors of this rank."""
    _check_layouts(name, name, tensors)
    (tensor,) = tensors
    return f"message: {_dtype(tensor.dtype)}; {tensor.numel()} elements"


def global_rank(rank: int, name: str, ranks: Sequence[int]) -> int:
    """Return the global number of `rank` of a group; raise LabError if it has no such rank."""
    if not 0 <= rank < len(ranks):
        raise LabError(
            f"There is no rank {rank} in the group of this {name}.",
            saw=f"a group of {len(ranks)} ranks",
            do=f"choose a rank from 0 to {len(ranks) - 1}",
        )
    return ranks[rank]


def check(table: MessageTable, entry: Entry, rank: int, group: Sequence[int]) -> None:
    """Publish what this rank passes; raise LabError if another rank passes something different.

    rank, group   this rank, and the ranks of the message, by their global numbers
    """
    table.write(entry)
    for other_rank, other in table.different(entry, group):
        if other_rank == rank:
            continue
        if not other.signature:
            raise _far_ahead(rank, entry, other_rank)
        if other.signature.split(":")[0] != entry.signature.split(":")[0]:
            continue  # two different calls: the search for deadlocks explains them
        both = sorted([(rank, entry), (other_rank, other)])
        if entry.sends and entry.signature == other.signature:
            _check_splits(both, group)
            _check_splits(both[::-1], group)
        else:
            raise _one_to_one(*both) if entry.signature.startswith("message") else _unlike(*both)


def _unlike(one, other):
    what = _difference(one[1].signature, other[1].signature)
    name = one[1].signature.partition(":")[0]
    return LabError(
        f"The ranks pass different {what} to this {name}.",
        saw="\n".join(
            f"rank {rank} passes {_shown(entry.signature)}{_at(entry)}"
            for rank, entry in (one, other)
        ),
        do=_CURES[what],
    )


def _far_ahead(rank, entry, other_rank):
    return LabError(
        f"Rank {other_rank} passes something else to this message.",
        saw=f"rank {rank} passes {_shown(entry.signature)}{_at(entry)}\n"
        f"rank {other_rank} is many messages ahead, so its part of this message is known only to "
        "be different",
        do="make the same call with the same shape and dtype on every rank of the message",
    )


def _shown(signature):
    return signature.partition(": ")[2].replace("; ", ", ")[:_LONGEST_SHOWN]


def _difference(one, other):
    """Return the kind of the first difference; one of the keys of `_CURES`."""
    mine, theirs = next(
        (pair for pair in zip(one.split("; "), other.split("; ")) if len(set(pair)) > 1),
        (one, other),
    )
    if mine.startswith("root "):
        return "roots"
    if mine.isupper():
        return "operations"
    if len({_LAYOUT.sub("", tensors) for tensors in (mine, theirs)}) == 1:
        return "memory layouts"
    dtypes, others = (set(_DTYPES.findall(tensors)) for tensors in (mine, theirs))
    return "shapes" if dtypes and dtypes == others else "types"  # an all_to_all shows only types


def _one_to_one(one, other):
    sends, receives = (one, other) if one[0] == int(_source(one[1])) else (other, one)
    return LabError(
        "A message does not fit into the tensor that receives it.",
        saw=f"rank {sends[0]} sends {_elements(sends[1])}{_at(sends[1])}\n"
        f"rank {receives[0]} receives {_elements(receives[1])}{_at(receives[1])}",
        do="receive into a tensor with the same size and dtype as the sent tensor",
    )


def _source(entry):
    return entry.channel.rpartition(":")[0].rpartition(":")[2].partition(">")[0]


def _elements(entry):
    dtype, count = entry.signature.partition(": ")[2].split("; ")
    return f"{count} of {dtype}"


def _check_splits(both, group):
    (source, sends), (target, receives) = both
    sent = sends.sends[group.index(target)]
    expected = receives.receives[group.index(source)]
    if sent != expected:
        raise LabError(
            "The sizes in this all_to_all do not match.",
            saw=f"rank {source} sends {sent} elements to rank {target}{_at(sends)}\n"
            f"rank {target} expects {expected} elements from rank {source}{_at(receives)}",
            do="make rank j receive as many elements from rank i as rank i sends to rank j",
        )


def _at(entry):
    return f" ({place(entry.line)})" if entry.line else ""


def _check_layouts(method, name, args):
    if method in _CONTIGUOUS or method in _NO_GAPS:
        for tensor in _flat(args):
            if tensor.is_conj() or tensor.is_neg():
                raise _unresolved(name)
            if tensor.layout is torch.strided and not tensor.is_contiguous():
                if method in _CONTIGUOUS or not _fills_its_memory(tensor):
                    raise _not_contiguous(name, tensor)


def _fills_its_memory(tensor):
    """Return True if the elements have no gaps and do not overlap, in any order."""
    return torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def _not_contiguous(name, tensor):
    return LabError(
        f"{name} needs a contiguous tensor.",
        saw=f"shape {list(tensor.shape)} with strides {list(tensor.stride())}: a view of a larger "
        "tensor, or a transposed tensor, whose elements are not next to one another in memory",
        do="pass x.contiguous() instead; if the call writes into it, copy the result back to x",
    )


def _unresolved(name):
    return LabError(
        f"{name} needs a tensor whose memory holds its values.",
        saw="a conjugated or negated view, such as x.conj(): its signs change when it is read",
        do="pass x.resolve_conj().resolve_neg() instead",
    )


def _flat(args):
    for value in args:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _flat(value)


def _first(args):
    return next(_flat(args))


def _is_uneven(method, args):
    """Return True for an all_gather of tensors of different sizes, which only nccl supports."""
    return method == "allgather" and len({tensor.shape for tensor in _flat(args[0])}) > 1


def _tensors(value, layouts):
    if isinstance(value, torch.Tensor):
        return _looks(value, layouts)
    looks = [_looks(tensor, layouts) for tensor in _flat(value)]
    if len(looks) > 1 and len(set(looks)) == 1:
        return f"{len(looks)} times {looks[0]}"
    return ", ".join(looks)


def _looks(tensor, layouts):
    text = _dtype_and_shape(tensor.dtype, tensor.shape)
    if tensor.layout is not torch.strided:
        return f"{text} with layout {str(tensor.layout).removeprefix('torch.')}"
    if layouts and not tensor.is_contiguous():
        return f"{text} with strides {list(tensor.stride())}"
    return text


@lru_cache(maxsize=4096)
def _dtype_and_shape(dtype, shape):
    return f"{_dtype(dtype)} {list(shape)}"


def _dtype(dtype):
    return str(dtype).removeprefix("torch.")


def _splits(method, args, ranks):
    received, sent, *sizes = args
    if method == "alltoall":
        return [tensor.numel() for tensor in sent], [tensor.numel() for tensor in received]
    sends = _split(sent, sizes[1], ranks, "input")
    return sends, _split(received, sizes[0], ranks, "output")


def _split(tensor, sizes, ranks, which):
    length = tensor.shape[0] if tensor.dim() else 0
    if not sizes:
        if length % ranks:
            raise LabError(
                f"all_to_all_single cannot cut its {which} into {ranks} equal parts.",
                saw=f"{which} of shape {list(tensor.shape)}",
                do=f"make the first dimension divisible by {ranks}, or pass split sizes",
            )
        return [tensor.numel() // ranks] * ranks
    if sum(sizes) != length or len(sizes) != ranks:
        raise LabError(
            f"The {which} split sizes of all_to_all_single do not match its {which}.",
            saw=f"{which} of shape {list(tensor.shape)}, split sizes {list(sizes)}, {ranks} ranks",
            do=f"pass {ranks} sizes that add up to {length}",
        )
    row = tensor.numel() // length if length else 0
    return [size * row for size in sizes]
