"""GPipe: the batch is cut into micro-batches, so that all stages can work at the same time.

All forward passes come first, then all backward passes. Until then the stages keep the activations
of all micro-batches.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import train_with

STRATEGY = Strategy(
    name="gpipe",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; micro-batches flow through all stages forward, "
    "then all of them backward.",
    read="Huang et al. 2019, GPipe, https://arxiv.org/abs/1811.06965",
    splits="blocks",
    least_ranks=2,
    fits=stages.why_not,
    options={"micro_batches": 4},
)


def train(me, job: Job) -> dict:
    from torch.distributed.pipelining import ScheduleGPipe

    return train_with(ScheduleGPipe, me, job, pieces=job.options["micro_batches"])


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=micro_batches) for rank in range(ranks)]
    piece = batch // micro_batches
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, piece, buffers=micro_batches),
    )
