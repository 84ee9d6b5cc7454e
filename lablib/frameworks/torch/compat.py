"""Every private, patched and version-dependent name of torch that the kit uses, with the reason.

Other files take these names from here. A rank that joins checks the whole list. If a version of
torch lacks one of the names, the run stops with a clear error instead of an incomplete record. A
collective that the recorder does not know is refused only when it is called, so programs that do
not use it can run.

From torch 2.14 on, `ProcessGroup.register_pre_hook` and `register_post_hook` could tell the
recorder when a message begins and ends. They could replace the methods of `_RecordedGroup` in
`recorder.py`; the tables below and the futures would stay.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import torch
import torch.distributed as dist

from lablib.frameworks.listed_names import ListedNames
from lablib.frameworks.refusals import refusal

TESTED = "2.13.0"

# Methods of a process group that send messages: {method: (name that the learner knows, argument
# with the payload)}.
COLLECTIVES = {
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
OLDER_NAMES = {
    "_allgather_base": "all_gather_single",
    "_reduce_scatter_base": "reduce_scatter_single",
    "alltoall_base": "all_to_all_single",
}
"""Methods that torch still calls by their names from before 2.13, and their names today."""
ONE_TO_ONE = {"send", "recv", "recv_anysource", "monitored_barrier"}
"""The other methods of a process group that send messages; the recorder has a method for each."""
REFUSED = {
    "boxed": "the operations of torch.ops.c10d, which take it, send messages past the recorder",
    "split_group": "it makes a group whose messages the recorder does not see",
    "merge_remote_group": "it makes a group whose messages the recorder does not see",
}
_INSTEAD = "on the ranks of a cluster", "use the functions of torch.distributed"
NO_MESSAGES = set(
    """
    abort get_group_store name rank set_timeout shutdown size unbox
    _end_coalescing _enable_collectives_timing _get_backend _get_backend_name _backend_id _id
    _get_sequence_number_for_group _set_sequence_number_for_group _has_hooks _register_backend
    _register_on_completion_hook _set_default_backend _set_group_desc _set_group_name
    _start_coalescing _wait_for_pending_works _pybind11_conduit_v1_
