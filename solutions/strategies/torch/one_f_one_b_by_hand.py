"""1F1B with plain isend and recv: a micro-batch goes backward as soon as it can.

This frees memory for the next one. The bubble is as long as GPipe's, but no stage keeps more
micro-batches than there are stages.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.hand_stage import HandStage
from lablib.strategies.strategy import Job, Strategy

EXERCISES = ("4.4",)
STRATEGY = Strategy(
    name="one_f_one_b_by_hand",
    framework="torch",
    family="pipeline",
    about="Every rank holds one stage of the model; activations go forward by isend, gradients "
    "back, one of each in turn.",
    read="Narayanan et al. 2019, PipeDream, https://doi.org/10.1145/3341301.3359646",
    splits="blocks",
    least_ranks=2,
    fits=stages.why_not,
    options={"micro_batches": 4},
)


def train(me, job: Job) -> dict:
    stage = HandStage(me, job)
    passes = stages.passes(me.rank, stage.pieces, ahead=me.ranks - 1 - me.rank)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            parts = stage.train_step(x, y, passes)
        losses += [sum(parts) / len(parts)] if parts else []
    return {"losses": losses, "weights": job.task.torch_arrays(stage.model)}


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=ranks - 1 - rank) for rank in range(ranks)]
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, batch // micro_batches),
    )
