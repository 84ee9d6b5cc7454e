"""Measure how long grading takes: one submission, a class, a hang, and a learner's own check.

  python benchmarks/grading.py [one] [class] [hang] [check]

One submission is graded from a cold start. For a hang, the seconds beyond its limit are measured.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _paired import Claim, refusal, report, seconds
from _right_answers import notebook

from lablib.computer.facts import ROOT
from lablib.teach import checks
from lablib.teach.exercise import every

LAB, CLASS, WORKERS = "03", 30, 2
HANGS_IN_LAB, MOST_OVER_S = "01", 2
HANGS = {  # in exercises after one that starts the box
    "1.3": ("sleeps", "import time; time.sleep(1000)"),
    "1.4": ("ignores every signal",
            "import signal; [signal.signal(n, signal.SIG_IGN) for n in {*range(1, 32)} - {9, 19}]\n"
            "    while True: pass"),
    "1.5": ("forks without end", "import os\n    while True: os.fork()"),
}  # fmt: skip


def graded_s(submissions: int, folder: Path) -> tuple[float, bool]:
    """Return the seconds to grade this many right submissions, and whether all got all points."""
    handed_in, out = folder / f"in{submissions}", folder / f"out{submissions}"
    handed_in.mkdir()
    for number in range(submissions):
        (handed_in / f"{number:02}.ipynb").write_text(notebook(LAB, number % 2, number))
    took_s = seconds(lambda: grade(handed_in, LAB, out))
    with open(out / "grades.csv", newline="") as file:
        right = [row["total"] == row["of"] for row in csv.DictReader(file)]
    return took_s, len(right) == submissions and all(right)


def grade(handed_in: Path, lab: str, out: Path, workers: int = WORKERS) -> None:
    command = [sys.executable, "-P", "-m", "lablib", "grade", handed_in, "--lab", lab, "--out", out]
    command += ["-j", str(workers)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)


def hangs(folder: Path) -> list[tuple[str, str, float]]:
    """Return for each hanging answer what it does, how it ended, and seconds beyond the limit."""
    book, limits_s = json.loads(notebook(HANGS_IN_LAB)), {}
    for exercise in every(lab=HANGS_IN_LAB):
        if exercise.number in HANGS:
            source = f"def {exercise.answers[0]}:\n    {HANGS[exercise.number][1]}"
            book["cells"].append(book["cells"][0] | {"id": "", "source": source})
            limits_s[exercise.number] = exercise.module.cases(0)[0].timeout_s
    (folder / "hangs").mkdir()
    (folder / "hangs/one.ipynb").write_text(json.dumps(book))
    grade(folder / "hangs", HANGS_IN_LAB, folder / "hung", workers=1)
    entries = map(json.loads, (folder / "hung/log.jsonl").read_text().splitlines())
    return [
        (HANGS[number][0], entry["status"], entry["took_s"] - limits_s[number])
        for entry in entries if (number := entry.get("exercise")) in HANGS
    ]  # fmt: skip


def check_s(framework: str) -> float:
    """Return the longest time of a warm check of a right answer, over the lab's exercises."""
    longest_s = 0.0
    for exercise in every(lab=LAB):
        cases = exercise.module.cases(0)
        if framework not in {case.framework for case in cases}:
            continue
        answer = exercise.hidden.RIGHT[0]
        answers = answer if isinstance(answer, tuple) else (answer,)

        def check(exercise=exercise, answers=answers):
            with contextlib.redirect_stdout(io.StringIO()):
                checks.check(exercise.number, *answers)

        check()  # the first one imports the framework
        longest_s = max(longest_s, seconds(check))
    return longest_s


def main() -> int:
    wanted = set(sys.argv[1:]) or {"one", "class", "hang", "check"}
    claims, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, how_many, within_s in (("one", 1, 20), ("class", CLASS, 240)):
            if name in wanted:
                took_s, right = graded_s(how_many, Path(folder))
                text = f"{how_many} right submission(s) of lab {LAB}, {WORKERS} workers, cold, s"
                claims.append(Claim(text, took_s, within_s))
                notes.append(f"{name}: all right: {right}")
        for what, status, over_s in hangs(Path(folder)) if "hang" in wanted else ():
            text = f"an answer that {what} ends as {status}, seconds over its limit"
            claims.append(Claim(text, over_s, MOST_OVER_S))
    if "check" in wanted:
        for framework, within_s in (("torch", 2), ("tensorflow", 4)):
            text = f"lab.check of an answer in {framework}, warm, the slowest of the lab, s"
            claims.append(Claim(text, check_s(framework), within_s))
    return report("Grading", claims, notes, refusal())


if __name__ == "__main__":
    sys.exit(main())
