"""Every entry of a folder is one submission with a platform's file name; no links are followed."""

from __future__ import annotations

import errno
import os
import socket
from datetime import datetime

import pytest

from lablib.errors import LabError
from lablib.grading.intake import submission_names, submissions
from lablib.grading.intake.submissions import HANDED_IN, MISSING, REFUSED, UNREADABLE

NAMES = {
    "jane.ipynb": ("jane", "", False),
    "jane (2).ipynb": ("jane (2)", "", False),
    "doejane_4711_90210_03_data_parallelism.ipynb": ("doejane", "4711", False),
    "doejane_LATE_4711_90210_03_data_parallelism-2.ipynb": ("doejane", "4711", True),
    "Lab 03_jdoe_attempt_2026-03-01-12-30-00_x.ipynb": ("jdoe", "", False),
    "Jane Doe_4711_assignsubmission_file_x.ipynb": ("Jane Doe", "4711", False),
    "=cmd|' calc'!A0.ipynb": ("=cmd|' calc'!A0", "", False),
    "-rf.ipynb": ("-rf", "", False),
    "Zoë Müller.ipynb": ("Zoë Müller", "", False),
    "a\"quote's.ipynb": ("a\"quote's", "", False),
    "two\nlines.ipynb": ("two lines", "", False),
    os.fsdecode(b"latin-\xe9.ipynb"): ("latin-\\xe9", "", False),
    "..ipynb": (".", "", False),
    ".ipynb": ("_", "", False),
    ".hidden.ipynb": (".hidden", "", False),
    "Readmelissa.ipynb": ("Readmelissa", "", False),
    "Jose\u0301.ipynb": ("Jos\u00e9", "", False),
    "UPPER.IPYNB": ("UPPER", "", False),
    "\u202egnp.ipynb": ("gnp", "", False),
    # After the platform's own words, a learner may write those of another platform.
    "eve_5_6_x_victim_attempt_2031-01-01-00-00-00_.ipynb": ("eve", "5", False),
    "eve_5_6_x_7_assignsubmission_file_.ipynb": ("eve", "5", False),
    "Eve_5_assignsubmission_file_victim_7_assignsubmission_file_x.ipynb": ("Eve", "5", False),
    "Lab 03_eve_attempt_2026-03-01-12-30-00_victim_attempt_2026-03-01-12-30-00.ipynb": (
        "eve", "", False),
    "Lab 03_eve_attempt_9999-99-99-99-99-99_x.ipynb": ("eve", "", False),
}  # fmt: skip


