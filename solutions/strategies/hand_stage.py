"""One stage of a pipeline by hand: it receives, computes and sends one micro-batch at a time.

The schedules determine the order of its passes.
"""

from __future__ import annotations

from collections import deque

from lablib.strategies.strategy import Job

EXERCISES = ("4.2", "4.3")


class HandStage:
    """A rank's blocks, and the micro-batches that are still waiting for their backward passes."""

    def __init__(self, me, job: Job):
        import torch

        self.task, self.rank, self.last = job.task, me.rank, me.rank == me.ranks - 1
        self.device = me.torch_device
        self.pieces = job.options["micro_batches"]
        self.blocks = self.task.cut(me.ranks)[me.rank]
        self.model = me.put(self.task.torch_model(job.seed, self.blocks))
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=self.task.lr, momentum=self.task.momentum
        )
        self.kept: deque = deque()
        self.sent: deque = deque()

    def train_step(self, x, y, passes: list[tuple[str, int]]) -> list:
        """Train on the whole batch (x, y); return its micro-batches' losses on the last stage.

        passes    its order, from `stages`
        """
        xs, ys = map(iter, (x.chunk(self.pieces), y.chunk(self.pieces)))
        losses: list = []
        self.optimizer.zero_grad()
        for kind, _ in passes:
            if kind == "F":
                losses += self.forward(next(xs), next(ys))
            else:
                self.backward()
        while self.sent:
            self.sent.popleft().wait()
        self.optimizer.step()
        return losses

    def forward(self, x, y) -> list:
        import torch.distributed as dist

        if self.rank > 0:
            with self.device:
                x = self.task.torch_input(self.blocks[0], len(x))
            dist.recv(x, self.rank - 1)
            x.requires_grad_()
        h = self.model(x)
        if self.last:
            loss = self.task.torch_loss(h, y)
            # Then the sum of the gradients is the gradient of the mean over the whole batch.
            self.kept.append((x, loss / self.pieces, None))
            return [loss.item()]
        # Not send: two neighbours that both send first would wait for each other.
        self.kept.append((x, h, dist.isend(h.data.contiguous(), self.rank + 1)))
        return []

    def backward(self) -> None:
        import torch
        import torch.distributed as dist

        x, h, sent = self.kept.popleft()
        gradient = None
        if not self.last:
            sent.wait()
            gradient = torch.empty_like(h, memory_format=torch.contiguous_format)
            dist.recv(gradient, self.rank + 1)
        h.backward(gradient)
        if self.rank > 0:
            # The message before has arrived by now, so only the last one must be kept.
            if self.sent:
                self.sent.popleft().wait()
            self.sent.append(dist.isend(x.grad.contiguous(), self.rank - 1))
