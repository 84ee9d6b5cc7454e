"""Checkpoint and restart: data parallelism that saves its state every few steps.

A checkpoint contains everything that the next step depends on. If the run is interrupted, the same
call continues from the newest checkpoint, on any number of ranks.
"""

from math import prod

from lablib.strategies import checkpoint, faults
from lablib.strategies.checkpoint import Checkpoint
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="restart",
    framework="torch",
    family="restart",
    about="As ddp; every few steps rank 0 writes weights, momentum and losses to a file, and "
    "every rank begins with the newest file that is whole.",
    read="https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html",
    splits="batch",
    options=checkpoint.OPTIONS,
    only_computed="it saves the weights in checkpoints, and continues from them",
)


def train(me, job: Job) -> dict:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    folder, task = checkpoint.open_folder(job), job.task
    model = me.put(task.torch_model(job.seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses, own_losses = [], []
    if found := checkpoint.newest(folder, job):
        losses = found.losses
        _restore(found.arrays, model, optimizer)
    # By default, DDP changes the layout of its buckets after the first step of a process. A resumed
    # run would then add the gradients of four ranks in another order and differ in the last bit.
    replica = DistributedDataParallel(
        model, bucket_cap_mb=1 + task.weight_bytes / 2**20, find_unused_parameters=True
    )
    for step in range(len(losses), job.steps):
        faults.strike(job.options["fail_at"], me, step)
        x, y = me.put(job.shard_at(step, me))
        with me.step(samples=len(x)):
            loss = task.torch_loss(replica(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        own_losses.append(loss.item())
        if checkpoint.due(step + 1, job):
            losses += _mean_over_ranks(own_losses, me)
            own_losses = []
            if me.rank == 0:
                checkpoint.save(folder, Checkpoint(losses, _arrays(model, optimizer)), job)
    if me.rank > 0:
        return {"losses": [], "weights": {}}
    return {"losses": losses, "weights": task.torch_arrays(model)}


def _arrays(model, optimizer):
    """Return everything that the next step depends on, by name."""
    import torch

    tensors = {f"weight {name}": value for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer {number} {name}": value for name, value in state.items()}
    tensors["random numbers"] = torch.get_rng_state()  # dropout draws from them
    if torch.cuda.is_initialized():
        tensors["random numbers of the GPU"] = torch.cuda.get_rng_state()
    # NumPy has no bfloat16; converting to float32 loses nothing.
    return {
        name: (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
        for name, value in tensors.items()
        if torch.is_tensor(value)
    }


def _restore(arrays, model, optimizer):
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if torch.is_tensor(value):
                value.copy_(tensors[f"weight {name}"])
    state = {}
    for name, value in tensors.items():
        if name.startswith("optimizer "):
            _, number, key = name.split()
            state.setdefault(int(number), {})[key] = value.clone()
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    torch.set_rng_state(tensors["random numbers"])
    if torch.cuda.is_initialized() and "random numbers of the GPU" in tensors:
        torch.cuda.set_rng_state(tensors["random numbers of the GPU"])


def _mean_over_ranks(losses, me):
    import torch
    import torch.distributed as dist

    total = torch.tensor(losses, dtype=torch.float64, device=me.torch_device)
    dist.all_reduce(total)
    return (total / me.ranks).tolist()


def expected(task, ranks, batch, **options) -> Expected:
    """Return what a step sends: the gradients in one message, and a flag for each array in another.

    A flag says whether the array was used.
    """
    flags_bytes = 4 * len(task.weights())
    inside = sum(prod(block.shape_in) + prod(block.shape_out) for block in task.chain)
    messages = {"all_reduce": (2 * ranks, ranks * (task.weight_bytes + flags_bytes))}
    return Expected(
        messages,
        wire_bytes_of_collectives(messages, ranks),
        # Weights, momentum, gradients, their bucket; what an MLP's backward pass needs.
        live_bytes=4 * task.weight_bytes + 4 * inside * batch / ranks,
    )
