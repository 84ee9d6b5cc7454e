"""The whole grader with the kit's own labs: a solution earns all points, a released lab none."""

from __future__ import annotations

import shutil

import pytest

from lablib.computer.facts import ROOT
from lablib.grading import pipeline
from lablib.grading.intake.answers import NOT_ATTEMPTED

LABS = sorted(path.name for path in (ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.needs("bubblewrap")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LABS)
def test_a_solution_earns_all_and_a_lab_as_released_nothing(name, tmp_path):
    (tmp_path / "class").mkdir()
    for whose in ("solutions", "labs"):
        shutil.copy(ROOT / whose / name, tmp_path / "class" / f"{whose}.ipynb")
    asked = pipeline.Asked(tmp_path / "class", name[:2], tmp_path / "out")
    rows = {row.id: row for row in pipeline.grade(asked)}
    solution, released = rows["solutions"], rows["labs"]
    # Nobody has answered the written questions, which `of` contains, too.
    of_exercises = sum(solution.of[number] for number in solution.exercises)
    assert (solution.total, solution.reason) == (of_exercises, ""), solution
    assert (released.total, released.status) == (0, "graded"), released
    assert {one.status for one in released.exercises.values()} == {NOT_ATTEMPTED}