""".split()
)
"""Methods of a process group that do not send messages themselves."""

_C10D = "torch.distributed.distributed_c10d"
_FAKE = "torch._subclasses.fake_tensor"
_FUNCTIONAL = "torch.distributed._functional_collectives"
_ITEM = "torch:ops.aten._local_scalar_dense.default"
_PLANNED = (
    "torch.distributed.tensor._sharding_prop:ShardingPropagator._propagate_tensor_meta_non_cached"
)
_SHARD = "torch.distributed.fsdp._fully_shard._fsdp_param:FSDPParam.reset_sharded_param"
_FOREACH = "torch.utils._foreach_utils:_foreach_supported_types"
_READ_VALUES = [
    f"{_C10D}:all_gather_object",
    f"{_C10D}:broadcast_object_list",
    f"{_C10D}:gather_object",
    f"{_C10D}:scatter_object_list",
    f"{_C10D}:send_object_list",
    f"{_C10D}:recv_object_list",
    "torch.nn.parallel.distributed:_verify_param_shape_across_processes",
    "torch.distributed.device_mesh:init_device_mesh",
    "torch.distributed.fsdp._fully_shard._fsdp_init:init_device_mesh",
    "torch.distributed.device_mesh:DeviceMesh.__init__",
    "torch.distributed.pipelining.stage:PipelineStage._warmup_forward_vote",
    "torch.distributed.pipelining.stage:PipelineStage._warmup_backward_result",
]
"""Functions of torch that read values of tensors which they make themselves."""
_MODES = "torch.utils._python_dispatch"
_SYMMETRIC_MEMORY = "torch._C._distributed_c10d:_SymmetricMemory.empty_strided_p2p"
_GATHER_INTO = "torch:ops._c10d_functional.all_gather_into_tensor_out"
_AN_OPERATION = "torch:ops.aten.add.Tensor"
NAMES = ListedNames(
    "torch",
    TESTED,
    {
        # Waits for messages.
        "torch._C:Future": "is the type of all futures that C++ makes",
        "torch._C:Future.wait": "replaced, to record waits",
        "torch._C:Future.then": "replaced: a future that follows from a message is one, too",
        "torch._C:Future.add_done_callback": "replaced: what a callback computes is not counted",
        "torch._C:_collect_all": "replaced: it makes one future of several messages",
        "torch._C:_current_graph_task_id": "tells whether a backward pass is running",
        "torch.autograd:Variable._execution_engine.queue_callback": "tells when DDP waits",
        "torch.distributed:Work._source_rank": "recv from any rank asks it who has sent",
        # Process groups.
        f"{_C10D}:init_process_group": "replaced: the kit has made the default group already",
        f"{_C10D}:get_backend": "replaced, to report gloo or nccl instead of the recorder",
        f"{_C10D}:rendezvous": "replaced: all ranks meet at the kit's store",
        f"{_C10D}:monitored_barrier": "replaced: torch's own wants a group whose name is gloo",
        f"{_C10D}:_new_process_group_helper": "replaced: groups with a named backend are recorded",
        f"{_C10D}:split_group": "replaced: the messages of such a group are not recorded",
        f"{_C10D}:shrink_group": "replaced: the messages of such a group are not recorded",
        "torch.distributed.rpc:init_rpc": "replaced where its calls would not be recorded",
        "torch.distributed:BackendConfig": "tells which backend a program asks for",
        "torch.distributed:ProcessGroupGloo": "carries the messages between CPUs",
        "torch.distributed:ProcessGroup.BackendType": "has the kinds of backends",
        "torch.distributed:ProcessGroup._register_backend": "puts gloo or nccl behind the recorder",
        "torch.distributed:ProcessGroup._set_default_backend": "names the backend that is used",
        **dict.fromkeys(
            [f"torch.distributed:ProcessGroup.{method}" for method in (*COLLECTIVES, *ONE_TO_ONE)],
            "overridden: the recorder sees all messages in these methods",
        ),
        _SYMMETRIC_MEMORY: "replaced: GPUs write into this memory past the recorder",
        _GATHER_INTO: "replaced: C++ runs it without the methods of the recorder",
        # Computed operations, and the memory that they need.
        f"{_MODES}:TorchDispatchMode": "sees every operation that reaches a device",
        f"{_MODES}:TorchDispatchMode._should_skip_dynamo": "overridden, to save time on every call",
        f"{_MODES}:_disable_current_modes": "keeps callbacks of futures out of the count",
        "torch._subclasses.fake_tensor:FakeTensor": "the compiler's tensors compute nothing",
        "torch.utils._pytree:tree_leaves": "finds the tensors among an operation's arguments",
        "torch.utils.flop_counter:flop_registry": "has torch's formulas of FLOPs",
        f"{_AN_OPERATION}._op": "calls an operation without the cost of a Python frame",
        f"{_AN_OPERATION}._overloadpacket": "is the key of an operation in the flop_registry",
        f"{_AN_OPERATION}._schema": "tells which operations return views",
        f"{_AN_OPERATION}.decompose": "splits an operation that has no formula of its own",
        "torch:UntypedStorage._cdata": "identifies memory, also where it has no address",
        "torch:UntypedStorage.resize_": "replaced: FSDP frees and fills memory with it",
        "torch.autograd:backward": "replaced, to record when a backward pass begins and ends",
        "torch.autograd:grad": "replaced, to record when a backward pass begins and ends",
        # The compiler.
        "torch._dynamo": "imported ahead by the process from which ranks are forked",
        "torch:compile": "replaced where operations are counted, which fused code would hide",
        "torch._C._dynamo.eval_frame:set_code_exec_strategy": "keeps one function uncompiled",
        "torch._C._dynamo.eval_frame:_FrameExecStrategy": "what set_code_exec_strategy takes",
        "torch._C._dynamo.eval_frame:_FrameAction.SKIP": "what set_code_exec_strategy takes",
        # Dry runs.
        f"{_FAKE}:FakeTensorMode": "computes shapes instead of values",
        f"{_FAKE}:unset_fake_temporarily": "lets torch compute the values that it reads itself",
        f"{_FAKE}:DataDependentOutputException": "says that a program needs values",
        f"{_FAKE}:DynamicOutputShapeException": "says that a program needs values",
        f"{_FAKE}:UnsupportedOperatorException": "says that the shape of a result is unknown",
        "torch.utils:swap_tensors": "replaced: it refuses to convert parameters without contents",
        "torch:from_numpy": "replaced: its tensors must not have values",
        "torch:UntypedStorage.data_ptr": "replaced: torch says 0 for all memory without contents",
        _ITEM: "returns the only number of a tensor",
        f"{_FUNCTIONAL}:_are_we_tracing": "replaced: else each message is waited for at once",
        f"{_FUNCTIONAL}:AsyncCollectiveTensor": "is a tensor that a message still fills",
        f"{_C10D}:_resolve_process_group": "finds the group of a functional collective",
        _PLANNED: "replaced: DTensor's search for shapes is no computation",
        _SHARD: "replaced: it would pad a shard of another type than torch.Tensor twice",
        _FOREACH: "extended: else the clipping of gradients takes other operations",
        "torch.distributed:Reducer.__init__": "replaced: it makes flags of used weights",
        "torch.distributed:Reducer._rebuild_buckets": "replaced: it reads the order of gradients",
        **dict.fromkeys(_READ_VALUES, "replaced: in a dry run it gets tensors that have values"),
        # Strategies.
        "torch.distributed.fsdp:FSDPModule._set_unshard_async_op": "lets FSDP2 overlap on a CPU",
    },
)
replace = NAMES.replace

Future = NAMES.find("torch._C:Future")
current_graph_task_id = NAMES.find("torch._C:_current_graph_task_id")
queue_callback = NAMES.find("torch.autograd:Variable._execution_engine.queue_callback")
register_backend = NAMES.find("torch.distributed:ProcessGroup._register_backend")
set_default_backend = NAMES.find("torch.distributed:ProcessGroup._set_default_backend")
disable_current_modes = NAMES.find(f"{_MODES}:_disable_current_modes")
FakeTensor = NAMES.find("torch._subclasses.fake_tensor:FakeTensor")
tree_leaves = NAMES.find("torch.utils._pytree:tree_leaves")
flop_registry = NAMES.find("torch.utils.flop_counter:flop_registry")
plain_call = NAMES.getter(f"{_AN_OPERATION}._op")
overload_packet = NAMES.getter(f"{_AN_OPERATION}._overloadpacket")
schema = NAMES.getter(f"{_AN_OPERATION}._schema")
memory_id = NAMES.getter("torch:UntypedStorage._cdata")
set_code_exec_strategy = NAMES.find("torch._C._dynamo.eval_frame:set_code_exec_strategy")
FrameExecStrategy = NAMES.find("torch._C._dynamo.eval_frame:_FrameExecStrategy")
SKIP = NAMES.find("torch._C._dynamo.eval_frame:_FrameAction.SKIP")
source_rank = methodcaller("_source_rank")
values = NAMES.find(f"{_FAKE}:unset_fake_temporarily")
NEEDS_VALUES = (
    NAMES.find(f"{_FAKE}:DataDependentOutputException"),
    NAMES.find(f"{_FAKE}:DynamicOutputShapeException"),
)
WithoutShapes = NAMES.find(f"{_FAKE}:UnsupportedOperatorException")
ITEM = NAMES.find(_ITEM)
WRAP_IN_FLIGHT = "_wrap_tensor_autograd"  # the functional collective that makes an `in_flight`


class Work(dist.Work):
    """A message in progress, which torch can ask for its sender."""

    def _source_rank(self):
        return self.source_rank()


class DispatchMode(NAMES.find(f"{_MODES}:TorchDispatchMode")):
    """A dispatch mode whose `__torch_dispatch__` is never compiled."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise torch wraps it, which costs microseconds a call


