"""Wrong versions of pipelines, and a model whose stages are equal."""

from __future__ import annotations

import numpy as np

from lablib.tasks import Task

WIDTH = 128


def even_task(blocks=8, batch=512):
    """Return a task with equal blocks. Also the first one computes a gradient of its input."""
    rows = np.random.default_rng(0).standard_normal((batch, WIDTH), np.float32)
    return Task.from_torch(
        lambda: even_model(blocks), _mean_square, (rows, rows), batch, name="even"
    )


def even_model(blocks):
    from torch import nn

    class Shifted(nn.Linear):
        def forward(self, x):
            return super().forward(x + self.bias)

    return nn.Sequential(*[Shifted(WIDTH, WIDTH) for _ in range(blocks)])


def _mean_square(h, y):
    return (h - y).square().mean()


def one_at_a_time(me, job):
    """Use micro-batches, but send each forward and backward before the next one starts."""
    from lablib.strategies.hand_stage import HandStage

    return _train(me, job, HandStage(me, job), "FB" * job.options["micro_batches"])


def one_batch(me, job):
    """Declare four micro-batches, but send the whole batch."""
    from lablib.strategies.hand_stage import HandStage

    stage = HandStage(me, job)
    stage.pieces = 1
    return _train(me, job, stage, "FB")


def a_sum(me, job):
    """Sum the gradients of the micro-batches instead of averaging them."""
    from lablib.strategies.hand_stage import HandStage

    stage = HandStage(me, job)
    pieces = stage.pieces

    def undo_the_mean(optimizer, *_):
        for weight in stage.model.parameters():
            weight.grad *= pieces

    stage.optimizer.register_step_pre_hook(undo_the_mean)
    return _train(me, job, stage, "F" * pieces + "B" * pieces)


def _train(me, job, stage, kinds):
    passes = [(kind, me.rank) for kind in kinds]
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            parts = stage.train_step(x, y, passes)
        losses += [sum(parts) / len(parts)] if parts else []
    return {"losses": losses, "weights": job.task.torch_arrays(stage.model)}
