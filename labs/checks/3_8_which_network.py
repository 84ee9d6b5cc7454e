"""3.8 Compute throughput from traces, and choose one of four networks by these numbers."""

import math

import numpy as np

from lablib.teach.claims import Claim, equal
from lablib.teach.exercise import Case

ANSWERS = (
    "analyse(trace, batch, warm_up, single_per_s)",
    "choose(traces, prices, batch, warm_up, samples, deadline_h)",
)
TITLE = "From a trace to a purchase"
POINTS = 6

_RATE = (
    "Measure from the end of the last warm-up step to the end of the last step. On which rank?",
    "Both moments are a max over the ranks. Between them lie len(steps) - warm_up steps.",
)
_EFFICIENCY = ("Efficiency is the speed-up over one rank, divided by the number of ranks.",)
_SHARE = (
    "For each rank, divide the seconds of waiting within its steps after the warm-up by the "
    "seconds of these steps. Then take the mean over the ranks.",
    "A wait may lie between two steps or extend into one: count only the part within a step.",
)
_HOURS = ("samples / samples_per_s gives seconds. Did you convert them to hours?",)
_BUY = (
    "The cheapest network does not always give the cheapest job, and some are too slow.",
    "Of the networks that finish within deadline_h, choose the one with the lowest hours x price. "
    "Return None if there is none.",
)
NETWORKS = ("ethernet-1", "ethernet-10", "ethernet-25", "ethernet-100")


def cases(seed):
    return [analysed(seed, ranks=3, steps=6, warm_up=2), bought(seed + 1, late=1),
            bought(seed + 2, late=4)]  # fmt: skip


def analysed(seed, ranks, steps, warm_up):
    rng = np.random.default_rng(seed)
    shared = {"rows": rows(rng, ranks, steps, 1.0), "batch": int(rng.integers(32, 256)),
              "warm_up": warm_up, "single_per_s": float(rng.uniform(20, 60))}  # fmt: skip
    return Case(f"a trace of {ranks} ranks and {steps} steps", shared=shared)


def bought(seed, late):
    """Return a case with four networks, of which the `late` slowest miss the deadline."""
    rng = np.random.default_rng(seed)
    traces = {name: rows(rng, 2, 5, slow) for name, slow in zip(NETWORKS, (8.0, 2.0, 1.2, 1.0))}
    prices = dict(zip(NETWORKS, np.sort(rng.uniform(5, 40, 4)).tolist()))
    shared = {"traces": traces, "prices": prices, "batch": 64, "warm_up": 1, "samples": 10**6}
    ends_h = sorted(of(shared, name)["hours"] for name in NETWORKS) + [math.inf]
    left = len(NETWORKS) - late
    shared["deadline_h"] = (ends_h[left] if left == len(NETWORKS) else
                            (ends_h[left] + (ends_h[left - 1] if left else 0)) / 2)  # fmt: skip
    return Case(f"four offers, {late} of them too slow", shared=shared, answer=1)


def rows(rng, ranks, steps, slow):
    """Return rows (rank, kind, name, start_s, end_s) of steps with two waits each.

    A step takes about `slow` seconds, the first one about ten times as long. After the last step
    comes one more wait, outside of all steps.
    """
    found = []
    for rank in range(ranks):
        now_s = float(rng.uniform(0, 0.1))
        for step in range(steps):
            length_s = slow * float(rng.uniform(0.8, 1.2)) * (10 if step == 0 else 1)
            a, b, c, d = (now_s + length_s * share for share in np.sort(rng.uniform(size=4)))
            late_s = d + (now_s + length_s * 1.05 - d) * (step % 2)  # may reach beyond the step
            found += [(rank, "step", f"step {step}", now_s, now_s + length_s),
                      (rank, "wait", "all_reduce", float(a), float(b)),
                      (rank, "wait", "all_reduce", float(c), float(late_s))]  # fmt: skip
            now_s += length_s * 1.1
        found.append((rank, "wait", "barrier", now_s, now_s + 5.0))
    return [list(row) for row in found]


def observe(me, answer, given):
    from lablib.record.trace import Event, Trace

    def trace(rows):
        return Trace([Event(*row) for row in rows], clock="modelled")

    if hasattr(given, "rows"):
        told = answer(trace(given.rows), given.batch, given.warm_up, given.single_per_s)
        return {name: float(value) for name, value in told.items()}
    traces = {name: trace(rows) for name, rows in given.traces.items()}
    return answer(traces, given.prices, given.batch, given.warm_up, given.samples,
                  given.deadline_h)  # fmt: skip


def judge(case, seen):
    (told,) = seen.values
    given = case.shared
    if case.answer == 0:
        rate, share = rate_and_share(given["rows"], given["batch"], given["warm_up"])
        ranks = 1 + max(row[0] for row in given["rows"])
        due = {"samples_per_s": rate, "efficiency": rate / given["single_per_s"] / ranks,
               "comm_share": share}  # fmt: skip
        for name, hints in zip(due, (_RATE, _EFFICIENCY, _SHARE)):
            yield equal(name, due[name], told.get(name), hints=hints)
        return
    jobs = {name: of(given, name) for name in given["traces"]}
    in_time = [name for name in jobs if jobs[name]["hours"] <= given["deadline_h"]]
    best = min(in_time, key=lambda name: jobs[name]["cost"], default=None)
    if best is None:
        yield Claim(
            "None, because no network ends in time", told is None, saw=repr(told), hints=_BUY
        )
        return
    told = told if isinstance(told, dict) else {}
    yield equal("the cheapest job that ends in time", best, told.get("network"), hints=_BUY)
    yield equal("its hours", jobs[best]["hours"], told.get("hours"), hints=_HOURS)
    yield equal("its cost", jobs[best]["cost"], told.get("cost"), hints=_BUY)


def of(given, name):
    """Return the hours and the cost of the whole job on the network `name`."""
    rate, _ = rate_and_share(given["traces"][name], given["batch"], given["warm_up"])
    hours = given["samples"] / rate / 3600
    return {"hours": hours, "cost": hours * given["prices"][name]}


def rate_and_share(rows, batch, warm_up):
    """Return samples per second and the communication share, both after the warm-up."""
    spans = {kind: {} for kind in ("step", "wait")}
    for rank, kind, _, start_s, end_s in rows:
        spans[kind].setdefault(rank, []).append((start_s, end_s))
    warm_s, end_s, shares = 0.0, 0.0, []
    for rank, steps in spans["step"].items():
        warm_s, end_s = max(warm_s, steps[warm_up - 1][1]), max(end_s, steps[-1][1])
        counted = steps[warm_up:]
        waited_s = sum(max(0.0, min(b, d) - max(a, c)) for a, b in counted
                       for c, d in spans["wait"][rank])  # fmt: skip
        shares.append(waited_s / sum(b - a for a, b in counted))
    return len(counted) * batch / (end_s - warm_s), sum(shares) / len(shares)
