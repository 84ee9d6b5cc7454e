"""4.3 GPipe: all micro-batches go forward through the stages, then all of them go backward."""

import numpy as np

from lablib.hardware.device import Device
from lablib.hardware.hardware import Hardware
from lablib.hardware.network import Link
from lablib.record import metrics
from lablib.teach import tanh_chain
from lablib.teach.claims import RANK, Claim, equal, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("gpipe_step(stage, pieces, targets, loss, rank, ranks)",)
TITLE = "GPipe"
POINTS = 5
STEPS = 3
# Memory and network cost nothing, so a step's time depends only on matrix products and schedule.
IDEAL = Hardware(
    Device("even", {"fp32": "1 TFLOP/s"}, 1e18, "16 GB"),
    per_node=8,
    within=Link(1e18),
    name="a free network",
)
_BUBBLE_WITHIN = 0.01

_LOSS = (
    "The last rank returns the mean over all micro-batches as a number. Is your number the loss of "
    "one micro-batch, or a sum?",
    "Divide each micro-batch's loss by the number of micro-batches, and add up.",
)
_GRADIENTS = (
    "backward adds to the gradients in .grad. What should the sum over the micro-batches be?",
    "The mean over the batch is the sum of loss / m over m micro-batches. Start backward there.",
)
_SENT = (
    "How many messages does one micro-batch need at one cut, forward and backward?",
    "One forward and one back: a rank sends m activations on and m gradients back, each as large "
    "as a micro-batch.",
)
_ORDER = ("In GPipe all micro-batches go forward before the first one goes backward.",)
_BUBBLE = (
    "When does rank 1 begin: after rank 0's first micro-batch, or after its last one?",
    "Send a micro-batch as soon as it is computed, with isend, and continue with the next one.",
)


def cases(seed):
    return [case_of(seed, ranks=3, pieces=4), on_a_free_network(seed + 1, ranks=4, pieces=6)]


def case_of(seed, ranks, pieces, samples=5, width=6, **more):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 1, (2, pieces, samples, width)).astype(np.float32)
    own = [{"chain": tanh_chain.layers(rng, 1, width), "x": None, "y": None} for _ in range(ranks)]
    own[0]["x"], own[-1]["y"] = x, y
    name = f"{ranks} stages, {pieces} micro-batches of {samples} samples"
    shape = [pieces, samples, width]
    more = {"relay": True, "name": name} | more
    return Case(shared={"shape": shape}, own=tuple(own), ranks=ranks, **more)


def on_a_free_network(seed, ranks, pieces):
    name = f"{ranks} equal stages, {pieces} micro-batches, on a modelled network that costs nothing"
    more = {"hardware": IDEAL, "name": name}
    return case_of(seed, ranks, pieces, samples=16, width=64, **more)


def observe(me, answer, given):
    import torch

    stage = tanh_chain.torch_stage(given.chain)
    for _ in range(STEPS):
        x = torch.empty(given.shape) if given.x is None else torch.from_numpy(given.x)
        # Rank 0, too, computes the gradient of its input, so that all stages cost the same.
        pieces = [part.clone().requires_grad_(me.rank == 0) for part in x]
        targets = None if given.y is None else list(torch.from_numpy(given.y))
        for weight in stage.parameters():
            weight.grad = None
        with me.step():
            loss = answer(stage, pieces, targets, tanh_chain.torch_loss, me.rank, me.ranks)
    loss = loss.item() if isinstance(loss, torch.Tensor) else loss
    return {"loss": loss, "gradients": tanh_chain.torch_gradients(stage)}


def judge(case, seen):
    ranks, pieces = case.ranks, case.shared["shape"][0]
    x, y = (case.own[rank][name].reshape(-1, case.shared["shape"][2])
            for rank, name in ((0, "x"), (-1, "y")))  # fmt: skip
    chain = [own["chain"][0] for own in case.own]
    loss, gradients = tanh_chain.loss_and_gradients(chain, x, y)
    yield equal("the loss is that of one process", loss, seen.values[-1]["loss"],
                rank=ranks - 1, hints=_LOSS)  # fmt: skip
    yield equal_by_rank("each stage has the gradient that one process finds",
                        [[gradient] for gradient in gradients],
                        [value["gradients"] for value in seen.values], weight=2,
                        hints=_GRADIENTS)  # fmt: skip
    yield from _messages(case, seen, pieces, x.nbytes // pieces)
    if case.hardware:
        due, got = (ranks - 1) / (pieces + ranks - 1), metrics.bubble(seen.trace)
        # A rank that computes forward again while it waits for the gradient has a smaller bubble.
        text = f"the bubble is at most (p - 1) / (m + p - 1) = {ranks - 1} / {pieces + ranks - 1}"
        yield Claim(text, got - due <= _BUBBLE_WITHIN, f"{due:.3f} (modelled), within 0.01",
                    f"{got:.3f}", hints=_BUBBLE, evidence=RANK, weight=2)  # fmt: skip


def _messages(case, seen, pieces, nbytes):
    last = case.ranks - 1
    for text, sort, hints in (
        (f"a step sends {pieces} messages of {nbytes} B each way, at each cut", sorted, _SENT),
        ("all micro-batches go forward before the first goes backward", list, _ORDER),
    ):
        for rank in range(case.ranks):
            due = [(rank, rank + 1, nbytes)] * pieces * (rank < last)
            due += [(rank, rank - 1, nbytes)] * pieces * (rank > 0)
            sent = seen.sent(rank)
            if sort(sent) != sort(due * STEPS) or seen.collectives(rank):
                yield Claim(text, False, _messages_shown(due * STEPS),
                            _messages_shown(sent), rank, hints, seen.evidence)  # fmt: skip
                break
        else:
            yield Claim(text, True, evidence=seen.evidence)


def _messages_shown(sent):
    first = ", ".join(f"{nbytes} B to rank {target}" for _, target, nbytes in sent[:8])
    return f"{len(sent)} messages in {STEPS} steps: {first}{' ...' * (len(sent) > 8)}"
