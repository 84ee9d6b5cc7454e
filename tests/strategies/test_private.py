"""Secure aggregation is federated averaging; DP-SGD is SGD with clipped and noised gradients.

`test_masks.py` tests the masks, `test_canaries.py` what is really sent.
"""

from __future__ import annotations

import contextlib
import math
import sys
from dataclasses import replace
from functools import cache, partial

import cloudpickle
import numpy as np
import private_twins as twins
import pytest
from scipy import stats

import lablib as lab
from lablib import strategies
from lablib.strategies import differential_privacy, federated, masks

pytestmark = pytest.mark.timeout(300)
cloudpickle.register_pickle_by_value(twins)
cloudpickle.register_pickle_by_value(sys.modules[__name__])
FRAMEWORKS = ["torch", "tensorflow"]
TASK = lab.tasks.get("actg175-mlp")
ALL = TASK.samples
STEPS = 6
TOGETHER = 1e-4


@cache
def trained(name, framework="torch", task=TASK, ranks=4, steps=STEPS, hardware=None, **options):
    return lab.train(
        name, framework=framework, task=task, ranks=ranks, steps=steps, hardware=hardware,
        progress=False, threads=1, timeout_s=120, **options,
    )  # fmt: skip


def run_twin(twin, name, ranks=4, steps=STEPS, hardware=None, **options):
    described = strategies.get(name, "torch").STRATEGY
    job = strategies.Job(TASK, steps, TASK.batch, options=described.chosen(options))
    cluster = lab.Cluster(ranks, hardware=hardware, timeout_s=120)
    return cluster.run(partial(twin, job=job, name=name))


def weights_of_twin(run):
    return run.values[0]["weights"]


def furthest(a, b):
    """Return the largest difference of any weight."""
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() for name in b)


def relative(a, b):
    """Return the largest difference of any tensor, relative to that tensor's largest weight."""
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max() for name in b)


def complaints(run, name, **options):
    module = strategies.get(name, run.spec.framework)
    return module.expected(TASK, run.spec.ranks, TASK.batch, **options).complaints(run)


# --- secure aggregation

UNEVEN = {"skew": 0.5, "local_epochs": 2}
ABSENT = {"drop": 0.5, "local_epochs": 2}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("bits", [10, 20, 24])
def test_a_round_is_that_of_fedavg_within_the_digits(framework, bits):
    plain = trained("fedavg", framework, steps=1).history.weights
    masked = trained("secure_aggregation", framework, steps=1, fraction_bits=bits).history.weights
    apart = furthest(masked, plain)
    assert apart <= 4 / 2 * 2.0**-bits + 1e-7
    assert bits > 10 or apart > 1e-7  # ten bits can be told from float32


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("options", [{}, UNEVEN, ABSENT], ids=str)
def test_so_are_several_rounds_with_hospitals_that_are_unequal_or_missing(framework, options):
    plain = trained("fedavg", framework, **options).history
    masked = trained("secure_aggregation", framework, **options).history
    assert furthest(masked.weights, plain.weights) < TOGETHER
    assert masked.loss == pytest.approx(plain.loss, rel=1e-4)


def test_that_claim_can_fail_masks_of_missing_hospitals_must_be_revealed():
    masked = weights_of_twin(
        run_twin(twins.reveals_nothing, "secure_aggregation", steps=2, **ABSENT)
    )
    assert furthest(masked, trained("fedavg", steps=2, **ABSENT).history.weights) > 0.1


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("options", [UNEVEN, ABSENT], ids=str)
def test_a_round_sends_the_weights_once_and_the_masks_of_missing_hospitals(framework, options):
    run = trained("secure_aggregation", framework, **options)
    keys, *sent = [(event.name, event.nbytes) for event in run.trace.of(rank=0, kind="message")]
    chosen = strategies.get("secure_aggregation", framework).STRATEGY.chosen(options)
    plan = strategies.Job(TASK, STEPS, TASK.batch, options=chosen)
    rounds = [federated.round_at(step, plan, (ALL,) * 4) for step in range(0, STEPS, 2)]
    missed = sum(0.0 in each.shares for each in rounds)
    assert (missed > 0) == (options is ABSENT)
    assert keys == ("all_reduce", 4 * masks.KEY_BYTES)
    assert sent == [("all_reduce", 4 * TASK.parameters)] * (len(rounds) + missed)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("options", [{}, UNEVEN], ids=str)
