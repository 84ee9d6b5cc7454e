"""Compare the modelled clock with a public table: Horovod on 128 GPUs. No rank is started.

  python benchmarks/horovod.py

One constant, the jitter of compute, is fitted to ResNet-101; Inception V3 and VGG-16 are predicted.
All other numbers come from the sources that are printed.
"""

from __future__ import annotations

import math
import sys

from _horovod_training import (
    ALTERNATIVES,
    BASE,
    INCEPTION_V3,
    NODES,
    PER_NODE,
    RESNET_101,
    VGG_16,
    Assumed,
    Workload,
    backward_flops,
    efficiency,
    fit,
    flop_per_s,
    messages,
)
from _paired import Claim, report

from lablib.units import show_bytes, show_flop_per_s, show_s

POINTS = 5
WORKLOADS = (RESNET_101, INCEPTION_V3, VGG_16)

SOURCES = """
Measured: of 128 GPUs, Sergeev and Del Balso, arXiv 1802.05799 (2018-02-21), and Horovod's README
  of that year: 32 servers with 4 Pascal GPUs, 25 Gbit/s RoCE, 90, 90 and 79 %. Of 1 and 16 GPUs,
  its README of 2017-09 (numbers of pull request 19, 2017-09-05): batch 64 a GPU, NCCL, RDMA.
Assumed, each with its source:
  compute     as fast as one GPU was measured, so no guess of how much of a peak rate is reached;
              a layer's share of the step is that of its FLOPs, backward twice those of forward.
              VGG-16 is above the 9.3 TFLOP/s of a P100 (microway.com, read 2026-11-22): the GPU
              is another Pascal, or fast convolutions multiply less often than is counted
  gradients   fp32, ready layer by layer; layers as in tf_cnn_benchmarks (tensorflow/benchmarks)
  messages    what gets ready within 5 ms (Horovod's cycle until pull request 2468, 2020-11-19)
              is fused, up to 64 MiB (docs/tensor-fusion.rst), and sent while backward goes on,
              one message after the other (one NCCL stream, horovod/tensorflow/mpi_ops.cc, 2017)
  all-reduce  one ring through all GPUs; trees came with NCCL 2.4 (release notes, 2019-01)
  network     RDMA, nobody else on it: "ethernet-25" of the catalog. TCP would be slower
  servers     PCI Express (alsrgv, Horovod issue 979, 2019-04-05): "pcie3" of the catalog
  left out    copies into buffers, agreeing on what is ready, compute that NCCL takes from the GPU
"""

WHY = """
Why not {unjittered}, as without jitter? That counts bytes and latencies only. The all-reduces of
ResNet-101 take {resnet[0]} beside {resnet[1]} of backward: they hide, and only the last one, of
{resnet[2]}, sticks out. But a synchronous step lasts as long as its slowest rank. When a GPU is
{jitter} late on average, the slowest of {gpus} is {slowest:.1f} times as late; nothing hides that.
The jitter stands for all that grows so with the ranks: clocks, hosts, operating systems, other
users of the network. This table cannot tell them apart.
VGG-16 is bound by the network, with all-reduces of {vgg[0]} and {vgg[1]} of backward. Stragglers
cost it less: during backward the others wait for the network anyway.
"""

UNCERTAIN = """
What remains uncertain: VGG-16 hangs on how much of the network's speed is reached, and on when
its gradients are ready: spread evenly, as simple formulas have them, they come too late. So with
VGG-16 this table checks what is assumed about messages more than the jitter. Other assumptions,
each fitted to ResNet-101:
"""

SIXTEEN = """
16 GPUs half a year earlier, with the jitter of 128. The model is too good: something slowed them
that is neither bytes nor the slowest of many. NCCL's support of RoCE was called experimental
then (Horovod issue 20, 2017-09-11).
"""


def main() -> int:
    jitter = fit(RESNET_101, BASE)
    modelled = efficiencies(BASE, jitter)
    unjittered = efficiencies(BASE, 0.0)
    claims = [
        Claim(
            f"{workload.name} on 128 GPUs, points between modelled and measured",
            100 * abs(found - workload.efficiency),
            POINTS,
        )
        for workload, found in zip(WORKLOADS, modelled)
        if workload is not RESNET_101
    ]
    notes = [
        *SOURCES.strip().splitlines(),
        *workloads(),
        *side_by_side(jitter, modelled, unjittered),
        *why(jitter, unjittered[0]),
        *alternatives(jitter, modelled),
        *sixteen(jitter),
    ]
    return report("Horovod's table: scaling efficiency, measured and modelled", claims, notes)


