"""Read the workflow file of a project: which jobs there are, and which job needs which."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from lablib.errors import LabError

PATH = ".github/workflows/deliver.yml"
_MOST_BYTES, _MOST_JOBS = 1 << 16, 50


class PlannedJob(NamedTuple):
    """A job of the workflow; a job with a matrix is planned once for each value of the matrix.

    name     its key in the file
    matrix   the values of this copy of the job, by name; {} if it has no matrix
    needs    the jobs that must succeed before
    """

    name: str
    matrix: dict[str, Any]
    needs: tuple[str, ...]

    @property
    def framework(self) -> str | None:
        return self.matrix.get("framework")


def read(content: bytes) -> dict:
    """Return the content of a workflow file.

    Raises LabError if it is not YAML, or has no jobs, a job without steps or an unknown need.
    """
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"{len(content)} bytes, at most {_MOST_BYTES} are read")
        workflow = yaml.safe_load(content)
        _check(workflow)
    except (ValueError, yaml.YAMLError) as error:
        raise LabError(
            "The workflow file cannot be used.",
            saw=f"{PATH}: {error}",
            do="correct it; `git log -p` in the work tree shows how it was before",
        ) from error
    return workflow


def planned(workflow: dict) -> list[PlannedJob]:
    """Return the jobs in the order of the file."""
    return [
        PlannedJob(name, matrix, needs(job))
        for name, job in workflow["jobs"].items()
        for matrix in matrices(job)
    ]


def needs(job: dict) -> tuple[str, ...]:
    """Return the names of the jobs that a job needs.

    >>> needs({"needs": "test"}), needs({"needs": ["test", "train"]}), needs({})
    (('test',), ('test', 'train'), ())
    """
    names = job.get("needs") or []
    return (names,) if isinstance(names, str) else tuple(names)


def matrices(job: dict) -> list[dict[str, Any]]:
    """Return the values for each copy of a job. A matrix may have one row of values.

    >>> matrices({"strategy": {"matrix": {"framework": ["torch", "tensorflow"]}}})
    [{'framework': 'torch'}, {'framework': 'tensorflow'}]
    """
    matrix = (job.get("strategy") or {}).get("matrix") or {}
    return [{name: value} for name, values in matrix.items() for value in values] or [{}]


def _check(workflow):
    jobs = workflow.get("jobs") if isinstance(workflow, dict) else None
    if not isinstance(jobs, dict) or not jobs or len(jobs) > _MOST_JOBS:
        raise ValueError(f"it needs `jobs`, at most {_MOST_JOBS}")
    for name, job in jobs.items():
        if not isinstance(job, dict) or not isinstance(job.get("steps"), list):
            raise ValueError(f"the job {name} has no steps")
        _check_matrix(name, job)
        for need in needs(job):
            if need not in jobs:
                raise ValueError(f"the job {name} needs {need!r}, which is not a job")


def _check_matrix(name, job):
    strategy = job.get("strategy") or {}
    matrix = strategy.get("matrix") or {} if isinstance(strategy, dict) else None
    lists = isinstance(matrix, dict) and all(isinstance(each, list) for each in matrix.values())
    if not lists or len(matrix) > 1:
        raise ValueError(f"the matrix of the job {name} is not one row, as framework: [torch]")
