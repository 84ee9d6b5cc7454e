"""python -m lablib: doctor, compare, run, lab, reset, submit, release, grade, author, site.

Exit status: 0 if the command succeeded, 1 if it ran but failed or found a problem, 2 if it was
called wrongly, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from lablib import __version__, cli_run, cli_teaching, frameworks
from lablib.computer import missing_package
from lablib.computer.facts import ROOT
from lablib.errors import LabError

DEMO_RANKS = "1,2,4"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; print errors to stderr."""
    parser = _parser()
    typed = sys.argv[1:] if arguments is None else arguments
    ours, of_program = cli_run.split(typed)
    asked = parser.parse_args(ours, argparse.Namespace(of_program=of_program, typed=typed))
    if not hasattr(asked, "command"):
        parser.print_help()
        return 0
    try:
        return asked.command(asked)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lablib":
            raise
        print(missing_package.explained(error.name, typed), file=sys.stderr)
        return 2
    except LabError as error:
        print(error, file=sys.stderr)
        # A subclass means that the command was called correctly, but then a rank failed.
        return 2 if type(error) is LabError else 1
    except KeyboardInterrupt:
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m lablib",
        description="Learn distributed AI training on one computer: start real clusters of "
        "processes, in PyTorch and in TensorFlow.",
        epilog="Exit status: 0 if the command succeeded, 1 if it ran but failed or found a "
        "problem, 2 if it was called wrongly.",
    )
    parser.add_argument("--version", action="version", version=f"lablib {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_doctor(commands)
    _add_compare(commands)
    cli_run.add_run(commands, _add)
    _add_lab(commands)
    _add_reset(commands)
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
    about = "check whether this computer has what the kit needs, and say how to fix what is missing"
    end = "The exit status is 1 if something that the kit needs is missing."
    parser = _add(commands, "doctor", _doctor, about, epilog=end)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _doctor(asked):
    from lablib.doctor_report import doctor

    report = doctor()
    print(json.dumps(report.to_dict(), indent=2) if asked.json else report)
    return 0 if report.ok else 1


# --- compare


def _add_compare(commands):
    about = "train one task with several strategies and compare them"
    end = "Example: python -m lablib compare --task digits-mlp --ranks 1,2 --strategies single,ddp"
    parser = _add(commands, "compare", _compare, about, epilog=end)
    add = parser.add_argument
    what = "the task to train (default: digits-mlp, which every strategy can train)"
    add("--task", metavar="NAME", help=what)
    counts = (
        "the numbers of ranks, that is, of processes that train together (default: %(default)s)"
    )
    add("--ranks", default=DEMO_RANKS, metavar="N,N", help=counts)
    add("--strategies", metavar="NAMES", help='for example "single,ddp" (default: all)')
    both = "the framework to use (default: %(default)s)"
    add("--framework", choices=[*frameworks.NAMES, "both"], default="both", help=both)
    add("--steps", type=int, metavar="N", help="the number of training steps in each run")
    batch = "the number of samples in a step, on all ranks together"
    add("--batch", type=int, metavar="N", help=batch)
    repeats = "how often to measure each run (default: 3, or 1 with --hardware)"
    add("--repeats", type=int, metavar="N", help=repeats)
    seed = "the random seed of weights and data (default: %(default)s)"
    add("--seed", type=int, default=0, metavar="N", help=seed)
    on = "model this machine (a name or a TOML file) instead of measuring times on this computer"
    add("--hardware", metavar="NAME", help=on)
    where = "where the ranks compute (default: cpu); cuda has not been tried on a GPU"
    add("--device", choices=["cpu", "cuda"], help=where)
    out = "the folder for the table, the figure, the traces and the page (default: %(default)s/)"
    add("--out", default="demo", metavar="FOLDER", help=out)
    add("--json", action="store_true", help="print only the table, as JSON, to stdout")


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
        print(f"\nOpen this page in a browser: {page.resolve()}")
    if caution := comparison.conditions.get("caution"):
        print("\nCaution:\n  " + caution.replace("; ", "\n  "), file=sys.stderr)
    return 0


_PASSED_ON = ("task", "seed", "steps", "batch", "device", "hardware", "repeats")


def _comparison_arguments(asked):
    """Return the arguments for `lab.compare`; leave out those that the user did not give."""
    given = {name: getattr(asked, name) for name in _PASSED_ON}
    given |= {"ranks": _ranks(asked.ranks), "strategies": _strategies(asked.strategies)}
    given["framework"] = None if asked.framework == "both" else asked.framework
    return {name: value for name, value in given.items() if value is not None}


def _ranks(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise LabError(
            "--ranks must be whole numbers, separated by commas.",
            saw=repr(text),
            do="write, for example, --ranks 1,2,4",
        ) from None


def _strategies(text):
    if text in (None, "all"):
        return None
    return [part.strip() for part in text.split(",")]


# --- lab, reset


def _add_lab(commands):
    about = "copy the labs to my_labs/ and open your copies in JupyterLab"
    end = "JupyterLab listens on 127.0.0.1 only. Without a display, it prints the address to open."
    parser = _add(commands, "lab", _lab, about, epilog=end)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    port = "the first port to try (default: 8888)"
    parser.add_argument("--port", type=int, metavar="N", help=port)


def _lab(asked):
    from lablib.course import learners_copies

    for news in learners_copies.bring():
        print(news)
    print(f"Your labs are in {learners_copies.ROOT / 'my_labs'}")
    print("Press Ctrl-C twice to stop JupyterLab.")
    learners_copies.open_jupyter(not asked.no_browser and learners_copies.has_display(), asked.port)


def _add_reset(commands):
    about = (
        "restore the original of a lab, or of one of its exercises, and keep a copy of your work"
    )
    end = "Examples: python -m lablib reset 03; python -m lablib reset 03 3.2"
    parser = _add(commands, "reset", _reset, about, epilog=end)
    parser.add_argument("lab", help="the lab's number or name, for example 03")
    only = "restore only this exercise, for example 3.2"
    parser.add_argument("exercise", nargs="?", default="", help=only)


def _reset(asked):
    from lablib.course import learners_copies

    print(learners_copies.reset(asked.lab, exercise=asked.exercise))
    return 0


# --- release


def _add_release(commands):
    about = "make labs/ from solutions/, without the solutions"
    end = "The exit status is 1 if labs/ is out of date or contains a solution."
    parser = _add(commands, "release", _release, about, epilog=end)
    parser.add_argument("--check", action="store_true", help="only report what is wrong")
    remove = "remove the notebooks in labs/ that have no counterpart in solutions/"
    parser.add_argument("--remove", action="store_true", help=remove)
    whole = "write the archive for a class, without solutions and hidden cases"
    parser.add_argument("--package", type=Path, metavar="FILE.zip", help=whole)
    run = "first run the whole solution of this lab and store its outputs"
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
