"""Functions for a rank: a simulated GPU that works while the program continues, and its clock.

The GPU has a queue for each stream. Work in a queue takes time on the GPU but none in the program.
The time of the program advances only when the program waits for the GPU.
"""

from __future__ import annotations


class Gpu:
    """Replaces `torch.cuda`; streams are named, and `now_s` is the time of the program."""

    def __init__(self):
        self.now_s, self.stream, self.busy_until_s = 0.0, "main", {"main": 0.0, "side": 0.0}

    def current_stream(self, device):
        return self.stream

    def queue(self, seconds, stream="main"):
        """Put work into a queue and return at once."""
        start_s = max(self.now_s, self.busy_until_s[stream])
        self.busy_until_s[stream] = start_s + seconds

    def Event(self, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, gpu):
        self.gpu = gpu

    def record(self, stream):
        self.at_s = max(self.gpu.now_s, self.gpu.busy_until_s[stream])

    def synchronize(self):
        self.gpu.now_s = max(self.gpu.now_s, self.at_s)

    def elapsed_time(self, later):
        return 1000 * (later.at_s - self.at_s)


class NcclMessage:
    """A message of nccl: `wait` returns at once, and only the stream waits for the message."""

    def __init__(self, gpu, seconds):
        self.gpu, self.seconds = gpu, seconds

    def is_completed(self):
        return False

    def wait(self):
        self.gpu.queue(self.seconds)
        self.seconds = 0.0

    def get_future(self):
        import torch

        future = torch.futures.Future()
        future.set_result(None)  # the message is in the queue, but has not arrived
        return future


def times_the_gpu(me):
    """Return the readings of the GPU's clock, each with the time of the program after it."""
    from lablib.frameworks.torch.clocks import GpuSeconds

    gpu = Gpu()
    clock, found = GpuSeconds("cuda:0", gpu), []
    gpu.queue(2.0)
    found.append((*clock(), gpu.now_s))
    gpu.stream = "side"
    gpu.queue(5.0, "side")
    gpu.queue(1.0)
    found.append((*clock(), gpu.now_s))
    gpu.stream = "main"
    found.append((*clock(), gpu.now_s))
    return found


def step_with_messages(me, timed):
    """Return the rows of two seconds of compute, a message of three seconds, one second of compute.

    timed   True: by the clock of the GPU; False: by the clock of the CPU, as if there were no GPU
    """
    from lablib.frameworks.torch import recorder as torch_recorder
    from lablib.frameworks.torch.clocks import GpuSeconds
    from lablib.record.recorder import CpuSeconds, Recorder

    gpu = Gpu()
    spent = GpuSeconds("cuda:0", gpu) if timed else CpuSeconds()
    torch_recorder._recorder = Recorder(clock=lambda: gpu.now_s, spent=spent)
    with torch_recorder._recorder.step(samples=1):
        gpu.queue(2.0)
        number = torch_recorder._issue("all_reduce", 4, (0,), "world")
        torch_recorder._RecordedWork(NcclMessage(gpu, 3.0), number).wait()
        gpu.queue(1.0)
    return [[type(row).__name__, *_times(row)] for row in torch_recorder._recorder.rows]


def _times(row):
    names = ("cpu_s", "at_s", "start_s", "end_s")
    return [getattr(row, name) for name in names if name in row.__struct_fields__]


def end_of_a_message_in_the_backward_pass(me, kind):
    """Take the future of a message in the backward pass, as DDP's reducer does; return the rows.

    kind   the name of the recorder's class for messages in progress
    """
    import torch

    from lablib.frameworks.torch import recorder as torch_recorder
    from lablib.frameworks.torch.clocks import GpuSeconds
    from lablib.record.recorder import Recorder

    gpu = Gpu()
    torch_recorder._recorder = Recorder(clock=lambda: gpu.now_s, spent=GpuSeconds("cuda:0", gpu))

    def reduce(gradient):
        number = torch_recorder._issue("all_reduce", 4, (0,), "world")
        work = getattr(torch_recorder, kind)(NcclMessage(gpu, 3.0), number)
        work.get_future()
        gpu.queue(1.0)  # the rest of the pass
        return gradient

    weight = torch.ones(1, requires_grad=True)
    weight.register_hook(reduce)
    (2 * weight).sum().backward()
    rows = torch_recorder._recorder.rows
    return [[type(row).__name__, *_times(row)] for row in rows if type(row).__name__ != "Computed"]