def unshard_in_background(model: torch.nn.Module) -> None:
    """Let an FSDP2 model gather weights ahead also on a CPU, which has no streams."""
    NAMES.find("torch.distributed.fsdp:FSDPModule._set_unshard_async_op")(model, True)


def gather_into(given: torch.Tensor, ranks: int, group: str, *, out: torch.Tensor) -> torch.Tensor:
    """Gather like the operation all_gather_into_tensor_out, using an operation that is recorded."""
    operations = torch.ops._c10d_functional
    gathered = operations.all_gather_into_tensor(given, ranks, group)
    return out.copy_(operations.wait_tensor(gathered))


_operations = torch.library.Library("_c10d_functional", "IMPL")


def close_gaps(group: type[dist.ProcessGroup]) -> None:
    """Record or refuse everything that would send messages without the recorder.

    group   class of process group: it refuses all methods that the tables above do not list
    """
    for device in ("CPU", "CUDA"):
        _operations.impl("all_gather_into_tensor_out", gather_into, device)
    NAMES.forbid([_SYMMETRIC_MEMORY], "its messages are not recorded", *_INSTEAD)
    makers = [f"{_C10D}:split_group", f"{_C10D}:shrink_group"]
    NAMES.forbid(makers, REFUSED["split_group"], *_INSTEAD)
    for method in methods_of_groups() - {*COLLECTIVES, *ONE_TO_ONE, *NO_MESSAGES}:
        refused = method in REFUSED and refusal(method, REFUSED[method], *_INSTEAD)
        setattr(group, method, refused or NAMES.unknown(method))


