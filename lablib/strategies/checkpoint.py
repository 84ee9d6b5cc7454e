"""Write and read checkpoints: files with everything that the next step depends on.

A checkpoint is written completely, or it is recognised as damaged when it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lablib.errors import LabError, check_whole
from lablib.files import write_completely
from lablib.strategies.strategy import Job

OPTIONS = {"checkpoint_every": 10, "folder": None, "keep": 2, "fail_at": None}
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after some of its steps.

    losses   the loss of every step so far; their number is the number of the next step, which
             also determines the samples of that step
    arrays   {name: array} of weights, momentum and the state of the random numbers
    """

    losses: list[float]
    arrays: dict[str, np.ndarray]


def open_folder(job: Job) -> Path:
    """Return the folder that the job names; create it if it does not exist.

    If the job names none, the folder is a temporary one that is removed after the run. Raises
    LabError if the folder cannot be created, and for options that make no sense.
    """
    # Keep at least two checkpoints, because the newest may be damaged.
    check_whole(2, keep=job.options["keep"])
    check_whole(1, checkpoint_every=job.options["checkpoint_every"])
    given = job.options["folder"]
    folder = Path(tempfile.gettempdir(), "checkpoints") if given is None else Path(given)
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error.strerror) from error
    return folder


def due(step: int, job: Job) -> bool:
    """Return True if a checkpoint is due after `step` steps: every few steps, and at the end."""
    return step % job.options["checkpoint_every"] == 0 or step == job.steps


def save(folder: Path, checkpoint: Checkpoint, job: Job) -> Path:
    """Write a checkpoint and only then remove the oldest ones; return its path.

    Raises LabError with the path if it cannot be written. Then the older checkpoints are unchanged.
    """
    try:
        path = write_completely(_path(folder, len(checkpoint.losses)), _pack(checkpoint, job))
    except LabError as error:
        raise not_written(
            folder, getattr(error.__cause__, "strerror", None) or error.saw
        ) from error
    # A file with a higher number must be damaged: otherwise this run would have started from it.
    kept = [each for each in _all(folder) if each <= path][-job.options["keep"] :]
    for useless in {*_all(folder), *folder.glob(".step-*.tmp")} - {*kept}:
        useless.unlink(missing_ok=True)
    return path


def newest(folder: Path, job: Job) -> Checkpoint | None:
    """Return the newest complete checkpoint; None if there is none. Report damaged ones.

    Raises LabError if all are damaged, or if the checkpoint belongs to another job.
    """
    paths = _all(folder)
    for path in reversed(paths):
        found = _unpack(_read(path))
        if found:
            head, arrays = found
            check_continues(path, head["job"], len(head["losses"]), job)
            return Checkpoint(head["losses"], arrays)
        tell_damaged(path)
    if paths:
        raise all_damaged(folder)
    return None


def describe_job(job: Job) -> dict:
    """Return what a run must have in common with the run that it continues.

    The number of ranks may differ.
    """
    task = job.task
    return {
        "task": task.name,
        "parameters": int(task.parameters),
        "batch": int(job.batch),
        "seed": int(job.seed),
        "lr": float(task.lr),
        "momentum": float(task.momentum),
    }


def check_continues(path: Path | str, before: dict, steps: int, job: Job) -> None:
    """Raise LabError unless this job can continue after `steps` steps of the job `before`."""
    now = describe_job(job)
    differ = [name for name in now if before.get(name) != now[name]]
    if differ:
        pairs = ", ".join(f"{name} {before.get(name)!r}, now {now[name]!r}" for name in differ)
        raise LabError(
            "This checkpoint belongs to another run.",
            saw=f"{path}: {pairs}",
            do="choose another folder, or continue the run of this checkpoint",
        )
    if steps > job.steps:
        raise LabError(
            "The checkpoint has more steps than this run.",
            saw=f"{path}: {steps} steps, but steps={job.steps}",
            do=f"choose steps={steps} or more, or another folder",
        )


def not_written(folder: Path | str, why: str) -> LabError:
    return LabError(
        "The checkpoint cannot be written.",
        saw=f"{folder}: {why}",
        do="free space on that disk, or choose a folder that you may write to and copy the "
        "checkpoints there; the older checkpoints are unchanged",
    )


def tell_damaged(path: Path | str) -> None:
    print(f"{path} is damaged: the checkpoint before it is used")


def all_damaged(folder: Path) -> LabError:
    return LabError(
        "No checkpoint can be read.",
        saw=f"{folder}: all are damaged",
        do="restore one from a backup, or choose another folder to start from the beginning",
    )


def _path(folder, steps):
    return folder / f"step-{steps:09d}.npz"


def _all(folder):
    """Return the paths of all checkpoints, oldest first."""
    return sorted(folder.glob("step-*.npz"))


def _pack(checkpoint, job):
    """Return a checkpoint as NumPy's npz, which `np.load` can read, followed by its checksum."""
    head = json.dumps({"job": describe_job(job), "losses": checkpoint.losses})
    file = io.BytesIO()
    np.savez(file, head=np.array(head), **checkpoint.arrays)
    content = file.getvalue()
    return content + hashlib.sha256(content).digest()


def _unpack(data):
    """Return (head, arrays), or None if data is missing or has changed since it was written."""
    content = data[:-_DIGEST_BYTES]
    digest = data[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("head"))), arrays


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabError(
            "A checkpoint cannot be read.",
            saw=f"{path}: {error.strerror}",
            do="check that it exists and that you may read it",
        ) from error
