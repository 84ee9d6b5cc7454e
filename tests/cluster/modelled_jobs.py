"""Functions that ranks run on modelled hardware: a few steps each, with weights from a seed."""

from __future__ import annotations

STEPS = 2


def _layers(width=64, count=4):
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(count)])


def _train(me, model, x):
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        with me.step(samples=len(x)):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    return losses


def ddp(me):
    import torch
    from torch.nn.parallel import DistributedDataParallel

    return _train(me, DistributedDataParallel(_layers(), bucket_cap_mb=0.02), torch.ones(8, 64))


def fsdp(me):
    import torch
    from torch.distributed.fsdp import fully_shard

    model = _layers()
    for layer in model:
        fully_shard(layer)
    return _train(me, fully_shard(model), torch.ones(8, 64))


def tensor_parallel(me):
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import parallel

    plan = {"0": parallel.ColwiseParallel(), "1": parallel.RowwiseParallel()}
    mesh = init_device_mesh("cpu", (me.ranks,))
    model = parallel.parallelize_module(_layers(count=2), mesh, plan)
    return _train(me, model, torch.ones(8, 64))


def gpipe(me, width=64, micro_batch=4, micro_batches=4, steps=STEPS):
    """Run a pipeline of equal stages; stage 0 computes its input's gradient, too."""
    import torch
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    stage = PipelineStage(_layers(width, 1), me.rank, me.ranks, torch.device("cpu"))
    schedule = ScheduleGPipe(stage, micro_batches, loss_fn=lambda h, y: h.sum())
    x = torch.ones(micro_batch * micro_batches, width, requires_grad=True)
    for _ in range(steps):
        with me.step(samples=len(x)):
            if me.rank == 0:
                schedule.step(x)
            elif me.rank == me.ranks - 1:
                schedule.step(target=torch.zeros(len(x)))
            else:
                schedule.step()


def mesh(me):
    """Use two groups of two on each axis of a mesh; one message is in progress during compute."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    rows, columns = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b")).get_all_groups()
    x = torch.full((1000,), float(me.rank))
    work = dist.all_reduce(x, group=rows, async_op=True)
    torch.ones(64, 64) @ torch.ones(64, 64)
    work.wait()
    dist.all_reduce(x, group=columns)
    return x[0].item()


def names_its_backend(me):
    import torch
    import torch.distributed as dist

    x = torch.full((1000,), float(me.rank))
    for backend in ("gloo", "cpu:gloo,cuda:nccl", None):
        dist.all_reduce(x, group=dist.new_group(backend=backend))
    return x[0].item()


def calls_remotely(me):
    from torch.distributed import rpc

    rpc.init_rpc(f"worker {me.rank}", rank=me.rank, world_size=me.ranks)


def objects(me):
    import torch.distributed as dist

    everybody = [None] * me.ranks
    dist.all_gather_object(everybody, {"rank": me.rank})
    return everybody


def accumulates(me):
    import torch
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_layers(count=1))
    with model.no_sync():
        model(torch.ones(8, 64)).sum().backward()
    model(torch.ones(8, 64)).sum().backward()
    return model.module[0].weight.grad.sum().item()


def from_anybody(me, source=None):
    import torch
    import torch.distributed as dist

    x = torch.ones(4) * me.rank
    if me.rank:
        dist.send(x, 0)
        return 0.0
    total = 0.0
    for rank in range(1, me.ranks):
        dist.recv(x, source and rank)
        total += x[0].item()
    return total


def every_collective(me):
    """Call each collective once on 4 ranks.

    In the last one, rank r sends r + 1 numbers to each other rank.
    """
    import torch
    import torch.distributed as dist

    x, part = torch.ones(4), torch.ones(1)
    parts = [torch.ones(1) for _ in range(4)]
    sent = torch.ones(4 * (me.rank + 1))
    root = me.rank == 0
    dist.broadcast(x, 0)
    dist.reduce(x, 0)
    dist.gather(part, parts if root else None, 0)
    dist.scatter(part, parts if root else None, 0)
    dist.all_gather(parts, part)
    dist.all_gather_into_tensor(x, part)
    dist.reduce_scatter(part, parts)
    dist.reduce_scatter_tensor(part, x)
    dist.all_to_all(parts, list(x.chunk(4)))
    dist.all_to_all_single(torch.ones(10), sent, [1, 2, 3, 4], 4 * [me.rank + 1])
    dist.barrier()


def precisions(me):
    import torch

    for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        torch.empty(8, 8, dtype=kind) @ torch.empty(8, 8, dtype=kind)


def one_layer(me):
    """Compute y = x W: one product forward, one backward, with waits in between."""
    import torch

    weight = torch.ones(64, 32, requires_grad=True)
    y = torch.ones(8, 64) @ weight
    y.backward(torch.ones(8, 32))


def views_only(me):
    import torch

    x = torch.empty(8, 64)
    x.view(-1)[3:].reshape(-1).detach()
    torch.ones(8, 64, device="meta") @ torch.ones(64, 32, device="meta")


def product_without_gradients(me):
    import torch

    with torch.inference_mode():
        torch.nn.functional.linear(torch.empty(8, 64), torch.empty(32, 64))


def after_backward(me):
    """Send the same sums as `ddp`, but only after the backward pass."""
    import torch
    import torch.distributed as dist

    model = _layers()
    for _ in range(STEPS):
        with me.step(samples=8):
            model(torch.ones(8, 64)).square().mean().backward()
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)


def alone(me):
    """Compute the same as `ddp`, without messages."""
    import torch

    _train(me, _layers(), torch.ones(8, 64))


def _under_way():
    """Start an all-reduce."""
    import torch
    import torch.distributed as dist

    return dist.all_reduce(torch.ones(1000), async_op=True)


def _after(wait):
    """Start an all-reduce, call `wait` with it, then compute something."""
    import torch

    work = _under_way()
    wait(work)
    torch.ones(64, 64) @ torch.ones(64, 64)


def waits_by_work(me):
    _after(lambda work: work.wait())


def waits_by_future(me):
    _after(lambda work: work.get_future().wait())


def waits_by_what_follows(me):
    """Compute in a callback, whose thread must not make a difference."""
    _after(lambda work: work.get_future().then(lambda f: f.wait()[0] / me.ranks).wait())


def waits_by_all(me):
    import torch

    _after(lambda work: torch.futures.wait_all([work.get_future(), _under_way().get_future()]))


def waits_for_nothing(me):
    _after(lambda work: work.get_future())


def averages_in_a_hook(me, waits=False):
    """Train like `ddp`, but average the buckets in a hook of the learner's.

    waits    True: wait for each bucket at once, so that the backward pass stops meanwhile
    """
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    def hook(group, bucket):
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        if waits:
            work.wait()
        return work.get_future().then(lambda future: future.value()[0] / me.ranks)

    model = DistributedDataParallel(_layers(), bucket_cap_mb=0.02)
    model.register_comm_hook(None, hook)
    return _train(me, model, torch.ones(8, 64))


def monitored(me):
    import torch.distributed as dist

    dist.monitored_barrier(timeout=100.0)


def kinds_of_operations(me):
    """Return the kinds of operations counted after each step; the last has a larger batch."""
    import torch

    from lablib.frameworks.torch.costs import CountedCosts

    model, met = _layers(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with CountedCosts() as costs:
        for batch in (8, 8, 8, 8, 9):
            optimizer.zero_grad()
            model(torch.ones(batch, 64)).square().mean().backward()
            optimizer.step()
            met.append(len(costs._known))
    return met
