"""The first lines of ordinary torch programs, and lines that do not fit the cluster."""

from __future__ import annotations

import os
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from torch.distributed import rpc


def _sum(**options):
    x = torch.ones(1)
    dist.all_reduce(x, **options)
    return x.item()


def as_with_torchrun(me):
    dist.init_process_group("gloo")
    seen = _sum(), dist.get_backend()
    dist.destroy_process_group()
    return (*seen, dist.is_initialized())


def as_with_spawn(me):
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12355")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=me.rank, world_size=me.ranks)
    return _sum(), dist.get_backend() == dist.Backend.GLOO, dist.is_initialized()


def with_every_argument(me):
    dist.init_process_group(
        backend="cpu:gloo,cuda:nccl", init_method="tcp://127.0.0.1:23456", world_size=me.ranks,
        rank=me.rank, timeout=timedelta(minutes=1), device_id=torch.device("cpu"),
    )  # fmt: skip
    return _sum(group=dist.new_group(backend="gloo")), dist.get_backend() == "gloo", True


def without_any(me):
    if dist.is_initialized():
        dist.init_process_group()
    return _sum(), dist.get_backend(dist.new_group([0, 1])), dist.get_world_size()


def again_after_destroying(me):
    sums = []
    for _ in range(3):
        dist.init_process_group("gloo", rank=me.rank, world_size=me.ranks)
        sums.append(_sum() + _sum(group=dist.new_group([0, 1])))
        dist.destroy_process_group()
    mesh = dist.init_device_mesh("cpu", (2,))  # makes the default group by itself
    return sums, _sum(group=mesh.get_group())


def destroys_first(me):
    dist.destroy_process_group()


def leaves_while_others_need_its_data(me):
    x = torch.full((500_000,), 1.0 - me.rank)
    dist.broadcast(x, 0)
    dist.destroy_process_group()
    return x.sum().item()


def calls_remotely(me):
    rpc.init_rpc(f"worker{me.rank}", rank=me.rank, world_size=me.ranks)
    answer = rpc.rpc_sync(f"worker{1 - me.rank}", torch.add, (torch.ones(1), me.rank))
    rpc.shutdown()
    return answer.item()


def _listens_on_loopback_only():
    sockets = psutil.Process().net_connections("inet")
    listening = {it.laddr.ip for it in sockets if it.status == psutil.CONN_LISTEN}
    assert listening and all("127.0.0.1" in ip for ip in listening), listening


def calls_remotely_at_an_address(me):
    options = rpc.TensorPipeRpcBackendOptions(init_method="tcp://localhost:29511")
    rpc.init_rpc(f"w{me.rank}", rank=me.rank, world_size=me.ranks, rpc_backend_options=options)
    _listens_on_loopback_only()
    answer = rpc.rpc_async(f"w{1 - me.rank}", torch.add, (torch.ones(1), me.rank)).wait()
    rpc.shutdown()
    return answer.item()


def twice_if_it_may(me):
    for _ in range(2):
        try:
            dist.init_process_group("gloo")
        except ValueError as error:  # torch raises the same
            refused = str(error)
    return "twice" in refused


ACCEPTED = [
    (as_with_torchrun, [(2, "gloo", False)] * 2),
    (as_with_spawn, [(2, True, True)] * 2),
    (with_every_argument, [(2, True, True)] * 2),
    (without_any, [(2, "gloo", 2)] * 2),
    (again_after_destroying, [([4, 4, 4], 2)] * 2),
    (leaves_while_others_need_its_data, [500_000] * 2),
    (twice_if_it_may, [True, True]),
    (calls_remotely, [1, 2]),
    (calls_remotely_at_an_address, [1, 2]),
]


def twice(me):
    dist.init_process_group("gloo")
    dist.init_process_group("gloo")


def over_nccl(me):
    dist.init_process_group("nccl")


def over_nothing_that_torch_knows(me):
    dist.init_process_group("glue")


def of_another_size(me):
    dist.init_process_group("gloo", rank=me.rank, world_size=8)


def of_a_size_in_text(me):
    dist.init_process_group("gloo", world_size="2")


def of_one_rank(me):
    dist.init_process_group("gloo", rank=0, world_size=me.ranks)


REFUSED = [
    (twice, "init_process_group was called twice", "call it once"),
    (over_nccl, "communicate over gloo", 'write dist.init_process_group("gloo")'),
    (over_nothing_that_torch_knows, "communicate over gloo", 'init_process_group("gloo")'),
    (of_another_size, "world_size=8; the cluster has 2 ranks", "lab.Cluster(8)"),
    (of_a_size_in_text, "world_size='2'; the cluster has 2 ranks", "world_size=me.ranks"),
    (of_one_rank, "rank=0 on rank 1 of 2", "rank=me.rank"),
]
