"""1F1B, one forward, one backward: a micro-batch goes backward as soon as it can.

This frees memory for the next one. The bubble is as long as GPipe's, but no stage keeps more
micro-batches than there are stages.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import train_with


def _why_not(task, ranks, batch, micro_batches):
    if why := stages.why_not(task, ranks, batch, micro_batches):
        return why
    return f"{micro_batches} micro-batches for {ranks} stages" if micro_batches < ranks else ""


STRATEGY = Strategy(
    name="one_f_one_b",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; each works forward on one micro-batch and "
    "backward on another in turn.",
    read="Narayanan et al. 2019, PipeDream, https://doi.org/10.1145/3341301.3359646",
    splits="blocks",
    least_ranks=2,
    fits=_why_not,
    options={"micro_batches": 4},
)


def train(me, job: Job) -> dict:
    from torch.distributed.pipelining import Schedule1F1B

    return train_with(Schedule1F1B, me, job, pieces=job.options["micro_batches"])


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=ranks - 1 - rank) for rank in range(ranks)]
    piece = batch // micro_batches
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, piece, buffers=micro_batches),
    )
