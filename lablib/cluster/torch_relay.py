"""A torch process group whose messages go through the relay: send, recv and barrier, no more."""

from __future__ import annotations

import torch
import torch.distributed as dist

from lablib.cluster.relay_link import ANYBODY, Link


class RelayedGroup(dist.ProcessGroup):
    """Ranks that share no network. What it does not offer raises RuntimeError."""

    def __init__(self, rank: int, ranks: int, link: Link):
        super().__init__(rank, ranks)
        self.link = link

    def getBackendName(self):  # noqa: N802 - torch looks for this name
        return "relay"

    def send(self, tensors, destination, tag):
        (tensor,) = tensors
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return _Work(self.link, self.link.send(destination, tag, flat.numpy().tobytes()))

    def recv(self, tensors, source, tag):
        (tensor,) = tensors
        return _Work(self.link, self.link.receive(source, tag, _into(tensor)))

    def recv_anysource(self, tensors, tag):
        return self.recv(tensors, ANYBODY, tag)

    def barrier(self, *_, **__):
        return _Work(self.link, self.link.barrier())


def refuse(method: str, name: str) -> None:
    """Let a collective say that it is not here."""

    def call(self, *_, **__):
        raise RuntimeError(
            f"{name} is not offered in this exercise: its messages are counted one by one; "
            "use dist.send, dist.recv, dist.isend, dist.irecv and dist.barrier"
        )

    setattr(RelayedGroup, method, call)


class _Work(dist.Work):
    def __init__(self, link, pending):
        super().__init__()
        self.link, self.pending = link, pending

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

    def _source_rank(self):
        return self.pending.source


def _into(tensor):
    def take(data):
        nbytes = tensor.numel() * tensor.element_size()
        if len(data) != nbytes:
            raise RuntimeError(f"recv of {nbytes} bytes met a message of {len(data)} bytes")
        if nbytes:
            values = torch.frombuffer(bytearray(data), dtype=tensor.dtype)
            with torch.no_grad():
                tensor.copy_(values.reshape(tensor.shape))

    return take
