"""Replace `init_process_group` and `init_rpc` on a rank, which is already in its process group.

Nearly every torch program begins with `init_process_group`. The kit has made the group by then, so
the call must ask for the same group. After `destroy_process_group` it makes a new one. A program
may name any address to meet at: all ranks meet at the store that the kit opened for them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch.distributed as dist

from lablib.errors import LabError
from lablib.frameworks.torch import compat


class CalledTwice(LabError, ValueError):
    """A second `init_process_group`, for which torch raises ValueError, and programs catch it."""


class Membership:
    """This rank's place in the default group.

    backend   "gloo" or "nccl": the backend that carries the messages
    store     the store where all ranks of the cluster meet
    """

    def __init__(self, rank: int, ranks: int, backend: str, store: dist.Store):
        self.rank = rank
        self.ranks = ranks
        self.backend = backend
        self.store = store
        self._asked = False  # True: the program has called init_process_group for the present group

    def replace_torchs(self) -> None:
        """Replace torch's functions by the functions below."""
        for name, make in (
            ("init_process_group", self._init),
            ("get_backend", lambda get_backend: _named(get_backend, self.backend)),
            ("rendezvous", lambda _: self._meet),
        ):
            compat.replace(f"torch.distributed.distributed_c10d:{name}", make)

    def _init(self, init: Callable) -> Callable:
        @functools.wraps(init)
        def call(
            backend=None, init_method=None, timeout=None, world_size=-1, rank=-1, *more, **ways
        ):
            self._check_backend(backend)
            self._check_numbers(rank, world_size)
            made = dist.is_initialized()
            if made and self._asked:
                raise CalledTwice(
                    "init_process_group was called twice.",
                    saw="a second call while the default process group exists",
                    do="call it once, or call dist.destroy_process_group() in between",
                )
            self._asked = True
            if not made:
                init(backend, init_method, timeout, world_size, rank, *more, **ways)

        return call

    def _check_backend(self, backend):
        if backend in (None, "lab"):
            return
        device = "cuda" if self.backend == "nccl" else "cpu"
        try:
            asked = dist.BackendConfig(dist.Backend(backend)).device_backend_map.get(device)
        except (ValueError, RuntimeError):  # torch has no such backend
            asked = None
        if asked != self.backend:
            raise LabError(
                f"The ranks of this cluster communicate over {self.backend}.",
                saw=f"backend={backend!r}"
                + (", which needs a GPU for each rank" if "nccl" in str(backend) else ""),
                do=f'write dist.init_process_group("{self.backend}"), or omit the backend',
            )

    def _check_numbers(self, rank, ranks):
        if ranks not in (-1, None, self.ranks):
            raise LabError(
                "The world_size of init_process_group is not the number of ranks of this cluster.",
                saw=f"world_size={ranks!r}; the cluster has {self.ranks} ranks",
                do="write world_size=me.ranks, or omit it; for another number of ranks, start the "
                f"function with lab.Cluster({ranks})",
            )
        if rank not in (-1, None, self.rank):
            raise LabError(
                "The rank of init_process_group is not the rank of this process.",
                saw=f"rank={rank!r} on rank {self.rank} of {self.ranks}",
                do="write rank=me.rank, or omit rank",
            )

    def _meet(self, url, rank=-1, world_size=-1, **_):
        """Yield (store, rank, ranks), as torch's `rendezvous` does for the address `url`."""
        yield (
            self.store,
            self.rank if rank < 0 else rank,
            self.ranks if world_size < 1 else world_size,
        )


def _named(get_backend, name):
    """Return torch's `get_backend` with the inner backend's name, because programs ask for gloo."""

    @functools.wraps(get_backend)
    def call(group=None):
        backend = get_backend(group)
        return dist.Backend(name) if backend == "lab" else backend

    return call