def efficiencies(assumed: Assumed, jitter: float, nodes: int = NODES) -> list[float]:
    return [efficiency(workload, assumed, jitter, nodes) for workload in WORKLOADS]


def workloads() -> list[str]:
    """Return what is computed and sent, as counted from the layers."""
    head = f"{'':14}{'parameters':>12}{'GMAC/image':>12}{'images/s':>10}{'reached':>16}{'sent':>26}"
    rows = ["", "Workloads; images/s of one GPU measured, the rest counted:", head]
    for workload in WORKLOADS:
        parameters = sum(layer.parameters for layer in workload.layers)
        macs = sum(layer.macs for layer in workload.layers)
        parts = messages(workload, BASE)
        sent = f"{show_bytes(sum(part.nbytes for part in parts))} in {len(parts)} messages"
        rows.append(
            f"{workload.name:14}{parameters / 1e6:>10.1f} M{macs / 1e9:>12.2f}"
            f"{workload.one_per_s:>10}{show_flop_per_s(flop_per_s(workload)):>16}{sent:>26}"
        )
    return rows


def side_by_side(jitter: float, modelled: list[float], unjittered: list[float]) -> list[str]:
    head = f"{'':14}{'measured':>10}{'modelled':>10}{'modelled without jitter':>26}"
    rows = ["", f"128 GPUs, jitter {jitter:.4f} fitted to ResNet-101:", head]
    for workload, found, without in zip(WORKLOADS, modelled, unjittered):
        rows.append(
            f"{workload.name:14}{percent(workload.efficiency):>10}{percent(found):>10}"
            f"{percent(without):>26}   {'fitted' if workload is RESNET_101 else 'predicted'}"
        )
    return rows


def why(jitter: float, unjittered: float) -> list[str]:
    """Return why formulas without stragglers promise too much, with the numbers of this model."""
    gpus = NODES * PER_NODE
    text = WHY.format(
        unjittered=percent(unjittered),
        jitter=percent(jitter),
        gpus=gpus,
        # The expected maximum of `gpus` exponential draws with mean 1.
        slowest=sum(1 / k for k in range(1, gpus + 1)),
        resnet=timing(RESNET_101),
        vgg=timing(VGG_16),
    )
    return text.splitlines()


def timing(workload: Workload) -> tuple[str, str, str]:
    """Return modelled seconds of all all-reduces and of backward, and bytes of the last message."""
    hardware = BASE.hardware(workload, jitter=0.0)
    parts = messages(workload, BASE)
    everybody = range(hardware.ranks)
    sent_s = sum(hardware.message_s("all_reduce", part.nbytes, everybody) for part in parts)
    backward_s = backward_flops(workload) / flop_per_s(workload)
    return show_s(sent_s), show_s(backward_s), show_bytes(parts[-1].nbytes)


def alternatives(jitter: float, modelled: list[float]) -> list[str]:
    """Return the predictions under other assumptions, each with its own fit."""
    rows = [*UNCERTAIN.splitlines(), head("128 GPUs, modelled"), row(BASE.text, modelled, jitter)]
    for assumed in ALTERNATIVES:
        fitted = fit(RESNET_101, assumed, start=jitter)
        if math.isnan(fitted):
            rows.append(row(assumed.text, efficiencies(assumed, 0.0), 0.0) + "   too low to fit")
        else:
            rows.append(row(assumed.text, efficiencies(assumed, fitted), fitted))
    return rows


def sixteen(jitter: float) -> list[str]:
    measured = [workload.efficiency_of_sixteen for workload in WORKLOADS]
    return [
        *SIXTEEN.splitlines(),
        head("16 GPUs"),
        row("modelled", efficiencies(BASE, jitter, nodes=4), jitter),
        row("measured", measured),
    ]


def head(text: str) -> str:
    return f"{text:32}{'jitter':>8}" + "".join(f"{workload.name:>14}" for workload in WORKLOADS)


def row(text: str, shares: list[float], jitter: float | None = None) -> str:
    fitted = "" if jitter is None else f"{jitter:.4f}"
    return f"{text:32}{fitted:>8}" + "".join(f"{percent(share):>14}" for share in shares)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
