"""Grade one batch of broken, hostile and good submissions with the whole grader.

The grader is killed half way and continues. The batch ends; each submission has one row with the
expected result; nothing outside of `--out` changes; no process is left; no secret is written.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import socket
from pathlib import Path

import course
import psutil
import pytest
from hostile.attacks_in_answers import ATTACKS
from hostile.broken_files import FILES

from lablib.grading import pipeline
from lablib.grading.intake.submission_names import printable
from lablib.grading.trial.secret_seed import seed_of

pytestmark = [pytest.mark.needs("bubblewrap"), pytest.mark.timeout(900)]
ENVIRONMENT_CANARY = "canary-of-the-environment-55d1"
SOCKET = f"lablib-test-{os.getpid()}"
LATE = "due: 2100-01-01\nlost_per_day: 0.25\nhanded_in: {late: 2100-01-02 12:00}\n"
# Five times the promised limit, because a busy computer is not a failure.
BEYOND_LIMIT_S = GONE_WITHIN_S = 10


def expected():
    """Return {id: (status, points of 9.1, points of 9.2, possible statuses of 9.1)}."""
    rows = {name: ("graded", points, 2, statuses) for name, (_, points, statuses) in
            ATTACKS.items()}  # fmt: skip
    return rows | {printable(name): (status, *points, None)
                   for name, (_, status, *points) in FILES.items()}  # fmt: skip


EXPECTED = expected()


def table(out, name):
    """Return its rows without the marks that keep a spreadsheet from reading a formula."""
    with open(out / name, newline="") as file:
        return [row | {"id": row["id"].removeprefix("'")} for row in csv.DictReader(file)]


class Batch:
    """The batch, graded once."""

    def __init__(self, base: Path, port: int):
        self.base, self.out, self.port = base, base / "out", port
        course.with_one_public_case(course.make(base / "course"))
        answers = {name: course.notebook(self._aimed(source)) for name, (source, *_) in
                   ATTACKS.items()}  # fmt: skip
        files = {name: content for name, (content, *_) in FILES.items()}
        course.plant(base / "class", answers | files)
        (base / "late.yaml").write_text(LATE)
        self.before = self.fingerprint()
        self.left_by_the_killed = self._killed_half_way()
        self.rows = self.graded("out", late=base / "late.yaml")

    def _aimed(self, source):
        return (source.replace("BASE", str(self.base)).replace("HOST_PORT", str(self.port))
                .replace("HOST_SOCKET", SOCKET))  # fmt: skip

    def _killed_half_way(self):
        """Kill the grader after half of the answers; return the remaining processes."""
        process = course.start_grading(self.base, "out", jobs=2)
        started = course.kill_after(process, self.out, results=len(ATTACKS) // 2)
        _, alive = psutil.wait_procs(started, timeout=GONE_WITHIN_S)
        return alive

    def graded(self, out, **more):
        asked = pipeline.Asked(self.base / "class", course.LAB, self.base / out, jobs=2,
                              root=self.base / "course", **more)  # fmt: skip
        pipeline.grade(asked)
        return {row["id"]: row for row in table(self.base / out, "grades.csv")}

    def exercises(self):
        return {(row["id"], row["exercise"]): row for row in table(self.out, "exercises.csv")}

    def fingerprint(self):
        """Return every name and content in the course and the class, except compiled modules."""
        found = {}
        for path in sorted((self.base / "course").rglob("*")) + sorted(
            (self.base / "class").rglob("*")
        ):
            if "__pycache__" not in path.parts:
                plain = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20
                found[str(path)] = hashlib.sha256(path.read_bytes() if plain else b"").hexdigest()
        return found


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Grade the batch while this computer listens on an address that no answer may reach."""
    os.environ["LABLIB_TEST_CANARY"] = ENVIRONMENT_CANARY
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{SOCKET}")
        unix.listen()
        made = Batch(tmp_path_factory.mktemp("hostile"), tcp.getsockname()[1])
        tcp.setblocking(False)
        unix.setblocking(False)
        made.callers = [sock for sock in (tcp, unix) if called(sock)]
    del os.environ["LABLIB_TEST_CANARY"]
    return made


