"""GPipe with plain isend and recv: all micro-batches go forward, then all of them backward.

A stage works on one micro-batch while its neighbours work on others. It keeps all of them until
the backward passes begin.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.hand_stage import HandStage
from lablib.strategies.strategy import Job, Strategy

EXERCISES = ("4.3",)
STRATEGY = Strategy(
    name="gpipe_by_hand",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; micro-batches are sent forward by isend, then "
    "their gradients back.",
    read="Huang et al. 2019, GPipe, https://arxiv.org/abs/1811.06965",
    splits="blocks",
    least_ranks=2,
    fits=stages.why_not,
    options={"micro_batches": 4},
)


def train(me, job: Job) -> dict:
    stage = HandStage(me, job)
    passes = stages.passes(me.rank, stage.pieces, ahead=stage.pieces)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            parts = stage.train_step(x, y, passes)
        losses += [sum(parts) / len(parts)] if parts else []
    return {"losses": losses, "weights": job.task.torch_arrays(stage.model)}


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=micro_batches) for rank in range(ranks)]
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, batch // micro_batches),
    )
