"""A process that grades. It reads jobs from stdin and writes results to stdout, as lines of JSON.

If a worker dies, only its current exercise is lost. It always ends together with the grader that
started it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path

from lablib.errors import LabError
from lablib.grading.intake.answers import Answer
from lablib.grading.intake.candidates import FoundAnswers
from lablib.grading.intake.notebook_file import Cell
from lablib.grading.trial import grade_exercise, isolation
from lablib.teach import exercise as exercises


def main(_arguments: list[str]) -> None:
    """Serve until stdin ends."""
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # printed text must not be read as a result
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    setup = jobs.get()
    root = Path(setup["root"])
    place = (
        isolation.Boxed(*setup["containment"]) if setup["containment"] else isolation.InTheOpen()
    )
    known = {
        one.number: one
        for one in exercises.every(root / "labs/checks", root / "solutions/hidden", setup["lab"])
    }
    finder = FoundAnswers(list(known.values()), place)
    try:
        while (job := jobs.get()) is not None:
            print(json.dumps(_done(known[job["exercise"]], job, finder)), file=results, flush=True)
    finally:
        place.close()


def _listen(jobs):
    for line in sys.stdin:
        jobs.put(json.loads(line))
        if line == "null\n":
            return
    os._exit(1)  # the grader is gone, so nobody waits for the current case


def _done(exercise, job, finder):
    try:
        answers = [Answer.of(plain) for plain in job["answers"]]
        cells = tuple(Cell(**plain) for plain in job["cells"])
        begun_s = time.monotonic()
        found = grade_exercise.grade(exercise, answers, cells, job["seed"], finder).plain()
        return {"graded": found, "took_s": round(time.monotonic() - begun_s, 2)}
    except LabError as error:
        return {"trouble": str(error)}
    except Exception as error:  # a bug in the kit is reported, and only this exercise is lost
        traceback.print_exc()
        return {"trouble": f"the grader failed: {type(error).__name__}: {error}"[:500]}
