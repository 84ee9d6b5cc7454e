"""Every private, patched and version-dependent name of TensorFlow that the kit uses, with reasons.

Other files take these names from here. A rank that joins checks the whole list. If a version of
TensorFlow lacks one of the names, the run stops with a clear error instead of an incomplete record.
A collective that the recorder does not know is refused only when it is called, so programs that do
not use it can run.
"""

from __future__ import annotations

import inspect
import re
import sys

import tensorflow as tf

from lablib.frameworks.listed_names import ListedNames

TESTED = "2.21.0"

# Functions that send messages: {function: (name that the learner knows, argument with the
# payload)}. First those of TensorFlow's collective_ops, which tf.distribute calls; then those of
# tf.raw_ops.
COLLECTIVES = {
    "all_reduce": ("all_reduce", "t"),
    "all_reduce_v2": ("all_reduce", "t"),
    "all_gather": ("all_gather", "t"),
    "all_gather_v2": ("all_gather", "t"),
    "all_to_all_v2": ("all_to_all", "t"),
    "broadcast_send": ("broadcast", "t"),
    "broadcast_send_v2": ("broadcast", "t"),
    "broadcast_recv": ("broadcast", None),
    "broadcast_recv_v2": ("broadcast", None),
}
RAW_COLLECTIVES = {
    "CollectiveReduce": ("all_reduce", "input"),
    "CollectiveReduceV2": ("all_reduce", "input"),
    "CollectiveReduceScatterV2": ("reduce_scatter", "input"),
    "CollectiveGather": ("all_gather", "input"),
    "CollectiveGatherV2": ("all_gather", "input"),
    "CollectiveAllToAllV2": ("all_to_all", "input"),
    "CollectiveBcastSend": ("broadcast", "input"),
    "CollectiveBcastSendV2": ("broadcast", "input"),
    "CollectiveBcastRecv": ("broadcast", None),
    "CollectiveBcastRecvV2": ("broadcast", None),
}
NO_MESSAGES = {
    "assign_group_v2": "computes the number of a group",
    "initialize_communicator": "sets a group up, as other collectives do when they first run",
    "CollectiveAssignGroupV2": "see assign_group_v2",
    "CollectiveInitializeCommunicator": "see initialize_communicator",
    "NcclAllReduce": "its GPUs are those of one rank",
    "NcclBroadcast": "its GPUs are those of one rank",
    "NcclReduce": "its GPUs are those of one rank",
}
_NO_COMMUNICATOR = "TensorFlow 2.21 cannot initialize its communicator in several processes"
REFUSED = {
    "all_reduce_v3": _NO_COMMUNICATOR,
    "all_to_all_v3": _NO_COMMUNICATOR,
    "CollectiveReduceV3": _NO_COMMUNICATOR,
    "CollectiveAllToAllV3": _NO_COMMUNICATOR,
    "AllToAll": "it is for TPUs",
    "CollectivePermute": "it is for TPUs",
    "CrossReplicaSum": "it is for TPUs",
    "Recv": "the recorder does not see its messages",
    "Send": "the recorder does not see its messages",
}
_INSTEAD = "on the ranks of a cluster", "use tf.distribute, or version 2 of a collective"
_LIKE_A_COLLECTIVE = re.compile("Collective|Nccl|AllToAll|CrossReplica|Recv$|Send$")

