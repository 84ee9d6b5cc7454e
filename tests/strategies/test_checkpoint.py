"""A checkpoint is complete or recognised as damaged, and a failure does not affect older ones."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lablib as lab
from lablib.strategies import Job, checkpoint
from lablib.strategies.checkpoint import Checkpoint

NOBODY = 65534
JOB = Job(lab.tasks.get("cancer-mlp"), steps=9, batch=32, options=checkpoint.OPTIONS)
ARRAYS = {
    "weight 0.kernel": np.eye(3, dtype=np.float32),
    "random numbers": np.arange(5, dtype="u1"),
}


def after(steps, size=1):
    """Return a checkpoint after `steps` steps."""
    losses = [1 / (step + 3) for step in range(steps)]
    return Checkpoint(losses, ARRAYS | {"weight 1": np.full(size, steps, np.float64)})


def steps_found(folder, job=JOB):
    found = checkpoint.newest(folder, job)
    return found and len(found.losses)


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path):
    written = after(6)
    checkpoint.save(tmp_path, written, JOB)
    read = checkpoint.newest(tmp_path, JOB)
    assert read.losses == written.losses
    assert read.arrays.keys() == written.arrays.keys()
    for name, array in written.arrays.items():
        assert read.arrays[name].dtype == array.dtype
        assert read.arrays[name].tobytes() == array.tobytes()


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.newest(tmp_path, JOB) is None


def test_numpy_reads_a_checkpoint_without_unpickling(tmp_path):
    path = checkpoint.save(tmp_path, after(6), JOB)
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(file["weight 0.kernel"], np.eye(3))


def test_objects_are_not_read(tmp_path):
    path = checkpoint.save(tmp_path, Checkpoint([1.0], {"a": np.array([{}], object)}), JOB)
    assert path.stat().st_size
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint.newest(tmp_path, JOB)


def test_one_cut_off_at_any_byte_is_detected_and_the_one_before_it_is_used(tmp_path):
    checkpoint.save(tmp_path, Checkpoint([0.5] * 3, {"weight": np.ones(1)}), JOB)
    path = checkpoint.save(tmp_path, Checkpoint([0.5] * 6, {"weight": np.ones(1)}), JOB)
    content = path.read_bytes()
    assert steps_found(tmp_path) == 6
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert steps_found(tmp_path) == 3, f"cut off after {length} of {len(content)} bytes"


def test_a_wrong_byte_is_detected(tmp_path):
    checkpoint.save(tmp_path, after(3), JOB)
    path = checkpoint.save(tmp_path, after(6), JOB)
    content = path.read_bytes()
    for place in range(0, len(content), 11):
        wrong = bytes([content[place] ^ 1])
        path.write_bytes(content[:place] + wrong + content[place + 1 :])
        assert steps_found(tmp_path) == 3, f"byte {place} of {len(content)}"


def test_without_a_checksum_some_of_that_would_go_unseen(tmp_path):
    path = checkpoint.save(tmp_path, after(6), JOB)
    content = path.read_bytes()

    def loads(place):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            with np.load(path, allow_pickle=False) as file:
                return bool(dict(file))
        except Exception:
            return False

    assert any(map(loads, range(len(content) - 32)))


def test_a_damaged_one_is_told(tmp_path, capsys):
    checkpoint.save(tmp_path, after(3), JOB)
    path = checkpoint.save(tmp_path, after(6), JOB)
    path.write_bytes(b"")
    checkpoint.newest(tmp_path, JOB)
    assert f"{path} is damaged" in capsys.readouterr().out


def test_when_all_are_damaged_nothing_begins_anew_unasked(tmp_path):
    checkpoint.save(tmp_path, after(3), JOB).write_bytes(b"")
    with pytest.raises(lab.LabError, match="No checkpoint can be read") as caught:
        checkpoint.newest(tmp_path, JOB)
    assert str(tmp_path) in caught.value.saw and caught.value.do


def test_the_newest_are_kept(tmp_path):
    for steps in (2, 4, 6, 8):
        checkpoint.save(tmp_path, after(steps), JOB)
    assert [path.stem for path in sorted(tmp_path.iterdir())] == [
        "step-000000006",
        "step-000000008",
    ]


def test_a_damaged_one_does_not_push_out_those_that_are_whole(tmp_path):
    checkpoint.save(tmp_path, after(4), JOB)
    checkpoint.save(tmp_path, after(8), JOB).write_bytes(b"")
    for steps in (5, 6):  # written every step after step 4
        checkpoint.save(tmp_path, after(steps), JOB)
    assert [path.stem for path in sorted(tmp_path.iterdir())] == [
        "step-000000005",
        "step-000000006",
    ]


@contextmanager
def smallest_disk():
    """Forbid files above 4 kB.

    This is not a fixture, because pytest reports a test before its fixtures end.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_a_clear_error_and_the_old_checkpoint_is_intact(tmp_path):
    old = checkpoint.save(tmp_path, after(3), JOB)
    content = old.read_bytes()
    with (
        pytest.raises(lab.LabError, match="The checkpoint cannot be written") as caught,
        smallest_disk(),
    ):
        checkpoint.save(tmp_path, after(6, size=10_000), JOB)
    assert str(tmp_path) in caught.value.saw and "File too large" in caught.value.saw
    assert "free space" in caught.value.do
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == content