def test_a_round_sends_and_holds_what_its_closed_form_says(framework, options):
    """A thread of gloo may free a message late, and then a rank holds one message more."""
    run = trained("secure_aggregation", framework, hardware="dgx-a100", **options)
    module = strategies.get("secure_aggregation", framework)
    due = module.expected(TASK, run.spec.ranks, TASK.batch, **options)
    late = replace(due, live_bytes=due.live_bytes + 4 * TASK.parameters)
    assert [] in (due.complaints(run), late.complaints(run))


def test_that_claim_about_messages_can_fail():
    twin = run_twin(twins.sends_the_losses_too, "secure_aggregation", hardware="dgx-a100")
    assert "all_reduce: 8 calls" in " ".join(complaints(twin, "secure_aggregation"))


# --- DP-SGD

MOMENTUM = replace(TASK, momentum=0.9)
PLAIN = {"noise": 0.0, "clip": math.inf}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("ranks, skew", [(1, None), (2, 0.5), (4, None)])
def test_without_noise_and_clipping_all_records_give_the_single_process(framework, ranks, skew):
    one = trained("single", framework, MOMENTUM, 1, batch=ALL).history
    many = trained("dp_sgd", framework, MOMENTUM, ranks, batch=ALL, skew=skew, **PLAIN).history
    assert relative(many.weights, one.weights) < TOGETHER
    assert many.loss == pytest.approx(one.loss, rel=1e-4)


OTHER = [{"noise": 0.0, "clip": 0.1}, {"noise": 0.1, "clip": 1.0}]


@pytest.mark.parametrize("options", OTHER, ids=str)
def test_that_claim_can_fail(options):
    one = trained("single", "torch", MOMENTUM, 1, batch=ALL).history
    many = trained("dp_sgd", "torch", MOMENTUM, 4, batch=ALL, **options).history
    assert relative(many.weights, one.weights) > 10 * TOGETHER


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_records_that_are_drawn_do_not_depend_on_the_number_of_hospitals(framework):
    one, many = (
        trained("dp_sgd", framework, ranks=ranks, noise=0.0, clip=0.3).history for ranks in (1, 4)
    )
    assert relative(many.weights, one.weights) < TOGETHER
    assert many.loss == pytest.approx(one.loss, rel=1e-4)


def one_record_after_the_other(me, plan):
    """Train like DP-SGD without noise, with a backward pass for each record; return the weights."""
    import torch

    model = TASK.torch_model(plan.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=TASK.lr)
    for step in range(plan.steps):
        sums = [torch.zeros_like(weight) for weight in model.parameters()]
        for number in differential_privacy.drawn_at(step, plan):
            x, y = me.put(TASK.rows(np.array([number])))
            gradients = torch.autograd.grad(TASK.torch_loss(model(x), y), list(model.parameters()))
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
            for total, gradient in zip(sums, gradients):
                total += gradient * min(1.0, plan.options["clip"] / norm)
        for weight, total in zip(model.parameters(), sums):
            weight.grad = total / plan.batch
        optimizer.step()
    return TASK.torch_arrays(model)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_clipping_is_that_of_a_loop_over_the_records(framework):
    plan = strategies.Job(TASK, STEPS, TASK.batch, options={"clip": 0.3})
    slow = lab.Cluster(1).run(partial(one_record_after_the_other, plan=plan)).values[0]
    fast = trained("dp_sgd", framework, ranks=4, noise=0.0, clip=0.3).history.weights
    assert relative(fast, slow) < TOGETHER
    unclipped = trained("dp_sgd", "torch", ranks=4, **PLAIN).history.weights
    assert relative(unclipped, slow) > 10 * TOGETHER  # so that claim can fail


def job(batch=32, seed=0):
    return strategies.Job(TASK, STEPS, batch, seed)


def drawn(draw, steps=2000):
    """Return a bool for each step and record: was it drawn?"""
    found = np.zeros((steps, ALL), bool)
    for step in range(steps):
        found[step, draw(step)] = True
    return found


