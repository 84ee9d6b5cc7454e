"""Traces show that TensorFlow's strategies are right, and that their broken twins are not."""

from __future__ import annotations

from functools import cache, partial

import held_by_servers as servers
import numpy as np
import pytest
import tensorflow_twins as twins
from allocations import SETTINGS
from alone import in_the_usual_order, printed_by

import lablib as lab
from lablib import strategies
from lablib.record import metrics
from lablib.strategies.expected import WITHIN

pytestmark = pytest.mark.timeout(300)
TASK, STEPS, MACHINE = "digits-mlp", 3, "dgx-a100"
SIZE = lab.tasks.get(TASK).weight_bytes
TOGETHER = 1e-4


@cache
def trained(name, ranks, hardware=None, task=TASK, **options):
    return lab.train(
        name, framework="tensorflow", task=task, ranks=ranks, steps=STEPS, hardware=hardware,
        threads=1, timeout_s=120, progress=False, **options,
    )  # fmt: skip


@cache
def run_twin(twin, ranks, batch=None):
    task = lab.tasks.get(TASK)
    job = strategies.Job(task, STEPS, batch or task.batch)
    cluster = lab.Cluster(ranks, framework="tensorflow", hardware=MACHINE, timeout_s=120)
    return cluster.run(partial(twin, job=job))


@cache
def expected(name, ranks, task=TASK, **options):
    task = lab.tasks.get(task)
    return strategies.get(name, "tensorflow").expected(task, ranks, task.batch, **options)


def apart(losses, right):
    return max(abs(x - y) / abs(y) for x, y in zip(losses, right, strict=True))


def weights_together(weights, right):
    assert weights.keys() == right.keys()
    return all(
        np.abs(weights[name] - right[name]).max() <= TOGETHER * np.abs(right[name]).max()
        for name in right
    )


def flops_by_rank(run):
    """Return the FLOPs of each rank in the whole run."""
    return [
        sum(cost.flops * cost.count for op in ops if op.kind == "compute" for cost in op.costs)
        for ops in run.program
    ]


def shares_the_work(run):
    """Return True if every rank computes its part of the single process's work, and no more."""
    whole = flops_by_rank(trained("single", 1, MACHINE))[0]
    shares = [flops * len(run.program) / whole for flops in flops_by_rank(run)]
    return all(abs(share - 1) < 0.2 for share in shares)


def first_sum_is_inside_backward(run):
    """Return True if a sum starts before the end of the last backward pass of rank 0."""
    step = run.trace.of(rank=0, kind="step")[-1]
    inside = [e for e in run.trace.of(rank=0) if step.start_s <= e.start_s < step.end_s]
    sums = [e.start_s for e in inside if e.name == "all_reduce" and e.kind == "message"]
    backward = [e.end_s for e in inside if e.kind == "compute" and e.phase == "backward"]
    return min(sums) < max(backward)


DATA = [
    ("multi_worker_mirrored", {}),
    ("multi_worker_mirrored", {"packing_mb": 0.05}),
    ("collectives_by_hand", {}),
]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name, options", DATA)
def test_gradients_are_summed_in_the_calls_and_bytes_of_the_closed_form(name, options, ranks):
    run = trained(name, ranks, MACHINE, **options)
    assert expected(name, ranks, **options).complaints(run) == []
    assert shares_the_work(run)
    assert apart(run.history.loss, trained("single", 1).history.loss) < TOGETHER


def test_packs_are_as_many_as_the_gradients_fill():
    one, few, many = (
        expected("multi_worker_mirrored", 2, packing_mb=mb).messages["all_reduce"]
        for mb in (0, 0.1, 1e-6)
    )
    assert one == (2, 2 * SIZE)
    assert many == (2 * len(lab.tasks.get(TASK).weights()), 2 * SIZE)
    assert one[0] < few[0] < many[0]


def test_small_packs_are_summed_while_the_backward_pass_still_runs():
    assert first_sum_is_inside_backward(
        trained("multi_worker_mirrored", 2, MACHINE, packing_mb=0.05)
    )


def test_that_claim_can_fail_one_pack_waits_for_the_last_gradient():
    assert not first_sum_is_inside_backward(trained("multi_worker_mirrored", 2, MACHINE))


SAME_SUMS = [twins.sums_instead_of_means, twins.starts_with_its_own_weights]


@pytest.mark.parametrize("twin", SAME_SUMS, ids=lambda twin: twin.__name__)
def test_what_sums_right_but_trains_wrong_has_other_losses(twin):
    run = run_twin(twin, 2)
    assert expected("collectives_by_hand", 2).complaints(run) == []
    assert apart(np.mean(run.values, axis=0), trained("single", 1).history.loss) > 10 * TOGETHER


OTHER_SUMS = [
    (twins.reduces_each_gradient, "all_reduce: 32 calls of 600656 bytes, not 2 calls"),
    (twins.keeps_its_gradients, "all_reduce: none, not 2 calls"),
]