def methods_of_groups() -> set[str]:
    """Return the methods of torch's process groups in the installed version."""
    kinds = dist.ProcessGroup
    found = {name: getattr(kinds, name) for name in set(dir(kinds)) - set(dir(object))}
    return {name for name, it in found.items() if callable(it) and not isinstance(it, type)}


def in_flight(tensor: torch.Tensor) -> torch.Tensor:
    """Return DTensor's wrapper of a tensor that a message still fills."""
    return NAMES.find(f"{_FUNCTIONAL}:AsyncCollectiveTensor")(tensor)


def group_of(given: Any) -> dist.ProcessGroup:
    """Return the group that a functional collective names, or got."""
    return NAMES.find(f"{_C10D}:_resolve_process_group")(given) if isinstance(given, str) else given


def replace_in_fakes(method: str, make: Callable[[Any], Any]) -> None:
    """Replace a method of tensors that have no values by `make(original)`."""
    replace(f"{_FAKE}:FakeTensor.{method}", make)


def begin_dry(planning: Callable[[], contextlib.AbstractContextManager]) -> None:
    """From now on, tensors have shapes but no values, except where torch reads them itself.

    planning   returns a context in which operations are not counted
    """
    mode = NAMES.find(f"{_FAKE}:FakeTensorMode")(allow_non_fake_inputs=True)
    replace(
        "torch:from_numpy",
        lambda make: lambda array: mode.from_tensor(make(array), static_shapes=True),
    )
    replace("torch:UntypedStorage.data_ptr", _address)
    replace("torch.utils:swap_tensors", lambda _: _take_over)
    replace(f"{_FUNCTIONAL}:_are_we_tracing", lambda _: lambda: False)
    replace(_PLANNED, lambda plan: _inside(planning, plan))
    replace(_SHARD, _unless_padded)
    NAMES.find(_FOREACH).append(FakeTensor)
    for method in ("__init__", "_rebuild_buckets"):
        replace(f"torch.distributed:Reducer.{method}", lambda it: _makes_buckets(it, mode))
    for path in _READ_VALUES:
        replace(path, lambda function: _inside(values, function))
    mode.__enter__()


def _inside(context, function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        with context():
            return function(*args, **kwargs)

    return call


def _take_over(tensor, converted):
    """Give a parameter its converted contents, as `module.to(dtype)` does for real tensors."""
    tensor.data = converted.data


def _address(data_ptr):
    @functools.wraps(data_ptr)
    def call(self):
        return memory_id(self) if self.device.type == "meta" else data_ptr(self)

    return call


def _unless_padded(reset):
    """Return FSDPParam's method, which does nothing if the shard has been padded already."""

    @functools.wraps(reset)
    def call(self):
        kept = self._sharded_param_data
        mine = getattr(self._module_info.module, self._module_info.param_name)._local_tensor
        same = memory_id(kept.untyped_storage()) == memory_id(mine.untyped_storage())
        if not (type(kept) is FakeTensor and same):
            reset(self)

    return call


def _makes_buckets(method, mode):
    """Return the method of DDP's reducer, whose whole numbers get values, but not its buckets."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        with values(), _BucketsWithoutContents(mode):
            return method(self, *args, **kwargs)

    return call


class _BucketsWithoutContents(DispatchMode):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = kwargs.get("dtype") or torch.float32
        fake = func is torch.ops.aten.empty.memory_format and kind.is_floating_point
        with self.mode if fake else contextlib.nullcontext():
            return func(*args, **kwargs)
