"""After any interruption, a run continues from its last checkpoint as if nothing had happened."""

from __future__ import annotations

import resource
import shutil
from functools import cache, partial

import numpy as np
import pytest

import lablib as lab
from lablib import strategies
from lablib.cluster.failures import RankFailed
from lablib.strategies import Job, checkpoint

STEPS = 9
FRAMEWORKS = ["torch", "tensorflow"]


def train(folder=None, ranks=2, framework="torch", steps=STEPS, seed=0, **options):
    return lab.train(
        "restart", task="cancer-mlp", framework=framework, ranks=ranks, steps=steps, seed=seed,
        threads=1, progress=False, folder=folder, checkpoint_every=3, **options,
    )  # fmt: skip


@cache
def uninterrupted(ranks, framework="torch", seed=0):
    return train(ranks=ranks, framework=framework, seed=seed).history


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Copy into a folder what a run of so many steps leaves there; each is run once."""

    @cache
    def left_by(framework, steps):
        folder = tmp_path_factory.mktemp(framework)
        train(folder, framework=framework, steps=steps)
        return folder

    def copy_to(folder, framework, steps):
        shutil.copytree(left_by(framework, steps), folder, dirs_exist_ok=True)

    return copy_to


def is_killed(rank, step, folder, **asked):
    """Train until the rank kills itself at the step; check that this rank was killed."""
    with pytest.raises(RankFailed, match="killed by signal SIGKILL") as caught:
        train(folder, fail_at={"rank": rank, "step": step}, **asked)
    assert caught.value.rank == rank


def same_bits(a, b):
    weights = a.weights.keys() == b.weights.keys() and all(
        np.array_equal(a.weights[name], b.weights[name]) for name in b.weights
    )
    return a.loss == b.loss and weights


def apart(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a.loss, b.loss, strict=True))


# (ranks, the rank that dies, before which step): each number of ranks, each rank, and each position
# relative to a checkpoint: before the first one (steps 0 to 2), after it, and after the second one.
KILLS = [(2, 0, 0), (2, 1, 3), (2, 0, 7), (4, 0, 2), (4, 1, 4), (4, 2, 5), (4, 3, 6), (4, 1, 8)]
# TensorFlow's ranks start slowly, so not each of them is killed at each position.
KILLED = [("torch", *kill) for kill in KILLS]
KILLED += [("tensorflow", *kill) for kill in [(2, 0, 0), (2, 1, 3), (4, 3, 5), (2, 0, 7)]]


@pytest.mark.parametrize("framework, ranks, rank, step", KILLED)
def test_a_run_that_was_killed_goes_on_bit_for_bit(framework, ranks, rank, step, tmp_path):
    asked = dict(ranks=ranks, framework=framework, seed=step % 2)
    is_killed(rank, step, tmp_path, **asked)
    run = train(tmp_path, **asked)
    assert STEPS - len(run.trace.of(rank=0, kind="step")) in may_begin_at(rank, step)
    assert same_bits(run.history, uninterrupted(**asked))


def may_begin_at(rank, step):
    """Return the steps from which a run may continue if the rank was killed before this step.

    Rank 0 writes the checkpoints. If another rank dies right after one was due, rank 0 may fail
    before this checkpoint is complete. Then the checkpoint before it is used.
    """
    newest = step // 3 * 3
    return {newest, newest - 3} if rank > 0 and step == newest > 0 else {newest}


RESIZED = [("torch", *counts) for counts in [(2, 4), (4, 2), (4, 1), (1, 4)]]
RESIZED += [("tensorflow", 2, 4), ("tensorflow", 4, 1)]


@pytest.mark.parametrize("framework, before, after", RESIZED)
def test_another_number_of_ranks_goes_on_with_the_same_losses(framework, before, after, tmp_path):
    is_killed(before - 1, 5, tmp_path, ranks=before, framework=framework)
    again = train(tmp_path, ranks=after, framework=framework).history
    for ranks in (before, after):
        assert apart(again, uninterrupted(ranks, framework)) < 1e-5


def dropping_out():
    """Return a model whose next step also depends on random numbers and running means."""
    from torch import nn

    layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    return nn.Sequential(*layers)


def test_a_model_with_dropout_and_batch_norm_goes_on_bit_for_bit(tmp_path):
    from torch import nn

    draw = np.random.default_rng(0)
    data = draw.standard_normal((64, 6), np.float32), draw.integers(0, 2, 64)
    task = lab.Task.from_torch(dropping_out, nn.CrossEntropyLoss(), data, batch=16)

    def history(folder, steps):
        options = dict(folder=folder, checkpoint_every=3, progress=False, threads=1)
        return lab.train("restart", task=task, ranks=2, steps=steps, **options).history

    history(tmp_path, steps=6)
    assert same_bits(history(tmp_path, STEPS), history(None, STEPS))


def test_killed_again_and_again_it_still_arrives(tmp_path):
    for step in (4, 6, 8):
        is_killed(1, step, tmp_path)
    assert same_bits(train(tmp_path).history, uninterrupted(2))


def test_a_finished_run_is_not_trained_again_and_a_longer_one_goes_on(tmp_path):
    short = train(tmp_path, steps=6)
    again = train(tmp_path, steps=6)
    assert not again.trace.of(kind="step")
    assert same_bits(again.history, short.history)
    assert same_bits(train(tmp_path).history, uninterrupted(2))


def test_a_run_without_a_folder_leaves_nothing_to_go_on_from():
    for _ in range(2):
        assert len(train(steps=3).trace.of(rank=0, kind="step")) == 3


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_damaged_checkpoint_is_passed_over(framework, checkpoints, tmp_path):
    checkpoints(tmp_path, framework, STEPS)
    newest = max(file for file in tmp_path.iterdir() if f"{STEPS}." in file.name)
    newest.write_bytes(newest.read_bytes()[:-1])
    run = train(tmp_path, framework=framework)
    assert "is damaged: the checkpoint before it is used" in run.logs[0]
    assert len(run.trace.of(rank=0, kind="step")) == 3
    assert same_bits(run.history, uninterrupted(2, framework))


def without_momentum(me, job):
    """Restart with only weights, losses and random numbers."""
    from lablib.strategies.torch import restart

    restore = restart._restore

    def restore_weights(arrays, model, optimizer):
        kept = {name: array for name, array in arrays.items() if "optimizer" not in name}
        restore(kept, model, optimizer)

    restart._restore = restore_weights
    return restart.train(me, job)


def from_the_first_batch(me, job):
    """Restart without the position in the data."""
    first = STEPS // 3 * 2
    from lablib.strategies.torch import restart

    class Forgetful(Job):
        def shard_at(self, step, me):
            return super().shard_at(step - first, me)

    return restart.train(me, Forgetful(**vars(job)))


def with_buckets_laid_out_anew(me, job):
    """Restart with the default settings of `DistributedDataParallel`."""
    from torch.nn import parallel

    from lablib.strategies.torch import restart

    ddp = parallel.DistributedDataParallel
    parallel.DistributedDataParallel = lambda model, **_: ddp(model)
    return restart.train(me, job)


def trained_by(twin, folder, ranks, steps=STEPS):
    """Return the result of rank 0 of a twin."""
    options = checkpoint.OPTIONS | {"folder": folder, "checkpoint_every": 3}
    job = Job(lab.tasks.get("cancer-mlp"), steps, 32, options=options)
    return lab.Cluster(ranks, threads=1).run(partial(twin, job=job)).values[0]


@pytest.mark.parametrize("twin", [without_momentum, from_the_first_batch])
def test_that_claim_can_fail(twin, checkpoints, tmp_path):
    checkpoints(tmp_path, "torch", 6)
    losses = trained_by(twin, tmp_path, ranks=2)["losses"]
    assert losses[:6] == uninterrupted(2).loss[:6]
    assert losses[6:] != uninterrupted(2).loss[6:]


def test_four_ranks_whose_buckets_change_differ_in_some_bit(tmp_path):
    twin = with_buckets_laid_out_anew
    whole = trained_by(twin, tmp_path / "whole", ranks=4)["weights"]
    trained_by(twin, tmp_path / "cut", ranks=4, steps=6)
    again = trained_by(twin, tmp_path / "cut", ranks=4)["weights"]
    assert any(not np.array_equal(again[name], whole[name]) for name in whole)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_step_sends_and_holds_what_is_expected(framework, ranks):
    run = train(framework=framework, ranks=ranks, steps=3, hardware="dgx-a100")
    assert expected(framework, ranks).complaints(run) == []


def expected(framework, ranks):
    task = lab.tasks.get("cancer-mlp")
    return strategies.get("restart", framework).expected(task, ranks, 32)


def everybody_trains_alone(me, job):
    """Keep gradients on their ranks and average only the losses."""
    from torch.nn import parallel

    from lablib.strategies.torch import restart

    parallel.DistributedDataParallel = lambda model, **_: model
    return restart.train(me, job)


def test_that_claim_about_a_step_can_fail():
    job = Job(lab.tasks.get("cancer-mlp"), 3, 32, options=checkpoint.OPTIONS)
    twin = partial(everybody_trains_alone, job=job)
    run = lab.Cluster(2, hardware="dgx-a100").run(twin)
    assert [told.split(":")[0] for told in expected("torch", 2).complaints(run)] == [
        "all_reduce",
        "wire",
        "memory",
    ]


def on_a_small_disk(me, job):
    """Forbid files above 20 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    return strategies.get("restart", me.framework).train(me, job)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_full_disk_names_folder_and_cure_and_the_old_checkpoint_serves(
    framework, checkpoints, tmp_path
):
    checkpoints(tmp_path, framework, 6)
    options = checkpoint.OPTIONS | {"folder": tmp_path, "checkpoint_every": 3}
    job = Job(lab.tasks.get("cancer-mlp"), STEPS, 32, options=options)
    with pytest.raises(RankFailed, match="The checkpoint cannot be written") as caught:
        lab.Cluster(2, framework=framework, threads=1).run(partial(on_a_small_disk, job=job))
    for words in (str(tmp_path), "File too large", "free space on that disk"):
        assert words in str(caught.value)
    again = train(tmp_path, framework=framework)
    assert len(again.trace.of(rank=0, kind="step")) == 3
    assert same_bits(again.history, uninterrupted(2, framework))


