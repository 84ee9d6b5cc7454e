"""SGD with differential privacy: the gradient of each record is clipped, and noise is added.

`strategies/differential_privacy.py` says what is simplified. The gradients of all records of a
batch are computed at once by `torch.func.vmap`, so a rank holds one gradient for each of its
records.
"""

from lablib.errors import LabError
from lablib.strategies import buckets, differential_privacy
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.flat_buffer import flattened_with_gradients, trained
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="dp_sgd",
    framework="torch",
    family="federated",
    about="Every rank is a hospital; the gradient of each of its records is clipped, and the "
    "sum over all hospitals, by all-reduce, gets noise that hides any single record.",
    read=differential_privacy.READ,
    splits="nothing",
    options=differential_privacy.OPTIONS,
    fits=differential_privacy.fits,
    synchronous=False,
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist

    task = job.task
    model = me.put(task.torch_model(job.seed))
    _check_no_batch_norm(model)
    weights, gradient = flattened_with_gradients(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)

    def learn(x, y, rng):
        noise = differential_privacy.noise_of(len(weights), job, me.ranks, rng)
        gradient.copy_(me.put(noise))
        total = 0.0
        if len(x):
            rows, losses = gradients_of_each(model, task.torch_loss, x, y)
            gradient.add_(clipped(rows, job.options["clip"]).sum(0))
            total = losses.sum().item()
        dist.all_reduce(gradient)
        gradient.div_(job.batch)  # the expected size; the real one would reveal who was drawn
        optimizer.step()
        return total

    losses = differential_privacy.train(me, job, me.put, learn)
    return {"losses": losses, "weights": task.torch_arrays(model) if me.rank == 0 else {}}


def gradients_of_each(model, loss, x, y) -> tuple:
    """Return the gradient of each record, [records, trained weights], and its loss, [records].

    loss   (outputs, y) -> the mean loss of a batch
    """
    import torch
    from torch.func import functional_call, grad_and_value, vmap

    def loss_of_one(weights, x, y):
        return loss(functional_call(model, weights, (x[None],)), y[None])

    weights = {name: weight.detach() for name, weight in trained(model).items()}
    of_each = vmap(grad_and_value(loss_of_one), in_dims=(None, 0, 0), randomness="different")
    gradients, losses = of_each(weights, x, y)
    return torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1), losses


def clipped(rows, clip: float):
    """Return the rows of a matrix; rows that are longer than `clip` are shortened to this norm."""
    return rows * (clip / rows.norm(dim=1, keepdim=True)).clamp(max=1)


def _check_no_batch_norm(model):
    from torch import nn

    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    found = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    if found:
        raise LabError(
            "dp_sgd cannot train a model with BatchNorm.",
            saw=f"the module {found[0]!r}: it mixes the records of a batch, so that no record has "
            "a gradient of its own",
            do="use nn.GroupNorm or nn.LayerNorm instead",
        )


def expected(task, ranks, batch, clip=1.0, noise=1.0, skew=None) -> Expected:
    messages = {"all_reduce": (ranks, ranks * sum(buckets.gradient_bytes(task)))}
    return Expected(messages, wire_bytes_of_collectives(messages, ranks))
