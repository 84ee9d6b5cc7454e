"""3.5 Send gradients during the backward pass, while others are still being computed."""

import numpy as np

from lablib.teach.claims import RANK, Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("backward(loss, parameters, ranks)",)
TITLE = "Overlap"
POINTS = 5

_MEAN = (
    "Which gradients are not the mean? Did you wait for every message, and divide?",
    "After loss.backward(), wait for all messages, then divide each gradient by ranks.",
)
_EARLY = (
    "At which moment of the backward pass is a gradient ready? torch can call your code then.",
    "parameter.register_post_accumulate_grad_hook(function) calls function(parameter).",
)
_NO_WAIT = (
    "A rank that waits in the middle of the backward pass stops computing. Does your code wait?",
    "dist.all_reduce(..., async_op=True) returns at once. Keep what it returns and wait later.",
)
_SENT = ("Every gradient should pass the network once, and nothing else.",)


def cases(seed):
    return [case_of(seed, ranks=3, widths=[20, 30, 40, 10], samples=8, hardware="ethernet-10"),
            case_of(seed + 1, ranks=2, widths=[300, 400, 400, 10], samples=16,
                    hardware="ethernet-1")]  # fmt: skip


def case_of(seed, ranks, widths, samples, hardware):
    """Return a case with a chain of matrices, equal on all ranks; each rank has its own samples."""
    rng = np.random.default_rng(seed)
    matrices = [
        rng.normal(0, width**-0.5, (width, after)).astype(np.float32)
        for width, after in zip(widths, widths[1:])
    ]
    own = tuple(
        {"x": rng.normal(size=(samples, widths[0])).astype(np.float32)} for _ in range(ranks)
    )
    name = f"{len(matrices)} layers on {ranks} ranks, modelled on {hardware}"
    return Case(name, shared={"matrices": matrices}, own=own, ranks=ranks, hardware=hardware,
                relay=True)  # fmt: skip


def observe(me, answer, given):
    import torch

    parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in given.matrices]
    out = torch.from_numpy(given.x)
    for parameter in parameters:
        out = out @ parameter
    loss = (out**2).mean()
    answer(loss, parameters, me.ranks)
    return [parameter.grad.numpy() for parameter in parameters]


def judge(case, seen):
    mean = mean_gradients(case)
    yield equal_by_rank("every gradient is the mean over the ranks", [mean] * case.ranks,
                        seen.values, rtol=1e-3, weight=2, hints=_MEAN)  # fmt: skip
    nbytes = sum(array.nbytes for array in case.shared["matrices"])
    sent = [{"all_reduce": 0} for _ in range(case.ranks)]
    for rank, name, size in seen.put_in():
        sent[rank][name] = sent[rank].get(name, 0) + size
    yield equal_by_rank("each gradient passes the network once, in all-reduces",
                        [{"all_reduce": nbytes}] * case.ranks, sent, hints=_SENT,
                        evidence=seen.evidence)  # fmt: skip
    first_bytes = case.shared["matrices"][-1].nbytes  # the last layer's gradient is ready first
    early, patient = zip(*(overlap(ops, first_bytes) for ops in seen.run.program))
    yield Claim("a gradient leaves before the backward pass ends", all(early),
                f"{first_bytes} B or more under way by then, on all {case.ranks} ranks",
                f"on {sum(early)} of them", hints=_EARLY, evidence=RANK)  # fmt: skip
    yield Claim("no rank waits before its backward pass has ended", all(patient),
                f"true on all {case.ranks} ranks", f"on {sum(patient)} of them", hints=_NO_WAIT,
                evidence=RANK)  # fmt: skip


def overlap(ops, least_bytes):
    """Return two booleans about a rank's recorded operations in the backward pass.

    The first is True if at least `least_bytes` leave before the last piece is computed. The second
    is True if no wait comes before that piece.
    """
    back = [n for n, op in enumerate(ops) if (op.kind, op.phase) == ("compute", "backward")]
    if not back:
        return False, False
    within = ops[: back[-1]]
    sent_bytes = sum(op.nbytes for op in within if op.kind == "issue")
    return sent_bytes >= least_bytes, all(op.kind != "wait" for op in within)


def mean_gradients(case):
    """Return the mean over the ranks of the gradients of mean(out ** 2), out = x M0 M1 ..."""
    matrices = [array.astype(float) for array in case.shared["matrices"]]
    total = [0.0] * len(matrices)
    for own in case.own:
        inputs = [own["x"].astype(float)]
        for matrix in matrices:
            inputs.append(inputs[-1] @ matrix)
        back = 2 * inputs[-1] / inputs[-1].size
        for number in reversed(range(len(matrices))):
            total[number] = total[number] + inputs[number].T @ back / case.ranks
            back = back @ matrices[number].T
    return total
