"""An exercise: what the learner writes, the cases in which it is tried, the claims that judge it.

Each exercise is one file, such as `labs/checks/3_2_bucket_gradients.py` for exercise 3.2, with

    ANSWERS   the signatures of the functions that the learner writes: ("bucket(grads, group)",);
              for an exercise in both frameworks, one signature for each
    TITLE, POINTS
    cases(seed) -> list[Case]              the inputs: plain data, separate for each rank
    observe(me, answer, given) -> plain    runs on every rank; calls the learner's function
    judge(case, seen) -> Iterator[Claim]   is it right, and does it use the right technique?
    picture(case, seen)                    optional: a figure that helps if a claim fails

`cases` and `judge` run outside the ranks, and `observe` runs beside the learner's code. Only
`judge` computes expected values, so no answer can read them.

The instructor has a second file, `solutions/hidden/3_2_bucket_gradients.py`. It has `cases(seed)`,
which learners never get, `RIGHT`, a list of right answers that are written differently, and
`WRONG`, a dictionary of wrong answers by name. An answer is a function, or a tuple of functions if
`ANSWERS` has several.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace

from lablib.computer.facts import ROOT
from lablib.errors import LabError

CHECKS = ROOT / "labs" / "checks"
HIDDEN = ROOT / "solutions" / "hidden"
_MOST_BYTES = 8 << 20
_FILE = re.compile(r"(\d+)_(\d+)_\w+\.py")


@dataclass(frozen=True)
class Case:
    """One situation in which an answer is tried.

    name     the name that the learner sees, such as "10 samples on 4 ranks"
    shared   plain data that every rank gets
    own      by rank, plain data that only this rank gets; () if there is none. Other ranks can get
             it only by messages, so right values prove that the ranks communicated
    answer   which of the exercise's ANSWERS is tried
    relay    send all messages through a relay outside the ranks, which counts them, when the answer
             is graded. Set it in every case whose claims look at messages; torch only
    ranks, nodes, roles, framework, hardware, threads, timeout_s   as in `lab.Cluster`
    """

    name: str
    shared: dict = field(default_factory=dict)
    own: tuple[dict, ...] = ()
    answer: int = 0
    relay: bool = False
    ranks: int = 1
    nodes: int | None = None
    roles: dict | None = None
    framework: str = "torch"
    hardware: object = None
    threads: int | None = 1
    timeout_s: float = 20

    @property
    def size(self) -> int:
        """Return the number of ranks."""
        return sum(self.roles.values()) if self.roles else self.ranks

    def given(self) -> list[dict]:
        """Return the data of each rank."""
        own = self.own or ({},) * self.size
        return [self.shared | mine for mine in own]


@dataclass(frozen=True)
class Observer:
    """The function that runs on every rank: it calls `observe` with the data of this rank."""

    observe: object
    answer: object

    def __call__(self, me, given: dict):
        return self.observe(me, self.answer, SimpleNamespace(**given))


@dataclass(frozen=True)
class Exercise:
    """One exercise, read from its file. `hidden` is None in the learners' copy of the kit."""

    number: str
    path: Path
    hidden_path: Path | None = None

    @cached_property
    def module(self) -> ModuleType:
        return _load(self.path, f"lablib_exercise_{self.path.stem}")

    @cached_property
    def hidden(self) -> ModuleType | None:
        """Return the instructor's file of the exercise, as a module."""
        if self.hidden_path is None or not self.hidden_path.exists():
            return None
        return _load(self.hidden_path, f"lablib_hidden_{self.path.stem}")

    @property
    def lab(self) -> str:
        """Return the lab's number in two digits, such as "03" for exercise 3.2."""
        return self.number.partition(".")[0].zfill(2)

    @property
    def title(self) -> str:
        return self.module.TITLE

    @property
    def points(self) -> float:
        return self.module.POINTS

    @property
    def answers(self) -> tuple[str, ...]:
        """Return the signatures of the functions that the learner writes."""
        return self.module.ANSWERS

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the functions that the learner writes.

        >>> from lablib.teach import exercise
        >>> exercise.name_of("tf_config(addresses, index)")
        'tf_config'
        """
        return tuple(map(name_of, self.answers))


def misfit(due: str, answer: object) -> str:
    """Return why this cannot be the answer, without calling it; "" if it can be.

    due   the signature that the exercise asks for
    """
    if not callable(answer):
        return f"the answer must be the function {due}, but this is {type(answer).__name__}"
    try:
        inspect.signature(answer).bind(*_parameters(due))
    except TypeError:
        return f"it takes {inspect.signature(answer)}, but it is called as {due}"
    except ValueError:
        pass  # functions written in C may have no signature
    return ""


def oversize(pickled: bytes) -> str:
    """Return why an answer of this size is not graded; "" if it is.

    pickled   the function with all objects of the notebook that it uses
    """
    if len(pickled) <= _MOST_BYTES:
        return ""
    return (
        f"the function and the objects it uses take {len(pickled) / 2**20:.1f} MB, more than the "
        f"{_MOST_BYTES >> 20} MB that are graded; make large arrays inside the function"
    )


def name_of(signature: str) -> str:
    return signature.partition("(")[0]


def find(number: str, checks: Path = CHECKS, hidden: Path | None = HIDDEN) -> Exercise:
    """Return the exercise with this number, such as "3.2"; raise LabError if there is none."""
    for exercise in every(checks, hidden):
        if exercise.number == str(number):
            return exercise
    known = ", ".join(exercise.number for exercise in every(checks, hidden)) or "none"
    raise LabError("There is no such exercise.", saw=repr(number), do=f"choose one of: {known}")


def every(checks: Path = CHECKS, hidden: Path | None = HIDDEN, lab: str = "") -> list[Exercise]:
    """Return all exercises in order, or those of one lab, such as "03"."""
    found = []
    for path in checks.glob("*.py"):
        match = _FILE.fullmatch(path.name)
        if (
            match
            and lab.lstrip("0") in ("", match[1])
            and (not lab or lab.zfill(2) == match[1].zfill(2))
        ):
            twin = hidden and hidden / path.name
            found.append(((int(match[1]), int(match[2])), path, twin))
    return [Exercise("{}.{}".format(*at), path, twin) for at, path, twin in sorted(found)]


def _parameters(signature):
    inside = signature.partition("(")[2].rstrip(")")
    return [part for part in inside.split(",") if part.strip()]


def _load(path, name):
    """Load the file as a module that is sent to ranks by value, as no rank could import it."""
    import cloudpickle

    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module