@pytest.fixture
def locked():
    """Make a folder of another user, with a checkpoint in it, that can be read but not written."""
    folder = Path(tempfile.mkdtemp())  # not pytest's own folder, which other users may not enter
    checkpoint.save(folder, after(3), JOB)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)  # root may write anywhere
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_no_permission_is_a_clear_error_and_the_old_checkpoint_is_intact(locked):
    with pytest.raises(lab.LabError, match="The checkpoint cannot be written") as caught:
        checkpoint.save(locked, after(6), JOB)
    assert str(locked) in caught.value.saw and "Permission denied" in caught.value.saw
    assert steps_found(locked) == 3


def test_a_folder_that_cannot_be_made_is_a_clear_error(locked):
    options = checkpoint.OPTIONS | {"folder": locked / "mine"}
    with pytest.raises(lab.LabError, match="The checkpoint cannot be written") as caught:
        checkpoint.open_folder(replace(JOB, options=options))
    assert str(locked / "mine") in caught.value.saw


DIES_WHILE_WRITING = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_checkpoint as here
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
here.checkpoint.save(here.Path(sys.argv[2]), here.after(6), here.JOB)
"""


def test_who_dies_while_writing_leaves_the_old_one_and_its_rest_is_cleared_away(tmp_path):
    checkpoint.save(tmp_path, after(3), JOB)
    here = str(Path(__file__).parent)
    dead = subprocess.run([sys.executable, "-c", DIES_WHILE_WRITING, here, tmp_path], timeout=60)
    assert dead.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert steps_found(tmp_path) == 3
    checkpoint.save(tmp_path, after(6), JOB)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"] * 2


OTHERS = [
    (dict(seed=1), "seed 0, now 1"),
    (dict(batch=64), "batch 32, now 64"),
    (dict(task=lab.tasks.get("digits-mlp")), "task 'cancer-mlp', now 'digits-mlp'"),
    (dict(task=replace(JOB.task, lr=0.5)), "lr 0.01, now 0.5"),
    (dict(steps=5), "6 steps, but steps=5"),
]


@pytest.mark.parametrize("change, seen", OTHERS, ids=[seen for _, seen in OTHERS])
def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path, change, seen):
    path = checkpoint.save(tmp_path, after(6), JOB)
    with pytest.raises(lab.LabError) as caught:
        checkpoint.newest(tmp_path, replace(JOB, **change))
    assert seen in caught.value.saw and str(path) in caught.value.saw
    assert "another folder" in caught.value.do
    assert steps_found(tmp_path) == 6


def test_a_longer_run_goes_on(tmp_path):
    checkpoint.save(tmp_path, after(6), JOB)
    assert steps_found(tmp_path, replace(JOB, steps=100)) == 6


@pytest.mark.parametrize("wrong", [dict(keep=1), dict(keep=2.5), dict(checkpoint_every=0)], ids=str)
def test_options_that_make_no_sense_are_refused(wrong, tmp_path):
    options = checkpoint.OPTIONS | {"folder": tmp_path} | wrong
    with pytest.raises(lab.LabError) as caught:
        checkpoint.open_folder(replace(JOB, options=options))
    assert next(iter(wrong)) in caught.value.saw


def test_it_is_due_every_few_steps_and_at_the_end():
    job = replace(JOB, options=checkpoint.OPTIONS | {"checkpoint_every": 4})
    assert [step for step in range(1, 10) if checkpoint.due(step, job)] == [4, 8, 9]
