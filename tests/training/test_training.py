"""Every synchronous strategy gives the results of the single process, in both frameworks."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import lablib as lab
from lablib import strategies
from lablib.cluster.local import launch
from lablib.record import metrics

STEPS = 20
PARALLEL = [
    ("torch", "ddp", [1, 2, 4]),
    ("torch", "pipeline_split", [2, 4]),
    ("torch", "ddp_by_hand", [2, 4]),
    ("torch", "gradient_accumulation", [2, 4]),
    ("torch", "gpipe", [2, 4]),
    ("torch", "one_f_one_b", [2, 4]),
    ("torch", "interleaved", [2, 4]),
    ("torch", "gpipe_by_hand", [2, 4]),
    ("torch", "one_f_one_b_by_hand", [2, 4]),
    ("torch", "data_pipeline", [4]),
    ("torch", "zero1", [2, 4]),
    ("torch", "zero1_by_hand", [2, 4]),
    ("torch", "zero2_by_hand", [2, 4]),
    ("torch", "zero3_by_hand", [2, 4]),
    ("torch", "fsdp", [2, 4]),
    ("torch", "tensor_parallel", [2, 4]),
    ("torch", "tensor_parallel_by_hand", [2, 4]),
    ("torch", "data_tensor", [4]),
    ("torch", "restart", [2, 4]),
    ("tensorflow", "multi_worker_mirrored", [1, 2, 4]),
    ("tensorflow", "device_split", [2, 4]),
    ("tensorflow", "collectives_by_hand", [2, 4]),
    ("tensorflow", "restart", [2, 4]),
]
TASKS = ["digits-mlp", "bytes-gpt"]
# Each strategy on each task and on each number of ranks, but not all combinations.
CASES = [
    (of, name, ranks, task) for of, name, counts in PARALLEL for ranks in counts for task in TASKS
    if len(counts) == 1 or (ranks == 2) == (task == "bytes-gpt")
]  # fmt: skip


@cache
def trained(name, framework, task, ranks):
    return lab.train(
        name, framework=framework, task=task, ranks=ranks, steps=STEPS, progress=False, threads=1
    )


def weights_apart(a, b):
    """Return the largest difference of any tensor, relative to that tensor's largest weight."""
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max() for name in b)


