"""Interleaved 1F1B: every rank holds several small stages, and a micro-batch visits each of them.

With v stages on each rank, filling and draining the pipeline take 1/v of the time, and about v
times as many messages are sent.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import mean_loss, pass_through, torch_stage


def _why_not(task, ranks, batch, micro_batches, stages_per_rank):
    if why := stages.why_not(task, ranks, batch, micro_batches):
        return why
    if not isinstance(stages_per_rank, int) or not 1 <= stages_per_rank <= task.blocks // ranks:
        return f"{task.blocks} blocks, for {stages_per_rank!r} stages on each rank"
    if micro_batches % max(1, micro_batches // ranks):
        return f"{micro_batches} micro-batches can form no equal rounds of {ranks} or more"
    return ""


STRATEGY = Strategy(
    name="interleaved",
    framework="torch",
    family="pipeline",
    about="Every rank holds several stages, one of each turn; a micro-batch visits every rank "
    "that many times.",
    read="Narayanan et al. 2021, Megatron-LM, https://arxiv.org/abs/2104.04473",
    splits="blocks",
    least_ranks=2,
    fits=_why_not,
    options={"micro_batches": 4, "stages_per_rank": 2},
)


def train(me, job: Job) -> dict:
    import torch
    from torch.distributed.pipelining import ScheduleInterleaved1F1B

    task, pieces = job.task, job.options["micro_batches"]
    cut = task.cut(me.ranks * job.options["stages_per_rank"])
    piece = job.batch // pieces
    mine = []
    for number in range(me.rank, len(cut), me.ranks):
        model = me.put(task.torch_model(job.seed, cut[number]))
        mine.append(torch_stage(model, task, cut, number, piece, me.torch_device))
    parameters = [weight for stage in mine for weight in stage.submod.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=task.lr, momentum=task.momentum)
    schedule = ScheduleInterleaved1F1B(mine, pieces, loss_fn=task.torch_loss)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            parts = pass_through(schedule, x, y, mine[0].is_first, mine[-1].is_last)
            optimizer.step()
        losses += mean_loss(parts)
    weights = [task.torch_arrays(stage.submod) for stage in mine]
    return {"losses": losses, "weights": {k: v for held in weights for k, v in held.items()}}


def expected(task, ranks, batch, micro_batches=4, stages_per_rank=2) -> Expected:
    cut = task.cut(ranks * stages_per_rank)
    order = [
        stages.interleaved(rank, ranks, stages_per_rank, micro_batches) for rank in range(ranks)
    ]
    piece = batch // micro_batches
    return Expected(
        stages.messages(task, len(cut), batch, micro_batches),
        stages.wire_bytes(task, len(cut), ranks, batch),
        stages.live_bytes(task, cut, order, piece, buffers=micro_batches),
    )
