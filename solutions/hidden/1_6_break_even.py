"""1.6, hidden from learners: other cases, other right answers, wrong answers."""

import math

import numpy as np

from lablib.teach.exercise import find

case_of = find("1.6").module.case_of


def cases(seed):
    rng = np.random.default_rng(seed)
    return [
        case_of(rng.uniform(0.2, 0.4), 26_000_000, 20e-6),
        case_of(rng.uniform(0.02, 0.03), 1_000_000, 500e-6),
    ]


def solved_for_the_bandwidth(compute_s, nbytes, latency_s):
    saved_s = compute_s / 4 - compute_s / 8 - (14 - 6) * latency_s
    return (14 / 8 - 6 / 4) * nbytes / saved_s if saved_s > 0 else math.inf


def by_trying(compute_s, nbytes, latency_s):
    """Narrows a range of bandwidths until both step times of the model are equal."""
    import lablib as lab

    def step_s(ranks, bytes_per_s):
        link = lab.Link(bytes_per_s, latency_s)
        machine = lab.Hardware("t4", nodes=ranks, between=link, all_reduce="ring")
        return compute_s / ranks + machine.message_s("all_reduce", nbytes, range(ranks))

    low, high = 1.0, 1e18
    if step_s(8, high) >= step_s(4, high):
        return math.inf
    for _ in range(60):
        middle = math.sqrt(low * high)
        if step_s(8, middle) > step_s(4, middle):
            low = middle
        else:
            high = middle
    return high


def in_single_precision(compute_s, nbytes, latency_s):
    saved_s = np.float32(compute_s) / 8 - 8 * np.float32(latency_s)
    return np.float32(nbytes) / 4 / saved_s if saved_s > 0 else np.float32("inf")


def in_bits(compute_s, nbytes, latency_s):
    return 8 * solved_for_the_bandwidth(compute_s, nbytes, latency_s)


def without_latency(compute_s, nbytes, latency_s):
    return solved_for_the_bandwidth(compute_s, nbytes, 0)


def whole_gradients(compute_s, nbytes, latency_s):
    """Assumes that every hop of the ring carries all of the gradients."""
    saved_s = compute_s / 8 - 8 * latency_s
    return 8 * nbytes / saved_s if saved_s > 0 else math.inf


def never_infinite(compute_s, nbytes, latency_s):
    return nbytes / 4 / (compute_s / 8 - 8 * latency_s)


def against_one_rank(compute_s, nbytes, latency_s):
    saved_s = compute_s - compute_s / 8 - 14 * latency_s
    return 14 / 8 * nbytes / saved_s if saved_s > 0 else math.inf


RIGHT = [solved_for_the_bandwidth, by_trying, in_single_precision]
WRONG = {
    "bits instead of bytes": in_bits,
    "without latency": without_latency,
    "all gradients in every hop": whole_gradients,
    "a negative bandwidth where none is enough": never_infinite,
    "compares 8 ranks with 1": against_one_rank,
    "a gigabit, always": lambda compute_s, nbytes, latency_s: 125e6,
}
