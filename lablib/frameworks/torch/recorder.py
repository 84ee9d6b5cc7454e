"""A torch process group that records all messages that pass through it.

It wraps the backend that does the work (gloo, or nccl if each rank has its own GPU) and is
registered with `torch.distributed.Backend.register_backend`. So it sees everything that is built on
`torch.distributed`: collectives, point to point, DDP, FSDP2, pipelines, device meshes and object
collectives.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import tempfile
import zlib
from datetime import timedelta

import torch
import torch.distributed as dist

from lablib.errors import LabError
from lablib.frameworks.rank_config import RankConfig
from lablib.frameworks.torch import agreement, compat, dry
from lablib.frameworks.torch.clocks import clock_of
from lablib.frameworks.torch.costs import CountedCosts
from lablib.frameworks.torch.dry_costs import DryCosts
from lablib.frameworks.torch.dry_messages import DryGroup
from lablib.frameworks.torch.futures import follow, see_waits
from lablib.frameworks.torch.memory import GpuBytes
from lablib.frameworks.torch.message_table import Entry, MessageTable
from lablib.frameworks.torch.phases import record_phases
from lablib.frameworks.torch.process_group_init import Membership
from lablib.frameworks.torch.relay_link import RelayLink
from lablib.frameworks.torch.relayed_group import RelayedGroup, refuse
from lablib.frameworks.torch.uncompiled import run_as_written, uncompiled
from lablib.record.recorder import Recorder

_C10D = "torch.distributed.distributed_c10d"
_RPC = "torch.distributed.rpc:init_rpc"
_recorder: Recorder
_table: MessageTable
_ranks: int  # of the whole cluster
_line_to_relay: RelayLink | None = None
_dry = False
_times_made = 0  # how often the default group was made
_destroyed: list[dist.ProcessGroup] = []
# {number: (work, `_End`)} of messages whose end has not been observed yet
_under_way: dict[int, tuple] = {}


def join(recorder: Recorder, config: RankConfig) -> None:
    """Make this process a rank of the default process group, and record its messages."""
    global _recorder, _line_to_relay, _table, _ranks, _dry
    compat.NAMES.check()
    rank, _recorder, _ranks = config.rank, recorder, config.ranks
    _dry = config.dry
    shares_memory = _ranks > 1 and config.relay is None
    shared = os.path.join(tempfile.gettempdir(), "messages") if shares_memory else None
    _table = MessageTable(shared, rank, _ranks)
    timeout = timedelta(seconds=config.timeout_s)
    if config.relay is None:
        where = "127.0.0.1", config.port, _ranks, rank == 0, timeout
        store = dist.TCPStore(*where, master_listen_fd=config.listening)
    else:
        store = dist.HashStore()
        _line_to_relay = RelayLink(socket.socket(fileno=config.relay))
    dist.Backend.register_backend("lab", _create, extended_api=True, devices=["cpu", "cuda"])
    compat.replace(f"{_C10D}:_new_process_group_helper", _recorded_too)
    record_phases(recorder)
    see_waits(recorder)
    compat.replace(f"{_C10D}:monitored_barrier", lambda _: _monitored_barrier)
    if config.device.startswith("cuda"):
        torch.cuda.set_device(torch.device(config.device))
        recorder.memory = GpuBytes()
    dist.init_process_group("lab", store=store, rank=rank, world_size=_ranks, timeout=timeout)
    Membership(rank, _ranks, _kind().name.lower(), store).replace_torchs()
    recorder.spent = clock_of(torch.device(config.device))
    if config.relay is not None:
        what = "ranks without a common network", "in this exercise"
        compat.NAMES.forbid([_RPC], *what, "use dist.send, dist.recv and dist.barrier")
    if config.counts:
        compat.NAMES.forbid([_RPC], "remote calls, which the recorder does not see")
        costs = DryCosts() if config.dry else CountedCosts()
        costs.__enter__()  # entered for the rank's whole life
        recorder.spent, recorder.memory = costs.take, costs.memory
        recorder.uncosted = costs.uncosted
        compat.replace("torch:compile", run_as_written)
        compat.replace("torch:UntypedStorage.resize_", lambda it: _resize(it, costs.memory))
    if config.dry:
        dry.begin(costs)


class _RecordedGroup(dist.ProcessGroup):
    def __init__(self, inner, name, global_ranks, over):
        super().__init__(inner.rank(), inner.size())
        self.over = over  # "gloo", "nccl", "relay"
        self.inner = inner
        self.channel = name
        self.ranks = tuple(global_ranks)

    def getBackendName(self):  # noqa: N802 - torch looks for this name
        return "lab"

    def shutdown(self):
        """Keep the connections until the rank ends: others may still need its messages."""
        _destroyed.append(self)

    @uncompiled
    def send(self, tensors, destination, tag):
        return self._sent("send", tensors, destination, tag, (self.rank(), destination))

    @uncompiled
    def recv(self, tensors, source, tag):
        return self._sent("recv", tensors, source, tag, (source, self.rank()))

    @uncompiled
    def recv_anysource(self, tensors, tag):
        _table.receives_from_anybody()
        group = (-1, self.ranks[self.rank()])
        number = _issue("recv", _nbytes(tensors), group, f"{self.channel}:any>{group[1]}:{tag}")
        return _RecordedWork(self.inner.recv_anysource(tensors, tag), number, watch=False)

    @uncompiled
    def monitored_barrier(self, *args, **options):
        number = _issue("barrier", 0, self.ranks, self.channel)
        start_s = _recorder.waits(number)
        self.inner.monitored_barrier(*args, **options)
        _recorder.waited(number, start_s)
        _recorder.done(number)

    def _sent(self, name, tensors, peer, tag, ends):
        source, target = (agreement.global_rank(rank, name, self.ranks) for rank in ends)
        alike = agreement.one_message(name, tensors)
        channel = f"{self.channel}:{source}>{target}:{tag}"
        number = _issue(name, _nbytes(tensors), (source, target), channel)
        if _table.is_predictable(target):
            self._agree(number, (source, target), alike)
        work = getattr(self.inner, name)(tensors, peer, tag)
        return _RecordedWork(work, number, watch=False)

    def _agree(self, number, group, alike, sends=(), receives=()):
        channel, order, line = _recorder.place_of(number)
        entry = Entry(channel, order, alike, line, tuple(sends), tuple(receives))
        agreement.check(_table, entry, self.ranks[self.rank()], group)


class _RelayedAndRecorded(_RecordedGroup):
    @property
    def group_name(self):  # torch gets it from a C++ backend, which does not exist here
        return self.channel


def _recorded(method, name, payload):
    @uncompiled
    def call(self, *args, **options):
        compares = payload is not None and len(self.ranks) > 1
        about = agreement.passed(method, name, payload, args, self.ranks) if compares else None
        nbytes = 0 if payload is None else _nbytes(args[payload])
        number = _issue(name, nbytes, self.ranks, self.channel)
        if about:
            self._agree(number, self.ranks, *about)
        waits_later = getattr(args[-1], "asyncOp", True) if args else True
        kind = _NcclWork if self.over == "nccl" else _RecordedWork
        return kind(getattr(self.inner, method)(*args, **options), number, waits_later)

    call.__name__ = method
    return call


for _method, (_name, _payload) in compat.COLLECTIVES.items():
    setattr(_RecordedGroup, _method, _recorded(_method, _name, _payload))
compat.close_gaps(_RecordedGroup)


class _End:
    """The end of a message, which is recorded only once.

    It is a separate object from the work that reports it. Otherwise a reference cycle through a C++
    future would keep the message's tensors until the garbage collector runs.
    """

    __slots__ = ("number", "over")

    def __init__(self, number):
        self.number, self.over = number, False

    @uncompiled
    def seen(self, _=None):
        if not self.over:
            self.over = True
            _recorder.done(self.number)

    @uncompiled
    def waited_for_in_cpp(self):
        if self.over:
            _recorder.waited(self.number, _recorder.waits(self.number, over=True))
        else:
            _recorder.waits_until_done(self.number)


class _RecordedWork(compat.Work):
    """A message in progress. It records when it ended and when this rank waited for it.

    watch    True: look for its end at the rank's next messages; False: the call waits at once, so
             `wait` records the end
    """

    def __init__(self, inner, number, watch=True):
        super().__init__()
        self.inner = inner
        self.number = number
        self._future = None
        self._end = _End(number)
        if watch:
            _under_way[number] = inner, self._end

    @uncompiled
    def wait(self, *timeout):
        start_s = _recorder.waits(self.number, over=self.inner.is_completed())
        answer = self.inner.wait(*timeout)
        _recorder.waited(self.number, start_s)
        _under_way.pop(self.number, None)
        self._end.seen()
        return answer

    @uncompiled
    def get_future(self):
        # Waits in C++ cannot be observed, so register a callback for the end of the message. A call
        # to Python from the backend's thread is slow, so `_issue` looks for the ends of other
        # messages.
        if self._future is None:
            _under_way.pop(self.number, None)
            self._future = follow(self.inner.get_future(), self.number, self._end.seen)
        # DDP's reducer waits at the end of the backward pass, so a callback that autograd runs then
        # marks the begin of this wait.
        if compat.current_graph_task_id() != -1:
            compat.queue_callback(self._end.waited_for_in_cpp)
        return self._future

    @uncompiled
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
        return compat.source_rank(self.inner)


class _NcclWork(_RecordedWork):
    """A collective of nccl.

    Its future is done as soon as the message is in the GPU's queue, so a callback of the future
    would report the end too early. `wait` records the end instead.
    """

    @uncompiled
    def get_future(self):
        if self._future is None:
            self._future = follow(self.inner.get_future(), self.number, lambda future: None)
        if compat.current_graph_task_id() != -1:
            compat.queue_callback(self.wait)
        return self._future


def _create(options, _):
    """Create a recorded process group; torch calls this for every group."""
    if _line_to_relay is not None:
        return _relayed(options)
    inner = dist.ProcessGroup(options.store, options.group_rank, options.group_size)
    members = options.global_ranks_in_group or range(options.group_size)
    devices, kind, backend = _backend(options)
    carrier = DryGroup(inner) if _dry else inner
    recorded = _RecordedGroup(carrier, _channel(options), members, kind.name.lower())
    for group in (inner, recorded):  # device meshes look for it on `recorded`, too
        for device in devices:
            compat.register_backend(group, device, kind, backend)
        compat.set_default_backend(group, kind)
    return recorded


def _channel(options):
    """Return the group's channel; torch's own numbers restart with each default group."""
    return options.group_id if _times_made == 1 else f"{_times_made}.{options.group_id}"


def _recorded_too(make):
    """Record also groups for which the program names a backend: dist.new_group(backend="gloo").

    The members of a group wait for one another while it is made, so show this on the board.
    """

    @functools.wraps(make)
    def call(size, rank, members, backend, store, name, *args, **options):
        global _times_made
        # The default group: the store may contain the addresses of the previous one.
        if not members:
            _times_made += 1
            store = dist.PrefixStore(f"default group {_times_made}", store)
        asked = dist.BackendConfig(backend).device_backend_map.get("cpu")
        if _kind().name.lower() in (backend, asked):
            backend = dist.Backend("lab")
        with _shown_wait(size, rank, members, name):
            return make(size, rank, members, backend, store, name, *args, **options)

    return call


def _shown_wait(size, rank, members, name):
    """Return a context in which the board shows that the members of a new group meet."""
    if rank is None or (not members and _times_made == 1):  # no member; no board shows anything yet
        return contextlib.nullcontext()
    call = "new_group" if members else "init_process_group"
    group = tuple(members or range(size))
    key = zlib.crc32(repr(group).encode())  # the groups of two ranks may differ under one name
    return _recorder.meets(call, group, f"{_times_made}.{call} {name} {key}")


def _relayed(options):
    members = options.global_ranks_in_group
    if members and len(members) < dist.get_world_size():
        raise RuntimeError("this exercise supports only groups of all ranks")
    for method, (name, _) in compat.COLLECTIVES.items():
        if method not in vars(RelayedGroup):
            refuse(method, name)
    group = RelayedGroup(options.group_rank, options.group_size, _line_to_relay)
    return _RelayedAndRecorded(group, options.group_id, range(options.group_size), "relay")


def _monitored_barrier(group=None, timeout=None, wait_all_ranks=False):
    """Replace torch's function, which accepts only a group named gloo; ours contains gloo."""
    group = group or dist.group.WORLD
    if group == dist.GroupMember.NON_GROUP_MEMBER:
        return
    if group.over != "gloo":
        raise LabError(
            "Only gloo has a monitored barrier.",
            saw=f"ranks that communicate over {group.over}",
            do="call dist.barrier(); if it hangs, the kit says which ranks are missing",
        )
    if isinstance(timeout, (int, float)):
        timeout = timedelta(seconds=timeout)
    limit = {} if timeout is None else {"timeout": timeout}
    group.monitored_barrier(**limit, wait_all_ranks=wait_all_ranks)


