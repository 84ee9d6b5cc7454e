"""Federated training in torch and TensorFlow: each strategy does what its paper says."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache, partial

import counting_models
import federated_twins as twins
import numpy as np
import pytest

import lablib as lab
from lablib import datasets, strategies
from lablib.cluster.failures import ClusterHangs
from lablib.cluster.local import launch
from lablib.strategies import federated

pytestmark = pytest.mark.timeout(300)
CANCER = lab.tasks.get("cancer-mlp")
# Local optimizers have no momentum, so the single process must have none.
PLAIN = replace(CANCER, name="plain", momentum=0.0)
SMALL = replace(CANCER, name="small steps", lr=0.005)
SKEWED = {"skew": 0.3}
TOGETHER = 1e-4
BOTH = ("torch", "tensorflow")
MACHINE = "dgx-a100"


@cache
def trained(name, framework="torch", task=CANCER, ranks=4, steps=4, **options):
    return lab.train(
        name, framework=framework, task=task, ranks=ranks, steps=steps, threads=1,
        timeout_s=120, progress=False, **options,
    )  # fmt: skip


@cache
def twin(function, task=CANCER, ranks=4, steps=4, batch=None, hardware=None, seed=0, **options):
    given = dict(federated.FEDPROX_OPTIONS) | options
    job = strategies.Job(task, steps, batch or task.batch, seed, given)
    return lab.Cluster(ranks, hardware=hardware, threads=1).run(partial(function, job=job))


def weights_of(run, rank=0):
    return run.values[rank]["weights"]


def losses_of(run):
    return np.mean([value["losses"] for value in run.values], axis=0)


def apart(weights, right):
    """Return the largest difference of any array, relative to its largest weight."""
    assert weights.keys() == right.keys()
    return max(
        np.abs(weights[name] - right[name]).max() / np.abs(right[name]).max() for name in right
    )


def drifts(run):
    """Return the drift of each round, the mean over the hospitals that took part in it."""
    rows = [row for logged in run.logged for row in logged]
    rounds = sorted({row["round"] for row in rows})
    return [np.mean([row["drift"] for row in rows if row["round"] == number]) for number in rounds]


# One local step on all records is one step on all data.


def all_at_once(name, framework, ranks=4, **options):
    return trained(name, framework, PLAIN, ranks, batch=ranks * PLAIN.samples, **SKEWED, **options)


@pytest.mark.parametrize(
    "framework, ranks",
    [("torch", 1), ("torch", 3), ("torch", 8), ("tensorflow", 1), ("tensorflow", 4)],
)
def test_fedavg_with_one_local_step_on_all_records_is_the_single_process(framework, ranks):
    one = trained("single", framework, PLAIN, 1, batch=PLAIN.samples).history
    many = all_at_once("fedavg", framework, ranks).history
    assert many.loss == pytest.approx(one.loss, rel=TOGETHER)
    assert apart(many.weights, one.weights) < TOGETHER
    assert many.batch == one.batch == PLAIN.samples


def test_that_claim_can_fail_a_mean_that_ignores_the_number_of_records_differs():
    one = trained("single", task=PLAIN, ranks=1, batch=PLAIN.samples).history
    asked = dict(task=PLAIN, batch=4 * PLAIN.samples, **SKEWED)
    assert apart(weights_of(twin(twins.right, **asked)), one.weights) < TOGETHER
    wrong = twin(twins.mean_without_sizes, **asked)
    assert apart(weights_of(wrong), one.weights) > 10 * TOGETHER
    assert losses_of(wrong)[-1] != pytest.approx(one.loss[-1], rel=10 * TOGETHER)


# Several local epochs, absent hospitals and a short last round, computed again in this process.

ROUNDS = {"skew": 0.3, "local_epochs": 2, "drop": 0.4}
STEPS = 7  # three rounds and one that is cut short


def reference(task, ranks, steps, seed, skew, local_epochs, drop, mu=0.0):
    """Return (losses, weights) of federated training in this process.

    Each hospital has at most one mini-batch, so their order does not matter.
    """
    import torch

    x, y = task.data()
    hospitals = datasets.split_by_client(y, ranks, skew, seed)
    job = strategies.Job(
        task, steps, task.batch, seed, {"local_epochs": local_epochs, "drop": drop}
    )
    model, losses = task.torch_model(seed), []
    for first in range(0, steps, local_epochs):
        shares = federated.round_at(first, job, tuple(map(len, hospitals))).shares
        epochs = range(min(local_epochs, steps - first))
        trained_models, losses_of_round = [], np.zeros(len(epochs))
        for rows, share in zip(hospitals, shares):
            mine = copy.deepcopy(model)
            optimizer = torch.optim.SGD(mine.parameters(), lr=task.lr)
            for epoch in epochs:
                loss = task.torch_loss(mine(torch.tensor(x[rows])), torch.tensor(y[rows]))
                near = zip(mine.parameters(), model.parameters())
                penalty = sum(((a - b.detach()) ** 2).sum() for a, b in near)
                optimizer.zero_grad()
                (loss + mu / 2 * penalty).backward()
                optimizer.step()
                losses_of_round[epoch] += share * loss.item()
            trained_models.append(mine.state_dict())
        losses += losses_of_round.tolist()
        model.load_state_dict(
            {
                name: sum(share * each[name] for share, each in zip(shares, trained_models))
                for name in model.state_dict()
            }
        )
    return losses, task.torch_arrays(model)


@pytest.mark.parametrize("framework", BOTH)
@pytest.mark.parametrize("name, mu", [("fedavg", {}), ("fedprox", {"mu": 2.0})])
def test_a_run_equals_the_same_rounds_in_one_process(framework, name, mu):
    losses, weights = reference(PLAIN, 4, STEPS, 0, **ROUNDS, **mu)
    batch = 4 * PLAIN.samples
    run = trained(name, framework, PLAIN, 4, STEPS, batch=batch, **ROUNDS, **mu).history
    assert run.loss == pytest.approx(losses, rel=TOGETHER)
    assert apart(run.weights, weights) < TOGETHER


WRONG_ROUNDS = [
    twins.mean_without_sizes, twins.absent_hospitals_count,
    twins.absent_hospitals_keep_their_weights, twins.averages_after_every_epoch,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_ROUNDS, ids=lambda twin: twin.__name__)
def test_those_rounds_can_be_wrong(wrong):
    losses, weights = reference(PLAIN, 4, STEPS, 0, **ROUNDS)
    asked = dict(task=PLAIN, steps=STEPS, batch=4 * PLAIN.samples, **ROUNDS)
    assert apart(weights_of(twin(twins.right, **asked)), weights) < TOGETHER
    assert apart(weights_of(twin(wrong, **asked)), weights) > 10 * TOGETHER


def test_all_hospitals_end_with_the_same_weights_whether_they_took_part_or_not():
    asked = dict(steps=5, skew=0.3, local_epochs=2, drop=0.5)
    same = twin(twins.right, **asked)
    assert max(apart(weights_of(same, rank), weights_of(same)) for rank in range(4)) == 0
    differ = twin(twins.absent_hospitals_keep_their_weights, **asked)
    assert max(apart(weights_of(differ, rank), weights_of(differ)) for rank in range(4)) > 0


def absences(drop, rounds, ranks=4, seed=0):
    job = strategies.Job(CANCER, rounds, 32, seed, {"local_epochs": 1, "drop": drop})
    shares = [federated.round_at(step, job, (1, 2, 3, 4)).shares for step in range(rounds)]
    assert np.sum(shares, axis=1) == pytest.approx(1)
    return np.equal(shares, 0)


def test_hospitals_miss_rounds_with_the_given_probability_and_one_is_always_there():
    assert absences(0.0, 50).sum() == 0
    assert absences(0.3, 1000).mean(axis=0) == pytest.approx([0.3] * 4, abs=0.05)
    assert (absences(1.0, 50).sum(axis=1) == 3).all()
    assert (absences(0.3, 50) != absences(0.3, 50, seed=1)).any()


def test_a_hospital_that_misses_a_round_reports_no_drift_and_no_samples():
    run = trained("fedavg", steps=6, drop=0.5, **SKEWED)
    absent = absences(0.5, 6)
    assert 0 < absent.sum()
    for rank in range(4):
        assert [row["round"] for row in run.logged[rank]] == np.flatnonzero(
            ~absent[:, rank]
        ).tolist()
        assert (run.values[rank]["losses"] == np.zeros(6)).tolist() == absent[:, rank].tolist()


# Mini-batches


def test_hospitals_with_different_numbers_of_mini_batches_do_not_hang():
    sizes = [len(rows) for rows in datasets.split_by_client(CANCER.data()[1], 4, 0.3)]
    assert len({-(-size // (CANCER.batch // 4)) for size in sizes}) > 1
    for framework in BOTH:
        assert len(trained("fedavg", framework, **SKEWED).history.loss) == 4


def test_that_claim_can_fail_if_hospitals_average_after_every_mini_batch():
    with pytest.raises(ClusterHangs, match="rank 0 has ended, but rank 1 still waits"):
        twin(twins.averages_after_every_mini_batch, **SKEWED)


@pytest.mark.parametrize("size", [1, 7, 8, 50, 1000])
def test_an_epoch_has_every_record_once_in_mini_batches_of_almost_the_same_size(size):
    parts = federated._mini_batches(np.arange(57), size)
    assert sorted(np.concatenate(parts)) == list(range(57))
    assert max(map(len, parts)) <= size and np.ptp([*map(len, parts)]) <= 1
    assert len(parts) == -(-57 // size)


# FedProx


@pytest.mark.parametrize("framework", BOTH)
def test_fedprox_without_a_penalty_is_fedavg(framework):
    options = dict(local_epochs=2, **SKEWED)
    prox = trained("fedprox", framework, mu=0.0, **options).history
    fedavg = trained("fedavg", framework, **options).history
    assert prox.loss == pytest.approx(fedavg.loss, rel=1e-6)
    assert apart(prox.weights, fedavg.weights) < 1e-6


def drift_by_mu(train):
    return [np.mean(drifts(train(mu))) for mu in (0.0, 1.0, 10.0)]


@pytest.mark.parametrize("framework", BOTH)
def test_the_drift_of_fedprox_falls_with_mu(framework):
    none, some, much = drift_by_mu(
        lambda mu: trained("fedprox", framework, mu=mu, local_epochs=2, **SKEWED)
    )
    assert some < 0.98 * none and much < 0.7 * none


def test_that_claim_can_fail_if_the_penalty_measures_from_the_current_weights():
    none, some, much = drift_by_mu(
        lambda mu: twin(twins.pulls_towards_its_own_weights, mu=mu, local_epochs=2, **SKEWED)
    )
    assert none == some == much


# SCAFFOLD

SEEDS = range(5)
DRIFTING = dict(steps=18, skew=0.1, local_epochs=3)


@cache
def fedavg_drift(seed):
    return np.mean(drifts(trained("fedavg", task=SMALL, seed=seed, **DRIFTING))[1:])


def relative_drifts(train):
    """Return the drift as a share of that of fedavg, for each seed.

    The first round does not count: there, nothing is known that could correct the drift.
    """
    return [np.mean(drifts(train(seed))[1:]) / fedavg_drift(seed) for seed in SEEDS]


def test_scaffold_drifts_less_than_fedavg_on_skewed_records():
    ratios = relative_drifts(lambda seed: trained("scaffold", task=SMALL, seed=seed, **DRIFTING))
    assert max(ratios) < 0.85


@pytest.mark.parametrize(
    "wrong", [twins.corrects_with_the_wrong_sign, twins.sends_estimates_and_uses_none]
)
def test_that_claim_can_fail(wrong):
    ratios = relative_drifts(lambda seed: twin(wrong, task=SMALL, seed=seed, **DRIFTING))
    assert min(ratios) > 0.99


def test_scaffold_is_fedavg_in_its_first_round_and_for_one_hospital():
    first = [trained(name, steps=2, local_epochs=2, **SKEWED) for name in ("scaffold", "fedavg")]
    assert apart(*(run.history.weights for run in first)) < 1e-6
    alone = [trained(name, ranks=1, steps=4) for name in ("scaffold", "fedavg")]
    assert apart(*(run.history.weights for run in alone)) < TOGETHER


def test_scaffold_sends_twice_the_bytes_of_fedavg():
    fedavg, scaffold = (
        strategies.get(name).expected(CANCER, 4, 32) for name in ("fedavg", "scaffold")
    )
    assert scaffold.wire_bytes == 2 * fedavg.wire_bytes
    assert scaffold.messages["all_reduce"] == (4, 2 * fedavg.messages["all_reduce"][1])


# Local training


@pytest.mark.parametrize("framework", BOTH)
def test_local_only_returns_the_model_of_every_hospital(framework):
    run = trained("local_only", framework, ranks=3, **SKEWED)
    names = {f"hospital {rank}: {name}" for rank in range(3) for name in CANCER.weights()}
    assert run.history.weights.keys() == names
    assert not run.trace.of(kind="message")
    first, second = (run.history.weights[f"hospital {rank}: 0.dense.kernel"] for rank in (0, 1))
    assert np.abs(first - second).max() > 1e-3


def test_a_hospital_alone_learns_what_fedavg_with_one_hospital_learns():
    alone = trained("local_only", ranks=1).history.weights
    fedavg = trained("fedavg", ranks=1).history.weights
    assert (
        apart({name.removeprefix("hospital 0: "): each for name, each in alone.items()}, fedavg)
        < 1e-6
    )


@pytest.mark.parametrize("name, options", [("fedavg", {}), ("fedprox", {}), ("local_only", {})])
def test_the_frameworks_agree(name, options):
    torch, tensorflow = (trained(name, of, **SKEWED).history for of in BOTH)
    assert torch.loss == pytest.approx(tensorflow.loss, rel=1e-3)
    assert apart(torch.weights, tensorflow.weights) < 1e-3


# Closed forms


def complaints(run, name, task=CANCER, ranks=4, framework="torch", **options):
    return (
        strategies.get(name, framework).expected(task, ranks, task.batch, **options).complaints(run)
    )


FORMS = [
    ("fedavg", "cancer-mlp", 1, {}),
    ("fedavg", "cancer-mlp", 4, {"local_epochs": 2, "skew": 0.3}),
    ("fedavg", "digits-cnn", 2, {}),
    ("fedavg", "digits-mlp", 8, {"local_epochs": 4, "drop": 0.5}),
    ("fedprox", "cancer-mlp", 4, {"local_epochs": 2}),
    ("local_only", "cancer-mlp", 4, {"skew": 0.3}),
    ("local_only", "digits-mlp", 2, {}),
]
TORCH_FORMS = [
    ("scaffold", "cancer-mlp", 4, {"local_epochs": 2, "skew": 0.3}),
    ("scaffold", "digits-mlp", 2, {}),
]


@pytest.mark.parametrize(
    "framework, name, task, ranks, options",
    [("torch", *form) for form in FORMS + TORCH_FORMS] + [("tensorflow", *form) for form in FORMS],
)
def test_a_round_sends_and_holds_what_its_closed_form_says(framework, name, task, ranks, options):
    task = lab.tasks.get(task)
    run = trained(name, framework, task, ranks, hardware=MACHINE, **options)
    assert complaints(run, name, task, ranks, framework, **options) == []


TWICE = {"local_epochs": 2}
WRONG_FORMS = [
    (twins.averages_after_every_epoch, "all_reduce: 8 calls"),
    (twins.averages_each_array, "all_reduce: 64 calls"),
    (twins.sends_its_records, "all_gather: 4 calls"),
    (twins.keeps_its_forward_passes, "memory: "),
    (twins.sends_estimates_and_uses_none, "all_reduce: 4 calls of"),
]


@pytest.mark.parametrize(
    "wrong, complaint", WRONG_FORMS, ids=lambda of: getattr(of, "__name__", "")
)
def test_that_closed_form_can_fail(wrong, complaint):
    assert complaints(twin(twins.right, hardware=MACHINE, **TWICE), "fedavg", **TWICE) == []
    found = complaints(twin(wrong, hardware=MACHINE, **TWICE), "fedavg", **TWICE)
    assert complaint in " ".join(found)


def test_a_closed_form_covers_the_given_number_of_last_steps():
    run = twin(twins.right, hardware=MACHINE, **TWICE)
    form = strategies.get("fedavg").expected(CANCER, 4, CANCER.batch, **TWICE)
    assert form.every == 2 and form.complaints(run) == []
    assert "all_reduce: 8 calls" in " ".join(replace(form, every=4).complaints(run))
    assert "wire: " in " ".join(replace(form, every=4).complaints(run))
    assert replace(form, every=3).complaints(run) == ["steps: 4, not a multiple of 3"]


# Users' own tasks, and what cannot be


class Frozen:
    """A function that makes a model with BatchNorm and a layer that is not trained."""

    def __call__(self):
        model = counting_models.dense()
        model[0].requires_grad_(False)
        return model


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold"])
def test_an_own_task_keeps_its_frozen_weights_and_its_buffers(name):
    task = counting_models.task(Frozen())
    before, run = task.weights(), trained(name, task=task, ranks=3, steps=2, skew=0.5)
    after = run.history.weights
    assert after.keys() == before.keys()
    assert np.array_equal(after["0.weight"], before["0.weight"])
    assert np.abs(after["3.weight"] - before["3.weight"]).max() > 1e-3
    rows = datasets.split_by_client(task.data()[1], 3, 0.5)[0]
    assert after["0.calls"] == 2 * -(-len(rows) // (task.batch // 3))


def first_texts():
    return tuple(array[:32] for array in lab.tasks.get("bytes-gpt").data())


@pytest.mark.parametrize("framework", BOTH)
def test_the_loss_falls_on_text_whose_targets_are_not_one_class_for_each_row(framework):
    task = replace(lab.tasks.get("bytes-gpt"), name="few texts", data=first_texts)
    loss = trained("fedavg", framework, task, ranks=2).history.loss
    assert loss[-1] < 0.95 * loss[0]


@pytest.mark.parametrize("ranks", [1, 3, 5, 8])
def test_any_number_of_hospitals_can_share_the_records(ranks):
    for name in ("fedavg", "fedprox", "scaffold", "local_only"):
        loss = trained(name, ranks=ranks, steps=3, skew=1.0).history.loss
        assert loss[-1] < loss[0]


def test_a_step_counts_all_records():
    run = trained("fedavg", hardware=MACHINE)
    assert run.history.batch == CANCER.samples
    rows = [event for event in run.trace.of(kind="step")]
    assert len(rows) == 4 * 4


WRONG = [
    (dict(skew=0.0), "skew=0.0"),
    (dict(task="bytes-gpt", skew=1.0), "targets of shape"),
    (dict(ranks=8, batch=7), "8 hospitals share a batch"),
    (dict(local_epochs=0), "local_epochs=0"),
    (dict(local_epochs=1.5), "local_epochs=1.5"),
    (dict(drop=1.5), "drop=1.5"),
    (dict(drop=float("nan")), "drop=nan"),
    (dict(drop="often"), "drop='often'"),
    (dict(strategy="fedprox", mu=-1.0), "mu=-1.0"),
    (dict(strategy="fedprox", mu=True), "mu=True"),
    (dict(strategy="local_only", drop=0.5), "drop=0.5"),
    (dict(strategy="scaffold", framework="tensorflow"), "framework='tensorflow'"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_is_an_error_before_any_process_starts(asked, seen, monkeypatch):
    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(lab.LabError) as caught:
        lab.train(**{"strategy": "fedavg", "task": CANCER, "ranks": 4} | asked)
    assert seen in caught.value.saw and caught.value.do
