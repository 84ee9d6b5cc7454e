"""A torch process group that writes down what passes through it.

It wraps the backend that does the work (gloo, or nccl on GPUs of their own) and is registered with
`torch.distributed.Backend.register_backend`, so everything built on `torch.distributed` is seen:
collectives, point to point, DDP, FSDP2, pipelines, device meshes, object collectives.
"""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.modules import module as nn_module

from lablib.record.recorder import Recorder

# The process group's methods: the name the learner knows, the argument that is the payload.
_COLLECTIVES = {
    "allreduce": ("all_reduce", 0),
    "allreduce_coalesced": ("all_reduce", 0),
    "broadcast": ("broadcast", 0),
    "reduce": ("reduce", 0),
    "allgather": ("all_gather", 1),
    "_allgather_base": ("all_gather", 1),
    "all_gather_single": ("all_gather", 1),
    "allgather_coalesced": ("all_gather", 1),
    "all_gather_single_coalesced": ("all_gather", 1),
    "allgather_into_tensor_coalesced": ("all_gather", 1),
    "gather": ("gather", 1),
    "scatter": ("scatter", 1),
    "reduce_scatter": ("reduce_scatter", 1),
    "_reduce_scatter_base": ("reduce_scatter", 1),
    "reduce_scatter_single": ("reduce_scatter", 1),
    "reduce_scatter_single_coalesced": ("reduce_scatter", 1),
    "reduce_scatter_tensor_coalesced": ("reduce_scatter", 1),
    "alltoall": ("all_to_all", 1),
    "alltoall_base": ("all_to_all", 1),
    "all_to_all_single": ("all_to_all", 1),
    "barrier": ("barrier", None),
}
_recorder: Recorder
_modules_entered = 0
_under_way: dict[int, tuple] = {}  # messages whose end is yet to be seen: their work, their `_End`


def join(recorder: Recorder, *, rank, ranks, port, listening, timeout_s, device) -> None:
    """Make this process rank `rank` of the default process group, recorded.

    listening   descriptor of the socket that the store is served on; rank 0 only
    """
    global _recorder
    _recorder = recorder
    timeout = timedelta(seconds=timeout_s)
    store = dist.TCPStore("127.0.0.1", port, ranks, rank == 0, timeout, master_listen_fd=listening)
    dist.Backend.register_backend("lab", _create, extended_api=True, devices=["cpu", "cuda"])
    nn_module.register_module_forward_pre_hook(_enter)
    nn_module.register_module_forward_hook(_leave, always_call=True)
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
    dist.init_process_group("lab", store=store, rank=rank, world_size=ranks, timeout=timeout)


class _RecordedGroup(dist.ProcessGroup):
    def __init__(self, inner, name, global_ranks):
        super().__init__(inner.rank(), inner.size())
        self.inner, self.channel, self.ranks = inner, name, tuple(global_ranks)

    def getBackendName(self):  # noqa: N802 - torch looks for this name
        return "lab"

    def send(self, tensors, destination, tag):
        group = (self.ranks[self.rank()], self.ranks[destination])
        return self._sent("send", self.inner.send, tensors, destination, tag, group)

    def recv(self, tensors, source, tag):
        group = (self.ranks[source], self.ranks[self.rank()])
        return self._sent("recv", self.inner.recv, tensors, source, tag, group)

    def recv_anysource(self, tensors, tag):
        group = (-1, self.ranks[self.rank()])
        number = _issue("recv", _nbytes(tensors), group, f"{self.channel}:any>{group[1]}:{tag}")
        return _RecordedWork(self.inner.recv_anysource(tensors, tag), number, watch=False)

    def _sent(self, name, call, tensors, peer, tag, group):
        channel = f"{self.channel}:{group[0]}>{group[1]}:{tag}"
        number = _issue(name, _nbytes(tensors), group, channel)
        return _RecordedWork(call(tensors, peer, tag), number, watch=False)


def _recorded(method, name, payload):
    def call(self, *args, **options):
        nbytes = 0 if payload is None else _nbytes(args[payload])
        number = _issue(name, nbytes, self.ranks, self.channel)
        waits_later = getattr(args[-1], "asyncOp", True) if args else True
        return _RecordedWork(getattr(self.inner, method)(*args, **options), number, waits_later)

    call.__name__ = method
    return call