def _kind():
    """Return nccl if each rank of the cluster has its own GPU, which it requires; else gloo."""
    own_gpus = torch.cuda.is_initialized() and torch.cuda.device_count() >= _ranks
    kinds = dist.ProcessGroup.BackendType
    return kinds.NCCL if own_gpus else kinds.GLOO


def _backend(options):
    arguments = options.store, options.group_rank, options.group_size
    kind = _kind()
    cpu = torch.device("cpu")
    gpu = torch.device("cuda")
    if kind == dist.ProcessGroup.BackendType.NCCL:
        return [gpu], kind, dist.ProcessGroupNCCL(*arguments, options.timeout)
    devices = [cpu, gpu] if torch.cuda.is_initialized() else [cpu]
    return devices, kind, dist.ProcessGroupGloo(*arguments, options.timeout)


def _issue(name, nbytes, group, channel):
    for number in [n for n, (work, _) in _under_way.items() if work.is_completed()]:
        _under_way.pop(number)[1].seen()
    return _recorder.issue(name, nbytes, group, channel=channel)


def _nbytes(tensors):
    if isinstance(tensors, torch.Tensor):
        return tensors.numel() * tensors.element_size()
    return sum(map(_nbytes, tensors))


def _resize(resize, memory):
    @functools.wraps(resize)
    @uncompiled
    def call(storage, nbytes):
        answer = resize(storage, nbytes)
        memory.resized(storage)
        return answer

    return call