@pytest.mark.parametrize("twin, seen", OTHER_SUMS, ids=lambda of: getattr(of, "__name__", ""))
def test_what_sums_in_another_way_is_seen_in_the_trace(twin, seen):
    complaints = expected("collectives_by_hand", 2).complaints(run_twin(twin, 2))
    assert seen in " ".join(complaints)


def test_ranks_that_all_work_on_all_the_data_do_not_share_the_work():
    run = run_twin(twins.works_on_all_the_data, 2)
    assert apart(np.mean(run.values, axis=0), trained("single", 1).history.loss) < TOGETHER
    assert not shares_the_work(run)


def test_nor_does_rank_0_that_works_alone_whatever_the_others_send():
    run = run_twin(twins.leaves_the_work_to_rank_0, 2)
    assert expected("collectives_by_hand", 2).complaints(run) == []
    assert apart(run.values[0], trained("single", 1).history.loss) < TOGETHER
    assert not shares_the_work(run)


@pytest.mark.parametrize("twin", [twins.mirrored_on_all_the_data, twins.mirrored_on_rank_0])
def test_nor_do_mirrored_workers_that_take_other_shards(twin):
    run = run_twin(twin, 2)
    assert expected("multi_worker_mirrored", 2).messages == metrics.step_messages(run.trace)
    assert not shares_the_work(run)


def test_packs_of_another_size_are_seen():
    run = trained("multi_worker_mirrored", 2, MACHINE)
    complaints = expected("multi_worker_mirrored", 2, packing_mb=0.05).complaints(run)
    assert any(complaint.startswith("all_reduce") for complaint in complaints)


def staleness(run):
    return [logged["staleness"] for logged in run.logged[0]]


@pytest.mark.parametrize("ranks, options", [(3, {"ahead": 3}), (4, {"synchronous": True})])
def test_a_parameter_server_without_staleness_is_the_single_process(ranks, options):
    run = trained("parameter_server", ranks, **options)
    one = trained("single", 1).history
    assert staleness(run) == [0] * STEPS
    assert apart(run.history.loss, one.loss) < TOGETHER
    assert weights_together(run.history.weights, one.weights)


def test_workers_that_do_not_wait_learn_and_miss_no_more_than_the_bound():
    ahead = 2
    run = lab.train(
        "parameter_server",
        framework="tensorflow",
        task=TASK,
        ranks=4,
        steps=20,
        ahead=ahead,
        timeout_s=120,
        progress=False,
    )
    assert run.history.loss[-1] < 0.9 * run.history.loss[0]
    assert max(staleness(run)) < (2 * ahead + 1) * 2
    # The coordinator's threads send work to the workers: this is no work or message of the chief.
    assert not run.trace.of(kind="message")


def test_that_bound_can_be_broken_by_a_chief_that_never_waits():
    steps, workers = 10, 2
    cluster = lab.Cluster(
        roles={"chief": 1, "worker": workers, "ps": 1}, framework="tensorflow", timeout_s=120
    )
    missed = cluster.run(partial(twins.hands_out_everything, steps=steps)).values[0]
    assert missed == steps * workers - 1 >= (2 * 1 + 1) * workers


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_split_model_sends_every_micro_batch_by_itself(ranks, micro_batches):
    run = trained("device_split", ranks, micro_batches=micro_batches)
    for claimed in (1, 4):
        complaints = expected("device_split", ranks, micro_batches=claimed).complaints(run)
        assert (complaints == []) == (claimed == micro_batches)
    assert apart(run.history.loss, trained("single", 1).history.loss) < TOGETHER


def test_a_single_process_sends_nothing():
    assert expected("single", 1).complaints(trained("single", 1, MACHINE)) == []


HELD = [
    ("single", "wide-mlp", 1, {}),
    ("single", "digits-cnn", 1, {}),
    ("single", "bytes-gpt", 1, {}),
    ("collectives_by_hand", "digits-cnn", 2, {}),
    ("multi_worker_mirrored", "bytes-gpt", 4, {}),
    ("multi_worker_mirrored", "wide-mlp", 2, {}),
    ("multi_worker_mirrored", "wide-mlp", 2, {"packing_mb": 5}),
    ("restart", "digits-mlp", 2, {}),
]


@pytest.mark.parametrize("name, task, ranks, options", HELD)
def test_ranks_hold_the_tensors_of_the_closed_form(name, task, ranks, options):
    run = trained(name, ranks, MACHINE, task=task, **options)
    assert expected(name, ranks, task=task, **options).complaints(run) == []


@pytest.mark.parametrize("twin", [twins.only_looks_forward, twins.keeps_its_old_weights])
def test_who_holds_too_little_or_too_much_is_seen(twin):
    (complaint,) = expected("single", 1).complaints(run_twin(twin, 1))
    assert complaint.startswith("memory")


@cache
def held_by_servers(*chosen, attempt=0):
    """Measure both strategies, or the chosen one, in one process: TensorFlow's import is slow."""
    script = "strategies/held_by_servers.py"
    return printed_by(script, *chosen, settings=SETTINGS, timeout_s=250)


def held_bytes_of(name, *run, attempt=0):
    found = held_by_servers(name, attempt=attempt) if attempt else held_by_servers()
    return found[name][servers.key(*run)]


