"""One call of each function and operation of TensorFlow that sends messages between ranks."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.python.ops import collective_ops

from lablib.errors import LabError
from lablib.frameworks.tensorflow import compat
from lablib.record.rows import Issued


def everything(me) -> dict[str, list[str]]:
    """Return the installed version's functions, and its operations that communicate."""
    return {
        "functions": list(compat.collectives()),
        "operations": [name for name in dir(tf.raw_ops) if communicates(name)],
    }


def communicates(name):
    definition = op_def_registry.get(name)
    return definition is not None and definition.is_distributed_communication


def calls(me) -> dict:
    """Return a call for each name that sends messages.

    A call is a function of the keys of one collective. Both ranks make the calls in this order.
    """
    first, x, shape, f32 = me.rank == 0, tf.ones(2), [2], tf.float32
    functions, operations = collective_ops, tf.raw_ops
    sums = {"merge_op": "Add", "final_op": "Id"}

    def of_a_version(version):
        send, receive = (
            getattr(functions, f"broadcast_{way}{version}") for way in ("send", "recv")
        )
        given = (x,) if version else (x, shape, f32)
        return lambda **keys: send(*given, **keys) if first else receive(shape, f32, **keys)

    def raw_of_a_version(version):
        send, receive = (
            getattr(operations, f"CollectiveBcast{way}{version}") for way in ("Send", "Recv")
        )
        given = {} if version else {"shape": shape}
        return lambda **keys: (
            send(input=x, **given, **keys) if first else receive(T=f32, shape=shape, **keys)
        )

    return {
        "all_reduce": lambda **keys: functions.all_reduce(x, **keys),
        "all_reduce_v2": lambda **keys: functions.all_reduce_v2(x, **keys),
        "all_gather": lambda **keys: functions.all_gather(x, **keys),
        "all_gather_v2": lambda **keys: functions.all_gather_v2(x, **keys),
        "all_to_all_v2": lambda **keys: functions.all_to_all_v2(x, **keys),
        **{
            f"broadcast_{way}{version}": of_a_version(version)
            for version in ("", "_v2")
            for way in ("send", "recv")
        },
        **{
            f"CollectiveBcast{way}{version}": raw_of_a_version(version)
            for version in ("", "V2")
            for way in ("Send", "Recv")
        },
        "CollectiveReduce": lambda **keys: operations.CollectiveReduce(
            input=x, subdiv_offsets=[0], **sums, **keys
        ),
        "CollectiveReduceV2": lambda **keys: operations.CollectiveReduceV2(
            input=x, ordering_token=[], **sums, **keys
        ),
        "CollectiveGather": lambda **keys: operations.CollectiveGather(input=x, shape=[4], **keys),
        "CollectiveGatherV2": lambda **keys: operations.CollectiveGatherV2(
            input=x, ordering_token=[], **keys
        ),
        "CollectiveAllToAllV2": lambda **keys: operations.CollectiveAllToAllV2(
            input=x, ordering_token=[], **keys
        ),
        # This is last: it is made for GPUs, and its failure on a CPU ends all later messages.
        "CollectiveReduceScatterV2": lambda **keys: operations.CollectiveReduceScatterV2(
            input=x, ordering_token=[], **sums, **keys
        ),
    }


def messages_of_each(me) -> dict[str, list[str]]:
    """Return the names of the messages recorded in each call, in a graph and outside."""
    tf.distribute.MultiWorkerMirroredStrategy()
    numbers, found = iter(range(100, 200)), {}
    for name, call in calls(me).items():
        before = len(me._recorder.rows)
        for run in (call, tf.function(call)):
            try:
                run(group_size=2, group_key=1, instance_key=next(numbers))
            except tf.errors.InternalError:
                assert name == "CollectiveReduceScatterV2"
        new = list(me._recorder.rows)[before:]
        found[name] = [row.name for row in new if isinstance(row, Issued)]
    return found


def tables(me) -> list[str]:
    """Return the names that, according to the kit, send nothing."""
    return list(compat.NO_MESSAGES)


def refusals(me) -> dict[str, str]:
    """Return the kit's error for each call that would send messages without the recorder."""
    names = {name: getattr(collective_ops, name, None) for name in compat.REFUSED}
    return {
        name: what_it_says(function or getattr(tf.raw_ops, name))
        for name, function in names.items()
    }


def what_it_says(call):
    try:
        call()
    except LabError as error:
        return str(error)
    return "nothing"


def later_version(me) -> str:
    """Return the error for a function of a later TensorFlow that the recorder does not know."""

    def all_gather_v3(t):
        return t

    collective_ops.all_gather_v3 = all_gather_v3
    compat.close_gaps()
    return what_it_says(collective_ops.all_gather_v3)