def bound_by_permissions(me, job):
    """Give up root's permission to write anywhere."""
    from lablib.box import namespaces

    namespaces.drop_capabilities()
    return strategies.get("restart", me.framework).train(me, job)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_permission_names_folder_and_cure_and_the_old_checkpoint_serves(
    framework, checkpoints, tmp_path
):
    checkpoints(tmp_path, framework, 6)
    tmp_path.chmod(0o555)
    options = checkpoint.OPTIONS | {"folder": tmp_path, "checkpoint_every": 3}
    job = Job(lab.tasks.get("cancer-mlp"), STEPS, 32, options=options)
    with pytest.raises(RankFailed, match="The checkpoint cannot be written") as caught:
        lab.Cluster(2, framework=framework, threads=1).run(partial(bound_by_permissions, job=job))
    for words in (str(tmp_path), "ermission denied"):
        assert words in str(caught.value)
    tmp_path.chmod(0o755)
    again = train(tmp_path, framework=framework)
    assert len(again.trace.of(rank=0, kind="step")) == 3
    assert same_bits(again.history, uninterrupted(2, framework))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_folder_of_another_run_is_refused(framework, checkpoints, tmp_path):
    checkpoints(tmp_path, framework, 6)
    with pytest.raises(RankFailed, match="This checkpoint belongs to another run") as caught:
        train(tmp_path, framework=framework, seed=1)
    assert "seed 0, now 1" in str(caught.value)


