"""torch.compile works on ranks as it does under torchrun, and messages are recorded."""

from __future__ import annotations

from functools import partial

import compiled
import pytest

import lablib as lab


def with_the_compiler(job, me):
    import torch

    return job(me, wrap=lambda function, **options: torch.compile(function, **options))


def messages(run):
    return [(event.name, event.nbytes) for event in run.trace.of(rank=0, kind="message")]


@pytest.mark.parametrize(
    "job, hardware",
    [
        (compiled.trains_ddp, None),
        (compiled.trains_ddp, "dgx-a100"),
        (compiled.sums, None),
        (compiled.sums, "dgx-a100"),
    ],
    ids=lambda it: getattr(it, "__name__", it),
)
def test_a_compiled_program_gives_the_same_values_and_messages(job, hardware):
    cluster = lab.Cluster(2, hardware=hardware, timeout_s=110)
    plain, fast = cluster.run(job), cluster.run(partial(with_the_compiler, job))
    assert fast.values == plain.values
    assert sorted(messages(fast)) == sorted(messages(plain)) != []
    lines = {event.line.partition(",")[0] for event in fast.trace.of(kind="message")}
    assert lines == {"compiled.py"}  # no lines of torch.compile's own code
    assert "hooks" not in fast.logs[0]  # no warning about the kit's own hooks
