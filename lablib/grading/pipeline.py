"""Grade a folder of submissions. A broken or hostile submission does not affect the others.

It writes:

    grades.csv, exercises.csv, grades_canvas.csv, grades_nbgrader.csv     see `gradebook`
    feedback/ID.html       a page for each learner
    report.html            a page for the class
    written.html           the answers to written questions, for the instructor who reads them
    overrides.csv          points that the instructor gave by hand, stored for the next time, and
                           an empty row for each written answer that is to be read
    log.jsonl              what was done and when; lines are only added
    seed.txt               the secret seed of the cases' data: see `secret_seed`
    results/               results by content, so that grading can continue where it stopped
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lablib.box.box import containment
from lablib.computer.facts import ROOT
from lablib.errors import LabError, check_whole
from lablib.files import write_completely
from lablib.grading.intake import safe_reading, similarity, submissions
from lablib.grading.intake.safe_reading import Reading
from lablib.grading.intake.submissions import HANDED_IN, UNREADABLE, Submission
from lablib.grading.results import (
    class_report,
    feedback,
    folder_lock,
    gradebook,
    lateness,
    overrides,
    written_page,
)
from lablib.grading.results.gradebook import GRADED, NOT_GRADED, TO_READ, Row, Written
from lablib.grading.results.overrides import Override
from lablib.grading.trial import secret_seed
from lablib.grading.trial.grade_exercise import Graded, cases_of, untried
from lablib.grading.trial.isolation import UNSANDBOXED
from lablib.grading.trial.results_cache import Kept, digest
from lablib.grading.trial.worker_pool import Crew, GradingJob, Worker
from lablib.progress_bars import bar
from lablib.teach import exercise, quizzes_file, written_questions
from lablib.teach.exercise import Exercise

_IMPORT_S, _PER_CASE_S = 300, 10
_LONGEST_NAME_BYTES = 120  # of the 255 that a name may have
_WORK = ".work"
_NOT_BY_SUBMIT = "the file has no written answers, because lablib submit did not write it"
_LEFT_OUT = "not graded, because --only named other learners"


@dataclass(frozen=True)
class Asked:
    """What to grade, and how.

    folder     the folder of submissions
    lab        the lab's number, such as "03"
    out        the folder for all results
    jobs       the number of workers
    regrade    try answers again even if their results are stored
    only       grade only these ids
    unsafe     run learners' programs without a sandbox; then every row says UNSANDBOXED
    seed       the seed of the cases' data; None: the seed stored in `out`, or a new secret seed
    root       the folder of the course, with labs/ and solutions/
    """

    folder: Path
    lab: str
    out: Path
    jobs: int = 1
    regrade: bool = False
    only: tuple[str, ...] = ()
    overrides: Path | None = None
    late: Path | None = None
    unsafe: bool = False
    seed: int | None = None
    root: Path = ROOT

    def exercises(self) -> list[Exercise]:
        """Return the lab's exercises; raise LabError if there are none, or without hidden cases."""
        found = exercise.every(self.root / "labs/checks", self.root / "solutions/hidden", self.lab)
        if not found:
            known = sorted({one.lab for one in exercise.every(self.root / "labs/checks")})
            do = f"choose one of: {', '.join(known) or 'none'}"
            raise LabError("This lab has no exercises.", saw=repr(self.lab), do=do)
        lacking = [one.number for one in found if not one.hidden_path.exists()]
        if lacking:
            raise LabError(
                "Grading needs the hidden cases of all exercises.",
                saw=f"none for {', '.join(lacking)} in {self.root / 'solutions/hidden'}",
                do="grade with the instructor's copy of the kit, which has solutions/",
            )
        return found


def grade(asked: Asked) -> list[Row]:
    """Grade the submissions, write all results, and return the rows, by id."""
    return _Grading(asked).run()


