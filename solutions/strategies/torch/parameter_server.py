"""A parameter server by hand: rank 0 holds the weights.

The workers push gradients to it and pull updated weights, each at its own pace. `staleness` limits
how far a worker may be ahead of the slowest one.

All workers share the batch of a step. staleness=0: all gradients of a step become one update, as
in one process. staleness=k: each gradient is a separate update, and a worker waits if it is more
than k steps ahead of the slowest one. None: no worker waits.
Updates with late gradients take no momentum: lateness is one of its own (Mitliagkas et al. 2016,
Asynchrony begets momentum, https://arxiv.org/abs/1605.09774), and with both the loss rises.

The server runs no forward pass. A run therefore returns the server's weights and the buffers (such
as BatchNorm's statistics) of rank 1, the first worker.
"""

import math

from lablib.datasets import shard
from lablib.errors import check_whole
from lablib.strategies import activations, buckets
from lablib.strategies.expected import Expected
from lablib.strategies.flat_buffer import only_float32, trained
from lablib.strategies.strategy import Job, Strategy


def fits(task, ranks, batch, staleness):
    few = f"fewer samples than the {ranks - 1} workers" if batch < ranks - 1 else ""
    return few or only_float32(task, ranks, batch)


EXERCISES = ("3.7",)
STRATEGY = Strategy(
    name="parameter_server",
    framework="torch",
    family="asynchronous",
    about="Rank 0 holds the weights and the momentum; the others hold a copy and a shard of the "
    "batch, send it gradients and receive weights.",
    read="Ho et al. 2013, More effective distributed ML via a stale synchronous parallel "
    "parameter server, https://www.cs.cmu.edu/~seunghak/SSPTable_NIPS2013.pdf",
    splits="nothing",
    least_ranks=2,
    options={"staleness": None},
    fits=fits,
    synchronous=False,
    only_computed="the server takes the gradient that arrives first, but none is sent",
)


def train(me, job: Job) -> dict:
    if job.options["staleness"] is not None:
        check_whole(0, staleness=job.options["staleness"])
    return serve(me, job) if me.rank == 0 else work(me, job)


def flat(weights):
    """Copy the weights into one vector; from now on the model's weights are views of it."""
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    vector = parameters_to_vector(weights).detach()
    vector_to_parameters(vector, weights)
    return vector


def work(me, job):
    import torch
    import torch.distributed as dist

    task, workers = job.task, me.ranks - 1
    model = me.put(task.torch_model(job.seed))
    parts = list(trained(model).values())
    weights, losses = flat(parts), []
    for step in range(job.steps):
        shares = [shard(array, me.rank - 1, workers) for array in job.batch_at(step)]
        x, y = me.put(shares)
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y) * (len(x) / job.batch)  # the batch's loss is a sum
            gradients = torch.autograd.grad(loss, parts)
            dist.send(torch.cat([gradient.flatten() for gradient in gradients]), 0)
            dist.recv(weights, 0)
        losses.append(loss.item() * workers)
    return {"losses": losses, "weights": buffers(task, model) if me.rank == 1 else {}}


def buffers(task, model) -> dict:
    """Return a worker's buffers by name: only workers run forward passes, which change them."""
    names = dict(model.named_buffers(remove_duplicate=False))
    return {name: array for name, array in task.torch_arrays(model).items() if name in names}


def serve(me, job):
    import torch
    import torch.distributed as dist

    bound = math.inf if job.options["staleness"] is None else job.options["staleness"]
    model = me.put(job.task.torch_model(job.seed))
    weights = flat(list(trained(model).values()))
    weights.grad, pushed = torch.zeros_like(weights), torch.empty_like(weights)
    momentum = job.task.momentum if bound == 0 else 0.0
    optimizer = torch.optim.SGD([weights], lr=job.task.lr, momentum=momentum)
    done, waiting = dict.fromkeys(range(1, me.ranks), 0), []
    for _ in range(job.steps):
        with me.step():  # of the server: as many gradients as there are workers
            for _ in done:
                worker = dist.recv(pushed)  # from the worker that comes first
                done[worker] += 1
                waiting.append(worker)
                weights.grad += pushed
                if bound > 0 or len(waiting) == len(done):
                    optimizer.step()
                    weights.grad.zero_()
                slowest = min(done.values())
                for worker in [each for each in waiting if done[each] - slowest <= bound]:
                    me.log(worker=worker, staleness=done[worker] - slowest)
                    waiting.remove(worker)
                    dist.send(weights, worker)
    return {"losses": [], "weights": job.task.torch_arrays(model)}


def expected(task, ranks, batch, staleness=None) -> Expected:
    """Return what a step sends and holds.

    With a bound above 0 an answer may be delayed to a later step of the server.
    """
    workers, whole = ranks - 1, sum(buckets.gradient_bytes(task))
    messages = {"send": (2 * workers, 2 * workers * whole), "recv": (2 * workers, 0)}
    # Weights, the sum of the gradients, the newest gradient, and, if synchronous, momentum.
    server = (4 if staleness == 0 else 3) * whole
    # Weights, gradients, and either what the forward pass keeps or the gradients as one vector.
    share = -(-batch // workers)
    worker = 2 * whole + max(whole, activations.saved_bytes(task, share))
    # The server's link carries the gradients of all workers, and the same bytes of weights back.
    return Expected(messages, workers * whole, max(server, worker))