def write(path, text="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(folder, lab="03"):
    return {one.id: one for one in submissions.find(folder, lab)}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_says_whose_it_is(name, tmp_path):
    write(tmp_path / name)
    (one,) = submissions.find(tmp_path, "03")
    assert (one.id, one.user, one.late, one.state, one.file) == (*NAMES[name], HANDED_IN, name)
    one.id.encode()


def test_the_name_tells_when_where_it_can_and_the_file_where_not(tmp_path):
    write(tmp_path / "Lab 03_jdoe_attempt_2026-03-01-12-30-00_x.ipynb")
    os.utime(write(tmp_path / "jane.ipynb"), (0, 86_400))
    when = {one.id: one.when for one in submissions.find(tmp_path, "03")}
    assert when == {
        "jdoe": datetime(2026, 3, 1, 12, 30),
        "jane": datetime.fromtimestamp(86_400),
    }


FOLDERS = {
    "one notebook": (["x.ipynb"], "x.ipynb", ""),
    "Moodle": (["Jane_1_assignsubmission_file_/x.ipynb"], "x.ipynb", ""),
    "deep": (["03/work/x.ipynb", "readme.txt"], "x.ipynb", ""),
    "the lab's number": (["scratch.ipynb", "03_data.ipynb"], "03_data.ipynb", "2 notebooks"),
    "not another lab's": (["04_x.ipynb", "lab3.ipynb", "13.ipynb"], "lab3.ipynb", "3 notebooks"),
    "the last attempt": (["lab03.ipynb", "lab03-10.ipynb", "lab03-9.ipynb"], "lab03-10.ipynb",
                         "3 notebooks"),
    "a name of dots": (["..ipynb"], "..ipynb", ""),
    "what is hidden apart": ([".ipynb_checkpoints/03.ipynb", "x.ipynb"], "x.ipynb", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_of_a_folder_one_notebook_is_taken(kind, tmp_path):
    names, chosen, note = FOLDERS[kind]
    for name in names:
        write(tmp_path / "jane" / name)
    one = found(tmp_path)["jane"]
    assert one.state == HANDED_IN and os.path.basename(one.file) == chosen
    assert note in " ".join(one.notes) and bool(note) == bool(one.notes)


def test_of_two_attempts_of_one_learner_the_last_counts(tmp_path):
    for name in ("doe_1_5_lab03.ipynb", "doe_1_9_lab03-1.ipynb"):
        write(tmp_path / name)
    (one,) = submissions.find(tmp_path, "03")
    assert one.file == "doe_1_9_lab03-1.ipynb" and "2 submissions" in one.notes[0]


ALIKE = {
    "two learners of one name": ["doe_1_5_x.ipynb", "doe_2_6_x.ipynb"],
    "a space more": ["jane.ipynb", "jane .ipynb"],
    "what nobody sees": ["jane.ipynb", "jane\u200b.ipynb"],
    "two normal forms": ["Jos\u00e9.ipynb", "Jose\u0301.ipynb"],
    "a blank letter": ["jane.ipynb", "jane\u3164.ipynb"],
    "a selector of variants": ["jane.ipynb", "ja\ufe0fne.ipynb"],
    "a wide space": ["jane doe.ipynb", "jane\u3000doe.ipynb"],
    "a dot more": ["jane.ipynb", "jane..ipynb"],
    "wide letters": ["jane.ipynb", "\uff4aane.ipynb"],
    "letters of another alphabet": ["jane.ipynb", "j\u0430ne.ipynb"],
    "longer than an id": ["x" * 90 + "1.ipynb", "x" * 90 + "2.ipynb"],
    "one user's name within another's": ["Lab_j_doe_attempt_2026-03-01-12-30-00_x.ipynb",
                                         "Lab_k_doe_attempt_2026-03-01-12-30-00_x.ipynb"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ALIKE)
def test_learners_whose_names_look_alike_have_a_row_each(kind, tmp_path):
    for name in ALIKE[kind]:
        write(tmp_path / name)
    found_here = submissions.find(tmp_path, "03")
    assert {one.file for one in found_here} == set(ALIKE[kind])
    assert len({submission_names.look(one.id) for one in found_here}) == len(found_here)
    assert all("another submission" in one.notes[0] for one in found_here)


def test_every_entry_has_a_row_or_is_named_as_left_out(tmp_path):
    names = ["..ipynb", ".ipynb", "._jane.ipynb", ".DS_Store", "jane.ipynb", "jane.pdf",
             "readme.md", "readme.ipynb", "class.csv", "~$x.docx", "a.csv.ipynb"]  # fmt: skip
    for name in names:
        write(tmp_path / name)
    rows = submissions.find(tmp_path, "03")
    left_out = submissions.left_out(tmp_path)
    assert left_out == [".DS_Store", "._jane.ipynb", "class.csv", "readme.md", "~$x.docx"]
    # Jane's two files are one row, which says so.
    assert len(rows) + len(left_out) == len(names) - 1
    assert ["2 submissions" in note for one in rows for note in one.notes] == [True]


def test_a_time_that_no_calendar_has_costs_nobody_a_row(tmp_path, monkeypatch):
    class Calendar(datetime):
        @classmethod
        def fromtimestamp(cls, _):
            raise ValueError("year 318857 is out of range")

    monkeypatch.setattr(submissions, "datetime", Calendar)
    write(tmp_path / "jane.ipynb")
    assert found(tmp_path)["jane"].when is None


def test_what_is_no_notebook_gets_a_row_and_a_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "paper.pdf")
    big = write(tmp_path / "big.ipynb")
    os.truncate(big, 200 * 2**20)
    found_here = found(tmp_path)
    states = {name: (one.state, one.reason) for name, one in found_here.items()}
    assert states == {
        "empty": (MISSING, "no notebook in the folder"),
        "paper": (UNREADABLE, "not a notebook (.pdf)"),
        "big": (UNREADABLE, "the file is larger than 20 MB"),
    }


def test_a_folder_that_may_not_be_entered_costs_nobody_else_a_row(tmp_path, monkeypatch):
    def scandir(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return entries(path)

    entries = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    write(tmp_path / "ann" / "closed" / "03.ipynb"), write(tmp_path / "bob.ipynb")
    states = {name: (one.state, one.reason) for name, one in found(tmp_path).items()}
    assert states == {"ann": (UNREADABLE, "Permission denied"), "bob": (HANDED_IN, "")}


def test_nothing_leads_out_of_the_folder(tmp_path):
    secret, folder = write(tmp_path / "secret" / "03.ipynb"), tmp_path / "all"
    folder.mkdir()
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "away").symlink_to(secret.parent)
    (folder / "inside").mkdir()
    (folder / "inside" / "x.ipynb").symlink_to(secret)
    (folder / "deep").mkdir()
    (folder / "deep" / "more").symlink_to(secret.parent)
    os.mkfifo(folder / "fifo.ipynb")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "sock.ipynb"))
    states = {name: (one.state, one.reason) for name, one in found(folder).items()}
    assert states == {
        "link": (REFUSED, "a symbolic link: not read"),
        "away": (REFUSED, "a symbolic link: not read"),
        "inside": (REFUSED, "a symbolic link: not read"),
        "deep": (MISSING, "no notebook in the folder"),
        "fifo": (REFUSED, "a FIFO: not read"),
        "sock": (REFUSED, "a socket: not read"),
    }


@pytest.mark.parametrize("becomes", ["link", "fifo"])
def test_a_file_that_became_something_else_is_not_read(becomes, tmp_path):
    path = write(tmp_path / "jane.ipynb")
    (one,) = submissions.find(tmp_path, "03")
    path.unlink()
    os.mkfifo(path) if becomes == "fifo" else path.symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        submissions.read(tmp_path, one)


def test_what_the_platform_or_the_instructor_added_is_no_submission(tmp_path):
    for name in ("index.html", ".DS_Store", "README.txt", "late.yaml", "roster.csv", "jane.ipynb"):
        write(tmp_path / name)
    assert list(found(tmp_path)) == ["jane"]


def test_the_order_is_always_the_same_and_ids_are_different(tmp_path):
    for name in ("b.ipynb", "a.ipynb", "a.pdf"):
        write(tmp_path / name)
    assert [one.id for one in submissions.find(tmp_path, "03")] == ["a", "b"]


def test_no_such_folder_is_said(tmp_path):
    with pytest.raises(LabError, match="cannot be read"):
        submissions.find(tmp_path / "no", "03")
