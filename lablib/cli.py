"""python -m lablib: doctor, compare, lab, reset, submit, release, grade, author, site.

Exit status 0: done; 1: it ran, and the answer is no; 2: asked wrongly; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shlex
import sys
from pathlib import Path

from lablib import __version__, cli_teaching
from lablib.computer.facts import ROOT
from lablib.errors import LabError

DEMO_RANKS = "1,2,4"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is returned, errors of the user go to stderr."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if not hasattr(asked, "command"):
        parser.print_help()
        return 0
    try:
        return asked.command(asked)
    except LabError as error:
        print(error, file=sys.stderr)
        # What a rank did wrong is a kind of its own: then it was asked well, and it ran.
        return 2 if type(error) is LabError else 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lablib":
            raise
        print(_package_is_missing(error.name, arguments or sys.argv[1:]), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _package_is_missing(name, arguments):
    """What to tell somebody who uses a Python without the kit's packages."""
    saw = f"no module {name!r} in {sys.executable} (Python {platform.python_version()})"
    environment = ROOT / ".venv"
    if Path(sys.prefix) == environment:
        do = f"install it: cd {ROOT} && .venv/bin/python -m pip install -c constraints.txt -e ."
        return LabError("The environment lacks a package.", saw=saw, do=do)
    python = environment / "bin" / "python"
    first = "" if python.exists() else f"make the environment: cd {ROOT} && make environment. Then "
    typed = shlex.join([str(python), "-m", "lablib", *arguments])
    return LabError(
        "This Python lacks a package that the kit needs.",
        saw=saw,
        do=f"{first}use the Python of the kit's environment: {typed}",
    )


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m lablib",
        description="Distributed AI training on one computer: real clusters, in PyTorch and "
        "in TensorFlow.",
        epilog="Exit status 0: done; 1: it ran, and the answer is no; 2: asked wrongly.",
    )
    parser.add_argument("--version", action="version", version=f"lablib {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_add_doctor, _add_compare, _add_lab, _add_reset):
        add(commands)
    cli_teaching.add_submit(commands, _add)
    _add_release(commands)
    cli_teaching.add_grade(commands, _add)
    cli_teaching.add_author(commands, _add)
    cli_teaching.add_site(commands, _add)
    return parser


def _add(commands, name, command, about, **more):
    parser = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", **more
    )
    parser.set_defaults(command=command)
    return parser


# --- doctor


def _add_doctor(commands):
    about = "say what this computer can do, with the cure for what it lacks"
    end = "Exit status 1: something that the kit needs is missing."
    parser = _add(commands, "doctor", _doctor, about, epilog=end)
    parser.add_argument("--json", action="store_true", help="for programs")


def _doctor(asked):
    from lablib.doctor_report import doctor

    report = doctor()
    print(json.dumps(report.to_dict(), indent=2) if asked.json else report)
    return 0 if report.ok else 1


# --- compare


def _add_compare(commands):
    about = "train one task in several ways and compare them"
    end = "Example: python -m lablib compare --task digits-mlp --ranks 1,2 --strategies single,ddp"
    parser = _add(commands, "compare", _compare, about, epilog=end)
    add = parser.add_argument
    add("--task", metavar="NAME", help="what to train (digits-mlp: every strategy can)")
    add("--ranks", default=DEMO_RANKS, metavar="N,N", help="how many ranks (%(default)s)")
    add("--strategies", metavar="NAMES", help='such as "single,ddp"; without it, or "all": all')
    add(
        "--framework", choices=["torch", "tensorflow", "both"], default="both", help="(%(default)s)"
    )
    add("--steps", type=int, metavar="N", help="training steps of each run")
    add("--batch", type=int, metavar="N", help="samples a step, of all ranks together")
    repeats = "how often each run is measured, in turn (3; 1 with --hardware)"
    add("--repeats", type=int, metavar="N", help=repeats)
    add("--seed", type=int, default=0, metavar="N", help="of weights and data (%(default)s)")
    on = "a machine to model, by name or as a TOML file; without it times are measured here"
    add("--hardware", metavar="NAME", help=on)
    add(
        "--out", default="demo", metavar="FOLDER", help="table, figure, traces, page (%(default)s/)"
    )
    add("--json", action="store_true", help="the table as JSON on stdout, and nothing else there")


