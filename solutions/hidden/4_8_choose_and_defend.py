"""4.8, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

_module = find("4.8").module


def cases(seed):
    case_of, rng = _module.case_of, np.random.default_rng(seed)

    def about(width, blocks):
        """Return a chain up to 3 % wider or narrower, so that nobody can guess its numbers."""
        return _module.chain(round(width * rng.uniform(0.97, 1.03)), blocks)

    return [
        case_of("8 A100, wide, more samples", about(8192, 32), "dgx-a100", 1024, 16),
        case_of("4 V100 with NVLink, wide", about(8192, 16), "dgx-v100", 4096, 8, ranks=4),
        case_of("16 Raspberry Pi", about(2048, 16), "raspberry-pi", 64, 4, ranks=16),
        case_of("nothing fits", about(16384, 64), "edge-4g", 64, 4),
    ]


def line_by_line(model, machine, batch, micro_batches):
    R, F = machine["ranks"], machine["flop_per_s"]
    B, latency = machine["bytes_per_s"], machine["latency_s"]
    n, L, m = model["weight_bytes"], model["blocks"], micro_batches
    compute = 3 * model["flops"] * batch / (R * F)
    kept = batch * model["kept_bytes"]
    crossing = batch * model["cut_bytes"]
    found = {
        "data": (compute + 2 * (R - 1) * (latency + n / (R * B)), 3 * n + kept / R),
        "sharded": (
            compute + 3 * L * (R - 1) * (latency + n / (L * R * B)),
            3 * n / R + 2 * n / L + kept / R,
        ),
        "pipeline": (
            (m + R - 1) * (compute / m + 2 * (latency + crossing / m / B)),
            (3 * n + kept) / R,
        ),
        "tensor": (
            compute + L * 2 * (R - 1) * (latency + crossing / (R * B)),
            3 * n / R + kept * (R + 1) / (2 * R),
        ),
    }
    fits = [name for name in found if found[name][1] <= machine["memory_bytes"]]
    found["choice"] = min(fits, key=lambda name: found[name][0]) if fits else None
    return found


def with_functions(model, machine, batch, micro_batches):
    ranks = machine["ranks"]

    def hops_s(number, nbytes):
        return number * (machine["latency_s"] + nbytes / machine["bytes_per_s"])

    def result(messages_s, state, kept, slots=1.0):
        work_s = 3 * model["flops"] * batch / ranks / machine["flop_per_s"]
        held = state * model["weight_bytes"] + kept * model["kept_bytes"] * batch
        return [work_s * slots + messages_s, held]

    weights, blocks = model["weight_bytes"], model["blocks"]
    slots = micro_batches + ranks - 1
    piece = model["cut_bytes"] * batch / micro_batches
    summed = model["cut_bytes"] * batch / ranks
    found = {
        "tensor": result(hops_s(2 * blocks * (ranks - 1), summed), 3 / ranks, 0.5 + 0.5 / ranks),
        "pipeline": result(hops_s(2 * slots, piece), 3 / ranks, 1 / ranks, slots / micro_batches),
        "sharded": result(
            hops_s(3 * blocks * (ranks - 1), weights / blocks / ranks),
            3 / ranks + 2 / blocks,
            1 / ranks,
        ),
        "data": result(hops_s(2 * (ranks - 1), weights / ranks), 3, 1 / ranks),
    }
    choice, least = None, float("inf")
    for name, (step_s, held) in found.items():
        if held <= machine["memory_bytes"] and step_s < least:
            choice, least = name, step_s
    return found | {"choice": choice}


def arrays_of_two(model, machine, batch, micro_batches):
    found = with_functions(model, machine, batch, micro_batches)
    return {name: of if name == "choice" else np.array(of) for name, of in found.items()}


def forgets_memory(model, machine, batch, micro_batches):
    found = line_by_line(model, machine, batch, micro_batches)
    del found["choice"]
    return found | {"choice": min(found, key=lambda name: found[name][0])}


def least_memory(model, machine, batch, micro_batches):
    found = line_by_line(model, machine, batch, micro_batches)
    del found["choice"]
    return found | {"choice": min(found, key=lambda name: found[name][1])}


def no_bubble(model, machine, batch, micro_batches):
    found = line_by_line(model, machine, batch, micro_batches)
    slots = micro_batches + machine["ranks"] - 1
    step_s, held = found["pipeline"]
    return found | {"pipeline": (step_s * micro_batches / slots, held)}


def free_network(model, machine, batch, micro_batches):
    fast = machine | {"latency_s": 0.0, "bytes_per_s": 1e30}
    return line_by_line(model, fast, batch, micro_batches)


def choice_alone(model, machine, batch, micro_batches):
    """Chooses without the numbers that defend the choice."""
    found = line_by_line(model, machine, batch, micro_batches)
    return {name: (0.0, 0.0) for name in found if name != "choice"} | {"choice": found["choice"]}


RIGHT = [line_by_line, with_functions, arrays_of_two]
WRONG = {
    "forgets that memory ends": forgets_memory,
    "takes what holds least": least_memory,
    "no bubble": no_bubble,
    "the network costs nothing": free_network,
    "a choice that nothing defends": choice_alone,
    "always data": lambda *given: line_by_line(*given) | {"choice": "data"},
}
