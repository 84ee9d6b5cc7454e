"""Model parallelism in its simplest form: the model is cut into one stage for each rank.

Activations go forward from rank to rank, and their gradients come back. Only one stage works at a
time; the others wait.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import train_with

STRATEGY = Strategy(
    name="pipeline_split",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; activations are sent forward, gradients "
    "back. No stage overlaps another.",
    read="https://docs.pytorch.org/docs/stable/distributed.pipelining.html",
    splits="blocks",
    least_ranks=2,
)


def train(me, job: Job) -> dict:
    from torch.distributed.pipelining import ScheduleGPipe

    return train_with(ScheduleGPipe, me, job, pieces=1)  # the whole batch in one piece


def expected(task, ranks, batch) -> Expected:
    order = [stages.passes(rank, pieces=1, ahead=1) for rank in range(ranks)]
    return Expected(
        stages.messages(task, ranks, batch, pieces=1),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, batch, buffers=1),
    )
