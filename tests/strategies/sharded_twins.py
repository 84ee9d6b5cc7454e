"""Wrong versions of sharding."""

from __future__ import annotations

from dataclasses import replace

from lablib import strategies
from lablib.strategies import Job
from lablib.strategies.flat_buffer import flattened, trained, views


def unsharded_optimizer(me, job):
    """Send the messages of `zero1_by_hand`, but gather gradients, so that each rank updates all."""
    import torch
    import torch.distributed as dist

    task, model = job.task, job.task.torch_model(job.seed)
    weights = trained(model).values()
    flat = flattened(weights, me.ranks)
    flat.grad = torch.zeros_like(flat)
    parts = zip(weights, views(flat, weights), views(flat.grad, weights), strict=True)
    for weight, value, gradient in parts:
        weight.data, weight.grad = value, gradient
    shard = torch.empty_like(flat.chunk(me.ranks)[me.rank])
    optimizer = torch.optim.SGD([flat], lr=task.lr, momentum=task.momentum)
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            flat.grad.zero_()
            loss.backward()
            dist.reduce_scatter_tensor(shard, flat.grad)
            shard /= me.ranks
            dist.all_gather_into_tensor(flat.grad, shard)
            optimizer.step()


class AllTheData(Job):
    """A job in which every rank's shard is the whole batch."""

    def shard_at(self, step, me):
        return self.batch_at(step)


def on_all_the_data(me, job, name):
    options = strategies.get(name).STRATEGY.options
    everything = AllTheData(job.task, job.steps, job.batch, job.seed, options)
    return strategies.get(name).train(me, everything)["losses"]


def sums_without_a_mean(me, job, name):
    """Run the strategy of this name, but undo the division by the ranks before each update."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def undo_the_mean(optimizer, *_):
        if type(optimizer) is torch.optim.SGD:  # not a subclass
            for weight in optimizer.param_groups[0]["params"]:
                weight.grad *= me.ranks

    register_optimizer_step_pre_hook(undo_the_mean)
    options = strategies.get(name).STRATEGY.options
    return strategies.get(name).train(me, replace(job, options=options))["losses"]