def losses_apart(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("framework, name, ranks, task", CASES)
def test_a_strategy_is_the_single_process(framework, name, ranks, task):
    one = trained("single", framework, task, 1).history
    many = trained(name, framework, task, ranks).history
    assert losses_apart(many.loss, one.loss) < 1e-4
    assert weights_apart(many.weights, one.weights) < 1e-4


@pytest.mark.parametrize("task", TASKS)
def test_the_frameworks_agree(task):
    torch, tensorflow = (trained("single", of, task, 1).history for of in ("torch", "tensorflow"))
    assert losses_apart(torch.loss, tensorflow.loss) < 1e-3
    assert weights_apart(torch.weights, tensorflow.weights) < 1e-3


def not_synchronised(me, job):
    """Train like ddp, but keep the gradients on their ranks."""
    import torch

    model = job.task.torch_model(job.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.task.lr, momentum=job.task.momentum)
    losses = []
    for step in range(job.steps):
        x, y = map(torch.from_numpy, job.shard_at(step, me))
        loss = job.task.torch_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, job.task.torch_arrays(model)


@pytest.mark.parametrize("task", TASKS)
def test_that_equality_can_fail_gradients_that_are_not_synchronised_differ(task):
    from functools import partial

    task = lab.tasks.get(task)
    job = strategies.Job(task, STEPS, task.batch)
    values = lab.Cluster(2).run(partial(not_synchronised, job=job)).values
    one = trained("single", "torch", task.name, 1).history
    losses = np.mean([losses for losses, _ in values], axis=0).tolist()
    assert losses_apart(losses, one.loss) > 1e-3
    assert weights_apart(values[0][1], one.weights) > 1e-2


def test_ddp_sends_every_gradient_once_a_step_and_during_backward():
    run = trained("ddp", "torch", "digits-mlp", 2)
    size = lab.tasks.get("digits-mlp").weight_bytes
    assert metrics.payload_bytes_per_step(run.trace) == 2 * size
    steps = run.trace.of(rank=0, kind="step")
    # In the second step DDP agrees once on new buckets; from the third step on it sends nothing
    # else.
    reduced = run.trace.of(rank=0, kind="message", name="all_reduce")
    inside = [e for e in reduced if e.start_s > steps[2].start_s]
    assert {event.phase for event in inside} == {"backward"}


def test_small_buckets_make_more_messages_of_the_same_bytes():
    few = trained("ddp", "torch", "digits-mlp", 2)
    many = lab.train("ddp", task="digits-mlp", ranks=2, steps=8, bucket_mb=0.05, progress=False)
    per_step = [
        len(run.trace.of(rank=0, kind="message")) / len(run.history.loss) for run in (few, many)
    ]
    assert per_step[1] > 2 * per_step[0]
    assert metrics.payload_bytes_per_step(many.trace) == metrics.payload_bytes_per_step(few.trace)


def test_multi_worker_mirrored_reduces_the_gradients_of_the_backward_pass():
    run = trained("multi_worker_mirrored", "tensorflow", "digits-mlp", 2)
    size = lab.tasks.get("digits-mlp").weight_bytes
    assert metrics.payload_bytes_per_step(run.trace) == 2 * size
    assert {e.phase for e in run.trace.of(kind="message", name="all_reduce")} == {"backward"}


@pytest.mark.parametrize(
    "framework, name", [("torch", "pipeline_split"), ("tensorflow", "device_split")]
)
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_split_model_sends_activations_forward_and_their_gradients_back(framework, name, ranks):
    run = trained(name, framework, "bytes-gpt", ranks)
    task = lab.tasks.get("bytes-gpt")
    cuts = [stage[0] for stage in task.cut(ranks)[1:]]
    activations = sum(4 * task.batch * int(np.prod(task.chain[n].shape_in)) for n in cuts)
    # The program runs on rank 0: it sends labels to the last stage and receives the loss.
    there_and_back = 8 * task.batch * 64 + 4 if framework == "tensorflow" else 0
    assert metrics.payload_bytes_per_step(run.trace) == 2 * activations + there_and_back
    derived = {event.derived for event in run.trace.of(kind="message") if event.name == "send"}
    assert derived == {framework == "tensorflow"}


WRONG = [
    (dict(strategy="dpp"), "did you mean 'ddp'"),
    (dict(strategy="ddp", framework="tensorflow"), "framework='tensorflow'"),
    (dict(strategy="multi_worker_mirrored", framework="torch"), "framework='torch'"),
    (dict(strategy="ddp", framework="jax"), "framework='jax'"),
    (dict(strategy="ddp", task="digit-mlp"), "digit"),
    (dict(strategy="ddp", ranks=4, batch=2), "batch=2 over 4 ranks"),
    (dict(strategy="ddp", ranks=4, batch=6), "batch=6 over 4 ranks"),
    (dict(strategy="ddp", ranks=0), "ranks=0"),
    (dict(strategy="single", ranks=2), "ranks=2"),
    (dict(strategy="pipeline_split", ranks=1), "ranks=1"),
    (dict(strategy="pipeline_split", ranks=9), "ranks=9"),
    (dict(strategy="ddp", steps=0), "steps=0"),
    (dict(strategy="ddp", seed=-1), "seed=-1"),
    (dict(strategy="ddp", batch=2.5), "batch=2.5"),
    (dict(strategy="ddp", scaling="super"), "scaling='super'"),
    (dict(strategy="ddp", bucket=1), "bucket=1"),
    (dict(strategy="ddp", hardware="dgx-a101"), "dgx-a100"),
]


@pytest.mark.parametrize("asked, seen", WRONG, ids=[seen for _, seen in WRONG])
def test_what_cannot_be_is_said_before_any_process_starts(asked, seen, monkeypatch):
    monkeypatch.setattr(launch, "zygote", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(lab.LabError) as caught:
        lab.train(**asked)
    assert seen in caught.value.saw
    assert caught.value.do