_COLLECTIVE_OPS = "tensorflow.python.ops.collective_ops"
_RAW_OPS = "tensorflow:raw_ops"
_GRAPH_CALL = "tensorflow.python.eager.polymorphic_function.atomic_function:AtomicFunction"
CALL_OF_A_GRAPH = f"{_GRAPH_CALL}.call_flat"
_UNSEEN = "replaced on modelled hardware: what it does cannot be recorded"
NAMES = ListedNames(
    "tensorflow",
    TESTED,
    {
        # Messages.
        _RAW_OPS: "has each operation of TensorFlow as a function",
        _COLLECTIVE_OPS: "all collectives of tf.distribute, and of learners, are in this module",
        **dict.fromkeys(
            [f"{_COLLECTIVE_OPS}:{name}" for name in COLLECTIVES],
            "replaced, to record its messages",
        ),
        **dict.fromkeys(
            [f"{_RAW_OPS}.{name}" for name in RAW_COLLECTIVES],
            "replaced, to record its messages; refused on modelled hardware",
        ),
        "tensorflow.python.eager.context:context": "has the state of this thread",
        "tensorflow.python.eager.context:Context.device_name": "names the task that computes",
        "tensorflow:distribute.Server.__init__": "replaced: its pools get the rank's threads",
        "tensorflow:experimental.dtensor.create_distributed_mesh": _UNSEEN,
        "tensorflow:experimental.dtensor.initialize_accelerator_system": _UNSEEN,
        "tensorflow:config.experimental_connect_to_cluster": _UNSEEN,
        "tensorflow:config.experimental_connect_to_host": _UNSEEN,
        # The execution of traced graphs.
        CALL_OF_A_GRAPH: "replaced: a call of a graph is written down when it is over",
        f"{_GRAPH_CALL}.cached_definition": "tells which outputs a call of the graph returns",
        f"{_GRAPH_CALL}.graph": "is what a call runs",
        "tensorflow:Graph._get_function": "finds the graph that an operation calls",
        "tensorflow:Operation._set_attr": "marks operations, also in copies of their graph",
        "tensorflow.python.framework.auto_control_deps:"
        "AutomaticControlDependencies.run_independently": "keeps the recorder's clocks unordered",
        "tensorflow.python.ops.while_v2:_build_while_op": "replaced: loops report their turns",
        # Operations outside of graphs.
        "tensorflow.python.framework.op_callbacks:add_op_callback": "sees every operation",
        "tensorflow.python.framework.op_def_registry:get": "tells operations from called graphs",
        "tensorflow.python.framework.ops:EagerTensor._shape_tuple": "is faster than shape",
        "tensorflow:GradientTape.__enter__": "replaced: the forward pass begins",
        "tensorflow:GradientTape.__exit__": "replaced: the forward pass ends",
        "tensorflow:GradientTape.gradient": "replaced, to record the backward pass",
    },
)
replace = NAMES.replace

_context = NAMES.find("tensorflow.python.eager.context:context")
add_op_callback = NAMES.find("tensorflow.python.framework.op_callbacks:add_op_callback")
definition_of_op = NAMES.find("tensorflow.python.framework.op_def_registry:get")
shape_tuple = NAMES.find("tensorflow.python.framework.ops:EagerTensor._shape_tuple")
set_attribute = NAMES.find("tensorflow:Operation._set_attr")
called_graph = NAMES.find("tensorflow:Graph._get_function")


def device_of_this_thread() -> str:
    """Return the device on which this thread places operations; "" if it names none."""
    return _context().device_name


def number_of_outputs(function) -> int:
    """Return the number of tensors that a call of this AtomicFunction returns."""
    return len(function.cached_definition.signature.output_arg)


def run_independently(op: tf.Operation) -> None:
    """Exclude an operation from the order that TensorFlow imposes on stateful operations."""
    manager = op.graph.experimental_acd_manager
    if manager is not None:
        manager.run_independently(op)


def close_gaps() -> None:
    """From now on, collectives that the recorder does not record raise LabError."""
    known = {*COLLECTIVES, *RAW_COLLECTIVES, *NO_MESSAGES}
    for name, path in collectives().items():
        if name in REFUSED:
            NAMES.forbid([path], REFUSED[name], *_INSTEAD)
        elif name not in known:
            replace(path, lambda _, name=name: NAMES.unknown(name))


def collectives() -> dict[str, str]:
    """Return {name: argument of `replace`} of the collectives that the installed version has."""
    module = sys.modules[_COLLECTIVE_OPS]
    functions = inspect.getmembers(module, inspect.isfunction)
    found = {name: f"{_COLLECTIVE_OPS}:{name}" for name, _ in functions if name[0] != "_"}
    raw = filter(_LIKE_A_COLLECTIVE.search, dir(tf.raw_ops))
    return found | {name: f"{_RAW_OPS}.{name}" for name in raw}
