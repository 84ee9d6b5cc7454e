"""What DDP does, by hand: gradients are copied into flat buckets during the backward pass.

Each full bucket is summed over the ranks while the pass continues with the layers below.
"""

from functools import partial

from lablib.errors import LabError
from lablib.strategies import activations, buckets
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import only_float32
from lablib.strategies.strategy import Job, Strategy

EXERCISES = ("3.2", "3.5")
STRATEGY = Strategy(
    name="ddp_by_hand",
    framework="torch",
    family="data",
    about="Every rank holds the whole model and its shard of the batch; gradients are averaged in "
    "flat buckets, by all-reduces that overlap the backward pass.",
    read="Li et al. 2020, PyTorch Distributed, section 3.2, https://arxiv.org/abs/2006.15704",
    splits="batch",
    options={"bucket_mb": 25.0},
    fits=only_float32,
)


class Bucket:
    """Gradients that are sent together in one flat tensor."""

    def __init__(self, weights, ranks):
        self.weights, self.ranks, self.missing = weights, ranks, len(weights)
        sizes = [weight.numel() for weight in weights]
        self.flat = weights[0].new_empty(sum(sizes))
        for weight, part in zip(weights, self.flat.split(sizes)):
            weight.register_post_accumulate_grad_hook(partial(self.take, part.view_as(weight)))

    def take(self, part, weight):
        """Copy a weight's gradient when it is ready; torch calls this in the backward pass."""
        import torch
        import torch.distributed as dist

        torch.div(weight.grad, self.ranks, out=part)  # the sum of these over the ranks is the mean
        weight.grad = part  # so the optimizer finds the mean where it arrives: no copy back
        self.missing -= 1
        if self.missing == 0:
            self.work = dist.all_reduce(self.flat, async_op=True)

    def wait(self):
        if self.missing:
            raise LabError(
                "A bucket was never sent: some of its weights got no gradient.",
                saw=f"{self.missing} of {len(self.weights)} gradients missing",
                do="train with ddp and find_unused_parameters=True",
            )
        self.work.wait()
        self.missing = len(self.weights)


def fill_buckets(model, bucket_mb, ranks):
    """Return the weights, last first, in the order in which their gradients become ready."""
    weights = [weight for weight in reversed([*model.parameters()]) if weight.requires_grad]
    chosen = buckets.packed([weight.nbytes for weight in weights], bucket_mb)
    return [Bucket([weights[number] for number in numbers], ranks) for numbers in chosen]


def train(me, job: Job) -> dict:
    import torch

    task = job.task
    model = me.put(task.torch_model(job.seed))
    filled = fill_buckets(model, job.options["bucket_mb"], me.ranks)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # buckets leave from in here
            for bucket in filled:
                bucket.wait()
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def expected(task, ranks, batch, bucket_mb=25.0) -> Expected:
    sizes = buckets.gradient_bytes(task)
    calls = len(buckets.packed(sizes, bucket_mb))
    # Weights, momentum, buckets that hold the gradients, and one gradient not yet in its bucket.
    held = 3 * task.weight_bytes + max(sizes) + activations.saved_bytes(task, batch // ranks)
    messages = {"all_reduce": (ranks * calls, ranks * sum(sizes))}
    return Expected(messages, wire_bytes_of_collectives(messages, ranks), held)
