"""python -m lablib: the commands to grade, to submit, and to write labs."""

from __future__ import annotations

import argparse
from pathlib import Path

from lablib.computer import processes

SUBMITTED = "lab{lab}.ipynb"


def add_grade(commands, add) -> None:
    about = (
        "grade a folder of submissions; write grades.csv, a page for each learner and a page "
        "for the class"
    )
    end = (
        "Example: python -m lablib grade submitted/ --lab 03 --out grades/ -j 2. "
        "The exit status is 1 if a submission could not be graded."
    )
    parser = add(commands, "grade", _grade, about, epilog=end)
    option = parser.add_argument
    folder = "the submissions: one notebook or one folder for each learner"
    option("folder", type=Path, help=folder)
    option("--lab", required=True, metavar="NN", help="the lab's number, for example 03")
    option("--out", required=True, type=Path, metavar="FOLDER", help="the folder for the grades")
    jobs = "how many submissions to grade at the same time (default: %(default)s)"
    option("-j", "--jobs", type=int, default=1, metavar="N", help=jobs)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--resume", action="store_true", help="continue where the last run stopped (the default)"
    )
    how.add_argument("--regrade", action="store_true", help="grade all answers again")
    only = "grade only this learner; can be given more than once"
    option("--only", action="append", default=[], metavar="ID", help=only)
    by_hand = "points and comments that you give by hand (YAML or CSV)"
    option("--overrides", type=Path, metavar="FILE", help=by_hand)
    late = "how many points late submissions lose (YAML)"
    option("--late", type=Path, metavar="FILE", help=late)
    option("--seed", type=int, metavar="N",
           help="the random seed of the test data. By default, the first run stores a secret "
           "random number in FOLDER/seed.txt. Keep this file, and do not show it to "
           "learners")  # fmt: skip
    unsafe = "run learners' code without the sandbox; every row of grades.csv then says UNSANDBOXED"
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
    print(f"Graded {len(rows) - len(failed)} of {len(rows)} submissions.")
    print(f"See {asked.out / 'grades.csv'} and {asked.out / 'report.html'}.")
    if to_read := sum(len(row.to_read) for row in rows):
        print(f"Written answers to be read: {to_read}. Read {asked.out / 'written.html'}, write")
        print(f"points into {asked.out / 'overrides.csv'} and type the same command again.")
    return 1 if failed else 0


def add_submit(commands, add) -> None:
    about = "check your notebook and write the file to hand in"
    end = (
        "This runs the cells of your notebook once, from top to bottom, to find your answers. They "
        "run on your computer without a sandbox, as they do in Jupyter: if a cell changes files by "
        "their full path, or uses the network, it does so again. Relative paths lead into an empty "
        "folder, as they do when the notebook is graded. "
        "The exit status is 1 if an exercise is missing or has a syntax error. The file is "
        "written in this case, too."
    )
    parser = add(commands, "submit", _submit, about, epilog=end)
    parser.add_argument("lab", help="the lab's number, for example 03")
    out = "the file to write (default: for example lab03.ipynb)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)


def _submit(asked):
    from lablib.grading import submit

    out = asked.out or Path(SUBMITTED.format(lab=asked.lab.zfill(2)))
    report = submit.submit(asked.lab, out)
    print(report)
    return 0 if report.ok else 1


def add_author(commands, add) -> None:
    about = "start a new exercise: write its three files, with right and wrong answers to test it"
    end = "Example: python -m lablib author 5.1 --name top_k --title 'Send the largest'"
    parser = add(commands, "author", _author, about, epilog=end)
    parser.add_argument("number", help="the number of the exercise, for example 5.1")
    name = "the name of its files and of its function (default: %(default)s)"
    parser.add_argument("--name", default="my_exercise", help=name)
    parser.add_argument("--title", default="", help="the title that learners read")


def _author(asked):
    from lablib.course import authoring

    print(authoring.begin(asked.number, asked.name, asked.title))
    return 0


def add_site(commands, add) -> None:
    about = "make a website from the executed labs, without solutions, and from the documentation"
    parser = add(commands, "site", _site, about)
    parser.add_argument("--out", type=Path, default=Path("site"), metavar="FOLDER",
                        help="the folder for the website (default: %(default)s/)")  # fmt: skip


def _site(asked: argparse.Namespace) -> int:
    from lablib.course import site

    print(f"Open this page in a browser: {site.build(asked.out)}")
    return 0
