"""4.5 Two layers cut by columns and by rows: one all-reduce forward and one backward."""

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("parallel_mlp(x, a, b)",)
TITLE = "Columns and rows"
POINTS = 5

_OUTPUT = (
    "What does a rank's tanh(x @ a) @ b stand for: a part of the columns of the output, or a "
    "summand of all of it?",
    "Every rank has one summand of each number of the output. Which collective adds them up?",
)
_OWN = (
    "How often does the output's gradient count? Adding up forward does not mean adding up "
    "backward, too.",
    "Each rank already has the whole gradient of the output: backward through the sum, pass it on "
    "as it is. dist.all_reduce alone is no part of autograd: write a torch.autograd.Function.",
)
_INPUT = (
    "All ranks used the same x. Its gradient on one rank comes from that rank's columns alone.",
    "x needs a function that does nothing forward and an all-reduce backward.",
)
_CALLS = (
    "Count: one all-reduce of the output in the forward pass, one of x's gradient backward.",
    "Between the two layers nothing is sent: a rank's columns of a are what its rows of b need.",
)


def cases(seed):
    small = dict(samples=5, width=6, hidden=4, out=3)
    return [case_of(seed, ranks=2, **small), large(seed + 1, ranks=4)]


def large(seed, ranks):
    """Large enough for its bytes to be counted outside."""
    return case_of(seed, ranks, samples=512, width=512, hidden=16, out=512)


def case_of(seed, ranks, samples, width, hidden, out):
    """hidden: columns of `a`, and rows of `b`, on each rank."""
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
                calls == due, _told(due), _told(calls), rank, _CALLS, seen.evidence,
                weight=2)  # fmt: skip


def whole(x, upstream, parts):
    """What one process finds that has all columns and rows: y, x's gradient, those of the parts."""
    y, into, own = 0, 0, []
    for part in parts:
        h = np.tanh(x @ part["a"])
        y = y + h @ part["b"]
        before = (upstream @ part["b"].T) * (1 - h**2)
        into = into + before @ part["a"].T
        own.append({"a": x.T @ before, "b": h.T @ upstream})
    return y, into, own


def _told(calls):
    told = (f"{name} of {nbytes} B" for name, nbytes in calls[:6])
    return f"{len(calls)}: {', '.join(told)}{' ...' * (len(calls) > 6)}"
