"""Programs that run in plain TensorFlow also run under the recorder, with the same results."""

from __future__ import annotations

from functools import cache, partial

import pytest
import tensorflow_programs as programs

import lablib as lab


@cache
def outcome(job, **given):
    cluster = lab.Cluster(2, framework="tensorflow", timeout_s=60)
    return cluster.run(partial(job, **given))


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_a_program_runs_and_its_ranks_agree(name):
    one, other = outcome(programs.run, name=name).values
    assert one == other and all(number > 0 for number in one)


@pytest.mark.parametrize("name", ["RMSprop", "metrics"])
def test_a_program_gives_the_same_without_the_recorder(name):
    recorded, alone = (outcome(job, name=name) for job in (programs.run, programs.run_unrecorded))
    assert recorded.values == alone.values
    assert recorded.trace.of(kind="message") and not alone.trace.of(kind="message")


def test_initial_values_made_in_a_graph_are_recorded_too():
    run = outcome(programs.run, name="RMSprop")
    sent = run.trace.of(rank=0, kind="message", name="broadcast")
    kernels = [event for event in sent if event.nbytes == 4 * 3 * 3]
    assert len(kernels) == 2  # the layer's own, and the optimizer's slot


def test_an_error_in_a_graph_shows_tensorflows_own_message():
    with pytest.raises(lab.RankFailed) as caught:
        outcome(programs.fails_in_a_graph)
    assert "the learning rate is too high" in caught.value.wrong
    assert len(caught.value.wrong.splitlines()) < 15
