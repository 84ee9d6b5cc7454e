"""Write programs that have not been run: the operations of each rank in a step of a plan.

The simulator can play them. They answer questions that arise before there is code: how many stages,
which buckets, which network? A plan contains only the costs of its layers. The further costs of a
real run appear only in a recorded program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lablib.errors import LabError, check_whole
from lablib.record.cost import Cost
from lablib.record.program import Op, Program

_BACKWARD = 2  # times the forward pass: for the gradients of the inputs and those of the weights


class PlannedLayer(NamedTuple):
    """One layer of a plan.

    forward         the cost of its forward pass
    weight_bytes    bytes of its weights; its gradients are as large
    """

    forward: Cost
    weight_bytes: int

    @property
    def backward(self) -> Cost:
        return self.forward._replace(
            flops=_BACKWARD * self.forward.flops, nbytes=_BACKWARD * self.forward.nbytes
        )


def layers(
    count: int, parameters: float, samples: int, precision: str = "fp32"
) -> list[PlannedLayer]:
    """Return `count` equal dense layers of a model with `parameters` parameters in all.

    samples   samples that one rank processes in a step (for a language model: tokens)

    The forward pass takes 2 FLOPs for each parameter and sample, the backward pass twice as many
    (Kaplan and others, "Scaling laws for neural language models", arXiv 2001.08361, 2020, table 1;
    without attention). Each parameter has 4 bytes.

    >>> layers(2, parameters=1e6, samples=10)[0].weight_bytes
    2000000
    """
    check_whole(1, count=count, samples=samples)
    each = parameters / count
    return [PlannedLayer(Cost(2 * each * samples, int(4 * each), precision), int(4 * each))] * count


def data_parallel(
    model: Sequence[PlannedLayer], ranks: int, bucket_bytes: float, steps: int = 2
) -> Program:
    """Return a program in which every rank has the model and gradients are averaged in buckets.

    The buckets are sent during the backward pass.

    bucket_bytes   a bucket is sent when it has at least this many bytes; the last one has the rest

    >>> program = data_parallel(layers(4, 4e6, 1), ranks=2, bucket_bytes=8e6, steps=1)
    >>> [op.nbytes for op in program[0] if op.kind == "issue"]
    [8000000, 8000000]
    """
    check_whole(1, ranks=ranks, steps=steps)
    group = tuple(range(ranks))
    ops: list[Op] = []
    for _ in range(steps):
        ops.append(Op("begin"))
        ops += [_computes("forward", layer.forward) for layer in model]
        issued, bucket = [], 0
        for number, layer in enumerate(reversed(model), start=1):
            ops.append(_computes("backward", layer.backward))
            bucket += layer.weight_bytes
            if ranks > 1 and (bucket >= bucket_bytes or number == len(model)):
                issued.append(len(ops))
                ops.append(Op("issue", len(ops), "all_reduce", bucket, group, "backward"))
                bucket = 0
        ops += [Op("wait", number) for number in issued]
        ops.append(Op("step"))
    return (tuple(ops),) * ranks


def pipeline(
    orders: Sequence[Sequence[tuple[str, int]]],
    stages: Sequence[PlannedLayer],
    activation_bytes: int,
    steps: int = 2,
) -> Program:
    """Return a program in which ranks hold stages and pass micro-batches on, forward and backward.

    orders             for each rank its passes in order, ("F" or "B", stage), one for each
                       micro-batch
    stages             the cost of a pass of one micro-batch in each stage
    activation_bytes   bytes that a micro-batch sends to the next stage; its gradient is as large

    Raises LabError if a stage is on no rank or on several.
    """
    home = _home(orders, len(stages))
    program = []
    for passes in orders:
        ops: list[Op] = []
        for _ in range(steps):
            ops.append(Op("begin"))
            sent: list[int] = []
            for kind, stage in passes:
                _one_pass(ops, sent, kind, stage, stages, home, activation_bytes)
            ops += [Op("wait", number) for number in sent]
            ops.append(Op("step"))
        program.append(tuple(ops))
    return tuple(program)


def _home(orders, count):
    """Return {stage: its rank}."""
    home = {stage: rank for rank, passes in enumerate(orders) for _, stage in passes}
    places = {(rank, stage) for rank, passes in enumerate(orders) for _, stage in passes}
    if set(home) != set(range(count)) or len(places) != count:
        raise LabError(
            "Each stage needs exactly one rank.",
            saw=f"{count} stages; passes of stages {sorted(home)}",
            do="put every stage, from 0 on, into the order of exactly one rank",
        )
    return home


def _one_pass(ops, sent, kind, stage, stages, home, nbytes):
    forward = kind == "F"
    before, after = (stage - 1, stage + 1) if forward else (stage + 1, stage - 1)
    if before in home:
        ops.append(_between("recv", len(ops), home[before], home[stage], nbytes, f"{kind}{stage}"))
        ops.append(Op("wait", ops[-1].number))
    cost = stages[stage].forward if forward else stages[stage].backward
    ops.append(_computes("forward" if forward else "backward", cost))
    if after in home:
        sent.append(len(ops))
        ops.append(_between("send", len(ops), home[stage], home[after], nbytes, f"{kind}{after}"))


def _between(name, number, source, to, nbytes, tag):
    return Op("issue", number, name, nbytes, (source, to), channel=f"plan:{source}>{to}:{tag}")


def _computes(phase, cost):
    return Op("compute", phase=phase, costs=(cost,))
