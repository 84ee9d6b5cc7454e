"""One call of each function and operation of torch that sends messages between ranks."""

from __future__ import annotations

import inspect

import torch
import torch.distributed as dist

from lablib.errors import LabError
from lablib.frameworks.torch import compat
from lablib.record.rows import Issued

OPERATIONS = ("_c10d_functional::", "_c10d_functional_autograd::")


def functions() -> list[str]:
    """Return the public functions of torch.distributed in the installed version."""
    public = [name for name in dir(dist) if name[0] != "_" and name != "reduce_op"]
    return [name for name in public if inspect.isfunction(getattr(dist, name))]


def operations(*namespaces: str) -> list[str]:
    names = torch._C._dispatch_get_all_op_names()
    return sorted(name for name in names if name.startswith(namespaces))


def calls(me) -> dict:
    """Return a call for each name of `functions` and `operations` that sends messages.

    A call is a function without arguments. Both ranks make the calls in this order.
    """
    first, other = me.rank == 0, 1 - me.rank

    def x(rows=2):
        return torch.ones(rows)

    def rows():
        return [x(), x()]

    def object_list():
        return [me.rank]

    def both_ways():
        pair = [dist.P2POp(dist.isend, x(), other), dist.P2POp(dist.irecv, x(), other)]
        for work in dist.batch_isend_irecv(pair):
            work.wait()

    def only_to(receiver, received):
        return received if me.rank == receiver else None

    def sends_or_receives(send, receive, payload):
        return send(payload, 1) if first else receive(payload, 0)

    return {
        "all_gather": lambda: dist.all_gather(rows(), x()),
        "all_gather_coalesced": lambda: dist.all_gather_coalesced([[x()], [x()]], [x()]),
        "all_gather_into_tensor": lambda: dist.all_gather_into_tensor(x(4), x()),
        "all_gather_object": lambda: dist.all_gather_object([None, None], 1),
        "all_gather_single": lambda: dist.all_gather_single(x(4), x()),
        "all_reduce": lambda: dist.all_reduce(x()),
        "all_reduce_coalesced": lambda: dist.all_reduce_coalesced([x(), x()]),
        "all_to_all": lambda: dist.all_to_all(rows(), rows()),
        "all_to_all_single": lambda: dist.all_to_all_single(x(), x()),
        "barrier": lambda: dist.barrier(),
        "batch_isend_irecv": both_ways,
        "broadcast": lambda: dist.broadcast(x(), 0),
        "broadcast_object_list": lambda: dist.broadcast_object_list(object_list(), 0),
        "gather": lambda: dist.gather(x(), only_to(0, rows()), 0),
        "gather_object": lambda: dist.gather_object(1, only_to(0, [None, None]), 0),
        "irecv": lambda: sends_or_receives(dist.isend, dist.irecv, x()).wait(),
        "isend": lambda: sends_or_receives(dist.isend, dist.irecv, x()).wait(),
        "monitored_barrier": lambda: dist.monitored_barrier(),
        "recv": lambda: dist.send(x(), 1) if first else dist.recv(x()),
        "recv_object_list": lambda: sends_or_receives(
            dist.send_object_list, dist.recv_object_list, object_list()
        ),
        "reduce": lambda: dist.reduce(x(), 0),
        "reduce_scatter": lambda: dist.reduce_scatter(x(), rows()),
        "reduce_scatter_single": lambda: dist.reduce_scatter_single(x(), x(4)),
        "reduce_scatter_tensor": lambda: dist.reduce_scatter_tensor(x(), x(4)),
        "scatter": lambda: dist.scatter(x(), only_to(0, rows()), 0),
        "scatter_object_list": lambda: dist.scatter_object_list([None], [1, 2], 0),
        "send": lambda: sends_or_receives(dist.send, dist.recv, x()),
        "send_object_list": lambda: sends_or_receives(
            dist.send_object_list, dist.recv_object_list, object_list()
        ),
        **operations_called(me, x),
    }


