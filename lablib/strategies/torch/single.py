"""One process trains the whole model on the whole batch, for comparison with all others."""

from lablib.strategies import activations
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="single",
    framework="torch",
    family="single",
    about="One rank holds the whole model and sees the whole batch; nothing is sent.",
    read="https://docs.pytorch.org/tutorials/beginner/basics/optimization_tutorial.html",
    splits="nothing",
    most_ranks=1,
)


def train(me, job: Job) -> dict:
    import torch

    task = job.task
    model = me.put(task.torch_model(job.seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            loss = task.torch_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "weights": task.torch_arrays(model)}


def expected(task, ranks, batch) -> Expected:
    # A rank holds the most between the two passes: weights, momentum, gradients of the last step.
    return Expected({}, 0, 3 * task.weight_bytes + activations.saved_bytes(task, batch))
