"""Clocks of the devices on which a torch rank computes. Each of them is a `Recorder.spent`.

A CPU has finished an operation when torch's call returns. A GPU has not: the call only puts the
operation into a queue, and so does `wait()` of a message that nccl sends. A clock for a GPU
therefore waits until the queue is empty before it answers. So the times that the recorder reads
afterwards are those at which the GPU had really finished, and the wait for a message lasts until
the message has arrived.

The clock for GPUs was tested with a simulated GPU. It was not tried on a real one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lablib.record.recorder import CpuSeconds


def clock_of(device: torch.device) -> Callable[[], tuple[tuple, float]]:
    """Return the clock of the device: () -> (no costs, seconds it has computed since last time)."""
    return CpuSeconds() if device.type == "cpu" else GpuSeconds(device)


class GpuSeconds:
    """() -> (no costs, seconds between the last call's and this call's event on the GPU).

    device   the GPU
    cuda     the functions of `torch.cuda`, or of a simulated GPU

    The seconds include the gaps in which the GPU had nothing to do. Only the current stream is
    timed. On other streams, such as those on which FSDP sends, a call returns 0 at once, because
    work on them is meant to overlap with this stream.
    """

    def __init__(self, device: torch.device, cuda=torch.cuda):
        self._device, self._cuda = device, cuda
        self._stream = cuda.current_stream(device)
        self._last = self._reached_event()

    def __call__(self) -> tuple[tuple, float]:
        if self._cuda.current_stream(self._device) != self._stream:
            return (), 0.0
        before, self._last = self._last, self._reached_event()
        return (), before.elapsed_time(self._last) / 1000

    def _reached_event(self):
        event = self._cuda.Event(enable_timing=True)
        event.record(self._stream)
        event.synchronize()
        return event