def looks_like_poisson_sampling(found, rate):
    """Return True if all draws look independent, with this probability."""
    steps, records = found.shape
    by_record = stats.binomtest(int(found.sum()), found.size, rate).pvalue
    sizes, repeats = found.sum(axis=1), (found[1:] & found[:-1]).sum()
    spread = sizes.var() / (records * rate * (1 - rate))
    again = stats.binomtest(int(repeats), found[1:].size, rate**2).pvalue
    evenly = stats.chisquare(found.sum(axis=0)).pvalue
    return min(by_record, again, evenly) > 1e-4 and abs(spread - 1) < 0.15


def test_each_record_is_drawn_independently_with_the_probability_of_the_accountant():
    found = drawn(lambda step: differential_privacy.drawn_at(step, job()))
    assert looks_like_poisson_sampling(found, 32 / ALL)


OTHER_DRAWS = {
    "batches of one size": lambda step: np.random.default_rng(step).choice(ALL, 32, replace=False),
    "shuffled epochs": lambda step: np.random.default_rng(step // 53).permutation(ALL)[
        32 * (step % 53) : 32 * (step % 53 + 1)
    ],
    "a rate for every hospital": lambda step: np.flatnonzero(
        np.random.default_rng(step).random(ALL) < 40 / ALL
    ),
}


@pytest.mark.parametrize("name", OTHER_DRAWS)
def test_that_claim_about_draws_can_fail(name):
    assert not looks_like_poisson_sampling(drawn(OTHER_DRAWS[name]), 32 / ALL)


ONE_STEP = replace(TASK, lr=1.0)


def noise_in_the_sum(noised, plain):
    """Return the noise in the sum of gradients, in units of noise x clip."""
    apart = [(plain[name] - noised[name]).ravel() * TASK.batch for name in plain]
    return np.concatenate(apart) / (2.0 * 0.5)


def is_standard_normal(numbers):
    return stats.kstest(numbers, "norm").pvalue > 1e-4


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_noise_in_the_sum_has_the_promised_size_on_any_number_of_ranks(framework, ranks):
    noised, plain = (
        trained("dp_sgd", framework, ONE_STEP, ranks, steps=1, noise=noise, clip=0.5).history
        for noise in (2.0, 0.0)
    )
    assert is_standard_normal(noise_in_the_sum(noised.weights, plain.weights))


WRONG_NOISE = [twins.adds_all_the_noise_on_every_rank, twins.adds_the_same_noise_on_every_rank]


@pytest.mark.parametrize("twin", WRONG_NOISE, ids=lambda twin: twin.__name__)
def test_that_claim_about_noise_can_fail(twin):
    plain = trained("dp_sgd", "torch", steps=1, noise=0.0, clip=0.5).history.weights
    noised = weights_of_twin(run_twin(twin, "dp_sgd", steps=1, noise=2.0, clip=0.5))
    assert not is_standard_normal(noise_in_the_sum(noised, plain) / TASK.lr)


class OneRank:
    """A rank without a process."""

    rank, ranks = 0, 1

    def step(self, samples):
        return contextlib.nullcontext()


def test_the_noise_is_not_made_of_the_numbers_that_decided_who_is_drawn():
    plan, seen = replace(job(), options=differential_privacy.OPTIONS), []
    differential_privacy.train(
        OneRank(), plan, lambda rows: rows, lambda x, y, rng: seen.append(rng.random(ALL)) or 0.0
    )
    for step, numbers in enumerate(seen):
        draws = differential_privacy.drawn_at(step, plan)
        assert not np.array_equal(np.flatnonzero(numbers < 32 / ALL), draws)
        # That can fail: two numbers as a seed are the same as three that end with zero.
        shorter = np.random.default_rng([plan.seed, step]).random(ALL)
        assert np.array_equal(np.flatnonzero(shorter < 32 / ALL), draws)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_sends_what_its_closed_form_says(framework):
    run = trained("dp_sgd", framework, hardware="dgx-a100")
    assert complaints(run, "dp_sgd") == []


def test_that_claim_about_a_step_can_fail():
    twin = run_twin(twins.sends_the_losses_too, "dp_sgd", hardware="dgx-a100")
    assert "all_reduce: 8 calls" in " ".join(complaints(twin, "dp_sgd"))


