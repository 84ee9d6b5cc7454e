"""Read a notebook that may harm its reader, in a process of its own.

A file of 20 MB can be nested so deep, or be so complicated, that reading it crashes Python or takes
forever. Nothing in the file is executed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from lablib.computer import processes
from lablib.grading.intake import notebook_file, written_code
from lablib.grading.intake.answers import FOUND, Answer, AnswerReader
from lablib.grading.intake.notebook_file import Cell
from lablib.teach.exercise import Exercise
from lablib.teach.written_text import MOST_CHARACTERS, cleaned

_SECONDS = 60
_PROCESSOR_S = 15
_MEMORY_BYTES = 2**30
_TOO_MUCH = 3
_QUIZ = re.compile(r"\d{1,2}\.[a-z]")


@dataclass(frozen=True)
class Reading:
    """The content of a notebook.

    problem          why it cannot be read; "" if it can be read
    answers          by exercise, one for each function that the exercise asks for
    cells            the program: the cells that are Python, without IPython's lines
    fingerprints     by exercise, the fingerprints of its answers; see `similarity`
    written          the fingerprints of all code that the learner wrote
    quizzes          by number, the learner's choice, counted from 1
    written_answers  by number, the learner's text; None if the file has no place for it, because
                     `submit` did not write the file
    """

    problem: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    fingerprints: dict[str, list[int]] = field(default_factory=dict)
    written: list[int] = field(default_factory=list)
    quizzes: dict[str, int] = field(default_factory=dict)
    written_answers: dict[str, str] | None = None

    @cached_property
    def program(self) -> str:
        """Return a digest of all cells."""
        text = json.dumps([asdict(cell) for cell in self.cells])
        return hashlib.sha256(text.encode()).hexdigest()


def read(
    data: bytes,
    exercises: Sequence[Exercise],
    released: Path | None = None,
    questions: Collection[str] = (),
) -> Reading:
    """Read these exercises from a notebook's bytes; raise nothing, whatever the bytes are.

    released    the lab as learners got it: an unchanged answer counts as not attempted
    questions   the numbers of the written questions
    """
    if len(data) > notebook_file.MOST_BYTES:
        return Reading(f"the file is larger than {notebook_file.MOST_BYTES // 2**20} MB")
    wanted = {
        "exercises": {one.number: one.answers for one in exercises},
        "released": str(released or ""),
        "questions": list(questions),
    }
    try:
        done = subprocess.run(
            processes.command("lablib.grading.intake.safe_reading"),
            input=json.dumps(wanted).encode() + b"\n" + data,
            capture_output=True,
            timeout=_SECONDS,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        return Reading(f"it could not be read within {_SECONDS} s")
    if done.returncode != 0:  # _TOO_MUCH, or the system has ended it at a limit
        return Reading("it could not be read: too large or too deep")
    found = json.loads(done.stdout)
    plain_answers = found.pop("answers")
    answers = {number: list(map(Answer.of, several)) for number, several in plain_answers.items()}
    cells = tuple(Cell(**plain) for plain in found.pop("cells", ()))
    return Reading(answers=answers, cells=cells, **found)


def _environment():
    return {"PATH": os.environ.get("PATH", ""), "PYTHONUTF8": "1"}


def main(_arguments: list[str]) -> None:
    """Read `wanted` and the notebook from stdin, and write a `Reading` as JSON to stdout."""
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_S, _PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    head, _, data = sys.stdin.buffer.read().partition(b"\n")
    try:
        found = _found(json.loads(head), data)
    except (MemoryError, RecursionError):
        raise SystemExit(_TOO_MUCH) from None
    except Exception as error:  # a file can contain anything, so any error is possible
        found = {"problem": f"it could not be read: {type(error).__name__}", "answers": {}}
    json.dump(found, sys.stdout)


def _found(wanted, data):
    released = ()
    if wanted["released"]:
        released = notebook_file.read(Path(wanted["released"]).read_bytes()).cells
    try:
        notebook = notebook_file.read(data)
    except notebook_file.Unreadable as reason:
        return {"problem": str(reason), "answers": {}}
    reader = AnswerReader(notebook, released)
    answers = {n: reader.answers(n, due) for n, due in wanted["exercises"].items()}
    names = {n: [a.name for a in several if a.status == FOUND] for n, several in answers.items()}
    ours, theirs = (
        [cell.source for cell in cells if cell.kind == "code"]
        for cells in (notebook.cells, released)
    )
    asked = {n: found for n, found in names.items() if found}
    prints, written = written_code.written(ours, theirs, asked)
    return {
        "answers": {n: [one.plain() for one in several] for n, several in answers.items()},
        "cells": [asdict(cell) for cell in reader.program],
        "fingerprints": prints,
        "written": written,
        "quizzes": _quizzes(notebook.metadata),
        "written_answers": _written_answers(notebook.metadata, wanted["questions"]),
    }


def _by_submit(metadata, kind):
    """Return the dictionary that `submit` wrote there; None if there is none."""
    ours = metadata.get("lablib")
    told = ours.get(kind) if isinstance(ours, dict) else None
    return told if isinstance(told, dict) else None


def _quizzes(metadata):
    """Return the choices, and ignore everything else."""
    told = _by_submit(metadata, "quizzes") or {}
    return {n: c for n, c in told.items() if _QUIZ.fullmatch(n) and type(c) is int and c < 100}


def _written_answers(metadata, numbers):
    """Return the answers to these written questions, each short and without hidden characters."""
    told = _by_submit(metadata, "written")
    if told is None:
        return None
    texts = {number: told[number] for number in numbers if isinstance(told.get(number), str)}
    return {number: short for number, text in texts.items() if (short := _shortened(text))}


def _shortened(text):
    more = "\n[The rest is not shown: it is too long.]" * (len(text) > MOST_CHARACTERS)
    return cleaned(text[:MOST_CHARACTERS]) + more
