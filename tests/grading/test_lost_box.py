"""If the box's own process dies while an answer runs, the answer is tried a second time.

If it dies again, only this exercise is affected, and its row says so.
"""

from __future__ import annotations

import contextlib
import csv
import time

import course
import psutil
import pytest

from lablib.grading import pipeline

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(120)]
_SLOWLY = "    import time; time.sleep(0.5)\n"
CLASS = {
    "ann": course.notebook(*(source.replace(":\n", f":\n{_SLOWLY}", 1) for source in
                             (course.MEAN, course.DOUBLE))),
    "bob": course.notebook(),
    "cid": course.starter(),
}  # fmt: skip


def keeper_of(process):
    """Return the box's own process, the parent of its rank sets; None without a rank set."""
    for one in psutil.Process(process.pid).children(recursive=True):
        if one.cmdline()[3:5] == ["lablib.box.keeper", "torch"]:
            return one if one.children() else None
    return None


def graded_while_boxes_die(base):
    """Grade a class: the box dies once in ann's first exercise, and twice in her second one."""
    process, killed = course.start_grading(base, "out", jobs=1), set()

    def log_has(event):
        return f'"{event}"' in (base / "out/log.jsonl").read_text()

    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            one = keeper_of(process)
            if one and one not in killed and len(killed) < (3 if log_has("graded") else 1):
                its_own = one.children(recursive=True)  # use the children's own list of processes
                one.kill()
                killed.add(one)
                psutil.wait_procs(its_own)
        time.sleep(0.01)
    assert (process.returncode, len(killed)) == (0, 3)


def rows(base):
    with open(base / "out/grades.csv", newline="") as file:
        return {row["id"]: (row["9.1"], row["9.2"], row["total"], row["status"])
                for row in csv.DictReader(file)}  # fmt: skip


def test_a_box_that_dies_costs_at_most_the_exercise_that_ran_in_it(tmp_path):
    course.make(tmp_path / "course")
    course.plant(tmp_path / "class", CLASS)
    graded_while_boxes_die(tmp_path)
    others = {"bob": ("4", "2", "6", "graded"), "cid": ("0", "0", "0", "graded")}
    assert rows(tmp_path) == others | {"ann": ("4", "", "", "not graded")}
    assert (
        "9.2 The sandbox for grading does not work." in (tmp_path / "out/report.html").read_text()
    )
    pipeline.grade(pipeline.Asked(tmp_path / "class", course.LAB, tmp_path / "out",
                                root=tmp_path / "course"))  # fmt: skip
    assert rows(tmp_path) == others | {"ann": ("4", "2", "6", "graded")}
