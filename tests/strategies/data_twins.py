"""Wrong versions of data parallelism: each learns almost normally, but its trace shows it."""

from __future__ import annotations

from lablib import strategies
from lablib.strategies import Job


def _trains(me, job, batch_at, backward, after=lambda model: None):
    """Run the common training loop; `backward(model, x, y)` returns the loss."""
    import torch

    model = job.task.torch_model(job.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.task.lr, momentum=job.task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(batch_at(step))
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            losses.append(backward(model, x, y))
            optimizer.step()
            after(model)
    return [float(loss) for loss in losses], job.task.torch_arrays(model)


def _sum_of_gradients(model):
    """Sum one flat bucket in a step, after all gradients have been computed."""
    import torch
    import torch.distributed as dist

    flat = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    dist.all_reduce(flat)
    sizes = [weight.numel() for weight in model.parameters()]
    for weight, part in zip(model.parameters(), flat.split(sizes), strict=True):
        weight.grad = part.view_as(weight)


def _mean(model):
    import torch.distributed as dist

    _sum_of_gradients(model)
    for weight in model.parameters():
        weight.grad /= dist.get_world_size()


def keeps_every_graph(me, job):
    """Train like `single`, but keep the losses with all that their backward passes needed."""

    def backward(model, x, y):
        loss = job.task.torch_loss(model(x), y)
        loss.backward(retain_graph=True)
        return loss

    return _trains(me, job, job.batch_at, backward)


def reduces_after_backward(me, job):
    def backward(model, x, y):
        loss = job.task.torch_loss(model(x), y)
        loss.backward()
        _mean(model)
        return loss.item()

    return _trains(me, job, lambda step: job.shard_at(step, me), backward)


def sums_without_a_mean(me, job):
    def backward(model, x, y):
        loss = job.task.torch_loss(model(x), y)
        loss.backward()
        _sum_of_gradients(model)
        return loss.item()

    return _trains(me, job, lambda step: job.shard_at(step, me), backward)


class _AllOfIt(Job):
    def shard_at(self, step, me):
        return self.batch_at(step)


def every_rank_on_all_the_data(me, job, name):
    """Train with the strategy of this name, but without dividing the data."""
    whole = _AllOfIt(job.task, job.steps, job.batch, job.seed, job.options)
    return strategies.get(name).train(me, whole)


def rank_0_works_alone(me, job):
    """Only rank 0 works, and the others take its weights: right numbers, but no help."""
    import torch.distributed as dist

    def backward(model, x, y):
        loss = job.task.torch_loss(model(x), y)
        if me.rank == 0:
            loss.backward()
        return loss.item()

    def spread(model):
        for weight in model.parameters():
            dist.broadcast(weight.data, 0)

    return _trains(me, job, job.batch_at, backward, spread)


def reduces_at_every_micro_batch(me, job):
    def backward(model, x, y):
        loss = 0.0
        for inputs, targets in zip(x.chunk(4), y.chunk(4), strict=True):
            part = job.task.torch_loss(model(inputs), targets) / 4
            part.backward()
            _mean(model)  # the mean of a mean changes nothing, but is sent
            loss += part.item()
        return loss

    return _trains(me, job, lambda step: job.shard_at(step, me), backward)
