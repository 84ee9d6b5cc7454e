"""The memory and disk space that a user's own task needs."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cloudpickle
import numpy as np
import own_models
import pytest
from own_models import own
from torch import nn

import lablib as lab

SIZE = 128 << 20


@pytest.fixture(scope="module")
def large():
    rows = SIZE // 2048
    return np.ones((rows, 512), np.float32), np.arange(rows) % 2


def peak_bytes(task):
    """Return the peak bytes of 2 ranks that both read every sample."""
    run = lab.train("ddp", task=task, ranks=2, steps=task.samples // task.batch, progress=False)
    return max(run.metrics.peak_bytes)


def test_the_ranks_share_one_copy_of_the_data(large):
    # So that torch imports its compiler.
    own(nn.Linear(512, 2), [array[:8] for array in large], batch=8)
    tracemalloc.start()
    task = own(nn.Linear(512, 2), large, batch=2048)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < SIZE / 4
    assert len(cloudpickle.dumps(task)) < 100_000
    # A page that only one process has mapped counts as its own, so this process maps all pages,
    # too.
    assert task.data()[0].min() == 1
    assert peak_bytes(task) < SIZE


def test_that_claim_about_memory_can_fail_a_functions_data_are_each_ranks_own():
    def data():
        rows = SIZE // 2048
        return np.ones((rows, 512), np.float32), np.arange(rows) % 2

    assert peak_bytes(own(nn.Linear(512, 2), data, batch=2048)) > SIZE


def test_the_files_live_as_long_as_the_task_and_no_longer():
    task = own(own_models.mlp())
    folders = [task.data.folder.path, task.model.make.folder.path]
    cloudpickle.loads(cloudpickle.dumps(task))
    gc.collect()
    assert all(folder.is_dir() for folder in folders)
    del task
    gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_the_files_are_gone_when_the_kernel_has_ended():
    code = (
        "import own_models, lablib as lab; from torch import nn; task = lab.tasks.Task.from_torch("
        "own_models.mlp(), nn.CrossEntropyLoss(), own_models.digits(), 8);"
        "print(task.data.folder.path); print(task.model.make.folder.path)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent
    )
    folders = done.stdout.split()
    assert len(folders) == 2 and not any(Path(folder).exists() for folder in folders)
