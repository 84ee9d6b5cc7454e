"""Horovod's benchmark as programs: the measurements, the assumptions, and the efficiency."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import NamedTuple

from _horovod_models import Layer, inception_v3, resnet_101, vgg_16

from lablib.hardware import Device, Hardware, catalog
from lablib.record.cost import Cost
from lablib.record.program import Op, Program
from lablib.record.simulator import simulate

BATCH = 64  # images of one GPU in one step
# The fitted jitter depends on the draws, and so on the number of steps. The predictions do not: see
# the alternative with other draws.
STEPS = 4
NODES, PER_NODE = 32, 4
FUSION_BYTES = 64 * 2**20
EVEN_PIECES = 100


class Workload(NamedTuple):
    """One network, and the measurements of Horovod's authors with it.

    one_per_s, sixteen_per_s    images/s of one GPU, and of 16 in four servers
    efficiency                  of 128 GPUs: images/s divided by 128 times those of one
    """

    name: str
    layers: tuple[Layer, ...]
    one_per_s: float
    sixteen_per_s: float
    efficiency: float

    @property
    def efficiency_of_sixteen(self) -> float:
        return self.sixteen_per_s / 16 / self.one_per_s


RESNET_101 = Workload("ResNet-101", resnet_101(), 119.4, 1746.2, 0.90)
INCEPTION_V3 = Workload("Inception V3", inception_v3(), 134.4, 2022.6, 0.90)
VGG_16 = Workload("VGG-16", vgg_16(), 130.9, 1787.4, 0.79)


class Part(NamedTuple):
    """A part of the backward pass, and the bytes of gradients that are ready at its end."""

    flops: float
    nbytes: int


@dataclass(frozen=True)
class Assumed:
    """The assumptions of the model; the defaults are the base.

    cycle_s    Horovod sends the gradients that became ready in this time; infinite: only full
               buffers
    even       True: gradients become ready evenly over the backward pass, not layer by layer
    overlap    True: gradients are sent during the backward pass, not after it
    speed      the share of the network's bandwidth that is reached
    """

    text: str = "base"
    cycle_s: float = 5e-3
    even: bool = False
    overlap: bool = True
    all_reduce: str = "ring"
    speed: float = 1.0
    seed: int = 0

    def hardware(self, workload: Workload, jitter: float, nodes: int = NODES) -> Hardware:
        """Return servers whose GPUs, each alone and with its jitter, train as fast as measured."""
        # Operations have no bytes, because the measured rate already includes memory accesses.
        rates = {"fp32": flop_per_s(workload) * (1 + jitter)}
        return Hardware(
            Device("Pascal, as measured", rates, bytes_per_s=math.inf, memory_bytes=math.inf),
            nodes=nodes,
            per_node=PER_NODE,
            within="pcie3",
            between=catalog.get("ethernet-25").between.times(self.speed),
            jitter=jitter,
            seed=self.seed,
            all_reduce=self.all_reduce,
        )


BASE = Assumed()
ALTERNATIVES = (
    replace(BASE, text="other draws of the jitter", seed=1),
    replace(BASE, text="gradients evenly over backward", even=True),
    replace(BASE, text="a message once 64 MiB are full", cycle_s=math.inf),
    replace(BASE, text="trees and two levels too", all_reduce="auto"),
    replace(BASE, text="3/4 of the network's speed", speed=0.75),
    replace(BASE, text="all-reduce after backward", overlap=False),
)


@cache  # the last value of the fit is also needed for the prediction
def efficiency(workload: Workload, assumed: Assumed, jitter: float, nodes: int) -> float:
    """Return modelled images/s, divided by those of as many separate GPUs at the measured rate."""
    hardware = assumed.hardware(workload, jitter, nodes)
    trace = simulate(program(workload, assumed, hardware.ranks), hardware)
    return STEPS * BATCH / trace.duration_s / workload.one_per_s


def fit(workload: Workload, assumed: Assumed, start: float = 0.02) -> float:
    """Return the jitter that gives the measured efficiency, to within 0.05 points.

    Returns NaN if the efficiency is lower even without jitter. This uses the secant method: the
    seconds of a step, so 1 / efficiency, grow nearly in proportion to the jitter.
    """
    measured = 1 / workload.efficiency
    low, high = 0.0, start
    short = 1 / efficiency(workload, assumed, low, NODES) - measured
    if short > 0:
        return math.nan
    while abs(off := 1 / efficiency(workload, assumed, high, NODES) - measured) > 5e-4:
        low, high, short = high, high - off * (high - low) / (off - short), off
    return high


def program(workload: Workload, assumed: Assumed, ranks: int) -> Program:
    """Return steps of synchronous data-parallel training; every rank does the same."""
    everybody = tuple(range(ranks))
    parts = messages(workload, assumed)
    step = [Op("begin"), _compute("forward", forward_flops(workload))]
    for number, (flops, nbytes) in enumerate(parts):
        step.append(_compute("backward", flops))
        step.append(Op("issue", number, "all_reduce", nbytes, everybody, channel="gradients"))
    step += [Op("wait", number) for number in range(len(parts))]
    return (tuple([*step, Op("step")] * STEPS),) * ranks


def messages(workload: Workload, assumed: Assumed) -> list[Part]:
    """Return the backward pass, cut where an all-reduce is issued."""
    parts = backward(workload, assumed.even)
    fused = list(_fused(parts, flop_per_s(workload), assumed.cycle_s))
    if assumed.overlap:
        return fused
    flops = sum(part.flops for part in parts)
    return [Part(0 if number else flops, nbytes) for number, (_, nbytes) in enumerate(fused)]


def _fused(parts, rate, cycle_s) -> Iterator[Part]:
    """Yield messages: gradients of one cycle are one message, if they fit the buffer.

    A gradient larger than the buffer is a separate message. The model omits that a message waits
    for the end of its cycle, at most 5 ms, and that ranks first agree on what is ready.
    """
    ready_s, cycles = 0.0, []
    for part in parts:
        ready_s += part.flops / rate
        cycles.append(ready_s // cycle_s)
    for _, members in groupby(zip(cycles, parts), key=lambda pair: pair[0]):
        flops = nbytes = 0
        for _, part in members:
            if nbytes and nbytes + part.nbytes > FUSION_BYTES:
                yield Part(flops, nbytes)
                flops = nbytes = 0
            flops, nbytes = flops + part.flops, nbytes + part.nbytes
        yield Part(flops, nbytes)


def backward(workload: Workload, even: bool = False) -> list[Part]:
    """Return the backward pass, last layer first; each layer costs twice its forward pass.

    The first layer costs only once its forward pass, because no gradient of its input is needed.
    """
    first, *others = workload.layers
    parts = [Part(4 * BATCH * layer.macs, 4 * layer.parameters) for layer in reversed(others)]
    parts.append(Part(2 * BATCH * first.macs, 4 * first.parameters))
    if not even:
        return parts
    flops, nbytes = (sum(column) / EVEN_PIECES for column in zip(*parts))
    return [Part(flops, round(nbytes))] * EVEN_PIECES


def forward_flops(workload: Workload) -> float:
    """Return the FLOPs of one GPU in one step; a multiplication and an addition are two."""
    return 2 * BATCH * sum(layer.macs for layer in workload.layers)


def backward_flops(workload: Workload) -> float:
    return sum(part.flops for part in backward(workload))


def flop_per_s(workload: Workload) -> float:
    """Return the FLOP/s of one GPU in training, from its measured images/s."""
    flops = forward_flops(workload) + backward_flops(workload)
    return flops * workload.one_per_s / BATCH


def _compute(phase, flops):
    return Op("compute", phase=phase, costs=(Cost(flops),))
