"""3.8, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.record import metrics
from lablib.teach.exercise import find

module = find("3.8").module


def cases(seed):
    return [module.analysed(seed, ranks=5, steps=4, warm_up=1), module.bought(seed + 1, late=0),
            module.bought(seed + 2, late=2)]  # fmt: skip


def analyse(trace, batch, warm_up, single_per_s):
    by_rank = trace.of(kind="step").by_rank()
    warm_s = max(steps[warm_up - 1].end_s for steps in by_rank.values())
    end_s = max(steps[-1].end_s for steps in by_rank.values())
    shares = []
    for rank, steps in by_rank.items():
        waited_s = sum(
            max(0, min(wait.end_s, step.end_s) - max(wait.start_s, step.start_s))
            for step in steps[warm_up:]
            for wait in trace.of(rank=rank, kind="wait")
        )
        shares.append(waited_s / sum(step.seconds for step in steps[warm_up:]))
    rate = (len(by_rank[0]) - warm_up) * batch / (end_s - warm_s)
    return {
        "samples_per_s": rate,
        "efficiency": rate / single_per_s / len(by_rank),
        "comm_share": sum(shares) / len(shares),
    }


def choose(traces, prices, batch, warm_up, samples, deadline_h):
    best = None
    for name, trace in traces.items():
        hours = samples / analyse(trace, batch, warm_up, 1.0)["samples_per_s"] / 3600
        cost = hours * prices[name]
        if hours <= deadline_h and (best is None or cost < best["cost"]):
            best = {"network": name, "hours": hours, "cost": cost}
    return best


def analyse_with_arrays(trace, batch, warm_up, single_per_s):
    def times(rank, kind):
        return np.array([(e.start_s, e.end_s) for e in trace.of(rank=rank, kind=kind)])

    steps = np.array([times(rank, "step") for rank in range(trace.ranks)])  # [ranks, steps, 2]
    (warm_s, end_s), counted = steps[:, [warm_up - 1, -1], 1].max(0), steps[:, warm_up:]
    rate = counted.shape[1] * batch / (end_s - warm_s)
    told = {"samples_per_s": rate, "efficiency": rate / (single_per_s * trace.ranks)}
    waits = np.array([times(rank, "wait") for rank in range(trace.ranks)])
    start_s = np.maximum(waits[:, :, None, 0], counted[:, None, :, 0])
    stop_s = np.minimum(waits[:, :, None, 1], counted[:, None, :, 1])
    within_s = np.clip(stop_s - start_s, 0, None).sum((1, 2))
    return told | {"comm_share": (within_s / np.ptp(counted, axis=2).sum(1)).mean()}


def choose_by_sorting(traces, prices, batch, warm_up, samples, deadline_h):
    jobs = []
    for name in traces:
        rate = analyse_with_arrays(traces[name], batch, warm_up, 1.0)["samples_per_s"]
        jobs.append((prices[name] * samples / rate / 3600, samples / rate / 3600, name))
    jobs = sorted(job for job in jobs if job[1] <= deadline_h)
    return dict(zip(("cost", "hours", "network"), jobs[0])) if jobs else None


def kit(trace, batch, warm_up, single_per_s):
    rate = metrics.samples_per_s(trace, batch)
    efficiency = metrics.efficiency(metrics.speedup(rate, single_per_s), trace.ranks)
    share = metrics.comm_share(trace)
    return {"samples_per_s": rate, "efficiency": efficiency, "comm_share": share}


def counts_all_waits(trace, batch, warm_up, single_per_s):
    waited_s = sum(wait.seconds for wait in trace.of(kind="wait"))
    share = waited_s / sum(step.seconds for step in trace.of(kind="step"))
    return analyse(trace, batch, warm_up, single_per_s) | {"comm_share": share}


def warm_up_counts(trace, batch, warm_up, single_per_s):
    steps = trace.of(kind="step")
    rate = len(steps.of(rank=0)) * batch / steps.duration_s
    return analyse(trace, batch, warm_up, single_per_s) | {"samples_per_s": rate}


def speedup_not_efficiency(trace, batch, warm_up, single_per_s):
    told = analyse(trace, batch, warm_up, single_per_s)
    return told | {"efficiency": told["samples_per_s"] / single_per_s}


def job(name, traces, prices, batch, warm_up, samples):
    hours = samples / analyse(traces[name], batch, warm_up, 1.0)["samples_per_s"] / 3600
    return {"network": name, "hours": hours, "cost": hours * prices[name]}


def cheapest_by_the_hour(traces, prices, batch, warm_up, samples, deadline_h):
    return job(min(prices, key=prices.get), traces, prices, batch, warm_up, samples)


def always_the_fastest(traces, prices, batch, warm_up, samples, deadline_h):
    return job("ethernet-100", traces, prices, batch, warm_up, samples)


def no_deadline(traces, prices, batch, warm_up, samples, deadline_h):
    return choose(traces, prices, batch, warm_up, samples, float("inf"))


RIGHT = [(analyse, choose), (analyse_with_arrays, choose_by_sorting)]
WRONG = {
    "the kit's metrics, which know one step of warm-up": (kit, choose),
    "counts waits outside the steps": (counts_all_waits, choose),
    "the warm-up counts": (warm_up_counts, choose),
    "the speed-up instead of the efficiency": (speedup_not_efficiency, choose),
    "the cheapest by the hour": (analyse, cheapest_by_the_hour),
    "always the fastest": (analyse, always_the_fastest),
    "forgets the deadline": (analyse, no_deadline),
}