for _method, (_name, _payload) in _COLLECTIVES.items():
    setattr(_RecordedGroup, _method, _recorded(_method, _name, _payload))


class _End:
    """The end of a message, to be written down once. No part of the work that it is told by: a
    circle through a future of C++ would keep the message's tensors until the collector comes."""

    __slots__ = ("number", "over")

    def __init__(self, number):
        self.number, self.over = number, False

    def seen(self, _=None):
        if not self.over:
            self.over = True
            _recorder.done(self.number)

    def waited_for_in_cpp(self):
        if not self.over:
            _recorder.waits_until_done(self.number)


class _RecordedWork(dist.Work):
    """A message under way. Says when it ended and when this rank stood still for it.

    watch    look for its end at the rank's next messages; of a call that waits at once, `wait`
             knows it
    """

    def __init__(self, inner, number, watch=True):
        super().__init__()
        self.inner, self.number, self._future = inner, number, None
        self._end = _End(number)
        if watch:
            _under_way[number] = inner, self._end

    def wait(self, *timeout):
        over = self.inner.is_completed()  # then nobody has to be told of a wait
        start_s = _recorder.clock() if over else _recorder.waits(self.number)
        answer = self.inner.wait(*timeout)
        _recorder.waited(self.number, start_s)
        _under_way.pop(self.number, None)
        self._end.seen()
        return answer

    def get_future(self):
        # Whoever asks for it waits in C++, unseen: be called when the message ends. Calling Python
        # from the backend's thread is dear, so other messages are looked after from this one.
        if self._future is None:
            _under_way.pop(self.number, None)
            self._future = self.inner.get_future()
            self._future.then(self._end.seen)
        # DDP's reducer waits when the backward pass is over: the engine's own end-of-pass callback
        # marks where that wait begins.
        if torch._C._current_graph_task_id() != -1:
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(self._end.waited_for_in_cpp)
        return self._future

    def is_completed(self):
        return self.inner.is_completed()

    def is_success(self):
        return self.inner.is_success()

    def exception(self):
        return self.inner.exception()

    def result(self):
        return self.inner.result()

    def synchronize(self):
        self.inner.synchronize()

    def source_rank(self):
        return self.inner.source_rank()


def _create(options, _):
    """What torch calls for every process group that is made."""
    inner = dist.ProcessGroup(options.store, options.group_rank, options.group_size)
    members = options.global_ranks_in_group or range(options.group_size)
    recorded = _RecordedGroup(inner, options.group_id, members)
    device, kind, backend = _backend(options)
    for group in (inner, recorded):  # on `recorded`, too, device meshes look for it
        group._register_backend(device, kind, backend)
        group._set_default_backend(kind)
    return recorded


def _backend(options):
    arguments = options.store, options.group_rank, options.group_size
    own_gpus = torch.cuda.is_initialized() and torch.cuda.device_count() >= options.group_size
    if own_gpus:
        backend = dist.ProcessGroupNCCL(*arguments, options.timeout)
        return torch.device("cuda"), dist.ProcessGroup.BackendType.NCCL, backend
    backend = dist.ProcessGroupGloo(*arguments, options.timeout)
    return torch.device("cpu"), dist.ProcessGroup.BackendType.GLOO, backend


def _issue(name, nbytes, group, channel):
    for number in [n for n, (work, _) in _under_way.items() if work.is_completed()]:
        _under_way.pop(number)[1].seen()
    return _recorder.issue(name, nbytes, group, channel=channel, phase=_phase())


def _phase():
    if torch._C._current_graph_task_id() != -1:
        return "backward"
    return "forward" if _modules_entered else "other"


def _nbytes(tensors):
    if isinstance(tensors, torch.Tensor):
        return tensors.numel() * tensors.element_size()
    return sum(map(_nbytes, tensors))


def _enter(*_):
    global _modules_entered
    _modules_entered += 1


def _leave(*_):
    global _modules_entered
    _modules_entered -= 1