def stages_complaints(task, ranks, options, *twin, claimed=None, attempt=0):
    """Return complaints about a split model's memory, by the claimed options' closed form."""
    held_bytes = held_bytes_of("device_split", task, ranks, options, *twin, attempt=attempt)
    form = expected("device_split", ranks, task, **(claimed or options))
    return form.memory_complaints(max(held_bytes))


@pytest.mark.parametrize("run", servers.RUNS["device_split"], ids=lambda run: servers.key(*run))
def test_the_fullest_stage_holds_what_the_closed_form_says(run):
    assert in_the_usual_order(lambda attempt: stages_complaints(*run, attempt=attempt)) == []


def test_weights_that_all_lie_on_one_rank_are_seen():
    assert stages_complaints(*servers.TWINS["device_split"])


def test_the_closed_form_of_other_micro_batches_is_missed():
    run = ("wide-mlp", 4, {"micro_batches": 4})
    assert stages_complaints(*run, claimed={"micro_batches": 1})


def beyond(task, ranks, options, *twin, claimed=None, attempt=0):
    """Return the roles whose fullest rank does not fit the closed form of the claimed options."""
    found = held_bytes_of("parameter_server", task, ranks, options, *twin, attempt=attempt)
    task, module = lab.tasks.get(task), strategies.get("parameter_server", "tensorflow")
    bounds = module.held_bytes(task, ranks, task.batch, **(options if claimed is None else claimed))
    roles = [seat.role for seat in servers.in_roles(module, ranks).seats]
    held_bytes = {
        role: max(held for held, its in zip(found, roles) if its == role) for role in bounds
    }
    return {
        role
        for role, (least, most) in bounds.items()
        if not (1 - WITHIN) * least <= held_bytes[role] <= (1 + WITHIN) * most
    }


@pytest.mark.parametrize("run", servers.RUNS["parameter_server"], ids=lambda run: servers.key(*run))
def test_chief_workers_and_server_hold_what_the_closed_form_says(run):
    assert in_the_usual_order(lambda attempt: beyond(*run, attempt=attempt)) == set()


def test_a_server_without_gradients_holds_less():
    assert "ps" in beyond(*servers.TWINS["parameter_server"])


def test_the_closed_form_of_workers_that_do_not_wait_is_missed_by_those_that_do():
    run = ("wide-mlp", 4, {"synchronous": True})
    assert beyond(*run, claimed={}) == {"chief", "worker"}


def test_the_weights_live_on_the_parameter_server_alone():
    assert run_roles(twins.where_its_variables_live).values[0] == {"ps"}


def test_that_claim_about_weights_can_fail():
    assert "ps" not in run_roles(twins.where_a_plain_models_variables_live).values[0]


HEAVY, NEARLY = "wide-mlp", 0.05  # 26 MB of weights


def sent_of_expected(ranks, synchronous, train=twins.parameter_server):
    """Return the bytes on the cluster's network in each warm step, divided by the closed form."""
    function = partial(twins.bytes_by_step, train=train)
    options = {"synchronous": synchronous, "ahead": 0}
    interfaces, sent = run_roles(function, ranks, HEAVY, **options).values[0]
    if interfaces != ["lo"]:
        pytest.skip(f"these ranks have no network of their own: they see {interfaces}")
    module = strategies.get("parameter_server", "tensorflow")
    return np.array(sent[1:]) / module.sent_bytes(lab.tasks.get(HEAVY), ranks, synchronous)


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("ranks", [3, 4])
def test_weights_go_down_and_gradients_up_in_the_bytes_of_the_closed_form(ranks, synchronous):
    assert sent_of_expected(ranks, synchronous) == pytest.approx(1, abs=NEARLY)


@pytest.mark.parametrize("synchronous", [False, True])
def test_workers_that_never_push_send_less(synchronous):
    sent = sent_of_expected(3, synchronous, twins.never_pushes)
    assert all(sent < 1 - 2 * NEARLY)


def run_roles(function, ranks=4, task=TASK, **options):
    """Return the results of a parameter server's chief."""
    described = strategies.get("parameter_server", "tensorflow").STRATEGY
    task = lab.tasks.get(task)
    job = strategies.Job(task, STEPS, task.batch, options=described.chosen(options))
    cluster = lab.Cluster(roles=described.roles(ranks), framework="tensorflow", timeout_s=120)
    return cluster.run(partial(function, job=job))


WRONG = [
    (dict(strategy="parameter_server", ranks=5, batch=64), "3 workers cannot share"),
    (dict(strategy="parameter_server", ranks=3, hardware=MACHINE), "past everything"),
    (dict(strategy="parameter_server", ranks=2), "ranks=2"),
    (dict(strategy="device_split", ranks=2, micro_batches=3), "micro_batches=3"),
    (dict(strategy="device_split", ranks=2, micro_batches=0), "micro_batches=0"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_is_said(asked, seen):
    with pytest.raises(lab.LabError) as caught:
        lab.train(framework="tensorflow", **dict(task=TASK) | asked)
    assert seen in caught.value.saw