def operations_called(me, x) -> dict:
    group, other = dist.group.WORLD.group_name, 1 - me.rank
    ops, slopes = torch.ops._c10d_functional, torch.ops._c10d_functional_autograd

    def ended(started):
        for tensor in started if isinstance(started, (list, tuple)) else [started]:
            ops.wait_tensor(tensor)

    def one_way():
        sent = ops.isend(x(), 1, 0, group) if me.rank == 0 else ops.irecv(x(), 0, 0, group)
        ended(sent)

    plain = {
        "all_gather_into_tensor": lambda: ops.all_gather_into_tensor(x(), 2, group),
        "all_gather_into_tensor_coalesced": lambda: ops.all_gather_into_tensor_coalesced(
            [x()], 2, group
        ),
        "all_gather_into_tensor_out": lambda: ops.all_gather_into_tensor_out(
            x(), 2, group, out=x(4)
        ),
        "all_reduce": lambda: ops.all_reduce(x(), "sum", group),
        "all_reduce_": lambda: ops.all_reduce_(x(), "sum", group),
        "all_reduce_coalesced": lambda: ops.all_reduce_coalesced([x()], "sum", group),
        "all_reduce_coalesced_": lambda: ops.all_reduce_coalesced_([x()], "sum", group),
        "all_to_all_single": lambda: ops.all_to_all_single(x(), [1, 1], [1, 1], group),
        "batch_p2p_ops": lambda: ops.batch_p2p_ops(
            ["isend", "irecv"], [other, other], [0, 0], [x(), x()], group
        ),
        "broadcast": lambda: ops.broadcast(x(), 0, group),
        "broadcast_": lambda: ops.broadcast_(x(), 0, group),
        "reduce_scatter_tensor": lambda: ops.reduce_scatter_tensor(x(4), "sum", 2, group),
        "reduce_scatter_tensor_coalesced": lambda: ops.reduce_scatter_tensor_coalesced(
            [x(4)], "sum", 2, group
        ),
        "reduce_scatter_tensor_out": lambda: ops.reduce_scatter_tensor_out(
            x(4), "sum", 2, group, out=x()
        ),
    }
    with_gradient = {
        "all_gather_into_tensor": lambda: slopes.all_gather_into_tensor(x(), 2, group),
        "all_to_all_single": lambda: slopes.all_to_all_single(x(), [1, 1], [1, 1], group),
        "reduce_scatter_tensor": lambda: slopes.reduce_scatter_tensor(x(4), "sum", 2, group),
    }
    return {
        **{f"_c10d_functional::{name}": lambda f=f: ended(f()) for name, f in plain.items()},
        **{f"_c10d_functional::{name}": one_way for name in ("isend", "irecv")},
        **{
            f"_c10d_functional_autograd::{name}": lambda f=f: ended(f())
            for name, f in with_gradient.items()
        },
    }


def messages_of_each(me) -> dict[str, list[str]]:
    """Return the names of the messages that the recorder saw in each call, on this rank."""
    found = {}
    for name, call in calls(me).items():
        before = len(me._recorder.rows)
        call()
        new = list(me._recorder.rows)[before:]
        found[name] = [row.name for row in new if isinstance(row, Issued)]
    return found


def everything(me) -> dict[str, list[str]]:
    """Return functions, operations and methods of process groups in the installed version."""
    return {
        "functions": functions(),
        "operations": operations(*OPERATIONS),
        "methods": sorted(compat.methods_of_groups()),
        "without a group": operations_without_a_group(),
        "on a CPU": [name for name in operations("symm_mem::") if runs_on_a_cpu(name)],
    }


def tables(me) -> list[str]:
    """Return the methods of process groups that the kit knows."""
    known = *compat.COLLECTIVES, *compat.ONE_TO_ONE, *compat.NO_MESSAGES, *compat.REFUSED
    return sorted(known)


def operations_without_a_group() -> list[str]:
    """Return operations that could send messages without a process group as argument."""
    names = operations("c10d::")
    schemas = {name: torch._C._jit_get_schemas_for_operator(name) for name in names}
    return [name for name, found in schemas.items() if "ProcessGroup" not in str(found)]


def runs_on_a_cpu(name):
    keys = "CPU", "CompositeExplicitAutograd", "CompositeImplicitAutograd"
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(name, key) for key in keys)


def refusals(me) -> dict[str, str]:
    """Return the kit's error for each call that would send messages without the recorder."""
    memory = torch._C._distributed_c10d._SymmetricMemory
    refused = {
        "split_group": lambda: dist.split_group(split_ranks=[[0], [1]]),
        "shrink_group": lambda: dist.shrink_group([1]),
        "empty_strided_p2p": lambda: memory.empty_strided_p2p(
            (1,), (1,), torch.float32, "cpu", "0"
        ),
        **{name: getattr(dist.group.WORLD, name) for name in compat.REFUSED},
    }
    return {name: what_it_says(call) for name, call in refused.items()}


def what_it_says(call):
    try:
        call()
    except LabError as error:
        return str(error)
    return "nothing"


def later_version(me) -> str:
    """Return the error for a method of a later torch that the recorder does not know."""

    class Later(dist.ProcessGroup):
        pass

    dist.ProcessGroup.gather_single = lambda group: None
    compat.close_gaps(Later)
    return what_it_says(Later(0, 1).gather_single)
