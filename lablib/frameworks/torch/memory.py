"""How many bytes of tensors a torch rank holds, counted, not sampled.

Depends on the program alone but for one thing: a backend's thread may let go of a tensor late.
"""

from __future__ import annotations

import weakref

import torch

from lablib.frameworks.torch.compat import memory_id


class LiveBytes:
    """Counts the memory behind the tensors that it is shown, for as long as any of them lives.

    peak_bytes   the most at once since `restart`
    """

    def __init__(self):
        self.now_bytes = self.peak_bytes = 0
        self._alive: dict[int, weakref.ref] = {}
        self._nbytes: dict[int, int] = {}

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        self.peak_bytes = self.now_bytes

    def see(self, value) -> None:
        """A tensor, or a list or tuple with tensors; views of known memory count once."""
        kind = type(value)  # `isinstance` of a tensor costs a microsecond
        if kind is torch.Tensor or kind is torch.nn.Parameter:
            self._see(value)
        elif kind is list or kind is tuple:
            for part in value:
                self.see(part)

    def _see(self, tensor):
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:
            return  # a sparse tensor: its parts were seen before it was put together
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
        """Memory that was seen has another size now: FSDP empties it, and fills it again."""
        place = memory_id(storage)
        if place in self._alive:
            nbytes = storage.nbytes()
            self.now_bytes += nbytes - self._nbytes[place]
            self._nbytes[place] = nbytes
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)


class GpuBytes:
    """The bytes of tensors on this rank's GPU, as torch's own allocator counts them."""

    @property
    def peak_bytes(self) -> int:
        """The most at once since `restart`."""
        return torch.cuda.max_memory_allocated()

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        torch.cuda.reset_peak_memory_stats()