def with_a_loud_record(me=None):
    """Return the data with a record whose values are a thousand times as large."""
    x, y = TASK.data()
    x = x.copy()
    x[-1] *= 1000
    return x, y


def without_it():
    x, y = with_a_loud_record()
    return x[:-1], y[:-1]


def moved_by_one_record(framework, train, **options):
    """Return how far one record moves the sum of gradients over all records, in clips."""
    sums = []
    for data in (with_a_loud_record, without_it):
        task = replace(ONE_STEP, data=data, momentum=0.0)
        after = train(task, framework, batch=task.samples, **options)
        before = task.weights()
        sums.append([(before[name] - after[name]).ravel() * task.samples for name in before])
    return np.linalg.norm(np.concatenate(sums[0]) - np.concatenate(sums[1])) / 0.5


def trains(task, framework, batch, clip=0.5):
    return trained("dp_sgd", framework, task, 2, steps=1, batch=batch, noise=0.0, clip=clip)\
        .history.weights  # fmt: skip


def clips_the_mean(task, framework, batch):
    options = {"clip": 0.5, "noise": 0.0, "skew": None}
    its = strategies.Job(task, 1, batch, options=options)
    return weights_of_twin(
        lab.Cluster(2).run(partial(twins.clips_the_mean, job=its, name="dp_sgd"))
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_record_moves_the_sum_by_more_than_the_clip(framework):
    assert 0.99 < moved_by_one_record(framework, trains) < 1.01


def test_that_claim_about_one_record_can_fail():
    assert moved_by_one_record("torch", partial(trains, clip=math.inf)) > 10
    assert moved_by_one_record("torch", clips_the_mean) > 10


def gradients_in_torch(me, tasks, clips):
    """Return the norms of clipped gradients, and what clipping and vmap change, by task."""
    import torch

    module = strategies.get("dp_sgd", "torch")
    found = {}
    for name in tasks:
        task = lab.tasks.get(name)
        model = task.torch_model(seed=1)
        x, y = me.put(task.batch_at(0, 8))
        rows, losses = module.gradients_of_each(model, task.torch_loss, x, y)
        one_by_one = []
        for number in range(len(x)):
            model.zero_grad()
            task.torch_loss(model(x[number : number + 1]), y[number : number + 1]).backward()
            one_by_one.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
        apart = (rows - torch.stack(one_by_one)).abs().max() / rows.abs().max()
        norms = {clip: module.clipped(rows, clip).norm(dim=1).tolist() for clip in clips}
        found[name] = float(apart), rows.norm(dim=1).tolist(), norms
    return found


def gradients_in_tensorflow(me, tasks, clips):
    import tensorflow as tf

    def rows(gradients):
        return np.concatenate([np.reshape(array, (len(array), -1)) for array in gradients], axis=1)

    module = strategies.get("dp_sgd", "tensorflow")
    found = {}
    for name in tasks:
        task = lab.tasks.get(name)
        model = task.tensorflow_model(seed=1)
        x, y = map(tf.constant, task.batch_at(0, 8))
        each, _ = module.gradients_of_each(model, task.tensorflow_loss, x, y)
        one_by_one = []
        for number in range(len(x)):
            with tf.GradientTape() as tape:
                loss = task.tensorflow_loss(model(x[number : number + 1]), y[number : number + 1])
            gradients = tape.gradient(loss, model.trainable_variables)
            one_by_one.append(rows([tf.convert_to_tensor(g)[None] for g in gradients])[0])
        apart = np.abs(rows(each) - np.stack(one_by_one)).max() / np.abs(rows(each)).max()
        norms = {clip: norms_of(rows(module.clipped(each, clip))) for clip in clips}
        found[name] = float(apart), norms_of(rows(each)), norms
    return found


def norms_of(rows):
    return np.linalg.norm(rows, axis=1).tolist()


CLIPS = [0.01, 0.3, 1.0, math.inf]
GRADIENTS = {"torch": gradients_in_torch, "tensorflow": gradients_in_tensorflow}


@cache
def gradients(framework):
    tasks = ["actg175-mlp", "digits-cnn", "bytes-gpt"]
    function = partial(GRADIENTS[framework], tasks=tasks, clips=CLIPS)
    return lab.Cluster(1, framework=framework, timeout_s=200).run(function).values[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["actg175-mlp", "digits-cnn", "bytes-gpt"])
def test_gradients_of_each_record_are_right_and_clipped_to_the_norm(framework, name):
    apart, before, norms = gradients(framework)[name]
    assert apart < 1e-5
    for clip in CLIPS:
        assert norms[clip] == pytest.approx(np.minimum(before, clip), rel=1e-5)
    assert max(before) > 1.01 * CLIPS[0]


def largest_after_clipping(me, cases):
    """Return the largest norm after clipping, in clips, by the kit and value by value.

    cases   (rows, clip) of many sizes; the first row is zero
    """
    of_kit = strategies.get("dp_sgd", me.framework).clipped

    def clipped(rows, clip):
        if me.framework == "torch":
            return of_kit(me.put(rows), clip).numpy()
        return of_kit([rows], clip)[0].numpy()

    worst = {"right": 0.0, "value by value": 0.0}
    for rows, clip in cases:
        after = clipped(rows, clip)
        short = np.linalg.norm(rows, axis=1) < 0.999 * clip
        assert np.array_equal(after[short], rows[short])
        by_value = np.clip(rows, -clip, clip)
        for name, found in (("right", after), ("value by value", by_value)):
            worst[name] = max(worst[name], float(np.linalg.norm(found, axis=1).max() / clip))
    return worst


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_gradient_exceeds_the_clip_whatever_its_size(framework):
    rng = np.random.default_rng(0)
    cases = []
    for power in range(-15, 16, 3):
        for length in (1, 7, 4096):
            rows = (rng.standard_normal((64, length)) * 10.0**power).astype(np.float32)
            rows[0] = 0
            cases.append((rows, float(10.0 ** rng.integers(-3, 4))))
    function = partial(largest_after_clipping, cases=cases)
    worst = lab.Cluster(1, framework=framework, timeout_s=120).run(function).values[0]
    assert worst["right"] < 1 + 1e-5
    assert worst["value by value"] > 10  # so the test can fail


WRONG = [
    ("dp_sgd", dict(clip=0), "clip=0"),
    ("dp_sgd", dict(clip=-1.0), "clip=-1.0"),
    ("dp_sgd", dict(noise=-1.0), "noise=-1.0"),
    ("dp_sgd", dict(noise="1"), "noise='1'"),
    ("dp_sgd", dict(clip=math.inf), "infinite noise"),
    ("dp_sgd", dict(batch=ALL + 1), f"{ALL} records"),
    ("dp_sgd", dict(skew=-1), "skew=-1"),
    ("secure_aggregation", dict(fraction_bits=7), "fraction_bits=7"),
    ("secure_aggregation", dict(fraction_bits=25), "fraction_bits=25"),
    ("secure_aggregation", dict(fraction_bits=16.0), "fraction_bits=16.0"),
    ("secure_aggregation", dict(drop=2), "drop=2"),
    ("secure_aggregation", dict(ranks=1), "ranks=1"),
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name, wrong, saw", WRONG, ids=[saw for *_, saw in WRONG])
def test_what_cannot_be_is_said_before_any_process_starts(name, wrong, saw, framework, monkeypatch):
    from lablib.cluster.local import launch

    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(lab.LabError) as caught:
        lab.train(name, framework=framework, **{"task": TASK, "ranks": 2} | wrong)
    assert saw in caught.value.saw
    assert caught.value.do


class Normalised:
    """A function that makes a model with BatchNorm."""

    def __call__(self):
        from torch import nn

        return nn.Sequential(nn.Linear(13, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def test_a_model_that_mixes_records_is_an_error_that_says_what_to_do():
    from torch.nn.functional import cross_entropy

    task = lab.Task.from_torch(Normalised(), cross_entropy, TASK.data(), batch=16, name="mixes")
    with pytest.raises(lab.LabError, match="BatchNorm"):
        trained("dp_sgd", task=task, ranks=2)


def test_training_that_diverges_is_an_error_and_not_a_wrong_average():
    with pytest.raises(lab.LabError, match="do not fit"):
        trained("secure_aggregation", task=replace(TASK, lr=1e6))