@dataclass
class _Grading:
    asked: Asked
    exercises: list[Exercise] = field(init=False)
    found: list[Submission] = field(init=False)
    readings: dict[str, Reading] = field(init=False, default_factory=dict)
    files: dict[str, str] = field(init=False, default_factory=dict)
    troubles: dict[str, str] = field(init=False, default_factory=dict)
    seed: int = field(init=False)

    def __post_init__(self):
        check_whole(1, jobs=self.asked.jobs)
        if self.asked.seed is not None:
            check_whole(0, seed=self.asked.seed)
        self.containment = None if self.asked.unsafe else containment()
        self.exercises = self.asked.exercises()
        self.numbers = [one.number for one in self.exercises]
        self.questions = written_questions.graded(self.asked.root / "labs/checks", self.asked.lab)
        self.found = submissions.find(self.asked.folder, self.asked.lab)
        ids = {one.id for one in self.found}
        strangers = [one for one in self.asked.only if one not in ids]
        if strangers:
            saw = ", ".join(strangers)
            do = f"choose one of: {', '.join(sorted(ids)[:20])}"
            raise LabError("There is no submission of this learner.", saw=saw, do=do)
        self.changes = self._overrides(ids)
        self.policy = lateness.read(self.asked.late, ids) if self.asked.late else None

    def run(self):
        self._make_folders()
        with folder_lock.only_run_in(self.asked.out):
            self._prepare()
            try:
                self._log("began", submissions=len(self.found), lab=self.asked.lab)
                self._read()
                self._try()
                rows = [self._row(one) for one in self.found]
                self._write(rows)
                self._log("ended", submissions=len(rows))
            finally:
                shutil.rmtree(self.asked.out / _WORK, ignore_errors=True)
        return rows

    def _overrides(self, ids):
        kept = self.asked.out / "overrides.csv"
        given = self.asked.overrides or (kept if kept.exists() else None)
        most = {number: one.points for number, one in self.questions.items()}
        return overrides.read(given, ids, self.numbers, most) if given else []

    def _make_folders(self):
        out = self.asked.out
        if out.resolve().is_relative_to(self.asked.folder.resolve()):
            wrong = "The grades cannot be in the folder of submissions."
            raise LabError(wrong, saw=str(out), do="choose a folder outside")
        try:
            (out / "feedback").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(out, error) from None

    def _prepare(self):
        out = self.asked.out
        shutil.rmtree(out / _WORK, ignore_errors=True)
        try:
            (out / _WORK).mkdir(mode=0o755)
        except OSError as error:
            raise _not_written(out, error) from None
        self.seed = secret_seed.seed_of(out, self.asked.seed)
        write_completely(out / "overrides.csv", overrides.text_of(self.changes))

    @cached_property
    def kept(self) -> Kept:
        return Kept(self.asked.out / "results", self.seed, self.tier)

    def _read(self):
        """Read every submission, each in a new process."""
        with bar("reading", len(self.found)) as shown, ThreadPoolExecutor(self.asked.jobs) as pool:
            for one, (found, file) in zip(self.found, pool.map(self._reading, self.found)):
                self.readings[one.id] = found
                if file:
                    self.files[one.id] = file
                shown.update()

    def _reading(self, one):
        if one.state != HANDED_IN:
            return Reading(one.reason), ""
        try:
            data = submissions.read(self.asked.folder, one)
        except OSError as error:
            return Reading(error.strerror or str(error)), ""
        found = safe_reading.read(data, self.exercises, self._released(), self.questions)
        return found, digest(data)

    def _released(self):
        found = sorted((self.asked.root / "labs").glob(f"{self.asked.lab}_*.ipynb"))
        return found[0] if found else None

    def _try(self):
        """Try the answers without a stored result; try equal answers only once."""
        wanted = [one for one in self.found if not self.asked.only or one.id in self.asked.only]
        jobs = {}
        for one in wanted:
            for number, answers in self.readings[one.id].answers.items():
                key = self._key(number, one)
                if key in jobs or untried(self._exercise(number), answers, ""):
                    continue
                if self.asked.regrade or self.kept.load(key) is None:
                    job = {"exercise": number, "answers": [a.plain() for a in answers],
                           "cells": [asdict(cell) for cell in self.readings[one.id].cells],
                           "seed": self.seed, "key": key, "id": one.id}  # fmt: skip
                    jobs[key] = GradingJob(job, *self.needs[number])
        with bar("grading", len(jobs)) as shown:

            def done(job, answer):
                self._keep(job, answer)
                shown.update()

            Crew(self._worker, done).work(list(jobs.values()), self.asked.jobs)

    def _worker(self, number):
        asked = self.asked
        setup = {"root": str(asked.root), "lab": asked.lab, "containment": self.containment}
        return Worker(setup, asked.out.resolve() / _WORK, number)

    def _keep(self, job, answer):
        if "trouble" in answer:
            self.troubles[job["key"]] = answer["trouble"]
            self._log("trouble", id=job["id"], exercise=job["exercise"], saw=answer["trouble"])
            return
        graded = Graded.of_plain(answer["graded"])
        self.kept.save(job["key"], graded)
        self._log("graded", id=job["id"], exercise=job["exercise"], key=job["key"],
                  points=graded.points, status=graded.status, took_s=answer["took_s"])  # fmt: skip

    @cached_property
    def needs(self) -> dict[str, tuple[float, frozenset[str]]]:
        """Return for each exercise a generous time limit in seconds, and its frameworks."""
        found = {}
        for one in self.exercises:
            cases = [case for case, _ in cases_of(one, self.seed)]
            within_s = _IMPORT_S + sum(case.timeout_s + _PER_CASE_S for case in cases)
            found[one.number] = within_s, frozenset(case.framework for case in cases)
        return found

    def _exercise(self, number):
        return self.exercises[self.numbers.index(number)]

    def _key(self, number, one):
        return self.kept.key(self._exercise(number), self.readings[one.id])

    def _row(self, one):
        found = self.readings[one.id]
        exercises, lacking = {}, {}
        for number, answers in found.answers.items():
            graded = untried(self._exercise(number), answers, self.tier)
            graded = graded or self.kept.load(key := self._key(number, one))
            if graded:
                exercises[number] = graded
            else:
                lacking[number] = f"{number} {t}" if (t := self.troubles.get(key)) else _LEFT_OUT
        status, reason = GRADED, ""
        if found.problem:
            status = one.state if one.state != HANDED_IN else UNREADABLE
            reason = found.problem
        elif lacking:
            status, reason = NOT_GRADED, "; ".join(dict.fromkeys(lacking.values()))
        everything = [*self.exercises, *self.questions.values()]
        row = Row(
            one, status, reason, exercises, {each.number: each.points for each in everything},
            tuple(change for change in self.changes if change.id == one.id),
            self.policy.of(one) if self.policy else lateness.Lateness(),
            self._quizzes(found), self.tier, dict(self._written(found)),
        )  # fmt: skip
        return replace(row, status=TO_READ) if row.status == GRADED and row.to_read else row

    def _written(self, found):
        not_by_submit = found.written_answers is None and not found.problem
        note = _NOT_BY_SUBMIT if not_by_submit else ""
        for number, question in self.questions.items():
            yield number, Written(question, (found.written_answers or {}).get(number, ""), note)

    @property
    def tier(self):
        return self.containment[1] if self.containment else UNSANDBOXED

    def _quizzes(self, found):
        """Return how many quizzes were answered right, as the submission itself reports."""
        lab = f"{int(self.asked.lab)}."
        questions = [
            n for n in quizzes_file.numbers(self.asked.root / "labs/checks") if n.startswith(lab)
        ]
        if not questions or not found.quizzes:
            return ""
        right = 0
        for number in questions:
            choices = quizzes_file.find(number, self.asked.root / "labs/checks").choices
            chosen = found.quizzes.get(number, 0)
            right += 1 <= chosen <= len(choices) and choices[chosen - 1].right
        return f"{right} of {len(questions)}"

    def _write(self, rows: Sequence[Row]):
        out, title = self.asked.out, f"Lab {self.asked.lab}"
        titles = {one.number: one.title for one in self.exercises}
        pairs = similarity.pairs(
            {i: r.fingerprints for i, r in self.readings.items()},
            self.files,
            {i: r.written for i, r in self.readings.items()},
        )
        names = file_names([row.id for row in rows])
        for row in rows:
            text = feedback.feedback(row, self.asked.lab, titles)
            write_completely(out / "feedback" / names[row.id], text)
        for path in (out / "feedback").glob("*.html"):
            if path.name not in names.values():
                path.unlink()  # its submission no longer exists
        left_out = submissions.left_out(self.asked.folder)
        report = class_report.report(rows, self.asked.lab, titles, pairs, left_out)
        write_completely(out / "report.html", report)
        if self.questions:
            write_completely(out / "written.html", written_page.page(rows, self.asked.lab))
        changes = [*self.changes, *self._rows_to_fill(rows)]
        write_completely(out / "overrides.csv", overrides.text_of(changes))
        write_completely(out / "exercises.csv", gradebook.by_exercise(rows))
        write_completely(out / "grades_canvas.csv", gradebook.for_canvas(rows, title))
        write_completely(out / "grades_nbgrader.csv", gradebook.for_nbgrader(rows, title))
        write_completely(
            out / "grades.csv", gradebook.grades(rows, [*self.numbers, *self.questions])
        )

    def _rows_to_fill(self, rows):
        """Yield an empty override for each answer to be read, if there is no row for it yet."""
        there = {(change.id, change.exercise) for change in self.changes}
        for row in rows:
            for number in row.to_read:
                if (row.id, number) not in there:
                    yield Override(row.id, number)

    def _log(self, event, **told):
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event} | told)
        with open(self.asked.out / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")


def _not_written(out, error):
    saw = f"{out}: {error.strerror}"
    do = "choose a folder that you may write to"
    return LabError("The grades cannot be written.", saw=saw, do=do)


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """Return a file name for each id that is safe and different on every system.

    Some systems ignore case, or how an accent is written.

    >>> file_names(["jane", "../x"])["jane"]
    'jane.html'
    """
    names, taken = {}, set()
    for identity in ids:
        safe = re.sub(r"[^\w.@+-]", "_", identity).lstrip(".-")
        safe = safe.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
        if safe != identity or _read_as(safe) in taken:
            safe = f"{safe}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
        taken.add(_read_as(safe))
        names[identity] = f"{safe}.html"
    return names


def _read_as(name):
    return unicodedata.normalize("NFD", name).casefold()
