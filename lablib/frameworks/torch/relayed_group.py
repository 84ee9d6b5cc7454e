"""A torch process group whose messages go through the relay, outside the ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist

from lablib.errors import LabError
from lablib.frameworks.torch import compat
from lablib.frameworks.torch.relay_link import ANYBODY, DTYPES, NAMES, OPERATIONS, PARTS, RelayLink


class RelayedGroup(dist.ProcessGroup):
    """A group of ranks without a common network. Unsupported operations raise RuntimeError."""

    def __init__(self, rank: int, ranks: int, link: RelayLink):
        super().__init__(rank, ranks)
        self.link = link

    def getBackendName(self):  # noqa: N802 - torch looks for this name
        return "relay"

    def send(self, tensors, destination, tag):
        return _Work(self.link, self.link.send(destination, tag, _bytes_of(tensors)))

    def recv(self, tensors, source, tag):
        return _Work(self.link, self.link.receive(source, tag, _into(tensors)))

    def recv_anysource(self, tensors, tag):
        return self.recv(tensors, ANYBODY, tag)

    def barrier(self, *_, **__):
        return _Work(self.link, self.link.barrier())

    def allreduce(self, tensors, options=None):
        operation = options.reduceOp if options else dist.ReduceOp.SUM
        return self._together("all_reduce", tensors, tensors, operation=operation)

    allreduce_coalesced = allreduce

    def reduce(self, tensors, options):
        root = options.rootRank
        taken = tensors if root == self.rank() else []
        return self._together("reduce", tensors, taken, root, options.reduceOp)

    def broadcast(self, tensors, options):
        return self._together("broadcast", tensors, tensors, options.rootRank)

    def allgather(self, outputs, inputs, options=None):
        return self._together("all_gather", inputs, outputs[0])

    def all_gather_single(self, output, given, options=None):
        return self._together("all_gather", [given], [output])

    def gather(self, outputs, inputs, options):
        return self._together("gather", inputs, sum(outputs, []), options.rootRank)

    def scatter(self, outputs, inputs, options):
        return self._together(
            "scatter", sum(inputs, []), outputs, options.rootRank, dtype=outputs[0].dtype
        )

    def reduce_scatter(self, outputs, inputs, options):
        return self._together("reduce_scatter", inputs[0], outputs, operation=options.reduceOp)

    def reduce_scatter_single(self, output, given, options):
        return self._together("reduce_scatter", [given], [output], operation=options.reduceOp)

    def alltoall(self, outputs, inputs, options=None):
        return self._together("all_to_all", inputs, outputs, parts=inputs)

    def all_to_all_single(self, output, given, output_splits, input_splits, options=None):
        parts = given.split(input_splits) if input_splits else given.chunk(self.size())
        return self._together("all_to_all", [given], [output], parts=parts)

    def _together(
        self, name, given, taken, root=0, operation=dist.ReduceOp.SUM, dtype=None, parts=()
    ):
        """Take part in a collective with the data of `given`; fill `taken` with its result.

        parts   for an all-to-all: the data for each rank
        """
        lengths = b"".join(PARTS.pack(part.numel() * part.element_size()) for part in parts)
        code = NAMES.index(name), _type(dtype or given[0].dtype), _operation(operation)
        data = lengths + _bytes_of(given)
        return _Work(self.link, self.link.collective(code, root, data, _into(taken)), taken)


for _older, _name in compat.OLDER_NAMES.items():
    setattr(RelayedGroup, _older, getattr(RelayedGroup, _name))


def refuse(method: str, name: str) -> None:
    """Make a collective raise an error that says that it is not supported here."""

    def call(self, *_, **__):
        raise RuntimeError(f"{method}, a rare form of {name}, is not supported in this exercise")

    setattr(RelayedGroup, method, call)


class _Work(compat.Work):
    def __init__(self, link, pending, taken=()):
        super().__init__()
        self.link = link
        self.pending = pending
        self.taken = list(taken)

    def wait(self, *_):
        self.link.wait(self.pending)
        return True

    def is_completed(self):
        self.link.look()
        return self.pending.over

    def is_success(self):
        return self.pending.over

    def exception(self):
        return None

    def result(self):
        return self.taken

    def get_future(self):
        # Only this thread can read from the relay, so another thread cannot wait for it.
        self.wait()
        future = torch.futures.Future()
        future.set_result(self.taken)
        return future

    def source_rank(self):
        return self.pending.source


def _bytes_of(tensors):
    flat = (tensor.detach().cpu().contiguous().reshape(-1) for tensor in tensors)
    return b"".join(part.view(torch.uint8).numpy().tobytes() for part in flat)


def _into(tensors):
    """Return a function that fills the tensors, one after the other, with the received data."""

    def take(data):
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
        if tensors and len(data) != sum(sizes):
            raise LabError(
                "A message does not fit into the tensor that receives it.",
                saw=f"a message of {len(data)} bytes, a tensor of {sum(sizes)} bytes",
                do="receive into a tensor with the size and the dtype of the one that is sent",
            )
        start = 0
        for tensor, nbytes in zip(tensors, sizes, strict=True):
            if nbytes:
                part = bytearray(data[start : start + nbytes])
                values = torch.frombuffer(part, dtype=tensor.dtype)
                with torch.no_grad():
                    tensor.copy_(values.reshape(tensor.shape))
            start += nbytes

    return take


def _type(dtype):
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise RuntimeError(f"collectives of {name} are not supported in this exercise")
    return DTYPES.index(name)


def _operation(operation):
    for number, name in enumerate(OPERATIONS):
        if operation == getattr(dist.ReduceOp, name):
            return number
    raise RuntimeError(f"{operation} is not supported in this exercise: use one of {OPERATIONS}")
