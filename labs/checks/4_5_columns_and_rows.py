"""4.5 Cut two layers by columns and by rows: one all-reduce forward and one backward."""

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("parallel_mlp(x, a, b)",)
TITLE = "Columns and rows"
POINTS = 5

_OUTPUT = (
    "What is a rank's tanh(x @ a) @ b: some columns of the output, or one term of a sum that gives "
    "the whole output?",
    "For each number of the output, every rank has one term of a sum. Which collective adds them?",
)
_OWN = (
    "How often does the output's gradient count? A sum in the forward pass does not need a sum in "
    "the backward pass.",
    "Each rank already has the whole gradient of the output, so pass it back through the sum "
    "unchanged. autograd does not know dist.all_reduce: write a torch.autograd.Function.",
)
_INPUT = (
    "All ranks used the same x. A rank finds only the part of x's gradient from its own columns.",
    "Pass x through a function that does nothing forward and an all-reduce backward.",
)
_CALLS = (
    "Count: one all-reduce of the output in the forward pass, one of x's gradient backward.",
    "Send nothing between the two layers: a rank's rows of b need only its own columns of a.",
)


def cases(seed):
    small = dict(samples=5, width=6, hidden=4, out=3)
    return [case_of(seed, ranks=2, **small), large(seed + 1, ranks=4)]


def large(seed, ranks):
    """Return a case that is large enough to count its bytes outside of the ranks."""
    return case_of(seed, ranks, samples=512, width=512, hidden=16, out=512)


def case_of(seed, ranks, samples, width, hidden, out):
    """Return a case with `hidden` columns of `a` and `hidden` rows of `b` on each rank."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    own = tuple({"a": normal(width, hidden), "b": normal(hidden, out)} for _ in range(ranks))
    shared = {"x": normal(samples, width), "upstream": normal(samples, out)}
    name = f"x {samples} x {width}, {hidden} columns and rows on each of {ranks} ranks"
    return Case(name, shared, own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    x, a, b = (torch.from_numpy(array.copy()).requires_grad_() for array in
               (given.x, given.a, given.b))  # fmt: skip
    y = answer(x, a, b)
    y.backward(torch.from_numpy(given.upstream))
    return {"y": y, "x": x.grad, "a": a.grad, "b": b.grad}


def judge(case, seen):
    x, upstream = case.shared["x"].astype(float), case.shared["upstream"]
    y, into, own = whole(x, upstream, case.own)
    yield equal_by_rank("every rank has the whole output", [y] * case.ranks,
                        [value["y"] for value in seen.values], weight=2, hints=_OUTPUT)  # fmt: skip
    yield equal_by_rank("each rank has the gradients of its columns and rows", own,
                        [{name: value[name] for name in "ab"} for value in seen.values],
                        weight=2, hints=_OWN)  # fmt: skip
    yield equal_by_rank("every rank has the whole gradient of x", [into] * case.ranks,
                        [value["x"] for value in seen.values], weight=2, hints=_INPUT)  # fmt: skip
    nbytes = [4 * y.size, 4 * x.size]
    due = [("all_reduce", size) for size in nbytes]
    for rank in range(case.ranks):
        calls = [(name, size) for _, name, size in seen.put_in(rank)]
        if calls != due:
            break
    yield Claim("one all-reduce of y forward, one of x's gradient backward, and no other message",
                calls == due, _calls_shown(due), _calls_shown(calls), rank, _CALLS, seen.evidence,
                weight=2)  # fmt: skip


def whole(x, upstream, parts):
    """Return what one process with all columns and rows computes.

    y      the output, [samples, out]
    into   the gradient of x, [samples, width]
    own    for each part, the gradients of its `a` and `b`
    """
    y, into, own = 0, 0, []
    for part in parts:
        h = np.tanh(x @ part["a"])
        y = y + h @ part["b"]
        before = (upstream @ part["b"].T) * (1 - h**2)
        into = into + before @ part["a"].T
        own.append({"a": x.T @ before, "b": h.T @ upstream})
    return y, into, own


def _calls_shown(calls):
    told = (f"{name} of {nbytes} B" for name, nbytes in calls[:6])
    return f"{len(calls)}: {', '.join(told)}{' ...' * (len(calls) > 6)}"
