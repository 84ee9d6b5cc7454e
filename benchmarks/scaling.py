"""Compare data parallelism on two ranks with one: the same batch for each rank, one thread each.

python benchmarks/scaling.py
"""

from __future__ import annotations

import sys
from statistics import median

from _paired import Claim, refusal, report

import lablib as lab
from lablib.record import metrics

PAIRS, STEPS = 9, 40


def rate(strategy, ranks):
    run = lab.train(strategy, task="digits-cnn", ranks=ranks, steps=STEPS, scaling="weak",
                    threads=1, progress=False)  # fmt: skip
    return metrics.samples_per_s(run.trace, run.history.batch)


def main():
    claims, notes = [], []
    for strategy in ("ddp", "multi_worker_mirrored"):
        pairs = [(rate(strategy, 1), rate(strategy, 2)) for _ in range(PAIRS)]
        ratios = sorted(two / one for one, two in pairs)
        one, two = (median(rates) for rates in zip(*pairs))
        notes.append(f"{strategy}: {one:.0f} samples/s on 1 rank, {two:.0f} on 2, ratios "
                     + " ".join(f"{ratio:.2f}" for ratio in ratios))  # fmt: skip
        claims.append(Claim(f"{strategy}, 2 ranks / 1 rank", median(ratios), 1.6, at_most=False))
    return report("scaling of digits-cnn, one thread a rank", claims, notes, refusal())


if __name__ == "__main__":
    sys.exit(main())
