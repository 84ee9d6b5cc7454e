"""The parameter server in torch: how far its workers drift apart, and that it learns."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import server_twins as twins

import lablib as lab
from lablib import strategies

STEPS = 4
BOUND = 2


@cache
def trained(name, task="digits-mlp", ranks=None, steps=20, **options):
    return lab.train(
        name, task=task, ranks=ranks, steps=steps, threads=1, progress=False, **options
    )


def twin(function, ranks=3, steps=STEPS, staleness=None, hardware=None):
    task = lab.tasks.get("digits-mlp")
    job = strategies.Job(task, steps, task.batch, options={"staleness": staleness})
    return lab.Cluster(ranks, hardware=hardware).run(partial(function, job=job))


def apart(a, b):
    return np.abs(np.subtract(a, b)).max() / np.abs(b).max()


@pytest.mark.parametrize("task", ["digits-mlp", "bytes-gpt"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_with_staleness_0_it_is_the_single_process(task, ranks):
    one = trained("single", task).history
    many = trained("parameter_server", task, ranks, staleness=0).history
    assert many.loss == pytest.approx(one.loss, rel=1e-4)
    assert many.weights.keys() == one.weights.keys()
    assert max(apart(many.weights[name], one.weights[name]) for name in one.weights) <= 1e-4


def test_that_equality_can_fail_when_no_worker_takes_its_share_for_a_share():
    weights = twin(twins.pushes_the_mean_of_its_share, steps=20, staleness=0).values[0]["weights"]
    one = trained("single").history.weights
    assert max(apart(weights[name], one[name]) for name in one) > 1e-2


@pytest.mark.parametrize("staleness", [BOUND, None])
def test_the_loss_falls(staleness):
    loss = trained("parameter_server", "bytes-gpt", 4, staleness=staleness).history.loss
    assert np.mean(loss[-5:]) < 0.8 * np.mean(loss[:5])


def staleness_seen(run):
    return [row["staleness"] for row in run.logged[0]]


@pytest.mark.parametrize("bound", [0, BOUND])
def test_the_fast_worker_waits_for_the_slow_one_at_the_bound(bound):
    slowed = partial(twins.one_is_slow, pushes=bound + 1)
    seen = staleness_seen(twin(slowed, staleness=bound))
    assert max(seen) == bound
    assert len(seen) == 2 * STEPS


def test_without_a_bound_it_does_not():
    run = twin(partial(twins.one_is_slow, pushes=BOUND + 2))
    assert max(staleness_seen(run)) > BOUND


def complaints(run, **options):
    task = lab.tasks.get("digits-mlp")
    described = strategies.get("parameter_server").expected(
        task, run.spec.ranks, task.batch, **options
    )
    return described.complaints(run)


@pytest.mark.parametrize("ranks, staleness", [(2, 0), (4, 0), (2, None), (4, None)])
def test_a_step_sends_and_holds_what_its_closed_form_says(ranks, staleness):
    run = trained(
        "parameter_server", ranks=ranks, steps=STEPS, hardware="dgx-a100", staleness=staleness
    )
    assert complaints(run, staleness=staleness) == []


def test_that_claim_can_fail():
    run = twin(twins.a_message_for_each_weight, hardware="dgx-a100")
    assert "send: 64 calls" in " ".join(complaints(run))


def test_a_batch_has_a_sample_for_every_worker():
    with pytest.raises(lab.LabError, match="fewer samples than the 3 workers"):
        lab.train("parameter_server", ranks=4, batch=2, steps=1)


def test_a_bound_below_0_is_an_error_and_not_a_hang():
    with pytest.raises(lab.LabError, match="staleness=-1"):
        lab.train("parameter_server", ranks=2, steps=1, staleness=-1, progress=False)
