"""Exercise 7.5 judges random numbers, so its check must never reject a right answer by chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lablib.teach.exercise import find

ONE = find("7.5")
MODULE = ONE.module


@pytest.mark.parametrize("module", [MODULE, ONE.hidden], ids=["public", "hidden"])
def test_the_stored_costs_are_those_of_the_accountant(module):
    from lablib.training.privacy import epsilon

    for (noise, sample_rate, delta), costs in module.SPENT.items():
        for steps in (1, 20, len(costs)):
            due = epsilon(noise, sample_rate, steps, delta)
            assert costs[steps - 1] == pytest.approx(due, abs=0.002)


def simulated(case, rng, noise=1.0):
    """Return what a right answer sends, without ranks; `noise` scales its noise."""
    rules, hospitals = SimpleNamespace(**case.shared["rules"]), case.own[: MODULE.HOSPITALS]
    spread = noise * rules.noise * rules.clip / np.sqrt(len(hospitals))
    runs = []
    for _ in range(MODULE.RUNS):
        weights, heard, steps = case.shared["weights"], [], [[] for _ in hospitals]
        for _ in range(sum(cost <= rules.budget for cost in case.shared["costs"])):
            rows = [np.flatnonzero(rng.random(rules.records) < rules.sample_rate)
                    for _ in hospitals]  # fmt: skip
            heard.append([MODULE.clipped_sum(own, [(weights, mine)], rules.clip)
                          + rng.normal(0, spread, len(weights))
                          for own, mine in zip(hospitals, rows, strict=True)])  # fmt: skip
            for asked, mine in zip(steps, rows, strict=True):
                asked.append([(weights, mine)])
            weights = weights - rules.lr * sum(heard[-1]) / (rules.sample_rate * rules.all_records)
        runs.append((heard, [{"weights": weights, "steps": each} for each in steps]))
    by_rank = [[run[rank] for _, run in runs] for rank in range(len(hospitals))]
    return SimpleNamespace(
        values=(*by_rank, [heard for heard, _ in runs]), put_in=lambda rank: [], evidence="values"
    )


def failing(case, rng, **more):
    claims = list(MODULE.judge(case, simulated(case, rng, **more)))
    assert len(claims) == 8
    return [claim.text for claim in claims if not claim.holds]


def test_a_right_answer_never_fails_by_chance():
    rng = np.random.default_rng(1)
    for seed in range(40):
        for case in (*MODULE.cases(seed), *ONE.hidden.cases(seed)):
            assert failing(case, rng) == []


def test_that_claim_can_fail():
    rng = np.random.default_rng(1)
    for case in MODULE.cases(3):
        for noise in (0.75, 1.3):
            assert any("right size" in text for text in failing(case, rng, noise=noise))