def called(listening):
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_each_submission_has_one_row(batch):
    assert sorted(batch.rows) == sorted(EXPECTED)
    assert {row["tier"] for row in batch.rows.values()} == {"bubblewrap"}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_row_is_the_expected_one(batch, name):
    status, mean, double, statuses = EXPECTED[name]
    row = batch.rows[name]
    assert (row["status"], row["9.1"], row["9.2"]) == (status, str(mean), str(double)), row
    if statuses:
        assert batch.exercises()[name, "9.1"]["status"] in statuses, row


def test_nothing_outside_of_the_grades_has_changed(batch):
    assert batch.fingerprint() == batch.before
    assert not [path for path in batch.base.rglob("*") if "CANARY_FILE" in path.name]


def test_that_claim_can_fail(batch):
    extra = batch.base / "class" / "new.ipynb"
    extra.write_text("{}")
    try:
        assert batch.fingerprint() != batch.before
    finally:
        extra.unlink()


def test_nobody_outside_was_called(batch):
    assert batch.callers == []


def test_no_secret_is_in_anything_that_was_written(batch):
    written = [path for path in batch.out.rglob("*") if path.is_file()]
    assert len(written) > len(EXPECTED)
    for path in written:
        data = path.read_bytes()
        assert course.CANARY.encode() not in data, path
        assert ENVIRONMENT_CANARY.encode() not in data, path


def test_pages_are_small_and_do_nothing(batch):
    pages = list((batch.out / "feedback").iterdir())
    assert len(pages) == len(EXPECTED)
    for path in [*pages, batch.out / "report.html"]:
        text = path.read_text()
        assert len(text) < 1_000_000 and "<script" not in text, path
    assert any("&lt;script&gt;" in path.read_text() for path in pages)


def test_a_killed_grader_had_graded_half_and_left_no_process(batch):
    log = [json.loads(line) for line in (batch.out / "log.jsonl").read_text().splitlines()]
    first, second = (at for at, entry in enumerate(log) if entry["event"] == "began")
    graded = [(entry["id"], entry["exercise"]) for entry in log if entry["event"] == "graded"]
    assert first == 0 and len(ATTACKS) // 2 <= second - 1 < len(graded)
    assert len(graded) == len(set(graded))  # no exercise was graded again
    assert batch.left_by_the_killed == []


def test_no_process_is_left(batch):
    left = [process for process in psutil.process_iter(["cmdline"])
            if str(batch.base) in " ".join(process.info["cmdline"] or ())]  # fmt: skip
    assert left == []
    assert not (batch.out / ".work").exists()


def test_a_hang_costs_its_limit_and_little_more(batch):
    took_s = {}
    for line in (batch.out / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "graded" and entry["status"] == "timeout":
            took_s[entry["id"], entry["exercise"]] = entry["took_s"]
    assert took_s and max(took_s.values()) < course.TIMEOUT_S + BEYOND_LIMIT_S, took_s


def test_a_copy_is_noticed_and_a_late_one_loses_what_the_rule_says(batch):
    assert (batch.rows["late"]["total"], batch.rows["late"]["late"]) == ("4.5", "1 day late: -25%")
    report = (batch.out / "report.html").read_text()
    assert "<td>copy</td><td>perfect</td><td>the same file</td>" in report


def test_the_good_ones_get_the_same_bytes_without_the_others(batch, tmp_path):
    names = ("perfect", "hard coded", "nested")
    course.with_one_public_case(course.make(tmp_path / "course"))
    course.plant(tmp_path / "class", {name: FILES[name][0] for name in names})
    pipeline.grade(pipeline.Asked(
        tmp_path / "class", course.LAB, tmp_path / "out", root=tmp_path / "course",
        seed=seed_of(batch.out),
    ))  # fmt: skip
    alone = {row["id"]: row for row in table(tmp_path / "out", "grades.csv")}
    assert alone == {name: batch.rows[name] for name in names}
    for path in (tmp_path / "out/feedback").iterdir():
        assert path.read_bytes() == (batch.out / "feedback" / path.name).read_bytes()
    for path in (tmp_path / "out/results").iterdir():
        assert path.read_bytes() == (batch.out / "results" / path.name).read_bytes()
