"""4.8 Compare data, sharded, pipeline and tensor parallelism on three machines, and choose one."""

import numpy as np

from lablib.hardware import get
from lablib.teach.claims import Claim, equal, show
from lablib.teach.exercise import Case

ANSWERS = ("weigh(model, machine, batch, micro_batches)",)
TITLE = "Choose and defend"
POINTS = 5

_FORM = ("Return a dictionary with the keys data, sharded, pipeline, tensor and choice.",)
_STEP = {
    "data": (
        "A step computes a shard of the batch, then sums the gradients of all weights in a ring.",
        "A ring: 2 (R - 1) hops, each of latency_s + n / R / bytes_per_s. Nothing overlaps here.",
    ),
    "sharded": (
        "Each block's weights are gathered twice, forward and backward. Its gradient is scattered "
        "once.",
        "Each of the three takes R - 1 hops of latency_s + n / R / bytes_per_s, where n is the "
        "bytes of one block.",
    ),
    "pipeline": (
        "How many slots does a step of m micro-batches in p stages have? What happens in a slot?",
        "m + R - 1 slots. In each, a stage computes one micro-batch and sends two messages.",
    ),
    "tensor": (
        "Every rank has the whole batch, so messages grow with it. How many are there in a step?",
        "As many ring all-reduces as blocks: one forward and one backward for every two blocks.",
    ),
}
_HELD = {
    "data": ("Every rank has all weights, gradients and momentum. The samples are shared out.",),
    "sharded": ("A rank holds a share of weights, gradients and momentum, and two whole blocks.",),
    "pipeline": ("Blocks are shared out, samples are not: GPipe keeps the whole batch.",),
    "tensor": (
        "Of each pair of blocks, every rank has a part of the first output and all of the second.",
    ),  # fmt: skip
}
_CHOICE = (
    "First exclude strategies that need more than memory_bytes. Which of the others is fastest?",
    "If nothing fits, the choice is None.",
)


def cases(seed):
    chains = {"wide": chain(8192, 16), "huge": chain(16384, 32), "small": chain(256, 8)}
    return [
        case_of("8 A100 with NVLink, wide", chains["wide"], "dgx-a100", 256, 8),
        case_of("8 A100 with NVLink, huge, many samples", chains["huge"], "dgx-a100", 32768, 16),
        case_of("8 T4 on 10 Gbit/s, wide", chains["wide"], "ethernet-10", 256, 8),
        case_of("8 T4 on 1 Gbit/s, small, many samples", chains["small"], "ethernet-1", 65536, 8),
    ]


def case_of(name, model, hardware, batch, micro_batches, ranks=8):
    machine = machine_of(hardware, ranks)
    given = dict(model=model, machine=machine, batch=batch, micro_batches=micro_batches)
    return Case(name, given)


def chain(width, blocks):
    """Return the numbers of a chain of equal dense blocks in 32 bits."""
    return {
        "blocks": blocks,
        "flops": 2 * width**2 * blocks,
        "weight_bytes": 4 * width**2 * blocks,
        "cut_bytes": 4 * width,
        "kept_bytes": 2 * 4 * width * blocks,
    }


def machine_of(name, ranks):
    """Return the numbers of a machine of the catalog."""
    hardware = get(name)
    link = hardware.within if hardware.per_node >= ranks else hardware.between
    return {
        "ranks": ranks,
        "flop_per_s": hardware.device.flop_per_s["fp32"],
        "memory_bytes": hardware.device.memory_bytes,
        "bytes_per_s": link.bytes_per_s,
        "latency_s": link.latency_s,
    }


def observe(me, answer, given):
    return dict(answer(dict(given.model), dict(given.machine), given.batch, given.micro_batches))


def judge(case, seen):
    due, got = weighed(**case.shared), seen.values[0]
    formed = isinstance(got, dict) and set(got) == {*due, "choice"} and all(
        isinstance(got[name], (list, tuple, np.ndarray)) and len(got[name]) == 2
        for name in due)  # fmt: skip
    yield Claim("(step_s, rank_bytes) of each of the four, and a choice", formed,
                "data, sharded, pipeline, tensor: two numbers each; choice", show(got),
                hints=_FORM)  # fmt: skip
    if not formed:
        got = dict.fromkeys([*due, "choice"], [None, None])
    for name, (step_s, rank_bytes) in due.items():
        yield equal(f"{name}: seconds of a step", step_s, got[name][0], rtol=1e-3,
                    hints=_STEP[name])  # fmt: skip
        yield equal(f"{name}: bytes that a rank holds", rank_bytes, got[name][1], rtol=1e-3,
                    hints=_HELD[name])  # fmt: skip
    best = chosen(due, case.shared["machine"]["memory_bytes"])
    told = ", ".join(f"{name} {step_s:.4g} s, {held / 1e9:.3g} GB"
                     for name, (step_s, held) in due.items())  # fmt: skip
    yield Claim("the choice is the fastest that fits", got["choice"] == best,
                f"the fastest that fits, of: {told}" if best else "None: nothing fits",
                show(got["choice"]), weight=4, hints=_CHOICE)  # fmt: skip


def chosen(weighed_up, memory_bytes):
    fitting = {name: step_s for name, (step_s, held) in weighed_up.items() if held <= memory_bytes}
    return min(fitting, key=fitting.get, default=None)


def weighed(model, machine, batch, micro_batches):
    """Return (seconds of a step, bytes of a rank) by strategy.

    Nothing overlaps. A backward pass takes twice as long as a forward pass.
    """
    ranks, blocks, weights = machine["ranks"], model["blocks"], model["weight_bytes"]
    compute_s = 3 * model["flops"] * batch / ranks / machine["flop_per_s"]
    cut, kept, state = model["cut_bytes"], model["kept_bytes"] * batch, 3 * weights

    def message_s(nbytes):
        return machine["latency_s"] + nbytes / machine["bytes_per_s"]

    def ring_s(nbytes):
        return 2 * (ranks - 1) * message_s(nbytes / ranks)

    slot_s = compute_s / micro_batches + 2 * message_s(cut * batch / micro_batches)
    return {
        "data": (compute_s + ring_s(weights), state + kept / ranks),
        "sharded": (
            compute_s + blocks * 3 / 2 * ring_s(weights / blocks),
            state / ranks + 2 * weights / blocks + kept / ranks,
        ),
        "pipeline": ((micro_batches + ranks - 1) * slot_s, state / ranks + kept / ranks),
        "tensor": (
            compute_s + blocks * ring_s(cut * batch),
            state / ranks + kept / 2 + kept / 2 / ranks,
        ),
    }
