"""4.2 Train a model that is cut in two: activations go forward, their gradients come back."""

import numpy as np

from lablib.teach import tanh_chain
from lablib.teach.claims import Claim, equal, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("split_step(stage, x, y, loss, rank)",)
TITLE = "Two ranks, one model"
POINTS = 5
STEPS, LR = 3, 0.5

_LOSS = (
    "Rank 1 has the targets: it returns the loss as a number. Rank 0 returns nothing. What did "
    "rank 1 pass to its stage?",
    "Rank 0 sends the output of its stage. Rank 1 receives it into x, then calls its stage.",
)
_GRADIENTS = (
    "Which rank has no gradient, or a wrong one? Rank 0 cannot call backward on a loss, because it "
    "has none.",
    "On rank 1, call x.requires_grad_() before the stage uses x, and send x.grad back. Rank 0 then "
    "calls h.backward(that gradient).",
)
_SENT = (
    "In one step each rank sends one message. What is in it, and how many numbers does it have?",
    "Rank 0 sends the activations, rank 1 their gradient. Weights and data stay on their ranks.",
)


def cases(seed):
    return [case_of(seed, samples=6, width=8), case_of(seed + 1, samples=16, width=5, depth=(2, 1))]


def case_of(seed, samples, width, depth=(1, 1)):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 1, (2, samples, width)).astype(np.float32)
    first, second = (tanh_chain.layers(rng, count, width) for count in depth)
    own = ({"chain": first, "x": x, "y": None}, {"chain": second, "x": None, "y": y})
    name = f"{samples} samples, stages of {depth[0]} and {depth[1]} layers of width {width}"
    return Case(name, {"shape": [samples, width]}, own, ranks=2, relay=True)


def observe(me, answer, given):
    import torch

    stage = tanh_chain.torch_stage(given.chain)
    y = None if given.y is None else torch.from_numpy(given.y)
    losses, first_gradients = [], None
    for _ in range(STEPS):
        x = torch.empty(given.shape) if given.x is None else torch.from_numpy(given.x.copy())
        for weight in stage.parameters():
            weight.grad = None
        losses.append(answer(stage, x, y, tanh_chain.torch_loss, me.rank))
        if first_gradients is None:
            first_gradients = tanh_chain.torch_gradients(stage)
        torch.optim.SGD(stage.parameters(), lr=LR).step()
    losses = [loss.item() if isinstance(loss, torch.Tensor) else loss for loss in losses]
    return {"losses": losses, "gradients": first_gradients}


def judge(case, seen):
    chains, (x, y) = [own["chain"] for own in case.own], (case.own[0]["x"], case.own[1]["y"])
    due = tanh_chain.losses(sum(chains, []), x, y, LR, STEPS)
    yield equal(f"the losses of {STEPS} steps are those of one process", due,
                seen.values[1]["losses"], rank=1, weight=2, hints=_LOSS)  # fmt: skip
    _, gradients = tanh_chain.loss_and_gradients(sum(chains, []), x, y)
    parts = [gradients[: len(chains[0])], gradients[len(chains[0]) :]]
    yield equal_by_rank("each stage has the gradients that one process finds", parts,
                        [value["gradients"] for value in seen.values], weight=2,
                        hints=_GRADIENTS)  # fmt: skip
    for rank, what in ((0, "activations"), (1, "gradient")):
        sent = seen.sent(rank)
        each = (rank, 1 - rank, x.nbytes)
        yield Claim(f"a step sends {x.nbytes} B from rank {rank}, the {what}, and nothing else",
                    sent == [each] * STEPS and not seen.collectives(rank),
                    f"{STEPS} messages of {x.nbytes} B",
                    f"{len(sent)}, of {[nbytes for *_, nbytes in sent]} B", rank, _SENT,
                    seen.evidence)  # fmt: skip
