"""1F1B, one forward, one backward: a micro-batch goes backward as soon as it can.

This frees memory for the next one. The bubble is as long as GPipe's, but no stage keeps more
micro-batches than there are stages.
"""

from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import torch_stage


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
    import torch
    from torch.distributed.pipelining import Schedule1F1B

    task, pieces = job.task, job.options["micro_batches"]
    cut = task.cut(me.ranks)
    model = me.put(task.torch_model(job.seed, cut[me.rank]))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    stage = torch_stage(model, task, cut, me.rank, job.batch // pieces, me.torch_device)
    # The schedule divides the gradients by the number of micro-batches: the mean over the batch.
    schedule = Schedule1F1B(stage, pieces, loss_fn=task.torch_loss)
    losses = []
    for step in range(job.steps):
        x, y = me.put(job.batch_at(step))
        inputs = (x,) if stage.is_first else ()
        parts = []
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            schedule.step(
                *inputs,
                target=y if stage.is_last else None,
                losses=parts if stage.is_last else None,
                return_outputs=False,
            )
            optimizer.step()
        losses += [torch.stack(parts).mean().item()] if parts else []
    return {"losses": losses, "weights": task.torch_arrays(model)}


def expected(task, ranks, batch, micro_batches=4) -> Expected:
    order = [stages.passes(rank, micro_batches, ahead=ranks - 1 - rank) for rank in range(ranks)]
    piece = batch // micro_batches
    return Expected(
        stages.messages(task, ranks, batch, micro_batches),
        stages.wire_bytes(task, ranks, ranks, batch),
        stages.live_bytes(task, task.cut(ranks), order, piece, buffers=micro_batches),
    )