def _compare(asked):
    from lablib.views.pages import comparison_report, comparison_table

    wanted = _comparison_arguments(asked)
    comparison_report.check_folder(Path(asked.out))
    from lablib.training.compare import compare

    with contextlib.redirect_stdout(sys.stderr):
        comparison = compare(**wanted)
        page = comparison_report.write(comparison, Path(asked.out))
    if asked.json:
        print(comparison.table.to_json(orient="records", indent=2))
    else:
        print(comparison_table.text(comparison.table))
        if left_out := comparison.conditions.get("left out"):
            print("\nLeft out:\n  " + left_out.replace("; ", "\n  "))
        print(f"\nThe page: {page.resolve()}")
    if caution := comparison.conditions.get("caution"):
        print("\nCaution:\n  " + caution.replace("; ", "\n  "), file=sys.stderr)
    return 0


_PASSED_ON = ("task", "seed", "steps", "batch", "hardware", "repeats")


def _comparison_arguments(asked):
    """What `lab.compare` is given; what was not asked for is left to its own defaults."""
    given = {name: getattr(asked, name) for name in _PASSED_ON}
    given |= {"ranks": _ranks(asked.ranks), "strategies": _strategies(asked.strategies)}
    given["framework"] = None if asked.framework == "both" else asked.framework
    return {name: value for name, value in given.items() if value is not None}


def _ranks(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise LabError(
            "--ranks must be whole numbers with commas between.",
            saw=repr(text),
            do="write for example --ranks 1,2,4",
        ) from None


def _strategies(text):
    if text in (None, "all"):
        return None
    return [part.strip() for part in text.split(",")]


# --- lab, reset


def _add_lab(commands):
    about = "open the labs in JupyterLab, on copies of your own in my_labs/"
    end = "Listens on 127.0.0.1 only. Without a display it prints the address to open."
    parser = _add(commands, "lab", _lab, about, epilog=end)
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument("--port", type=int, metavar="N", help="the first port to try (8888)")


def _lab(asked):
    from lablib.course import learners_copies

    for news in learners_copies.bring():
        print(news)
    print(f"Your labs: {learners_copies.ROOT / 'my_labs'}   (Ctrl-C twice ends JupyterLab)")
    learners_copies.open_jupyter(not asked.no_browser and learners_copies.has_display(), asked.port)


def _add_reset(commands):
    about = "restore a lab, or one exercise of it, as it came; your copy is kept"
    end = "Examples: python -m lablib reset 03; python -m lablib reset 03 3.2"
    parser = _add(commands, "reset", _reset, about, epilog=end)
    parser.add_argument("lab", help="its number, or its name")
    parser.add_argument("exercise", nargs="?", default="", help="such as 3.2: this one only")


def _reset(asked):
    from lablib.course import learners_copies

    print(learners_copies.reset(asked.lab, exercise=asked.exercise))
    return 0


# --- release


def _add_release(commands):
    about = "make labs/ from solutions/, the solutions cut out"
    end = "Exit status 1 with --check: labs/ is stale, or tells a solution."
    parser = _add(commands, "release", _release, about, epilog=end)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is wrong")
    remove = "remove the notebooks of labs/ that have no solution"
    parser.add_argument("--remove", action="store_true", help=remove)
    whole = "write what a class gets: no solution, no hidden case"
    parser.add_argument("--package", type=Path, metavar="FILE.zip", help=whole)
    run = "first run this lab's solution whole and keep its outputs"
    parser.add_argument("--run", metavar="NN", help=run)


def _release(asked):
    from lablib.course import package, release, run_notebook

    if asked.run:
        run_notebook.execute(_solution(asked.run, release.solutions()))
    if not asked.check:
        changed = release.release(remove=asked.remove)
        print("\n".join(f"labs/{name}" for name in changed) or "labs/ is up to date")
    found = release.complaints()
    for complaint in found:
        print(complaint)
    if asked.package and not found:
        print(f"{asked.package}: {len(package.package(asked.package))} files")
    return 1 if found else 0


def _solution(number, names):
    found = [name for name in names if name.startswith(number)]
    if len(found) == 1:
        return ROOT / "solutions" / found[0]
    known = ", ".join(Path(name).stem for name in names)
    raise LabError("There is no such solution.", saw=repr(number), do=f"choose one of: {known}")