@pytest.mark.parametrize("fault", [{"rank": 1}, {"rank": 2, "step": 0}, "rank 1"], ids=str)
def test_a_fault_that_is_not_clear_is_refused(fault):
    with pytest.raises(RankFailed, match="must name a rank and the step"):
        train(fail_at=fault)


def cut_everywhere(me, folder, job):
    """Return how many steps TensorFlow finds if a file is cut off at each of several places."""
    from lablib.strategies.tensorflow import restart

    found = {}
    for file in sorted(folder.glob(f"ckpt-{STEPS}.*")) + [folder / "checkpoint"]:
        content = file.read_bytes()
        every = 1 + len(content) // 200
        for length in sorted({*range(0, len(content), every), len(content) - 1}):
            file.write_bytes(content[:length])
            found[f"{file.name} {length}"] = restart._newest(folder, job)[len(str(folder)) + 1 :]
        file.write_bytes(content)
    return found


def test_tensorflows_checkpoint_cut_off_is_detected(checkpoints, tmp_path):
    checkpoints(tmp_path, "tensorflow", STEPS)
    job = Job(lab.tasks.get("cancer-mlp"), STEPS, 32, options=checkpoint.OPTIONS)
    cluster = lab.Cluster(1, framework="tensorflow")
    found = cluster.run(partial(cut_everywhere, folder=tmp_path, job=job)).values[0]
    of_data = {found[name] for name in found if name.startswith("ckpt")}
    of_list = {found[name] for name in found if name.startswith("checkpoint")}
    assert (of_data, of_list) == ({"ckpt-6"}, {f"ckpt-{STEPS}"})
