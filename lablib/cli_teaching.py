"""python -m lablib: the commands of those who teach and of those who hand in."""

from __future__ import annotations

import argparse
from pathlib import Path

from lablib.computer import processes

SUBMITTED = "lab{lab}.ipynb"


def add_grade(commands, add) -> None:
    about = "grade a folder of submissions: grades.csv, a page for each learner, one for the class"
    end = (
        "Example: python -m lablib grade submitted/ --lab 03 --out grades/ -j 2. "
        "Exit status 1: something could not be graded."
    )
    parser = add(commands, "grade", _grade, about, epilog=end)
    option = parser.add_argument
    option("folder", type=Path, help="a notebook or a folder for each learner, as exported")
    option("--lab", required=True, metavar="NN", help="its number, such as 03")
    option("--out", required=True, type=Path, metavar="FOLDER", help="where the grades go")
    option("-j", "--jobs", type=int, default=1, metavar="N", help="how many at once (%(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true",
                     help="go on where it stopped; so it does anyway")  # fmt: skip
    how.add_argument("--regrade", action="store_true", help="try all answers again")
    option("--only", action="append", default=[], metavar="ID", help="grade this one; repeatable")
    option("--overrides", type=Path, metavar="FILE", help="points and comments by hand: YAML, CSV")
    option("--late", type=Path, metavar="FILE", help="what late submissions lose: YAML")
    option("--seed", type=int, metavar="N",
           help="of the cases' data; by default FOLDER/seed.txt, which the first run fills with a "
           "secret random number: keep it, and no learner may see it")  # fmt: skip
    unsafe = "without a box; every row then says UNSANDBOXED"
    option("--unsafe", action="store_true", help=unsafe)


def _grade(asked: argparse.Namespace) -> int:
    processes.forget_learners(asked.folder)
    from lablib.grading import pipeline
    from lablib.grading.results.gradebook import NOT_GRADED

    rows = pipeline.grade(pipeline.Asked(
        asked.folder, asked.lab.zfill(2), asked.out, asked.jobs, asked.regrade, tuple(asked.only),
        asked.overrides, asked.late, asked.unsafe, asked.seed,
    ))  # fmt: skip
    failed = [row for row in rows if row.status == NOT_GRADED]
    for row in failed:
        print(f"{row.id} was not graded: {row.reason}")
    print(f"{len(rows)} submissions: {asked.out / 'grades.csv'}, {asked.out / 'report.html'}")
    return 1 if failed else 0


def add_submit(commands, add) -> None:
    about = "check your notebook and write the one file to hand in"
    end = "Exit status 1: an exercise is missing or has a syntax error; the file is written anyway."
    parser = add(commands, "submit", _submit, about, epilog=end)
    parser.add_argument("lab", help="its number, such as 03")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file (lab03.ipynb)")


def _submit(asked):
    from lablib.grading import submit

    out = asked.out or Path(SUBMITTED.format(lab=asked.lab.zfill(2)))
    report = submit.submit(asked.lab, out)
    print(report)
    return 0 if report.ok else 1


def add_author(commands, add) -> None:
    about = "begin a new exercise: its three parts, right answers and wrong ones"
    end = "Example: python -m lablib author 5.1 --name top_k --title 'Send the largest'"
    parser = add(commands, "author", _author, about, epilog=end)
    parser.add_argument("number", help="such as 5.1")
    parser.add_argument(
        "--name", default="my_exercise", help="of its files and its function (%(default)s)"
    )
    parser.add_argument("--title", default="", help="what learners read")


def _author(asked):
    from lablib.course import authoring

    print(authoring.begin(asked.number, asked.name, asked.title))
    return 0


def add_site(commands, add) -> None:
    about = "make a site to read from the executed labs, without solutions"
    parser = add(commands, "site", _site, about)
    parser.add_argument("--out", type=Path, default=Path("site"), metavar="FOLDER",
                        help="where it goes (%(default)s/)")  # fmt: skip


def _site(asked: argparse.Namespace) -> int:
    from lablib.course import site

    print(f"The site: {site.build(asked.out)}")
    return 0
