"""Count how many bytes of tensors a torch rank holds; nothing is sampled.

The count depends only on the program, with one exception: a backend's thread may release a tensor
late.
"""

from __future__ import annotations

import weakref

import torch

from lablib.frameworks.torch.compat import FakeTensor, memory_id


class LiveBytes:
    """Count the memory of the tensors passed to `see`, as long as any of them exists.

    peak_bytes   the most bytes at once since `restart`
    """

    def __init__(self):
        self.now_bytes = self.peak_bytes = 0
        self._alive: dict[int, weakref.ref] = {}
        self._nbytes: dict[int, int] = {}

    def restart(self) -> None:
        """Reset the peak to the memory that is in use now."""
        self.peak_bytes = self.now_bytes

    def see(self, value) -> None:
        """Count a tensor, or the tensors in a list or tuple; views of known memory count once."""
        kind = type(value)  # `isinstance` of a tensor takes a microsecond
        if kind is torch.Tensor or kind is torch.nn.Parameter or kind is FakeTensor:
            self._see(value)
        elif kind is list or kind is tuple:
            for part in value:
                self.see(part)

    def _see(self, tensor):
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:
            return  # a sparse tensor: its parts were counted before it was made
        place = memory_id(storage)
        if place in self._alive or tensor.is_meta:
            return

        def gone(_):
            del self._alive[place]
            self.now_bytes -= self._nbytes.pop(place)

        self._alive[place] = weakref.ref(storage, gone)
        self._nbytes[place] = 0
        self.resized(storage)

    def resized(self, storage) -> None:
        """Record that known memory has another size now: FSDP empties it and fills it again."""
        place = memory_id(storage)
        if place in self._alive:
            nbytes = storage.nbytes()
            self.now_bytes += nbytes - self._nbytes[place]
            self._nbytes[place] = nbytes
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)


class GpuBytes:
    """Count the bytes of tensors on this rank's GPU with torch's own allocator."""

    @property
    def peak_bytes(self) -> int:
        """Return the most bytes at once since `restart`."""
        return torch.cuda.max_memory_allocated()

    def restart(self) -> None:
        """Reset the peak to the memory that is in use now."""
        torch.cuda.reset_peak_memory_stats()
